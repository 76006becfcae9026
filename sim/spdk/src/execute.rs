//! A task on a LUN: the order in which it is queued, run and finished.
//!
//! Sources: `spdk_scsi_lun_execute_task`, `scsi_lun_execute_tasks` (lib/scsi/lun.c); fact sheet
//! §5.1, §5.3. What the commands mean is in `scsi`.

use vm_memory::GuestAddress;

use super::bdev::io::{IoKind, Request};
use super::bdev::{Bdev, Kind};
use super::lun::DevHandle;
use super::scsi::{self, BdevStatus, BlockIo, Command, Direction, LunView, Outcome, Sense, Step};
use super::task::{Task, TaskRef};
use super::{Out, Target};
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::component::Memory;
use wire::scsi::{RESPONSE_SIZE, status};

/// INQUIRY, REPORT LUNS, REQUEST SENSE: not held up by a unit attention.
const NO_ATTENTION: [u8; 3] = [0x12, 0xa0, 0x03];

/// The memory of a session: its controller's place, and its id there.
pub type Held = Option<((u8, u32), Memory)>;

impl Target {
    /// A command for a LUN that is not there.
    pub fn null_lun(&mut self, cx: &mut Out<'_>, memory: &Memory, of: TaskRef) {
        let bugs = self.dev;
        if bugs.has(Bug::NullLunUnchecked) {
            let place = "process_scsi_task: the LUN is NULL (B50)";
            self.die(cx, "SIGSEGV", place);
            return;
        }
        let mut data_in = std::mem::take(&mut self.data_in);
        data_in.clear();
        if let Some(task) = self.session(of).and_then(|session| session.task(of)) {
            let outcome = scsi::null_lun(&command(task), &mut data_in, bugs);
            settle(task, outcome, memory, &data_in);
        }
        self.data_in = data_in;
        self.answer(cx, memory, of);
    }

    /// `spdk_scsi_lun_execute_task`: runs a task, or lets it wait behind others.
    pub fn queue_task(&mut self, cx: &mut Out<'_>, memory: &Memory, of: TaskRef, dev: DevHandle) {
        let starves = self.dev.has(Bug::ResetStarves);
        let Some(lun) = self.devs.lun(dev) else {
            self.null_lun(cx, memory, of);
            return;
        };
        let held = !lun.resets.is_empty() || (lun.reset.is_some() && !starves);
        if held {
            lun.pending.push_back(of);
        } else {
            self.run_task(cx, memory, of, dev);
        }
    }

    /// Runs the tasks that waited for resets.
    pub fn run_pending(&mut self, cx: &mut Out<'_>, dev: DevHandle) {
        while let Some(of) = self.devs.lun(dev).and_then(|lun| lun.pending.pop_front()) {
            if let Some(memory) = self.session(of).and_then(|session| session.memory.clone()) {
                self.run_task(cx, &memory, of, dev);
            }
        }
        self.lun_idle(cx.now, dev);
    }

    /// `_scsi_lun_execute_task`.
    fn run_task(&mut self, cx: &mut Out<'_>, memory: &Memory, of: TaskRef, dev: DevHandle) {
        let mut data_in = std::mem::take(&mut self.data_in);
        let mut data_out = std::mem::take(&mut self.data_out);
        data_in.clear();
        let step = self.begin_command(memory, of, dev, &mut data_in, &mut data_out);
        match step {
            Some(Step::Done(outcome)) => {
                if let Some(task) = self.session(of).and_then(|session| session.task(of)) {
                    settle(task, outcome, memory, &data_in);
                }
                self.answer(cx, memory, of);
            }
            Some(Step::Io(io)) => self.submit(cx, of, dev, io),
            Some(Step::NeedData) | None => {}
        }
        self.data_in = data_in;
        self.data_out = data_out;
    }

