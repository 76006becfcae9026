//! The model guest: QEMU, SeaBIOS, Linux with virtio_scsi, `sd` and the block layer, and fio.
//!
//! Sans-I/O: memory, messages and time in, messages out. Knows nothing of the target model, of the
//! world, or of sockets. Linux is 6.1 as recorded; QEMU is 7.2.
//!
//! # Divergence from Linux
//!
//! * Disks have LUN 0 only; other LUNs are asked for and forgotten.
//! * EVENT_IDX is not accepted (SPDK does not offer it).
//! * A CHECK CONDITION without sense data counts as another try; the error handler is not modelled.
//! * A request has one data segment: buffers are contiguous in guest memory. So only the disk's longest transfer
//!   splits a request, and never the 126 segments of a command.
//! * A request that moves nothing again and again fails after six tries; Linux goes on for ever.
//! * Applications do direct I/O inside a disk's first capacity, and flushes. There is no page cache, and no moment
//!   between the check of the size and the queue, in which a removal gives EIO.
//! * A disk whose size cannot be read is not visible; Linux shows it with 0 blocks.
//! * The commands of a scan are sent once, whatever they are answered, but for those of `sd` that are
//!   known to be sent again (TEST UNIT READY, READ CAPACITY).
//! * A reboot waits for nothing but the caches; processes and their requests are forgotten at once.
#![forbid(unsafe_code)]

mod answer;
pub mod bench;
mod boot;
mod command;
pub mod direct;
pub mod disk;
mod events;
mod fio;
mod firmware;
mod flow;
mod hba;
mod head;
mod host_scan;
mod inside;
mod io;
pub mod layout;
mod midlayer;
mod mutex;
mod probe;
mod qemu;
mod removal;
mod ring;
mod scan;
mod script;
mod sd;
mod split;
mod state_files;
#[cfg(test)]
mod tests;
mod tmf;
mod transfer;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use fio_model::{DigestCache, Volume};
use scenarios::{
    CheckId, ControllerId, DiskId, GuestDisk, Observation, Place, TargetId, Time, VmId,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

pub use turn::{FlowStep, GuestTurn};

use disk::{DeviceState, Disk};
use fio::{ClockWait, FioRun, Thread};
use flow::Flow;
use hba::Hba;
use io::AppIo;
pub use layout::RINGS;
use layout::THREADS_MAX;
use qemu::Qemu;
use script::Scripted;
use tmf::TaskRequest;
use wire::component::{ActorId, Component, Cx, Memory, When};
use wire::message::{CONTROLQ, EVENTQ, FromGuest, GuestAct, HbaId, REQUESTQ, ToGuest, VringIndex};

/// vCPUs; each has a request queue of each device.
pub const CPUS: usize = 2;
/// From a call to its handler: MSI-X delivery and the interrupt entry.
const IRQ_NS: u64 = 2_000;
/// The actor that is QEMU's main loop and the guest's agent.
const QEMU: usize = 0;
/// The first CPU.
const CPU: usize = 1;

/// Digests of payloads. They depend on nothing but the payload, so guests, and one simulation after the
/// other, may share them: nothing but the time that it takes changes.
pub type Digests = Arc<Mutex<DigestCache>>;

/// What a guest is made from.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// Its number in the plan.
    pub vm: VmId,
    /// The controllers of its devices, in the order of the devices.
    pub controllers: Vec<ControllerId>,
    /// Disks of the plan by serial number.
    pub disks: BTreeMap<String, DiskId>,
    /// Blocks that each disk of a job covers; `None`: as the job says.
    pub volume: Option<Volume>,
    /// Whether every request of an application is observed.
    pub per_io: bool,
    /// Whether HOTPLUG is accepted (QEMU's `hotplug=on`).
    pub hotplug: bool,
    /// One in how many releases of a scan mutex lets a later waiter pass the first; 0: none.
    pub steal_one_in: u32,
    /// Whether there is something to boot from; otherwise it stays in its firmware.
    pub bootable: bool,
    /// Whether its firmware accepts HOTPLUG, though it sets up no event queue; SeaBIOS does not.
    pub firmware_hotplug: bool,
    /// Digests of payloads that its fio threads write and check.
    pub digests: Digests,
}

