//! One virtio-scsi device of a guest: its rings, the requests in them, its event buffers.
//!
//! The driver's half (`virtscsi_queuecommand`, `virtscsi_vq_done`, `virtscsi_kick_event`). Knows
//! bytes and heads; what a request means to its owner stands elsewhere.

use scenarios::{ControllerId, Time};
use vm_memory::GuestAddress;

use super::answer::{InFlight, Returned, clear, is_clear, take_answer};
use super::command::Reply;
use super::head::write_head;
use super::layout::{EVENT_BUFFERS, HbaLayout, RING_SIZE, RINGS};
use super::mutex::ScanMutex;
use super::ring::{DriverRing, NotAHead, Segment};
use wire::access::Access as _;
use wire::component::Memory;
use wire::message::{CONTROLQ, EVENTQ, VringIndex};
use wire::scsi::{CDB_SIZE, EVENT_SIZE, REQUEST_SIZE, RESPONSE_SIZE, lun_bytes};

/// Who sent a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The flow with this number.
    Flow(usize),
    /// The step of a script with this number.
    Script(usize),
    /// The application request with this number.
    Io(usize),
}

/// Data of a command.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// Guest address.
    pub addr: u64,
    /// Bytes; 0: no data.
    pub len: u32,
    /// The device reads it.
    pub out: bool,
}

/// What came of sending a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// It is in the ring; false: there was no room.
    pub sent: bool,
    /// The head that it uses, if its response had been written after it was given back.
    pub spoiled: Option<u16>,
}

/// Which driver has the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// None: not started.
    None,
    /// The firmware's: request queue 0 alone, no HOTPLUG, no indirect descriptors.
    Firmware,
    /// Linux's.
    Linux,
}

/// One device.
#[derive(Clone, Debug)]
pub struct Hba {
    /// The controller behind it.
    pub controller: ControllerId,
    /// Where its things lie.
    pub layout: HbaLayout,
    /// Who drives it.
    pub driver: Driver,
    /// The features that its driver accepted.
    pub features: u64,
    /// Its vrings; empty while there is no driver.
    rings: Vec<Option<DriverRing>>,
    /// The heads in flight, by ring and head.
    owners: Vec<Option<InFlight>>,
    /// Heads whose response holds the poison.
    poisoned: Vec<bool>,
    /// Event buffers by head of the event queue.
    event_heads: [u16; RING_SIZE as usize],
    /// Its scan mutex.
    pub mutex: ScanMutex,
    /// The asynchronous scan of the host is under way (`shost->async_scan`).
    pub async_scan: bool,
    /// When the last event handler starts or started: they start in the order of their events.
    pub last_work: Time,
    /// Fio threads that wait for room in a ring.
    pub room_wanted: Vec<usize>,
}

impl Hba {
    /// A device that nobody drives yet.
    #[must_use]
    pub fn new(number: usize, controller: ControllerId) -> Self {
        let heads = usize::from(RINGS) * usize::from(RING_SIZE);
        Self {
            controller,
            layout: HbaLayout::new(number),
            driver: Driver::None,
            features: 0,
            rings: Vec::new(),
            owners: vec![None; heads],
            poisoned: vec![false; heads],
            event_heads: [0; RING_SIZE as usize],
            mutex: ScanMutex::default(),
            async_scan: false,
            last_work: Time(0),
            room_wanted: Vec::new(),
        }
    }

    /// Resets the device and sets its rings up anew for `driver`.
    pub fn set_up(&mut self, memory: &Memory, driver: Driver, features: u64) {
        self.tear_down(memory);
        self.driver = driver;
        self.features = features;
        for vring in 0..RINGS {
            let used = driver == Driver::Linux || vring == 2;
            let at = self.layout.ring(VringIndex(vring));
            self.rings
                .push(used.then(|| DriverRing::new(memory.clone(), at, RING_SIZE)));
        }
    }

