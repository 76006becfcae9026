//! One virtio-scsi device of a guest: its rings, the requests in them, its event buffers.
//!
//! The driver's half (`virtscsi_queuecommand`, `virtscsi_vq_done`, `virtscsi_kick_event`). Knows
//! bytes and heads; what a request means to its owner stands elsewhere.

use scenarios::{CheckId, ControllerId};
use vm_memory::GuestAddress;

use super::answer::{InFlight, Returned, clear, is_clear, take_answer};
use super::command::Reply;
use super::head::write_head;
use super::layout::{EVENT_BUFFERS, HbaLayout, RING_SIZE, RINGS};
use super::request::{ChainEnd, Direction, Driver, Owner, Request, RingFull};
use super::ring::{DriverRing, NotAHead, Segment};
use crate::ids::StepNo;
use wire::access::Access as _;
use wire::component::{Cx, Memory};
use wire::message::{CONTROLQ, EVENTQ, FromGuest, HbaId, VringIndex};
use wire::scsi::{EVENT_SIZE, REQUEST_SIZE, RESPONSE_SIZE, feature, lun_bytes};

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
}

impl Hba {
    /// A device that nobody drives yet.
    pub fn new(id: HbaId, controller: ControllerId) -> Self {
        let heads = usize::from(RINGS) * usize::from(RING_SIZE);
        Self {
            controller,
            layout: HbaLayout::new(usize::from(id.0)),
            driver: Driver::None,
            features: 0,
            rings: Vec::new(),
            owners: vec![None; heads],
            poisoned: vec![false; heads],
            event_heads: [0; RING_SIZE as usize],
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

    fn ring(&self, vring: VringIndex) -> Option<&DriverRing> {
        self.rings.get(usize::from(vring.0))?.as_ref()
    }

    fn ring_mut(&mut self, vring: VringIndex) -> Option<&mut DriverRing> {
        self.rings.get_mut(usize::from(vring.0))?.as_mut()
    }

    fn is_indirect(&self) -> bool {
        self.features & feature::INDIRECT_DESC != 0
    }

    /// Whether a request finds room in a request queue.
    pub fn has_room(&self, vring: VringIndex) -> bool {
        let ring = self.ring(vring);
        ring.is_some_and(DriverRing::has_room)
    }

    /// Whether as many requests with data find room in a request queue; of more than it has places, whether
    /// all of it is free.
    pub fn has_room_for(&self, vring: VringIndex, requests: u32) -> bool {
        let ring = self.ring(vring);
        // Without a table: header, data, response.
        let each = if self.is_indirect() { 1 } else { 3 };
        ring.is_some_and(|ring| ring.has_room_for(requests.saturating_mul(each)))
    }

    /// Whether a queue was given up after a used entry that named no head.
    pub fn is_broken(&self, vring: VringIndex) -> bool {
        let ring = self.ring(vring);
        ring.is_none_or(DriverRing::is_broken)
    }

    /// Commands in flight.
    pub fn in_flight(&self) -> usize {
        self.owners.iter().flatten().count()
    }

    /// The tag of a command in flight.
    pub fn tag_in_flight(&self) -> Option<u64> {
        let slot = self.owners.iter().position(Option::is_some);
        slot.map(|slot| slot as u64)
    }

    /// Puts a command into a request queue. Whoever wrote to the response of its head since that was given
    /// back is found out.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn send(
        &mut self,
        memory: &Memory,
        request: &Request<'_>,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Result<(), RingFull> {
        let &Request { vring, data, .. } = request;
        let (indirect, layout) = (self.is_indirect(), self.layout);
        let ring = self.rings[usize::from(vring.0)].as_mut().ok_or(RingFull)?;
        let head = ring.next_head().ok_or(RingFull)?;
        let slot = Self::slot(vring, head);
        let header_at = layout.header(vring, head);
        let response = layout.response(vring, head);
        let spoiled = self.poisoned[slot] && !is_clear(memory, response);
        if spoiled || !self.poisoned[slot] {
            clear(memory, response);
        }
        self.poisoned[slot] = false;
        let segment = |addr, len, write| Segment { addr, len, write };
        let header = segment(header_at, REQUEST_SIZE, false);
        let answer = segment(response, RESPONSE_SIZE, true);
        let payload = segment(data.addr, data.len, data.direction == Direction::In);
        let segments: &[Segment] = match (data.len, data.direction) {
            (0, _) => &[header, answer],
            (_, Direction::Out) => &[header, payload, answer],
            (_, Direction::In) => &[header, answer, payload],
        };
        let (lun, tag) = (lun_bytes(request.to.0, request.to.1), slot as u64);
        write_head(memory, header_at, (lun, tag), request.cdb, segments);
        let table = indirect.then(|| layout.table(vring, head));
        let added = ring.add(segments, table);
        if spoiled {
            self.spoiled(vring, head, cx);
        }
        added.ok_or(RingFull)?;
        let in_len = data.direction.pick(data.len, 0);
        self.owners[slot] = Some(InFlight {
            owner: request.owner,
            len: data.len,
            writable: RESPONSE_SIZE + in_len,
        });
        Ok(())
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
        let Some(ring) = self.ring_mut(vring) else {
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

    /// Puts a chain of a script into a ring: direct descriptors.
    ///
    /// # Panics
    ///
    /// If there is no such ring, or no room: a bug of the script.
    pub fn send_chain(
        &mut self,
        vring: VringIndex,
        chain: &[Segment],
        end: ChainEnd,
        script: StepNo,
    ) {
        let ring = self.script_ring(vring);
        let head = ring.add(chain, None);
        let head = head.unwrap_or_else(|| panic!("a script finds room in vring {}", vring.0));
        if end == ChainEnd::Endless {
            ring.loop_back(head);
        }
        let writable = chain.iter().filter(|segment| segment.write);
        self.owners[Self::slot(vring, head)] = Some(InFlight {
            owner: Owner::Script(script),
            len: 0,
            writable: writable.map(|segment| segment.len).sum(),
        });
    }

    /// Whether a script wants calls for a ring.
    pub fn want_calls(&mut self, vring: VringIndex, wanted: bool) {
        self.script_ring(vring).set_no_interrupt(!wanted);
    }

    /// Whether a ring has used entries that were not taken.
    pub fn has_used(&self, vring: VringIndex) -> bool {
        self.ring(vring).is_some_and(DriverRing::has_used)
    }

    fn script_ring(&mut self, vring: VringIndex) -> &mut DriverRing {
        self.ring_mut(vring)
            .expect("a script speaks to a ring that is there")
    }

    /// Where the device's used index of a ring stands.
    pub fn used_index(&self, vring: VringIndex) -> u16 {
        self.ring(vring).map_or(0, DriverRing::used_to)
    }

    /// Looks at what no request shows: used entries that name no head, and, if everything is at rest, those
    /// that nobody called for.
    pub fn audit_rings(&self, at_rest: bool, cx: &mut Cx<'_, FromGuest>) {
        let rings = self.rings.iter().enumerate();
        let rings = rings.filter_map(|(n, ring)| Some((VringIndex(n as u16), ring.as_ref()?)));
        for (vring, ring) in rings.clone() {
            for id in ring.strangers() {
                self.not_a_head(vring, NotAHead { id }, cx);
            }
        }
        for (vring, _) in rings.filter(|(_, ring)| at_rest && ring.is_uncalled()) {
            let controller = self.controller;
            let text = format!("{controller}, vring {}: used, but not called for", vring.0);
            cx.broken(CheckId::I12, text);
        }
    }

    /// Looks for responses that were written after they had been given back; each is named once.
    pub fn audit_responses(&mut self, memory: &Memory, cx: &mut Cx<'_, FromGuest>) {
        for slot in 0..self.poisoned.len() {
            let (vring, head) = Self::at(slot);
            if self.poisoned[slot] && !is_clear(memory, self.layout.response(vring, head)) {
                self.poisoned[slot] = false;
                self.spoiled(vring, head, cx);
            }
        }
    }

    fn spoiled(&self, vring: VringIndex, head: u16, cx: &mut Cx<'_, FromGuest>) {
        let text = format!(
            "{}, vring {}: the response of head {head} was written after it was used",
            self.controller, vring.0
        );
        cx.broken(CheckId::G3, text);
    }

    /// Notes a used entry that named no head in flight: Linux gives the queue up.
    pub fn not_a_head(&self, vring: VringIndex, broken: NotAHead, cx: &mut Cx<'_, FromGuest>) {
        let text = format!(
            "{}, vring {}: expected the head of a request in flight, got id {}",
            self.controller, vring.0, broken.id
        );
        cx.broken(CheckId::G1, text.clone());
        cx.broken(CheckId::I1, text);
    }

    /// Notes an answer that no driver can take.
    pub fn misanswered(&self, vring: VringIndex, returned: &Returned, cx: &mut Cx<'_, FromGuest>) {
        let place = format!("{}, vring {}", self.controller, vring.0);
        if returned.unanswered {
            let text = format!("{place}: a request came back without a whole response");
            cx.broken(CheckId::G2, text);
        }
        if returned.miscounted {
            let (len, resid) = (returned.used_len, returned.reply.resid);
            let text = format!("{place}: used length {len}, residual {resid}");
            cx.broken(CheckId::I17, text);
        }
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
        let Some(ring) = self.ring_mut(EVENTQ) else {
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
        self.ring_mut(CONTROLQ)?.add(segments, None)
    }

    /// Takes the next head that came back on the control queue, and the script that it is of, if any.
    ///
    /// # Errors
    ///
    /// The used entry names no head in flight.
    pub fn receive_control(&mut self) -> Result<Option<(u16, Option<Owner>)>, NotAHead> {
        let Some(ring) = self.ring_mut(CONTROLQ) else {
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
        let Some(ring) = self.ring_mut(EVENTQ) else {
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

    /// Whose the commands in flight are.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.owners.iter().flatten().map(|flight| flight.owner)
    }

    /// A ring one of whose descriptors is neither free nor in one chain.
    pub fn descriptor_twice(&self) -> Option<String> {
        let wrong = |vring: &VringIndex| self.ring(*vring).is_some_and(|r| !r.owns_each_once());
        let vring = self.vrings().find(wrong)?;
        Some(format!("vring {}: one is not", vring.0))
    }

    /// A head in flight that no command has, or a command whose head is not.
    pub fn head_without_command(&self) -> Option<String> {
        self.owners.iter().enumerate().find_map(|(slot, owner)| {
            let (vring, head) = Self::at(slot);
            let ring = self.ring(vring);
            let in_flight = ring.is_some_and(|ring| ring.is_in_flight(head));
            // Events and task management are known by their heads alone.
            let has_owner = vring.0 > EVENTQ.0;
            (in_flight != owner.is_some() && (has_owner || owner.is_some()))
                .then(|| format!("vring {}, head {head}: in flight {in_flight}", vring.0))
        })
    }

    /// A head in flight that is poisoned as if it had been given back.
    pub fn poisoned_in_flight(&self) -> Option<String> {
        let owners = self.owners.iter().enumerate();
        let mut in_flight = owners.filter_map(|(slot, owner)| Some((slot, owner.as_ref()?.owner)));
        let (slot, _) = in_flight
            .find(|(slot, owner)| self.poisoned[*slot] && !matches!(owner, Owner::Script(_)))?;
        let (vring, head) = Self::at(slot);
        Some(format!("vring {}, head {head}", vring.0))
    }
}

#[cfg(test)]
impl Hba {
    fn first_in_flight(&self) -> usize {
        let mut owners = self.owners.iter();
        owners.position(Option::is_some).expect("there is one")
    }

    pub fn spoil_free_list(&mut self) {
        let ring = self.ring_mut(EVENTQ).expect("it is driven");
        ring.spoil_free_list();
    }

    pub fn spoil_owner(&mut self) {
        let first = self.first_in_flight();
        self.owners[first] = None;
    }

    pub fn spoil_poison(&mut self) {
        let first = self.first_in_flight();
        self.poisoned[first] = true;
    }
}

fn write(memory: &Memory, addr: u64, bytes: &[u8]) {
    memory
        .write_at(bytes, GuestAddress(addr))
        .expect("requests lie in guest memory");
}
