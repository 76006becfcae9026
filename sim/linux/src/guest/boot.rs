//! QEMU's main loop: from power-on to a guest that takes work, and back: boots, reboots, pauses.
//!
//! Every boot is two sessions of each device: the firmware's, then Linux's. Knows the order of
//! things; the messages stand in `front_end`, the scans in `scsi`.

use std::collections::VecDeque;
use std::time::Duration;

use fio_model::Errno;
use scenarios::{ControllerId, Observation};
use wire::component::Cx;
use wire::message::{EVENTQ, FromGuest, GuestAct, HbaId, Script, VringIndex};
use wire::scsi::feature;

use super::Guest;
use crate::actors::Actor;
use crate::by_hand::script::Scripts;
use crate::driver::layout::CPUS;
use crate::driver::request::{ChainEnd, Driver};
use crate::front_end::Start;
use crate::shared::Power;
use crate::turn::GuestTurn;

/// From an answer on the socket to QEMU's next message.
const MESSAGE_NS: u64 = 10_000;
/// From the firmware's end to the kernel's probe of the first device (a small initramfs, recorded as
/// about 6 s under TCG; far less with KVM).
const KERNEL_BOOT: Duration = Duration::from_millis(300);

/// From a connection's end to the next try (`reconnect-ms`, QEMU 9.2; `reconnect` was in seconds).
const RECONNECT: Duration = Duration::from_millis(100);

/// A step of a boot, a reboot or a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BootStep {
    /// Connect a device to its socket.
    Connect(HbaId),
    /// Start a device for a driver.
    Start(HbaId, Driver),
    /// The firmware scans a device.
    Firmware(HbaId),
    /// Let the kernel come up.
    Kernel,
    /// Reset a device: stop it.
    Stop(HbaId),
    /// Forget what was in its rings.
    Reset(HbaId),
    /// Linux probes a device that it has started: post event buffers, scan.
    Probe(HbaId),
    /// Write the caches of a device's disks back before a reboot.
    Shutdown(HbaId),
    /// Everything is shut down: boot.
    Again,
    /// Go on after a pause.
    Resume(HbaId),
    /// The connection of a device breaks.
    Lose(HbaId),
    /// Go on after that, on a new connection.
    Reopen(HbaId),
    /// The pause is over.
    Running,
}

/// What the main loop has to do.
#[derive(Clone, Debug, Default)]
pub struct MainLoop {
    /// What it was asked for.
    acts: VecDeque<GuestAct>,
    /// What is left of a boot or shutdown.
    steps: VecDeque<BootStep>,
    /// What is left of a pause or of its end, or of a connection that is made anew.
    pausing: VecDeque<BootStep>,
    boots: u32,
}

impl MainLoop {
    pub fn asked(&mut self, act: GuestAct) {
        self.acts.push_back(act);
    }

    pub fn has_acts(&self) -> bool {
        !self.acts.is_empty()
    }
}

impl Guest {
    /// QEMU's main loop and the guest's agent: acts, answers, messages, the next step.
    pub(super) fn qemu_turn(&mut self, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        self.shared.actors.block(Actor::Qemu);
        while let Some(act) = self.main_loop.acts.pop_front() {
            self.act(act, cx);
        }
        if self.front_end.was_refused() {
            self.kill(cx);
        }
        self.front_end.read_answers(&self.shared, cx);
        let (hba, sent) = self.front_end.send_messages(cx);
        if !self.front_end.is_blocked() {
            // A pause comes before what the vCPUs would do next, but a device that was stopped for a reset
            // is reset first: that is one piece in QEMU (`virtio_reset`).
            let MainLoop { steps, pausing, .. } = &mut self.main_loop;
            let resets = matches!(steps.front(), Some(BootStep::Reset(_)));
            let pauses = !resets && !pausing.is_empty();
            let paused = self.shared.actors.is_paused();
            let runs = !pauses && !paused && !self.scsi.has_boot_flow();
            let step = if pauses {
                pausing.pop_front()
            } else if runs || resets {
                steps.pop_front()
            } else {
                None
            };
            if let Some(step) = step {
                let next = self.boot_step(step, cx);
                self.shared.actors.wake(Actor::Qemu, cx.now + next);
            } else if runs {
                self.ready_if_probed(cx);
            }
        }
        GuestTurn::Qemu(hba.0, sent)
    }

