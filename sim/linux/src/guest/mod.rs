//! A guest: its parts, and which of them takes a turn.
//!
//! Each part owns its state; what one has for another goes through here, or through [`Shared`].

mod boot;
mod invariants;

use std::sync::Arc;

use scenarios::{CheckId, ControllerId, Observation, Time};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use wire::component::{ActorId, Component, Cx, Memory, When};
use wire::message::{CONTROLQ, EVENTQ, FromGuest, HbaId, REQUESTQ, ToGuest, VringIndex};

use crate::actors::Actor;
use crate::block::Block;
use crate::by_hand::script::Scripts;
use crate::by_hand::tmf::Tasks;
use crate::config::GuestConfig;
use crate::driver::answer::Returned;
use crate::driver::hba::Hba;
use crate::driver::layout::{CPUS, RINGS, memory_bytes};
use crate::driver::request::Owner;
use crate::fio::Fio;
use crate::front_end::FrontEnd;
use crate::scsi::Scsi;
use crate::scsi::flow::Flows;
use crate::shared::Shared;
use crate::turn::GuestTurn;
use boot::MainLoop;
pub use invariants::INVARIANTS;

/// From a call to its handler: MSI-X delivery and the interrupt entry.
const IRQ_NS: u64 = 2_000;

/// A guest. A clone shares its memory and digests.
#[derive(Clone)]
pub struct Guest {
    pub(crate) shared: Shared,
    main_loop: MainLoop,
    front_end: FrontEnd,
    /// Calls that a CPU has not handled yet, one bit a vring and device.
    calls: [u64; CPUS],
    pub(crate) scsi: Scsi,
    pub(crate) block: Block,
    fio: Fio,
    tasks: Tasks,
    scripts: Scripts,
}

