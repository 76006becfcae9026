//! A task on a LUN: the order in which it is queued, run and finished.
//!
//! Sources: `spdk_scsi_lun_execute_task`, `scsi_lun_execute_tasks` (lib/scsi/lun.c); fact sheet
//! §5.1, §5.3. What the commands mean is in `scsi`.

use scenarios::CheckId;
use vm_memory::GuestAddress;

use super::answer::{answer, task_gone};
use super::task::{Gone, Task};
use super::thread::VdevThread;
use super::used::used;
use super::wake::lun_idle;
use crate::bdev::io::{IoKind, Request};
use crate::bdev::{Bdev, Kind};
use crate::handles::{DevHandle, RingAt, SessionId, TaskRef, VdevId};
use crate::scsi::{self, BdevStatus, BlockIo, Command, Direction, LunView, Outcome, Sense, Step};
use crate::shared::Scratch;
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::component::Memory;
use wire::message::VringIndex;
use wire::scsi::{RESPONSE_SIZE, status};

/// INQUIRY, REPORT LUNS, REQUEST SENSE: not held up by a unit attention.
const NO_ATTENTION: [u8; 3] = [0x12, 0xa0, 0x03];

/// Where the process dies if a command's buffers have gone with the memory that they were in: for its data-in,
/// and for its data-out.
const NOWHERE_TO: &str = "spdk_scsi_task_scatter_data: the buffers are not in guest memory";
const NOWHERE_FROM: &str = "spdk_scsi_task_gather_data: the buffers are not in guest memory";

/// The memory of the session whose I/O ended last: counted once, not for each of its requests.
pub type Held = Option<((VdevId, SessionId), Memory)>;

/// A command for a LUN that is not there.
pub fn null_lun(vdev: &mut VdevThread<'_>, memory: &Memory, of: TaskRef) {
    let bugs = vdev.shared.bugs;
    if bugs.has(Bug::NullLunUnchecked) {
        let place = "process_scsi_task: the LUN is NULL (B50)";
        vdev.die("SIGSEGV", place);
        return;
    }
    let mut data_in = std::mem::take(&mut vdev.shared.scratch.data_in);
    data_in.clear();
    let settled = vdev.task(of).map_or(Ok(()), |task| {
        let outcome = scsi::null_lun(&command(task), &mut data_in, bugs);
        settle(task, outcome, memory, &data_in)
    });
    vdev.shared.scratch.data_in = data_in;
    match settled {
        Ok(()) => answer(vdev, memory, of),
        Err(Gone) => vdev.memory_gone(NOWHERE_TO),
    }
}

/// `spdk_scsi_lun_execute_task`: runs a task, or lets it wait behind others.
pub fn queue_task(vdev: &mut VdevThread<'_>, memory: &Memory, of: TaskRef, dev: DevHandle) {
    let starves = vdev.shared.bugs.has(Bug::ResetStarves);
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        null_lun(vdev, memory, of);
        return;
    };
    let held = !lun.resets.is_empty() || (lun.reset.is_some() && !starves);
    if held {
        lun.pending.push_back(of);
    } else {
        run_task(vdev, memory, of, dev);
    }
}

/// Runs the tasks that waited for resets. Those of a session that was stopped meanwhile end.
pub fn run_pending(vdev: &mut VdevThread<'_>, dev: DevHandle) {
    let next = |vdev: &mut VdevThread<'_>| vdev.shared.devs.lun(dev)?.pending.pop_front();
    while let Some(of) = next(vdev) {
        if vdev.shared.is_dead {
            return;
        }
        let Some(session) = vdev.own.session(of.session) else {
            continue;
        };
        if session.draining {
            ended_late(vdev, of);
        } else if let Some(memory) = session.memory.clone() {
            run_task(vdev, &memory, of, dev);
        }
    }
    lun_idle(vdev, dev);
}

/// A task ends that its session does not wait for any more: guest memory is not touched.
fn ended_late(vdev: &mut VdevThread<'_>, of: TaskRef) {
    if let Some(task) = vdev.task(of) {
        task.in_flight = false;
        task_gone(vdev, of);
    }
}

/// `_scsi_lun_execute_task`.
fn run_task(vdev: &mut VdevThread<'_>, memory: &Memory, of: TaskRef, dev: DevHandle) {
    let mut scratch = std::mem::take(&mut vdev.shared.scratch);
    scratch.data_in.clear();
    let step = begin_command(vdev, memory, of, dev, &mut scratch);
    match step {
        Some(Step::Done(outcome)) => {
            let task = vdev.task(of);
            let settled = task.map_or(Ok(()), |task| {
                settle(task, outcome, memory, &scratch.data_in)
            });
            match settled {
                Ok(()) => answer(vdev, memory, of),
                Err(Gone) => vdev.memory_gone(NOWHERE_TO),
            }
        }
        Some(Step::Io(io)) => submit(vdev, of, dev, io),
        Some(Step::NeedData) | None => {}
    }
    vdev.shared.scratch = scratch;
}

