//! A model target with its bdevs and one controller, under a judge.
//!
//! Knows neither bugs nor which check should say what.

use std::sync::Arc;
use std::time::Duration;

use fio_model::JobFile;
use linux::{Guest, GuestConfig};
use scenarios::check::{CheckId, Facts, Judge};
use scenarios::run::{CheckResult, Judge as _};
use scenarios::{
    ControllerId, DiskId, Evidence, FioId, Inside, Observation, Place, Seen, SlotState, TargetId,
    VmId,
};
use serde_json::json;
use spdk::{Latencies, NvmeDevice, Target, TargetConfig};
use wire::message::{GuestAct, Script};
use wire::{Bugs, Rng, Stream};
use world::{Device, World};

pub use crate::directed::Call;
use crate::{Directed, Watch};

/// The controller of every directed test.
pub const CONTROLLER: ControllerId = ControllerId(1);
/// Its first guest.
pub const VM_A: VmId = VmId(1);
/// Another guest of the same controller: the second session.
pub const VM_B: VmId = VmId(2);
/// Memory.
pub const MALLOC: DiskId = DiskId(1);
/// Memory whose I/O fails or is held, as told.
pub const ERROR: DiskId = DiskId(2);
/// An NVMe namespace of 1 to 20 ms a request.
pub const NVME: DiskId = DiskId(3);
/// A part of the last memory disk, if that is split.
pub const PART: DiskId = DiskId(4);
/// More memory: disks 10 to 17.
pub const MORE: u8 = 10;
/// The last memory disk.
pub const LAST: DiskId = DiskId(MORE + 7);
const NVME_ADDRESS: &str = "0000:01:00.0";
const BLOCK_BYTES: u32 = 512;
const DISK_BLOCKS: u64 = 32_768;

/// A judge that is shown everything, and knows which bdev is which disk.
pub struct Judged {
    judge: Judge,
    /// Fios that were started.
    fios: u16,
}

impl Watch for Judged {
    fn see(&mut self, seen: &mut Seen) {
        // All of these disks keep their data, and only the harness knows which bdev is which.
        if let Observation::Attached {
            bdev: name, disk, ..
        } = &mut seen.what
        {
            *disk = (1..=LAST.0).map(DiskId).find(|disk| bdev(*disk) == *name);
        }
        self.judge.see(seen);
    }
}

/// A world under a judge.
pub type Harness = Directed<Target, Guest, Judged>;

/// A slot of the controller.
pub const fn place(slot: u8) -> Place {
    Place {
        controller: CONTROLLER,
        target: TargetId(slot),
    }
}

/// The name of a disk's bdev, which is its serial number too.
fn bdev(disk: DiskId) -> String {
    match disk {
        MALLOC => "Malloc0".to_owned(),
        ERROR => "EE_Malloc1".to_owned(),
        NVME => "Nvme0n1".to_owned(),
        PART => format!("{}p0", bdev(LAST)),
        DiskId(more) => format!("Malloc{more}"),
    }
}

/// A call that attaches a disk.
pub fn attach(disk: DiskId, slot: u8) -> Call {
    let params = json!({"ctrlr": "vhost.1", "scsi_target_num": slot, "bdev_name": bdev(disk)});
    ("vhost_scsi_controller_add_target", params)
}

/// A call that detaches what is in a slot.
pub fn detach(slot: u8) -> Call {
    let params = json!({"ctrlr": "vhost.1", "scsi_target_num": slot});
    ("vhost_scsi_controller_remove_target", params)
}

/// A call that deletes a memory disk.
pub fn delete(disk: DiskId) -> Call {
    ("bdev_malloc_delete", json!({"name": bdev(disk)}))
}

/// A call that makes the next `count` writes of [`ERROR`] "failure" or "pending".
pub fn inject(what: &str, count: u32) -> Call {
    let params = json!({"name": bdev(ERROR), "io_type": "write", "error_type": what, "num": count});
    ("bdev_error_inject_error", params)
}

/// A call that lets go of the I/O that [`ERROR`] holds.
pub fn resume() -> Call {
    ("bdev_error_resume_pending", json!({"name": bdev(ERROR)}))
}

/// Whether a session's slot has come to `state`.
pub fn session_slot(seen: &Seen, state: SlotState) -> bool {
    matches!(seen.what, Observation::Inside(Inside::Slot { session: Some(_), to, .. }) if to == state)
}

/// Whether a session has started.
pub fn started(seen: &Seen) -> bool {
    matches!(
        seen.what,
        Observation::Inside(Inside::SessionStarted { .. })
    )
}

/// Whether a session has stopped.
pub fn stopped(seen: &Seen) -> bool {
    matches!(
        seen.what,
        Observation::Inside(Inside::SessionStopped { .. })
    )
}

/// Whether a guest is ready.
pub fn ready(seen: &Seen) -> bool {
    matches!(seen.what, Observation::VmReady { .. })
}

/// Whether a remove was answered.
pub fn removed(seen: &Seen) -> bool {
    matches!(
        seen.what,
        Observation::Inside(Inside::RemoveAnswered { .. })
    )
}

