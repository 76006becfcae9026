//! From power-on to a guest that takes work, and back: boots, reboots, pauses.
//!
//! Every boot is two sessions of each device: the firmware's, then Linux's. Knows the order of
//! things; the messages stand in `qemu`, the scans in `flow`.

use std::time::Duration;

use fio_model::Errno;
use scenarios::{ControllerId, Observation, Time};

use super::firmware::FirmwareScan;
use super::flow::{Flow, Kind};
use super::hba::Driver;
use super::qemu::Start;
use super::{CPU, Guest, GuestTurn, Power, QEMU};
use wire::component::{Cx, When};
use wire::message::{EVENTQ, FromGuest, GuestAct, HbaId, VringIndex};
use wire::scsi::feature;

/// From an answer on the socket to QEMU's next message.
const MESSAGE_NS: u64 = 10_000;
/// From the firmware's end to the kernel's probe of the first device (a small initramfs, recorded as
/// about 6 s under TCG; far less with KVM).
const KERNEL_BOOT: Duration = Duration::from_millis(300);

/// From a connection's end to the next try (`reconnect-ms`, QEMU 9.2; `reconnect` was in seconds).
const RECONNECT: Duration = Duration::from_millis(100);

/// A step of a boot, a reboot or a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootStep {
    /// Connect a device to its socket.
    Connect(usize),
    /// Start a device for a driver.
    Start(usize, Driver),
    /// The firmware scans a device.
    Firmware(usize),
    /// Let the kernel come up.
    Kernel,
    /// Reset a device: stop it.
    Stop(usize),
    /// Forget what was in its rings.
    Reset(usize),
    /// Linux probes a device that it has started: post event buffers, scan.
    Probe(usize),
    /// Write the caches of a device's disks back before a reboot.
    Shutdown(usize),
    /// Everything is shut down: boot.
    Again,
    /// Go on after a pause.
    Resume(usize),
    /// The connection of a device breaks.
    Lose(usize),
    /// Go on after that, on a new connection.
    Reopen(usize),
    /// The pause is over.
    Running,
}

impl Guest {
    /// QEMU's main loop and the guest's agent: acts, answers, messages, the next step.
    pub(super) fn qemu_turn(&mut self, cx: &mut Cx<'_, FromGuest>) -> GuestTurn {
        self.set(QEMU, When::Blocked);
        while let Some(act) = self.acts.pop_front() {
            self.act(act, cx);
        }
        if self.qemu.refused {
            self.kill(cx);
        }
        self.read_answers(cx);
        let (hba, sent) = self.send_messages(cx);
        if self.qemu.awaiting.is_none() {
            // A pause comes before what the vCPUs would do next, but a device that was stopped for a reset
            // is reset first: that is one piece in QEMU (`virtio_reset`).
            let resets = matches!(self.qemu.steps.front(), Some(BootStep::Reset(_)));
            let pauses = !resets && !self.qemu.pausing.is_empty();
            let runs = !pauses && !self.paused && !self.has_boot_flow();
            let step = if pauses {
                self.qemu.pausing.pop_front()
            } else if runs || resets {
                self.qemu.steps.pop_front()
            } else {
                None
            };
            if let Some(step) = step {
                let next = self.boot_step(step, cx);
                self.wake(QEMU, cx.now + next);
            } else if runs {
                self.ready_if_probed(cx);
            }
        }
        GuestTurn::Qemu(hba.0, sent)
    }

    fn act(&mut self, act: GuestAct, cx: &mut Cx<'_, FromGuest>) {
        match act {
            // One that is under way already is not begun again; a stopped machine hears nothing.
            GuestAct::Boot if self.paused => {}
            GuestAct::Boot if matches!(self.power, Power::Booting | Power::Rebooting) => {}
            GuestAct::Boot => self.boot(cx),
            GuestAct::StartFio { fio, job, on } => self.start_fio(fio, &job, &on, cx),
            GuestAct::WaitJobClock { ticket, fio, at } => self.wait_job_clock(ticket, fio, at, cx),
            GuestAct::ListDisks if self.power == Power::Running && !self.paused => {
                cx.see(self.list_disks());
            }
            GuestAct::ListDisks => {}
            GuestAct::Pause if self.power == Power::Off || self.paused => {}
            GuestAct::Pause => {
                self.paused = true;
                self.changed = u64::MAX >> (64 - self.ready.len());
                let started = self.started();
                self.qemu.pausing.extend(started.map(BootStep::Stop));
            }
            GuestAct::Continue if !self.paused => {}
            GuestAct::Continue => {
                let started = self.started();
                self.qemu.pausing.extend(started.map(BootStep::Resume));
                self.qemu.pausing.push_back(BootStep::Running);
            }
            GuestAct::Kill => self.kill(cx),
            GuestAct::AddMemory => self.add_memory(),
            GuestAct::Reconnect { ticket, controller } => {
                let result = self.reconnect(controller).map(|()| 0);
                let result = result.map_err(str::to_owned);
                cx.see(Observation::Answered { ticket, result });
            }
            GuestAct::Manage {
                ticket,
                place,
                function,
            } => self.ask_management(ticket, place, function, cx),
            GuestAct::GiveUp => self.give_up(cx),
            GuestAct::Script(step) => self.script(step, cx),
        }
    }