impl Guest {
    /// A guest that is powered off.
    ///
    /// # Panics
    ///
    /// If its memory cannot be mapped: the simulator cannot run here. If it has too many devices
    /// ([`GuestConfig::check`]).
    pub fn new(config: GuestConfig) -> Self {
        let bytes = Self::memory_bytes(&config);
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]);
        let memory = Arc::new(memory.expect("address space for a guest's memory"));
        Self::over(memory, config)
    }

    /// Bytes of memory, from address 0 on, that a guest needs.
    pub fn memory_bytes(config: &GuestConfig) -> usize {
        memory_bytes(config.controllers.len()) as usize
    }

    /// A guest that is powered off, in this memory: [`Guest::memory_bytes`] of zeroes.
    ///
    /// # Panics
    ///
    /// If it has too many devices ([`GuestConfig::check`]).
    pub fn over(memory: Memory, config: GuestConfig) -> Self {
        let hbas = config.controllers.len();
        let fio = Fio::new(config.digests.clone());
        let shared = Shared::new(memory, config);
        Self {
            main_loop: MainLoop::default(),
            front_end: FrontEnd::new(hbas),
            calls: [0; CPUS],
            scsi: Scsi::new(shared.hbas.ids()),
            block: Block::new(hbas),
            fio,
            tasks: Tasks::default(),
            scripts: Scripts::default(),
            shared,
        }
    }

    /// Whether one of its devices is on `controller`.
    pub fn has_controller(&self, controller: ControllerId) -> bool {
        self.shared.config.controllers.contains(&controller)
    }

    /// The controller of a device.
    pub fn controller(&self, hba: HbaId) -> Option<ControllerId> {
        let controllers = &self.shared.config.controllers;
        controllers.get(usize::from(hba.0)).copied()
    }

    /// Hands over the memories that it knows: its own, and inflight buffers under way.
    pub fn memories(&self, mut f: impl FnMut(&Memory)) {
        f(&self.shared.memory);
        self.front_end.buffers(f);
    }

    /// What should be nothing when nothing is going on, as "what: count".
    pub fn left(&self) -> Vec<String> {
        let counts = [
            (
                "commands in flight",
                self.shared.hbas.iter().map(Hba::in_flight).sum(),
            ),
            ("requests of fio that have not ended", self.block.count()),
            (
                "scans, probes and event handlers that have not ended",
                self.scsi.count(),
            ),
            ("fio threads that run", self.fio.count()),
            (
                "task management requests without an answer",
                self.tasks.count(),
            ),
        ];
        let left = counts.iter().filter(|(_, count)| *count > 0);
        left.map(|(what, count)| format!("{what}: {count}"))
            .collect()
    }

    fn list_disks(&self) -> Observation {
        let disks = self.shared.disks.iter().map(|(_, disk)| disk);
        let disks = disks.filter(|disk| disk.is_there());
        let mut disks: Vec<_> = disks.map(|disk| self.shared.guest_disk(disk)).collect();
        disks.sort();
        Observation::DisksListed {
            vm: self.shared.config.vm,
            disks,
        }
    }

    /// Looks at what no request shows: responses that were written after they had been given back; and,
    /// if everything is at rest, used entries that nobody called for, and messages without an answer.
    pub fn audit(&mut self, at_rest: bool, cx: &mut Cx<'_, FromGuest>) {
        let runs = !self.shared.actors.is_paused();
        for hba in self.shared.hbas.ids() {
            let device = &mut self.shared.hbas[hba];
            device.audit_responses(&self.shared.memory, cx);
            device.audit_rings(at_rest && runs, cx);
        }
        if at_rest && self.front_end.waits_for_stop() {
            let text = "GET_VRING_BASE is never answered".to_owned();
            cx.broken(CheckId::V4, text);
        }
    }

    /// A CPU handles the calls that it has got.
    fn irq_turn(&mut self, cpu: usize, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        self.shared.actors.block(Actor::Cpu(cpu));
        let mut calls = std::mem::take(&mut self.calls[cpu]);
        let mut done = 0;
        let mut turn = None;
        while calls != 0 {
            let bit = calls.trailing_zeros() as u16;
            calls &= calls - 1;
            let (hba, vring) = (HbaId((bit / RINGS) as u8), VringIndex(bit % RINGS));
            match vring {
                EVENTQ => {
                    let popped = self.scsi.pop_events(hba, &mut self.shared, cx);
                    turn = Some(GuestTurn::Events(hba.0, popped));
                }
                CONTROLQ => turn = Some(GuestTurn::Managed(hba.0, self.pop_tasks(hba, cx))),
                _ => done += self.pop_requests(hba, vring, cx),
            }
        }
        self.block.retry_delayed(cpu, &mut self.shared, cx);
        self.go_on_drained(cx.now);
        if let Some((hba, n)) = self.scsi.take_answered() {
            let (step, ended) = self.scsi.go_on(hba, n, &mut self.shared, cx);
            self.flow_over(ended, cx);
            turn = turn.or(Some(step));
        }
        turn.unwrap_or(GuestTurn::Irq(cpu as u8, done))
    }

    /// Takes all that came back on a request queue; says how much.
    fn pop_requests(&mut self, hba: HbaId, vring: VringIndex, cx: &mut Cx<'_, FromGuest>) -> u32 {
        let mut done = 0;
        loop {
            let device = &mut self.shared.hbas[hba];
            match device.receive(&self.shared.memory, vring) {
                Ok(Some(returned)) => {
                    done += 1;
                    if returned.unanswered || returned.miscounted {
                        device.misanswered(vring, &returned, cx);
                    }
                    self.returned(hba, &returned, cx);
                }
                Ok(None) => break,
                Err(broken) => {
                    device.not_a_head(vring, broken, cx);
                    break;
                }
            }
        }
        if done > 0 {
            self.block.room(hba, &mut self.shared, cx.now);
        }
        done
    }

    fn returned(&mut self, hba: HbaId, returned: &Returned, cx: &mut Cx<'_, FromGuest>) {
        let shared = &mut self.shared;
        match returned.owner {
            Owner::Io(n) => {
                if self.scripts.waits_for_reset() {
                    self.scripts.overtakes_reset(n, &self.block, shared, cx);
                }
                self.block.answered(n, returned.reply, shared, cx);
            }
            Owner::Flow(n) => self.scsi.answered((hba, n), returned.reply, shared, cx.now),
            Owner::Script(n) => {
                let used = returned.used_len;
                self.scripts.returned(n, used, &self.block, shared, cx);
            }
        }
    }

    /// Takes the task management requests that came back on a device; says how many.
    fn pop_tasks(&mut self, hba: HbaId, cx: &mut Cx<'_, FromGuest>) -> u32 {
        let mut popped = 0;
        loop {
            match self.shared.hbas[hba].receive_control() {
                Ok(Some((_, Some(Owner::Script(n))))) => {
                    popped += 1;
                    self.scripts.returned(n, 1, &self.block, &self.shared, cx);
                }
                Ok(Some((head, _))) => {
                    popped += 1;
                    self.tasks.back(hba, head, &self.shared, cx);
                }
                Ok(None) => return popped,
                Err(broken) => {
                    self.shared.hbas[hba].not_a_head(CONTROLQ, broken, cx);
                    return popped;
                }
            }
        }
    }

    fn go_on_drained(&mut self, now: Time) {
        if self.shared.disks.has_drained() {
            self.scsi.go_on_drained(&mut self.shared, now);
        }
    }

    /// A flow has taken a step, its last one perhaps: the boot may have waited for it.
    fn flow_over(&mut self, ended: bool, cx: &mut Cx<'_, FromGuest>) {
        if ended {
            self.ready_if_probed(cx);
        }
    }

    fn flow_turn(&mut self, hba: HbaId, flows: Flows, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        let (turn, ended) = self.scsi.turn(hba, flows, &mut self.shared, cx);
        self.flow_over(ended, cx);
        turn
    }
}