    /// Resets the device: what was in its rings is forgotten, and nobody may write to it any more.
    pub fn tear_down(&mut self, memory: &Memory) {
        self.driver = Driver::None;
        self.rings.clear();
        for (slot, owner) in self.owners.iter_mut().enumerate() {
            let script = |flight: InFlight| matches!(flight.owner, Owner::Script(_));
            if owner.take().is_some_and(|flight| !script(flight)) {
                let (vring, head) = Self::at(slot);
                clear(memory, self.layout.response(vring, head));
                self.poisoned[slot] = true;
            }
        }
        self.room_wanted.clear();
        self.mutex = ScanMutex::default();
        self.async_scan = false;
    }

    /// The machine is gone, with its memory: what is written there from now on is nobody's.
    pub fn power_off(&mut self, memory: &Memory) {
        self.tear_down(memory);
        self.poisoned.fill(false);
    }

    /// The vrings that its driver has set up.
    pub fn vrings(&self) -> impl Iterator<Item = VringIndex> {
        let rings = self.rings.iter().enumerate();
        rings
            .filter(|(_, ring)| ring.is_some())
            .map(|(n, _)| VringIndex(n as u16))
    }

    fn at(slot: usize) -> (VringIndex, u16) {
        let size = usize::from(RING_SIZE);
        (VringIndex((slot / size) as u16), (slot % size) as u16)
    }

    fn slot(vring: VringIndex, head: u16) -> usize {
        usize::from(vring.0) * usize::from(RING_SIZE) + usize::from(head)
    }

    /// Whether a request finds room in a request queue.
    #[must_use]
    pub fn has_room(&self, vring: VringIndex) -> bool {
        let ring = self
            .rings
            .get(usize::from(vring.0))
            .and_then(Option::as_ref);
        ring.is_some_and(DriverRing::has_room)
    }

    /// Whether as many requests with data find room in a request queue; of more than it has places, whether
    /// all of it is free.
    #[must_use]
    pub fn has_room_for(&self, vring: VringIndex, requests: u32) -> bool {
        let ring = self
            .rings
            .get(usize::from(vring.0))
            .and_then(Option::as_ref);
        let indirect = self.features & wire::scsi::feature::INDIRECT_DESC != 0;
        // Without a table: header, data, response.
        let each = if indirect { 1 } else { 3 };
        ring.is_some_and(|ring| ring.has_room_for(requests.saturating_mul(each)))
    }

    /// Whether a queue was given up after a used entry that named no head.
    #[must_use]
    pub fn is_broken(&self, vring: VringIndex) -> bool {
        let ring = self
            .rings
            .get(usize::from(vring.0))
            .and_then(Option::as_ref);
        ring.is_none_or(DriverRing::is_broken)
    }