    fn act(&mut self, act: GuestAct, cx: &mut Cx<'_, FromGuest>) {
        let shared = &mut self.shared;
        let (power, paused) = (shared.power, shared.actors.is_paused());
        match act {
            // One that is under way already is not begun again; a stopped machine hears nothing.
            GuestAct::Boot if paused => {}
            GuestAct::Boot if matches!(power, Power::Booting | Power::Rebooting) => {}
            GuestAct::Boot => self.boot(cx),
            GuestAct::StartFio { fio, job, on } => {
                self.fio
                    .start((fio, &job), &on, &mut self.block, shared, cx);
            }
            GuestAct::WaitJobClock { ticket, fio, at } => self.fio.wait_clock(ticket, fio, at, cx),
            GuestAct::ListDisks if shared.runs() => cx.see(self.list_disks()),
            GuestAct::ListDisks => {}
            GuestAct::Pause if power == Power::Off || paused => {}
            GuestAct::Pause => {
                shared.actors.pause();
                let started = self.started().map(BootStep::Stop);
                self.main_loop.pausing.extend(started);
            }
            GuestAct::Continue if !paused => {}
            GuestAct::Continue => {
                let started = self.started().map(BootStep::Resume);
                self.main_loop.pausing.extend(started);
                self.main_loop.pausing.push_back(BootStep::Running);
            }
            GuestAct::Kill => self.kill(cx),
            GuestAct::AddMemory => self.front_end.add_memory(shared),
            GuestAct::Reconnect { ticket, controller } => {
                let result = self.reconnect(controller).map(|()| 0);
                let result = result.map_err(str::to_owned);
                cx.see(Observation::Answered { ticket, result });
            }
            GuestAct::Manage {
                ticket,
                place,
                function,
            } => self.tasks.ask(ticket, place, function, shared, cx),
            GuestAct::GiveUp => self.fio.stop(None, &mut self.block, shared, cx),
            GuestAct::Script(step) => self.script(step, cx),
        }
    }

    /// Somebody in the guest takes a step of a script.
    fn script(&mut self, step: Script, cx: &mut Cx<'_, FromGuest>) {
        let (scripts, shared) = (&mut self.scripts, &mut self.shared);
        match step {
            Script::Command {
                hba,
                lun,
                cdb,
                data_in,
            } => scripts.command(hba, (lun, &cdb), data_in, shared, cx),
            Script::Chain {
                hba,
                lun,
                parts,
                endless,
            } => {
                let end = if endless {
                    ChainEnd::Endless
                } else {
                    ChainEnd::Proper
                };
                scripts.chain(hba, lun, (&parts, end), shared, cx);
            }
            Script::Manage { hba, lun, subtype } => {
                let block = Some(&self.block).filter(|_| self.tasks.count() == 0);
                scripts.manage(hba, (lun, subtype), block, shared, cx);
            }
            Script::Message { hba, message } => self.front_end.post(hba, message),
            Script::PostEvents { hba } => Scripts::post_events(hba, shared, cx),
            Script::Calls { hba, vring, wanted } => {
                shared.hbas[hba].want_calls(vring, wanted);
                cx.out.push(FromGuest::Doorbell { hba, vring });
            }
        }
    }

    /// The devices that have a driver.
    fn started(&self) -> impl Iterator<Item = HbaId> + use<> {
        let hbas = &self.shared.hbas;
        let started = hbas.ids().filter(|hba| hbas[*hba].driver != Driver::None);
        started.collect::<Vec<_>>().into_iter()
    }

    /// Powers on, or reboots a running guest (`reboot -f`: applications are not asked).
    fn boot(&mut self, cx: &mut Cx<'_, FromGuest>) {
        let hbas = self.shared.hbas.ids();
        if self.shared.power == Power::Off {
            let steps = &mut self.main_loop.steps;
            steps.extend(hbas.map(BootStep::Connect));
            steps.push_back(BootStep::Again);
            self.shared.power = Power::Booting;
            return;
        }
        self.end_applications(cx);
        self.shared.power = Power::Rebooting;
        let steps = &mut self.main_loop.steps;
        steps.extend(hbas.clone().map(BootStep::Shutdown));
        steps.extend(hbas.flat_map(|hba| [BootStep::Stop(hba), BootStep::Reset(hba)]));
        steps.push_back(BootStep::Again);
    }

    /// Carries out a step; returns how long it takes.
    fn boot_step(&mut self, step: BootStep, cx: &mut Cx<'_, FromGuest>) -> Duration {
        let soon = Duration::from_nanos(MESSAGE_NS);
        let (front_end, shared) = (&mut self.front_end, &mut self.shared);
        match step {
            BootStep::Connect(hba) => {
                if !front_end.is_connected(hba) {
                    cx.out.push(FromGuest::Connect { hba });
                    front_end.greet(hba);
                }
            }
            BootStep::Again => self.plan_boot(),
            BootStep::Start(hba, driver) => {
                front_end.start_device(hba, driver, Start::Fresh, shared);
            }
            BootStep::Firmware(hba) => self.scsi.start_firmware(hba, shared, cx.now + soon),
            BootStep::Kernel => return KERNEL_BOOT,
            BootStep::Stop(hba) => {
                let vrings: Vec<VringIndex> = shared.hbas[hba].vrings().collect();
                if !vrings.is_empty() {
                    front_end.stop(hba, vrings.into_iter());
                }
            }
            BootStep::Reset(hba) => self.reset_device(hba, cx),
            BootStep::Probe(hba) => {
                let device = &mut shared.hbas[hba];
                if device.features & feature::HOTPLUG != 0 {
                    device.post_all_events(&shared.memory);
                    cx.out.push(FromGuest::Doorbell { hba, vring: EVENTQ });
                }
                self.scsi.start_host_scan(hba, shared, cx.now + soon);
            }
            BootStep::Shutdown(hba) => self.scsi.start_shutdown(hba, shared, cx.now + soon),
            BootStep::Resume(hba) => {
                let driver = shared.hbas[hba].driver;
                if driver != Driver::None {
                    front_end.start_device(hba, driver, Start::Resumed, shared);
                }
            }
            BootStep::Lose(hba) => {
                front_end.lose_connection(hba, shared, cx);
                return RECONNECT;
            }
            BootStep::Reopen(hba) => {
                front_end.start_device(hba, Driver::Linux, Start::Reconnected, shared);
            }
            BootStep::Running => shared.actors.go_on(),
        }
        soon
    }