    /// The devices that have a driver.
    fn started(&self) -> impl Iterator<Item = usize> + use<> {
        let hbas = self.hbas.iter().enumerate();
        let started = hbas.filter(|(_, hba)| hba.driver != Driver::None);
        started.map(|(n, _)| n).collect::<Vec<_>>().into_iter()
    }

    /// Powers on, or reboots a running guest (`reboot -f`: applications are not asked).
    fn boot(&mut self, cx: &mut Cx<'_, FromGuest>) {
        let hbas = self.hbas.len();
        if self.power == Power::Off {
            self.qemu.steps.extend((0..hbas).map(BootStep::Connect));
            self.qemu.steps.push_back(BootStep::Again);
            self.power = Power::Booting;
            return;
        }
        cx.see(Observation::VmDown { vm: self.config.vm });
        self.end_applications(Errno(4), cx);
        self.power = Power::Rebooting;
        self.qemu.steps.extend((0..hbas).map(BootStep::Shutdown));
        for hba in 0..hbas {
            self.qemu
                .steps
                .extend([BootStep::Stop(hba), BootStep::Reset(hba)]);
        }
        self.qemu.steps.push_back(BootStep::Again);
    }

    /// Carries out a step; returns how long it takes.
    fn boot_step(&mut self, step: BootStep, cx: &mut Cx<'_, FromGuest>) -> Duration {
        let soon = Duration::from_nanos(MESSAGE_NS);
        match step {
            BootStep::Connect(hba) => {
                if !self.qemu.is_connected(hba) {
                    cx.out.push(FromGuest::Connect {
                        hba: HbaId(hba as u8),
                    });
                    self.qemu.greet(hba);
                }
            }
            BootStep::Again => self.plan_boot(),
            BootStep::Start(hba, driver) => self.start_device(hba, driver, Start::Fresh),
            BootStep::Firmware(hba) => {
                self.spawn(
                    hba,
                    Flow::new(Kind::Firmware(FirmwareScan::default()), cx.now + soon),
                );
            }
            BootStep::Kernel => return KERNEL_BOOT,
            BootStep::Stop(hba) => {
                let vrings: Vec<VringIndex> = self.hbas[hba].vrings().collect();
                if !vrings.is_empty() {
                    self.qemu.stop(hba, vrings.into_iter());
                }
            }
            BootStep::Reset(hba) => self.reset_device(hba, cx),
            BootStep::Probe(hba) => {
                if self.hbas[hba].features & feature::HOTPLUG != 0 {
                    self.hbas[hba].post_all_events(&self.memory);
                    let hba = HbaId(hba as u8);
                    cx.out.push(FromGuest::Doorbell { hba, vring: EVENTQ });
                }
                self.start_host_scan(hba, cx.now + soon);
            }
            BootStep::Shutdown(hba) => self.start_shutdown(hba, cx.now + soon),
            BootStep::Resume(hba) => {
                let driver = self.hbas[hba].driver;
                if driver != Driver::None {
                    self.start_device(hba, driver, Start::Resumed);
                }
            }
            BootStep::Lose(hba) => {
                self.lose_connection(hba, cx);
                return RECONNECT;
            }
            BootStep::Reopen(hba) => self.start_device(hba, Driver::Linux, Start::Reconnected),
            BootStep::Running => {
                self.paused = false;
                self.changed = u64::MAX >> (64 - self.ready.len());
            }
        }
        soon
    }