impl GuestConfig {
    /// A guest as the test plan has it.
    #[must_use]
    pub fn new(
        vm: VmId,
        controllers: Vec<ControllerId>,
        disks: BTreeMap<String, DiskId>,
        volume: Option<Volume>,
    ) -> Self {
        Self {
            vm,
            controllers,
            disks,
            volume,
            per_io: true,
            hotplug: true,
            steal_one_in: 0,
            bootable: true,
            firmware_hotplug: false,
            digests: Digests::default(),
        }
    }
}

/// Whether the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Off,
    Booting,
    Running,
    /// Shutting down before the next boot.
    Rebooting,
}

/// Calls that a CPU has not handled yet, one bit a vring and device.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    calls: u64,
}

/// A guest. A clone shares its memory and digests.
#[derive(Clone)]
pub struct Guest {
    config: Arc<GuestConfig>,
    memory: Memory,
    power: Power,
    paused: bool,
    boots: u32,
    hbas: Vec<Hba>,
    /// Disks, in order of their appearance; one that is gone stays.
    pub disks: Vec<Disk>,
    /// Kernel flows by device; a flow's buffer goes with its place.
    flows: Vec<Vec<Option<Box<Flow>>>>,
    /// The flow that goes on at the end of this turn.
    answered: Option<(usize, usize)>,
    /// Stands for a flow that takes a step.
    place_holder: Option<Box<Flow>>,
    /// Disks that a scan found and `sd` has not begun to probe, by device.
    unprobed: Vec<VecDeque<usize>>,
    qemu: Qemu,
    acts: VecDeque<GuestAct>,
    cpus: [Cpu; CPUS],
    ios: Vec<Option<AppIo>>,
    free_ios: Vec<usize>,
    /// What scripts have sent, and how many LUN RESETs among it are not answered (`What::Manage`).
    scripts: Vec<Scripted>,
    resets_sent: usize,
    /// Requests that wait to be tried again, with the time.
    delayed: Vec<(Time, usize)>,
    io_count: u64,
    threads: Vec<Option<Thread>>,
    fios: Vec<FioRun>,
    state_files: state_files::StateFiles,
    /// What applications beside fio have under way.
    pub direct: direct::Direct,
    waits: Vec<ClockWait>,
    /// Task management requests (TMFs) that are not answered yet.
    managing: Vec<TaskRequest>,
    digests: Digests,
    scratch: Vec<u8>,
    ready: Vec<When>,
    changed: u64,
}