    fn begin_command(
        &mut self,
        memory: &Memory,
        of: TaskRef,
        dev: DevHandle,
        data_in: &mut Vec<u8>,
        data_out: &mut Vec<u8>,
    ) -> Option<Step> {
        let Self {
            ctl,
            devs,
            bdevs,
            dev: bugs,
            ..
        } = self;
        let session = ctl[usize::from(of.vdev)].as_mut()?.session(of.session)?;
        let task = session.task(of)?;
        let device = devs.get_mut(dev)?;
        let lun = device.lun.as_mut()?;
        if lun.removed {
            return Some(Step::Done(Outcome::check(Sense::ABORTED)));
        }
        if lun.resizing && !NO_ATTENTION.contains(&task.cdb[0]) {
            lun.resizing = false;
            return Some(Step::Done(Outcome::check(Sense::CAPACITY_CHANGED)));
        }
        let Some(bdev) = bdevs.get(lun.bdev) else {
            return Some(Step::Done(Outcome::check(Sense::ABORTED)));
        };
        let mut view = LunView {
            bdev_name: &bdev.name,
            product: bdev.product,
            block_size: bdev.block_size,
            num_blocks: bdev.num_blocks,
            physical_block_size: bdev.physical_block_size,
            unmap: unmaps(bdev),
            write_cache: caches(bdev),
            target: &device.name,
            port: "vhost",
            reservation: &mut lun.reservation,
        };
        let step = scsi::start(&command(task), None, &mut view, data_in, *bugs);
        if !matches!(step, Step::NeedData) {
            return Some(step);
        }
        gather(task, memory, data_out);
        let step = scsi::start(&command(task), Some(data_out), &mut view, data_in, *bugs);
        if matches!(step, Step::NeedData) {
            // It has all the data that there is.
            return Some(Step::Done(Outcome::check(Sense::NONE)));
        }
        Some(step)
    }

    fn submit(&mut self, cx: &mut Out<'_>, of: TaskRef, dev: DevHandle, io: BlockIo) {
        let Some(lun) = self.devs.lun(dev) else {
            return;
        };
        lun.outstanding += 1;
        let bdev = lun.bdev;
        let kind = kind(&io);
        if let Some(task) = self.session(of).and_then(|session| session.task(of)) {
            task.io = Some(io);
        }
        let request = Request {
            task: of,
            bdev,
            kind,
        };
        self.bdevs.submit(cx.now, request, cx.rng);
    }

    /// A bdev has finished I/O: the task ends (`bdev_scsi_task_complete_cmd`). `held` is the memory of a
    /// session, and then that of this one.
    pub fn io_done(
        &mut self,
        cx: &mut Out<'_>,
        of: TaskRef,
        kind: IoKind,
        status: BdevStatus,
        held: &mut Held,
    ) {
        if kind == IoKind::Reset {
            self.bdev_reset_done(cx, of);
            return;
        }
        let early = self.dev.has(Bug::StatusGoodEarly);
        let again = self.dev.has(Bug::ResetCompletesInflight);
        let Some(session) = self.session(of) else {
            return;
        };
        let late = session.draining;
        let unmapped = session.unmapped;
        let whose = (of.vdev, of.session);
        if held.as_ref().is_none_or(|(of, _)| *of != whose) {
            let memory = session.memory.clone();
            *held = memory.map(|memory| (whose, memory));
        }
        let Some(task) = session.task(of) else {
            if again {
                self.used_again(cx, of);
            }
            return;
        };
        let dev = task.dev;
        if let Some(io) = task.io.take() {
            let outcome = scsi::finished(&io, task.length, status);
            let length = task.length;
            task.status = outcome.status;
            task.sense = outcome.sense;
            task.transferred = outcome.transferred;
            if early && status != BdevStatus::Success {
                (task.status, task.sense, task.transferred) = (status::GOOD, None, length);
            }
        }
        if let Some(lun) = dev.and_then(|dev| self.devs.lun(dev)) {
            lun.outstanding = lun.outstanding.saturating_sub(1);
        } else {
            cx.broken(
                scenarios::CheckId::I3,
                format!(
                    "an I/O of session {} ended on a LUN that is gone",
                    of.session
                ),
            );
        }
        if unmapped {
            self.memory_gone(
                cx,
                "vhost_scsi_task_cpl: the session leaked and its memory is unmapped (N1)",
            );
            return;
        }
        if late {
            if let Some(task) = self.session(of).and_then(|session| session.task(of)) {
                task.in_flight = false;
            }
            self.task_gone(cx, of);
        } else if let Some((_, memory)) = held {
            self.answer(cx, memory, of);
        }
        if let Some(dev) = dev {
            self.lun_idle(cx.now, dev);
        }
    }