    /// Begins to break the connection of a device that works, and to make it anew; or says why not.
    fn reconnect(&mut self, controller: ControllerId) -> Result<(), &'static str> {
        if self.power != Power::Running || self.paused {
            return Err("the VM does not run");
        }
        // The VM runs, so no pause is what is under way.
        if !self.qemu.pausing.is_empty() {
            return Err("the VM makes a connection anew already");
        }
        let mut hbas = self.hbas.iter();
        let hba = hbas.position(|hba| hba.controller == controller && hba.driver == Driver::Linux);
        let hba = hba.ok_or("the VM has no such controller")?;
        let steps = [
            BootStep::Lose(hba),
            BootStep::Connect(hba),
            BootStep::Reopen(hba),
        ];
        self.qemu.pausing.extend(steps);
        Ok(())
    }

    fn plan_boot(&mut self) {
        self.power = Power::Booting;
        self.boots += 1;
        self.disks.clear();
        let hbas = 0..self.hbas.len();
        for hba in hbas.clone() {
            let steps = [
                BootStep::Start(hba, Driver::Firmware),
                BootStep::Firmware(hba),
            ];
            self.qemu.steps.extend(steps);
        }
        if !self.config.bootable {
            return;
        }
        self.qemu.steps.push_back(BootStep::Kernel);
        for hba in hbas {
            self.qemu
                .steps
                .extend([BootStep::Stop(hba), BootStep::Reset(hba)]);
            let start = BootStep::Start(hba, Driver::Linux);
            self.qemu.steps.extend([start, BootStep::Probe(hba)]);
        }
    }

    /// A device was reset: its requests, events and disks are gone with its driver.
    pub(super) fn reset_device(&mut self, hba: usize, cx: &mut Cx<'_, FromGuest>) {
        self.audit_device(hba, cx);
        self.hbas[hba].tear_down(&self.memory);
        self.forget_scripts(hba);
        self.flows[hba].clear();
        self.unprobed[hba].clear();
        // Its disks keep their numbers until all devices are reset: flows of others hold theirs.
        for disk in self.disks.iter_mut().filter(|d| usize::from(d.hba) == hba) {
            disk.end();
        }
        self.reschedule_flows(hba);
    }

    /// Whether the main loop waits for the firmware's scan or a shutdown.
    fn has_boot_flow(&self) -> bool {
        let flows = self.flows.iter().flatten().flatten();
        flows
            .map(|flow| &flow.kind)
            .any(|kind| matches!(kind, Kind::Firmware(_) | Kind::Shutdown { .. }))
    }

    /// Says that the guest is ready once all scans and probes of a boot have ended.
    pub(super) fn ready_if_probed(&mut self, cx: &mut Cx<'_, FromGuest>) {
        let pending = self.power != Power::Booting
            || !self.config.bootable
            || !self.qemu.steps.is_empty()
            || !self.qemu.outgoing.is_empty()
            || self.qemu.awaiting.is_some()
            || self.unprobed.iter().any(|queue| !queue.is_empty())
            || self
                .flows
                .iter()
                .flatten()
                .flatten()
                .any(|flow| flow.kind.is_scan_or_probe());
        if !pending {
            self.power = Power::Running;
            cx.see(Observation::VmReady {
                vm: self.config.vm,
                boot: self.boots,
            });
        }
    }

    /// The process is killed: connections close, nothing is drained.
    fn kill(&mut self, cx: &mut Cx<'_, FromGuest>) {
        if self.power == Power::Off {
            return;
        }
        cx.see(Observation::VmDown { vm: self.config.vm });
        self.end_applications(Errno(4), cx);
        for hba in 0..self.hbas.len() {
            cx.out.push(FromGuest::Disconnect {
                hba: HbaId(hba as u8),
            });
            self.hbas[hba].power_off(&self.memory);
            self.forget_scripts(hba);
            self.flows[hba].clear();
            self.unprobed[hba].clear();
            self.reschedule_flows(hba);
        }
        self.disks.clear();
        self.qemu.clear();
        self.cpus = Default::default();
        for actor in CPU..CPU + super::CPUS {
            self.set(actor, When::Blocked);
        }
        self.paused = false;
        self.power = Power::Off;
    }

    /// A flow that the main loop waited for has ended.
    pub(super) fn boot_flow_ended(&mut self, now: Time) {
        self.wake(QEMU, now + Duration::from_nanos(MESSAGE_NS));
    }
}