impl Guest {
    /// A guest that is powered off.
    ///
    /// # Panics
    ///
    /// If its memory cannot be mapped: the simulator cannot run here.
    #[must_use]
    pub fn new(config: GuestConfig) -> Self {
        let bytes = Self::memory_bytes(&config);
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]);
        let memory = Arc::new(memory.expect("address space for a guest's memory"));
        Self::over(memory, config)
    }

    /// Bytes of memory, from address 0 on, that a guest needs.
    #[must_use]
    pub fn memory_bytes(config: &GuestConfig) -> usize {
        layout::memory_bytes(config.controllers.len()) as usize
    }

    /// A guest that is powered off, in this memory: [`Guest::memory_bytes`] of zeroes.
    #[must_use]
    pub fn over(memory: Memory, config: GuestConfig) -> Self {
        let hbas = config.controllers.len();
        let actors = CPU + CPUS + 2 * hbas + THREADS_MAX;
        let numbered = config.controllers.iter().enumerate();
        Self {
            memory,
            power: Power::Off,
            paused: false,
            boots: 0,
            hbas: numbered
                .map(|(n, controller)| Hba::new(n, *controller))
                .collect(),
            disks: Vec::new(),
            flows: vec![Vec::new(); hbas],
            answered: None,
            place_holder: None,
            unprobed: vec![VecDeque::new(); hbas],
            qemu: Qemu::new(hbas),
            acts: VecDeque::new(),
            cpus: [Cpu::default(); CPUS],
            ios: Vec::new(),
            free_ios: Vec::new(),
            scripts: Vec::new(),
            resets_sent: 0,
            delayed: Vec::new(),
            io_count: 0,
            threads: (0..THREADS_MAX).map(|_| None).collect(),
            fios: Vec::new(),
            state_files: state_files::StateFiles::default(),
            direct: direct::Direct::default(),
            waits: Vec::new(),
            managing: Vec::new(),
            digests: config.digests.clone(),
            scratch: Vec::new(),
            ready: vec![When::Blocked; actors],
            changed: 0,
            config: Arc::new(config),
        }
    }

    /// Whether one of its devices is on `controller`.
    #[must_use]
    pub fn has_controller(&self, controller: ControllerId) -> bool {
        self.config.controllers.contains(&controller)
    }

    /// Hands over the memories that it knows: its own, and inflight buffers under way.
    pub fn memories(&self, mut f: impl FnMut(&Memory)) {
        f(&self.memory);
        self.qemu.buffers(f);
    }

    /// The controller of a device.
    #[must_use]
    pub fn controller(&self, hba: HbaId) -> Option<ControllerId> {
        self.config.controllers.get(usize::from(hba.0)).copied()
    }

    /// What should be nothing when nothing is going on, as "what: count".
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let commands: usize = self.hbas.iter().map(Hba::in_flight).sum();
        let flows = self.flows.iter().flatten().flatten().count();
        let ios = self.ios.iter().flatten().count();
        let counts = [
            ("commands in flight", commands),
            ("requests of applications", ios),
            ("kernel flows under way", flows),
            ("fio threads", self.threads.iter().flatten().count()),
            ("task management requests", self.managing.len()),
        ];
        let left = counts.iter().filter(|(_, count)| *count > 0);
        left.map(|(what, count)| format!("{what}: {count}"))
            .collect()
    }

    fn set(&mut self, actor: usize, when: When) {
        self.ready[actor] = when;
        self.changed |= 1 << actor;
    }

    /// Makes `actor` ready at `at`, if it is not ready sooner.
    fn wake(&mut self, actor: usize, at: Time) {
        match self.ready[actor] {
            When::At(sooner) if sooner <= at => {}
            _ => self.set(actor, When::At(at)),
        }
    }

    /// The actor of the event handlers of a device.
    fn event_worker(hba: usize) -> usize {
        CPU + CPUS + 2 * hba
    }

    /// The actor of the scans and probes of a device.
    fn scan_thread(hba: usize) -> usize {
        CPU + CPUS + 2 * hba + 1
    }

    /// The actor of a fio thread.
    fn fio_actor(&self, thread: usize) -> usize {
        CPU + CPUS + 2 * self.hbas.len() + thread
    }

    /// Where a disk hangs.
    fn place(&self, disk: &Disk) -> Place {
        let controller = self.hbas[usize::from(disk.hba)].controller;
        Place {
            controller,
            target: TargetId(disk.target),
        }
    }

    /// A disk as an observer sees it.
    fn guest_disk(&self, disk: &Disk) -> GuestDisk {
        GuestDisk {
            vm: self.config.vm,
            place: self.place(disk),
            disk: disk.id,
        }
    }

    /// The disk of a target, if it has one that is not gone.
    pub fn disk_at(&self, hba: usize, target: u8) -> Option<usize> {
        self.disks.iter().rposition(|disk| {
            usize::from(disk.hba) == hba && disk.target == target && disk.state != DeviceState::Del
        })
    }

    fn list_disks(&self) -> Observation {
        let disks = self.disks.iter().filter(|disk| disk.visible && !disk.dead);
        let mut disks: Vec<_> = disks.map(|disk| self.guest_disk(disk)).collect();
        disks.sort();
        Observation::DisksListed {
            vm: self.config.vm,
            disks,
        }
    }

    /// A CPU handles the calls that it has got.
    fn irq_turn(&mut self, cpu: usize, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        self.set(CPU + cpu, When::Blocked);
        let mut calls = std::mem::take(&mut self.cpus[cpu].calls);
        let mut done = 0;
        let mut popped = None;
        while calls != 0 {
            let bit = calls.trailing_zeros() as usize;
            calls &= calls - 1;
            let (hba, vring) = (bit / usize::from(RINGS), bit % usize::from(RINGS));
            let vring = VringIndex(vring as u16);
            if vring == EVENTQ {
                popped = Some(GuestTurn::Events(hba as u8, self.pop_events(hba, cx)));
            } else if vring == CONTROLQ {
                popped = Some(GuestTurn::Managed(hba as u8, self.pop_managed(hba, cx)));
            } else {
                done += self.pop_requests(hba, vring, cx);
            }
        }
        self.retry_delayed(cpu, cx);
        let goes_on = self.answered.take();
        let goes_on = goes_on.map(|(hba, n)| self.flow_goes_on(hba, n, cx));
        popped
            .or(goes_on)
            .unwrap_or(GuestTurn::Irq(cpu as u8, done))
    }

    /// Notes a used entry that named no head in flight: Linux gives the queue up.
    fn not_a_head(&self, hba: usize, vring: VringIndex, id: u32, cx: &mut Cx<'_, FromGuest>) {
        let controller = self.hbas[hba].controller;
        let text = format!(
            "{controller}, vring {}: expected the head of a request in flight, got id {id}",
            vring.0
        );
        cx.broken(CheckId::G1, text.clone());
        cx.broken(CheckId::I1, text);
    }

    /// Looks at what no request shows: responses that were written after they had been given back; and,
    /// if everything is at rest, used entries that nobody called for, and messages without an answer.
    pub fn audit(&mut self, at_rest: bool, cx: &mut Cx<'_, FromGuest>) {
        for hba in 0..self.hbas.len() {
            self.audit_device(hba, cx);
            for (vring, id) in self.hbas[hba].strangers() {
                self.not_a_head(hba, vring, id, cx);
            }
            let controller = self.hbas[hba].controller;
            let uncalled = self.hbas[hba]
                .uncalled()
                .filter(|_| at_rest && !self.paused);
            for vring in uncalled {
                let text = format!("{controller}, vring {}: used, but not called for", vring.0);
                cx.broken(CheckId::I12, text);
            }
        }
        if at_rest && self.qemu.stop_asked.is_some() {
            let text = "GET_VRING_BASE is never answered".to_owned();
            cx.broken(CheckId::V4, text);
        }
    }

    fn audit_device(&mut self, hba: usize, cx: &mut Cx<'_, FromGuest>) {
        for (vring, head) in self.hbas[hba].take_spoiled(&self.memory) {
            self.spoiled(self.hbas[hba].controller, vring, head, cx);
        }
    }

    fn spoiled(
        &self,
        controller: ControllerId,
        vring: VringIndex,
        head: u16,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let text = format!(
            "{controller}, vring {}: the response of head {head} was written after it was used",
            vring.0
        );
        cx.broken(CheckId::G3, text);
    }
}