    /// A task that was completed already is completed by its bdev (B64).
    fn used_again(&mut self, cx: &mut Out<'_>, of: TaskRef) {
        let memory = self.session(of).and_then(|session| session.memory.clone());
        let live = self
            .session(of)
            .is_some_and(|session| session.has_ring(of.vring));
        if live && let (Some(memory), Some(index)) = (memory, self.session_index(of)) {
            let at = (usize::from(of.vdev), index, of.vring);
            self.used(cx, &memory, at, of.head, RESPONSE_SIZE);
        }
    }

    /// A task that waited ends with its LUN.
    pub fn abort(&mut self, cx: &mut Out<'_>, of: TaskRef) {
        let Some(session) = self.session(of) else {
            return;
        };
        let memory = session.memory.clone();
        if let Some(task) = session.task(of) {
            task.status = status::CHECK_CONDITION;
            task.sense = Some(Sense::ABORTED);
            task.transferred = 0;
        }
        if let Some(memory) = memory {
            self.answer(cx, &memory, of);
        }
    }
}

fn command(task: &Task) -> Command<'_> {
    Command {
        cdb: &task.cdb,
        direction: if task.to_device {
            Direction::ToDev
        } else {
            Direction::FromDev
        },
        transfer_len: task.length,
        iov_count: task.iovs.len(),
    }
}

/// Stores the outcome of a command, and its data-in as far as the buffers go.
fn settle(task: &mut Task, outcome: Outcome, memory: &Memory, data_in: &[u8]) {
    task.status = outcome.status;
    task.sense = outcome.sense;
    task.transferred = outcome.transferred;
    if task.to_device {
        return;
    }
    let mut left = data_in;
    for iov in &task.iovs {
        let (here, rest) = left.split_at(left.len().min(iov.len as usize));
        let wrote = memory.write_at(here, GuestAddress(iov.addr)).is_ok();
        debug_assert!(wrote, "payload was checked to be in memory");
        left = rest;
    }
}

/// The data-out of a task.
fn gather(task: &Task, memory: &Memory, data_out: &mut Vec<u8>) {
    data_out.clear();
    for iov in &task.iovs {
        let from = data_out.len();
        data_out.resize(from + iov.len as usize, 0);
        let read = memory
            .read_at(&mut data_out[from..], GuestAddress(iov.addr))
            .is_ok();
        debug_assert!(read, "payload was checked to be in memory");
    }
}

const fn unmaps(bdev: &Bdev) -> bool {
    matches!(
        bdev.kind,
        Kind::Malloc { .. } | Kind::Nvme { .. } | Kind::Split { .. }
    )
}

/// Which bdevs say that they have a volatile write cache.
const fn caches(bdev: &Bdev) -> bool {
    matches!(bdev.kind, Kind::Malloc { .. } | Kind::Split { .. })
}

const fn kind(io: &BlockIo) -> IoKind {
    match io {
        BlockIo::Read { .. } => IoKind::Read,
        BlockIo::Write { .. } | BlockIo::WriteSame { .. } | BlockIo::CompareAndWrite { .. } => {
            IoKind::Write
        }
        BlockIo::Flush { .. } => IoKind::Flush,
        BlockIo::Unmap(_) => IoKind::Unmap,
    }
}