    /// Commands in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.owners.iter().flatten().count()
    }

    /// The tag of a command in flight.
    #[must_use]
    pub fn tag_in_flight(&self) -> Option<u64> {
        let slot = self.owners.iter().position(Option::is_some);
        slot.map(|slot| slot as u64)
    }

    /// Puts a command into a request queue.
    pub fn send(
        &mut self,
        memory: &Memory,
        vring: VringIndex,
        (target, lun): (u8, u16),
        cdb: &[u8; CDB_SIZE],
        data: Data,
        owner: Owner,
    ) -> Sent {
        const NO_ROOM: Sent = Sent {
            sent: false,
            spoiled: None,
        };
        let indirect = self.features & wire::scsi::feature::INDIRECT_DESC != 0;
        let layout = self.layout;
        let Some(ring) = self.rings[usize::from(vring.0)].as_mut() else {
            return NO_ROOM;
        };
        let Some(head) = ring.next_head() else {
            return NO_ROOM;
        };
        let slot = Self::slot(vring, head);
        let header = layout.header(vring, head);
        let response = layout.response(vring, head);
        let spoiled = self.poisoned[slot] && !is_clear(memory, response);
        if spoiled || !self.poisoned[slot] {
            clear(memory, response);
        }
        self.poisoned[slot] = false;
        let head_at = header;
        let header = Segment {
            addr: header,
            len: REQUEST_SIZE,
            write: false,
        };
        let answer = Segment {
            addr: response,
            len: RESPONSE_SIZE,
            write: true,
        };
        let payload = Segment {
            addr: data.addr,
            len: data.len,
            write: !data.out,
        };
        let segments: &[Segment] = match (data.len, data.out) {
            (0, _) => &[header, answer],
            (_, true) => &[header, payload, answer],
            (_, false) => &[header, answer, payload],
        };
        let (lun, tag) = (lun_bytes(target, lun), slot as u64);
        write_head(memory, head_at, lun, tag, cdb, segments);
        let table = indirect.then(|| layout.table(vring, head));
        let added = ring.add(segments, table);
        if added.is_some() {
            let in_len = if data.out { 0 } else { data.len };
            self.owners[slot] = Some(InFlight {
                owner,
                len: data.len,
                writable: RESPONSE_SIZE + in_len,
            });
        }
        Sent {
            sent: added.is_some(),
            spoiled: spoiled.then_some(head),
        }
    }

    /// Takes the next command that came back on a request queue.
    ///
    /// # Errors
    ///
    /// The used entry names no head in flight; the queue is broken from then on.
    pub fn receive(
        &mut self,
        memory: &Memory,
        vring: VringIndex,
    ) -> Result<Option<Returned>, NotAHead> {
        let Some(ring) = self
            .rings
            .get_mut(usize::from(vring.0))
            .and_then(Option::as_mut)
        else {
            return Ok(None);
        };
        let Some((head, used_len)) = ring.pop_used()? else {
            return Ok(None);
        };
        let slot = Self::slot(vring, head);
        let Some(flight) = self.owners[slot].take() else {
            return Ok(None);
        };
        if let Owner::Script(_) = flight.owner {
            // It has its own buffers, and looks at them itself.
            return Ok(Some(Returned {
                owner: flight.owner,
                reply: Reply::default(),
                unanswered: false,
                miscounted: used_len > flight.writable,
                used_len,
            }));
        }
        let response = self.layout.response(vring, head);
        let bytes = take_answer(memory, response);
        self.poisoned[slot] = true;
        Ok(Some(Returned::read(flight, &bytes, used_len)))
    }

    /// Puts a chain of a script into a ring: direct descriptors, the last of which points to itself if
    /// it has no end. `false`: there is no room.
    pub fn send_chain(
        &mut self,
        vring: VringIndex,
        chain: &[Segment],
        endless: bool,
        script: usize,
    ) -> bool {
        let ring = self.ring_mut(vring);
        let Some(head) = ring.add(chain, None) else {
            return false;
        };
        if endless {
            ring.loop_back(head);
        }
        let writable = chain.iter().filter(|segment| segment.write);
        self.owners[Self::slot(vring, head)] = Some(InFlight {
            owner: Owner::Script(script),
            len: 0,
            writable: writable.map(|segment| segment.len).sum(),
        });
        true
    }

    /// A ring that a script speaks to.
    ///
    /// # Panics
    ///
    /// If the driver has no such ring: a bug of the script.
    pub fn ring_mut(&mut self, vring: VringIndex) -> &mut DriverRing {
        let ring = self.rings.get_mut(usize::from(vring.0));
        ring.and_then(Option::as_mut)
            .expect("a script speaks to a ring that is there")
    }

    /// Used entries that nobody has taken, and that name no head in flight: ring and id.
    pub fn strangers(&self) -> impl Iterator<Item = (VringIndex, u32)> {
        let rings = self.rings.iter().enumerate();
        rings.flat_map(|(n, ring)| {
            let ids = ring.iter().flat_map(DriverRing::strangers);
            ids.map(move |id| (VringIndex(n as u16), id))
        })
    }

    /// Rings with used entries that nobody called for.
    pub fn uncalled(&self) -> impl Iterator<Item = VringIndex> {
        let rings = self.rings.iter().enumerate();
        let uncalled =
            |ring: &Option<DriverRing>| ring.as_ref().is_some_and(DriverRing::is_uncalled);
        rings
            .filter(move |(_, ring)| uncalled(ring))
            .map(|(n, _)| VringIndex(n as u16))
    }

    /// Posts all event buffers, as Linux does when it has found HOTPLUG.
    pub fn post_all_events(&mut self, memory: &Memory) {
        for buffer in 0..EVENT_BUFFERS {
            write(memory, self.layout.event(buffer), &[0; EVENT_SIZE as usize]);
            self.post_event(buffer);
        }
    }

    /// Posts one event buffer.
    pub fn post_event(&mut self, buffer: u16) {
        let addr = self.layout.event(buffer);
        let Some(ring) = self
            .rings
            .get_mut(usize::from(EVENTQ.0))
            .and_then(Option::as_mut)
        else {
            return;
        };
        let segment = Segment {
            addr,
            len: EVENT_SIZE,
            write: true,
        };
        if let Some(head) = ring.add(&[segment], None) {
            self.event_heads[usize::from(head)] = buffer;
        }
    }

    /// Puts a request into the control queue; its head, or `None` if there is no such queue or no room.
    pub fn send_control(&mut self, segments: &[Segment]) -> Option<u16> {
        let ring = self.rings.get_mut(usize::from(CONTROLQ.0))?.as_mut()?;
        ring.add(segments, None)
    }

    /// Takes the next head that came back on the control queue, and the script that it is of, if any.
    ///
    /// # Errors
    ///
    /// The used entry names no head in flight.
    pub fn receive_control(&mut self) -> Result<Option<(u16, Option<Owner>)>, NotAHead> {
        let ring = self.rings.get_mut(usize::from(CONTROLQ.0));
        let Some(ring) = ring.and_then(Option::as_mut) else {
            return Ok(None);
        };
        let head = ring.pop_used()?.map(|(head, _)| head);
        Ok(head.map(|head| {
            let script = self.owners[Self::slot(CONTROLQ, head)].take();
            (head, script.map(|flight| flight.owner))
        }))
    }

    /// Takes the next event: the buffer that it came in, and its bytes. Linux does not look at the used
    /// length: in a buffer that came back unwritten it finds the event before.
    ///
    /// # Errors
    ///
    /// The used entry names no head in flight.
    pub fn receive_event(
        &mut self,
        memory: &Memory,
    ) -> Result<Option<(u16, [u8; EVENT_SIZE as usize])>, NotAHead> {
        let Some(ring) = self
            .rings
            .get_mut(usize::from(EVENTQ.0))
            .and_then(Option::as_mut)
        else {
            return Ok(None);
        };
        let Some((head, _)) = ring.pop_used()? else {
            return Ok(None);
        };
        let buffer = self.event_heads[usize::from(head)];
        let mut bytes = [0; EVENT_SIZE as usize];
        let addr = GuestAddress(self.layout.event(buffer));
        memory
            .read_at(&mut bytes, addr)
            .expect("event buffers lie in memory");
        Ok(Some((buffer, bytes)))
    }

    /// Heads that are free and whose response was written since they were given back; each is named
    /// once.
    pub fn take_spoiled(&mut self, memory: &Memory) -> Vec<(VringIndex, u16)> {
        let mut spoiled = Vec::new();
        for (slot, poisoned) in self.poisoned.iter_mut().enumerate() {
            let (vring, head) = Self::at(slot);
            if *poisoned && !is_clear(memory, self.layout.response(vring, head)) {
                *poisoned = false;
                spoiled.push((vring, head));
            }
        }
        spoiled
    }
}

fn write(memory: &Memory, addr: u64, bytes: &[u8]) {
    memory
        .write_at(bytes, GuestAddress(addr))
        .expect("requests lie in guest memory");
}