impl Component for Guest {
    type In = ToGuest;
    type Out = FromGuest;
    type Turn = GuestTurn;

    fn input(&mut self, now: Time, message: ToGuest) {
        match message {
            ToGuest::Answer { hba, reply } => {
                self.qemu.answers.push_back((hba, reply));
                self.wake(QEMU, now);
            }
            ToGuest::Closed { hba } => {
                self.qemu.closed(hba);
                self.wake(QEMU, now);
            }
            ToGuest::Call { hba, vring } => {
                let cpu = usize::from(vring.0.saturating_sub(REQUESTQ.0)) % CPUS;
                let bit = u64::from(hba.0) * u64::from(RINGS) + u64::from(vring.0);
                self.cpus[cpu].calls |= 1 << bit;
                self.wake(CPU + cpu, Time(now.0 + IRQ_NS));
            }
            ToGuest::Do(act) => {
                self.acts.push_back(act);
                self.wake(QEMU, now);
            }
        }
    }

    fn when(&self, actor: ActorId) -> When {
        let actor = usize::from(actor.0);
        if self.paused && actor != QEMU {
            When::Blocked
        } else {
            self.ready[actor]
        }
    }

    fn actors(&self) -> u16 {
        self.ready.len() as u16
    }

    fn changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }

    fn turn(&mut self, actor: ActorId, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        let actor = usize::from(actor.0);
        let workers = CPU + CPUS;
        let threads = workers + 2 * self.hbas.len();
        match actor {
            QEMU => self.qemu_turn(cx),
            _ if actor < workers => self.irq_turn(actor - CPU, cx),
            _ if actor < threads => {
                let (hba, scans) = ((actor - workers) / 2, (actor - workers) % 2 == 1);
                self.flow_turn(hba, scans, cx)
            }
            _ => self.fio_turn(actor - threads, cx),
        }
    }
}