fn begin_command(
    vdev: &mut VdevThread<'_>,
    memory: &Memory,
    of: TaskRef,
    dev: DevHandle,
    scratch: &mut Scratch,
) -> Option<Step> {
    let bugs = vdev.shared.bugs;
    let task = vdev.own.session(of.session)?.task(of)?;
    let device = vdev.shared.devs.get_mut(dev)?;
    let lun = device.lun.as_mut()?;
    if lun.removed {
        return Some(Step::Done(Outcome::check(Sense::ABORTED)));
    }
    if lun.resizing && !NO_ATTENTION.contains(&task.cdb[0]) {
        lun.resizing = false;
        return Some(Step::Done(Outcome::check(Sense::CAPACITY_CHANGED)));
    }
    let Some(bdev) = vdev.shared.bdevs.get(lun.bdev) else {
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
    let Scratch { data_in, data_out } = scratch;
    let step = scsi::start(&command(task), None, &mut view, data_in, bugs);
    if !matches!(step, Step::NeedData) {
        return Some(step);
    }
    if let Err(Gone) = gather(task, memory, data_out) {
        vdev.memory_gone(NOWHERE_FROM);
        return None;
    }
    let step = scsi::start(&command(task), Some(data_out), &mut view, data_in, bugs);
    if matches!(step, Step::NeedData) {
        // It has all the data that there is.
        return Some(Step::Done(Outcome::check(Sense::NONE)));
    }
    Some(step)
}

fn submit(vdev: &mut VdevThread<'_>, of: TaskRef, dev: DevHandle, io: BlockIo) {
    let Some(lun) = vdev.shared.devs.lun(dev) else {
        return;
    };
    lun.outstanding += 1;
    let bdev = lun.bdev;
    let kind = kind(&io);
    if let Some(task) = vdev.task(of) {
        task.io = Some(io);
    }
    let request = Request {
        task: of,
        bdev,
        kind,
    };
    let bdevs = &mut vdev.shared.bdevs;
    bdevs.submit(vdev.cx.now, request, vdev.cx.rng);
}

/// A bdev has finished I/O other than a reset: the task ends (`bdev_scsi_task_complete_cmd`). `held` is the
/// memory of a session, and then that of this one.
pub fn io_done(vdev: &mut VdevThread<'_>, of: TaskRef, status: BdevStatus, held: &mut Held) {
    let bugs = vdev.shared.bugs;
    let Some(session) = vdev.own.session(of.session) else {
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
        if bugs.has(Bug::ResetCompletesInflight) {
            used_again(vdev, of);
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
        if status != BdevStatus::Success && bugs.has(Bug::StatusGoodEarly) {
            (task.status, task.sense, task.transferred) = (status::GOOD, None, length);
        }
    }
    if let Some(lun) = dev.and_then(|dev| vdev.shared.devs.lun(dev)) {
        lun.outstanding = lun.outstanding.saturating_sub(1);
    } else {
        let id = of.session.0;
        let text = format!("an I/O of session {id} ended on a LUN that is gone");
        vdev.cx.broken(CheckId::I3, text);
    }
    if unmapped {
        vdev.memory_gone("vhost_scsi_task_cpl: the session leaked and its memory is unmapped (N1)");
        return;
    }
    if late {
        ended_late(vdev, of);
    } else if let Some((_, memory)) = held {
        answer(vdev, memory, of);
    }
    if let Some(dev) = dev {
        lun_idle(vdev, dev);
    }
}

/// A task that was completed already is completed by its bdev (B64).
fn used_again(vdev: &mut VdevThread<'_>, of: TaskRef) {
    let Some(index) = vdev.own.session_index(of.session) else {
        return;
    };
    let session = &vdev.own.sessions[index];
    if session.has_ring(of.vring)
        && let Some(memory) = session.memory.clone()
    {
        let at = RingAt {
            session: index,
            vring: VringIndex(of.vring),
        };
        used(vdev, &memory, at, of.head, RESPONSE_SIZE);
    }
}

/// A task that waited ends with its LUN.
pub fn abort(vdev: &mut VdevThread<'_>, of: TaskRef) {
    let Some(session) = vdev.own.session(of.session) else {
        return;
    };
    if session.draining {
        ended_late(vdev, of);
        return;
    }
    let memory = session.memory.clone();
    if let Some(task) = session.task(of) {
        task.status = status::CHECK_CONDITION;
        task.sense = Some(Sense::ABORTED);
        task.transferred = 0;
    }
    if let Some(memory) = memory {
        answer(vdev, &memory, of);
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

/// Stores the outcome of a command, and its data-in as far as the buffers go. They may be gone by now: a
/// command waits behind resets while its front-end hands over other memory.
fn settle(task: &mut Task, outcome: Outcome, memory: &Memory, data_in: &[u8]) -> Result<(), Gone> {
    task.status = outcome.status;
    task.sense = outcome.sense;
    task.transferred = outcome.transferred;
    if task.to_device {
        return Ok(());
    }
    let mut left = data_in;
    for iov in &task.iovs {
        let (here, rest) = left.split_at(left.len().min(iov.len as usize));
        let wrote = memory.write_at(here, GuestAddress(iov.addr));
        wrote.map_err(|_| Gone)?;
        left = rest;
    }
    Ok(())
}

/// The data-out of a command; [`Gone`] as in [`settle`].
fn gather(task: &Task, memory: &Memory, data_out: &mut Vec<u8>) -> Result<(), Gone> {
    data_out.clear();
    for iov in &task.iovs {
        let from = data_out.len();
        data_out.resize(from + iov.len as usize, 0);
        let read = memory.read_at(&mut data_out[from..], GuestAddress(iov.addr));
        read.map_err(|_| Gone)?;
    }
    Ok(())
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
