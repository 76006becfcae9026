//! Schedules as a campaign of seeds takes them: from a snapshot, over and over.

use fio_model::Volume;
use scenarios::{Action, DiskId, Observation, Place, VmId};

use crate::rig::{Rig, Start, places, verified};

/// Attaches of a schedule, and as many detaches.
const HOTPLUGS: usize = 10;
/// Blocks that its fio writes and verifies.
const BLOCKS: u64 = 200;
/// Depth, batch and backlog are divided by this: the quick volume's, which campaigns take.
const SCALE: u32 = 8;

/// A simulation that goes back to a snapshot before every schedule.
pub struct Schedules {
    rig: Rig,
    start: Start,
    on: Vec<(DiskId, Place)>,
    seed: u64,
}

impl Schedules {
    fn of(mut rig: Rig, on: Vec<(DiskId, Place)>) -> Self {
        let start = rig.snapshot();
        Self {
            rig,
            start,
            on,
            seed: 0,
        }
    }

    /// A VM that has booted with one disk attached; another one comes and goes.
    pub fn booted() -> Self {
        let on = places(1, 2);
        let volume = Volume {
            blocks: BLOCKS,
            scale: SCALE,
        };
        Self::of(Rig::booted(1, 2, &on[..1], "crc32c", volume), on)
    }

    /// A target with two disks attached, and a VM that has run and is off.
    pub fn off() -> Self {
        let on = places(1, 2);
        let volume = Volume {
            blocks: 1,
            scale: SCALE,
        };
        let mut rig = Rig::new(1, 2, "crc32c", volume);
        for (disk, place) in &on {
            rig.ask_attach(*disk, *place);
            rig.until(|what| matches!(what, Observation::Answered { .. }));
        }
        rig.boot(0);
        rig.perform(&Action::KillVm { vm: VmId(1) });
        rig.until(|what| matches!(what, Observation::Answered { .. }));
        Self::of(rig, on)
    }

    fn begin(&mut self) {
        self.seed += 1;
        self.rig.restore(&self.start, self.seed);
    }

    /// Begins a schedule and does nothing.
    pub fn empty(&mut self) {
        self.begin();
    }

    /// One attach and its detach.
    pub fn short(&mut self) {
        self.begin();
        self.come_and_go();
        self.rig.end();
    }

    /// 200 verified I/Os on one disk, while another is attached and detached ten times.
    pub fn full(&mut self) {
        self.begin();
        let on = self.on[..1].to_vec();
        self.rig.start_fio(&on);
        let mut ended = None;
        for _ in 0..HOTPLUGS {
            ended = self.come_and_go().or(ended);
        }
        let ended = ended.unwrap_or_else(|| {
            self.rig
                .until(|what| matches!(what, Observation::FioEnded { .. }))
        });
        assert_eq!(verified(&ended), BLOCKS);
        self.rig.end();
    }

    /// The hot-plugs of a full schedule, with no I/O beside them.
    pub fn hotplugs(&mut self) {
        self.begin();
        for _ in 0..HOTPLUGS {
            self.come_and_go();
        }
        self.rig.end();
    }

    /// The verified I/Os of a full schedule, with no hot-plug beside them.
    pub fn ios(&mut self) {
        self.begin();
        let on = self.on[..1].to_vec();
        assert_eq!(self.rig.fio(&on), BLOCKS);
        self.rig.end();
    }

    /// A boot, and a reboot.
    pub fn boots(&mut self) {
        self.begin();
        self.rig.boot(0);
        self.rig.perform(&Action::RebootVm { vm: VmId(1) });
        self.rig
            .until(|what| matches!(what, Observation::VmReady { .. }));
        self.rig.end();
    }

    /// The end of a fio, if it came meanwhile.
    fn come_and_go(&mut self) -> Option<Observation> {
        let (disk, place) = self.on[1];
        self.rig.ask_attach(disk, place);
        let came = self.both(|what| matches!(what, Observation::DiskAppeared(_)));
        self.rig.perform(&Action::Detach { place });
        let went = self.both(|what| matches!(what, Observation::DiskVanished(_)));
        came.or(went)
    }

    /// Goes on until an RPC is answered and the guest has seen what it did.
    fn both(&mut self, shows: impl Fn(&Observation) -> bool) -> Option<Observation> {
        let (mut answered, mut shown, mut ended) = (false, false, None);
        while !(answered && shown) {
            let ends = |what: &Observation| matches!(what, Observation::FioEnded { .. });
            let answers = |what: &Observation| matches!(what, Observation::Answered { .. });
            let what = self
                .rig
                .until(|what| ends(what) || answers(what) || shows(what));
            answered |= answers(&what);
            shown |= shows(&what);
            if ends(&what) {
                ended = Some(what);
            }
        }
        ended
    }
}