impl Harness {
    /// A target with `bugs`, its bdevs and one controller; `only`: the checks that are on.
    ///
    /// The seed feeds the world's accidents, and says when in the target's periods the directed test begins.
    pub fn new(bugs: Bugs, seed: u64, only: &[CheckId]) -> Self {
        let config = TargetConfig {
            bugs,
            latencies: Latencies {
                nvme: (1_000_000, 20_000_000),
                ..Latencies::default()
            },
            nvme: vec![NvmeDevice {
                traddr: NVME_ADDRESS.into(),
                namespaces: vec![(DISK_BLOCKS, BLOCK_BYTES)],
            }],
            ..TargetConfig::default()
        };
        let all = Evidence::PER_IO
            .union(Evidence::TARGET_INSIDE)
            .union(Evidence::GUEST_DISKS)
            .union(Evidence::FIO_REPORT)
            .union(Evidence::RINGS);
        let judge = Judge::new(Facts {
            evidence: all,
            events_may_drop: false,
            vms: vec![(VM_A, vec![CONTROLLER]), (VM_B, vec![CONTROLLER])],
        });
        let world = World::new(Target::new(config), Rng::new(seed, Stream::Accidents));
        let judge = judge.only(only);
        let mut harness = Self::over(world, Judged { judge, fios: 0 });
        harness.set_up();
        let begins = Rng::new(seed, Stream::Test).below(20_000);
        harness.run(Duration::from_micros(begins.into()));
        harness
    }

    fn set_up(&mut self) {
        let malloc = |name: &str| {
            let params =
                json!({"name": name, "block_size": BLOCK_BYTES, "num_blocks": DISK_BLOCKS});
            ("bdev_malloc_create", params)
        };
        self.call(malloc("Malloc0"));
        self.call(malloc("Malloc1"));
        self.call(("bdev_error_create", json!({"base_name": "Malloc1"})));
        for more in MORE..MORE + 8 {
            self.call(malloc(&bdev(DiskId(more))));
        }
        let nvme = json!({"name": "Nvme0", "trtype": "PCIe", "traddr": NVME_ADDRESS});
        self.call(("bdev_nvme_attach_controller", nvme));
        self.call(("vhost_create_scsi_controller", json!({"ctrlr": "vhost.1"})));
    }

    /// Switches a guest on; `change` says what is unusual about it.
    pub fn switch_on(&mut self, vm: VmId, change: impl FnOnce(GuestConfig) -> GuestConfig) {
        let numbers = [MALLOC, ERROR, NVME, PART].into_iter();
        let disks = numbers.chain((MORE..MORE + 8).map(DiskId));
        let disks = disks.map(|disk| (bdev(disk), disk)).collect();
        let config = change(GuestConfig::new(vm, vec![CONTROLLER], disks, None));
        let device = Device::new(CONTROLLER, "vhost.1");
        self.world.add_guest(vm, Guest::new(config), vec![device]);
        self.tell(vm, GuestAct::Boot);
    }

    /// Boots a guest and waits until it takes work.
    pub fn boot(&mut self, vm: VmId) {
        self.switch_on(vm, |config| config);
        self.wait("a guest is ready", ready);
    }

    /// Lets somebody in the first guest take a step that Linux would not.
    pub fn script(&mut self, step: Script) {
        self.tell(VM_A, GuestAct::Script(step));
    }

    /// Starts a fio of the first guest on a disk and waits for its end.
    pub fn whole_fio(&mut self, disk: DiskId, slot: u8, options: &str) {
        self.fio(disk, slot, options);
        self.wait("fio ends", |seen| {
            matches!(seen.what, Observation::FioEnded { .. })
        });
    }

    /// Starts a fio of the first guest on a disk; `options`: one a line, for libaio with direct I/O.
    pub fn fio(&mut self, disk: DiskId, slot: u8, options: &str) {
        let text = format!("[global]\nioengine=libaio\ndirect=1\nthread\nbs=4k\n{options}\n");
        let job = JobFile::parse("directed.fio", &text).expect("a job that fio would take");
        self.tell(
            VM_A,
            GuestAct::StartFio {
                fio: FioId(self.watch.fios),
                job: Arc::new(job),
                on: vec![(disk, place(slot))],
            },
        );
        self.watch.fios += 1;
    }

    /// Stops a guest's device and starts it so that its session begins at `phase` in `cycle`.
    pub fn start_session_at(&mut self, vm: VmId, phase: Duration, cycle: Duration) {
        let took = self.rehearse(vm);
        self.aim(took, phase, cycle);
        self.go_on(vm);
    }

    /// Pauses a guest; says how long its session will take to start.
    ///
    /// A pause that goes on takes the same time whenever it does so: once to measure, once to aim.
    pub fn rehearse(&mut self, vm: VmId) -> Duration {
        self.pause(vm);
        let took = self.go_on(vm);
        self.pause(vm);
        took
    }

    /// Runs until what takes `took` would end at `phase` in `cycle`.
    pub fn aim(&mut self, took: Duration, phase: Duration, cycle: Duration) {
        let cycle = cycle.as_nanos() as u64;
        let ends = (self.now() + took).0;
        let ahead = (phase.as_nanos() as u64 + cycle - ends % cycle) % cycle;
        self.run(Duration::from_nanos(ahead));
    }

    /// Pauses a guest and waits until its session has stopped.
    pub fn pause(&mut self, vm: VmId) {
        self.tell(vm, GuestAct::Pause);
        self.wait("the session stops", stopped);
        self.run(Duration::from_millis(1));
    }

    /// Lets a paused guest go on, and waits until its session has started; says how long that took.
    pub fn go_on(&mut self, vm: VmId) -> Duration {
        let asked = self.now();
        self.tell(vm, GuestAct::Continue);
        self.wait("the session starts", started);
        let took = self.now() - asked;
        self.run(Duration::from_millis(1));
        took
    }

    /// Runs until the time is `phase` in `cycle`.
    pub fn run_to(&mut self, phase: Duration, cycle: Duration) {
        let cycle = cycle.as_nanos() as u64;
        let ahead = (phase.as_nanos() as u64 + cycle - self.now().0 % cycle) % cycle;
        self.run(Duration::from_nanos(ahead));
    }

    /// What the checks that are on have to say.
    pub fn results(mut self) -> Vec<CheckResult> {
        self.watch.judge.end_case()
    }
}