impl Component for Guest {
    type In = ToGuest;
    type Out = FromGuest;
    type Turn = GuestTurn;

    fn input(&mut self, now: Time, message: ToGuest) {
        let actor = match message {
            ToGuest::Answer { hba, reply } => {
                self.front_end.answered(hba, reply);
                Actor::Qemu
            }
            ToGuest::Closed { hba } => {
                self.front_end.closed(hba);
                Actor::Qemu
            }
            ToGuest::Call { hba, vring } => {
                let cpu = usize::from(vring.0.saturating_sub(REQUESTQ.0)) % CPUS;
                let bit = u64::from(hba.0) * u64::from(RINGS) + u64::from(vring.0);
                self.calls[cpu] |= 1 << bit;
                let at = Time(now.0 + IRQ_NS);
                return self.shared.actors.wake(Actor::Cpu(cpu), at);
            }
            ToGuest::Do(act) => {
                self.main_loop.asked(act);
                Actor::Qemu
            }
        };
        self.shared.actors.wake(actor, now);
    }

    fn when(&self, actor: ActorId) -> When {
        self.shared.actors.when(actor)
    }

    fn actors(&self) -> u16 {
        self.shared.actors.count()
    }

    fn name(&self, actor: ActorId) -> String {
        self.shared.actors.actor(actor).to_string()
    }

    fn changed(&mut self) -> u64 {
        self.shared.actors.take_changed()
    }

    fn turn(&mut self, actor: ActorId, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        match self.shared.actors.actor(actor) {
            Actor::Qemu => self.qemu_turn(cx),
            Actor::Cpu(cpu) => self.irq_turn(cpu, cx),
            Actor::Events(hba) => self.flow_turn(hba, Flows::Events, cx),
            Actor::Scans(hba) => self.flow_turn(hba, Flows::Scans, cx),
            Actor::Fio(thread) => {
                let shared = &mut self.shared;
                let turn = self.fio.turn(thread, &mut self.block, shared, cx);
                self.go_on_drained(cx.now);
                turn
            }
        }
    }
}