    /// Begins to break the connection of a device that works, and to make it anew; or says why not.
    fn reconnect(&mut self, controller: ControllerId) -> Result<(), &'static str> {
        if !self.shared.runs() {
            return Err("the VM does not run");
        }
        // The VM runs, so no pause is what is under way.
        if !self.main_loop.pausing.is_empty() {
            return Err("the VM makes a connection anew already");
        }
        let hbas = &self.shared.hbas;
        let hba = hbas.on(controller);
        let hba = hba.filter(|hba| hbas[*hba].driver == Driver::Linux);
        let hba = hba.ok_or("the VM has no such controller")?;
        let steps = [
            BootStep::Lose(hba),
            BootStep::Connect(hba),
            BootStep::Reopen(hba),
        ];
        self.main_loop.pausing.extend(steps);
        Ok(())
    }

    fn plan_boot(&mut self) {
        self.shared.power = Power::Booting;
        self.main_loop.boots += 1;
        self.shared.disks.clear();
        let hbas = self.shared.hbas.ids();
        let steps = &mut self.main_loop.steps;
        for hba in hbas.clone() {
            let start = BootStep::Start(hba, Driver::Firmware);
            steps.extend([start, BootStep::Firmware(hba)]);
        }
        if !self.shared.config.bootable {
            return;
        }
        steps.push_back(BootStep::Kernel);
        for hba in hbas {
            steps.extend([BootStep::Stop(hba), BootStep::Reset(hba)]);
            let start = BootStep::Start(hba, Driver::Linux);
            steps.extend([start, BootStep::Probe(hba)]);
        }
    }

    /// A device was reset: its requests, events and disks are gone with its driver. Its disks keep their
    /// numbers until all devices are reset: flows of others hold theirs.
    pub(crate) fn reset_device(&mut self, hba: HbaId, cx: &mut Cx<'_, FromGuest>) {
        let device = &mut self.shared.hbas[hba];
        device.audit_responses(&self.shared.memory, cx);
        device.tear_down(&self.shared.memory);
        self.scripts.forget(hba);
        self.scsi.reset(hba, &mut self.shared);
    }

    /// Says that the guest is ready once all scans and probes of a boot have ended.
    pub(super) fn ready_if_probed(&mut self, cx: &mut Cx<'_, FromGuest>) {
        let shared = &mut self.shared;
        let is_ready = shared.power == Power::Booting
            && shared.config.bootable
            && self.main_loop.steps.is_empty()
            && self.front_end.is_idle()
            && self.scsi.has_probed();
        if is_ready {
            shared.power = Power::Running;
            cx.see(Observation::VmReady {
                vm: shared.config.vm,
                boot: self.main_loop.boots,
            });
        }
    }

    /// The guest goes down, and takes its applications along.
    fn end_applications(&mut self, cx: &mut Cx<'_, FromGuest>) {
        let shared = &mut self.shared;
        cx.see(Observation::VmDown {
            vm: shared.config.vm,
        });
        let interrupted = Some(Errno(4));
        self.fio.stop(interrupted, &mut self.block, shared, cx);
        self.block.forget_all(shared);
        self.tasks.end(cx);
    }

    /// The process is killed: connections close, nothing is drained.
    fn kill(&mut self, cx: &mut Cx<'_, FromGuest>) {
        if self.shared.power == Power::Off {
            return;
        }
        self.end_applications(cx);
        let shared = &mut self.shared;
        for hba in shared.hbas.ids() {
            cx.out.push(FromGuest::Disconnect { hba });
            shared.hbas[hba].power_off(&shared.memory);
            self.scripts.forget(hba);
            self.scsi.reset(hba, shared);
        }
        shared.disks.clear();
        self.front_end.clear();
        (self.main_loop.steps, self.main_loop.pausing) = Default::default();
        self.calls = Default::default();
        for cpu in 0..CPUS {
            shared.actors.block(Actor::Cpu(cpu));
        }
        shared.actors.go_on();
        shared.power = Power::Off;
    }
}
