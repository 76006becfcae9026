//! Moving data: between guest memory and the devices, when an I/O is due.
//!
//! Knows what a block operation does to bytes, not why; what the task's end is answered stands in
//! `execute` and `requestq`.

use vm_memory::GuestAddress;

use super::bdev::io::{Ended, IoKind};
use super::bdev::store::{PAGE, StoreId, Stores, each_page};
use super::chain::Iov;
use super::execute::Held;
use super::scsi::{BdevStatus, BlockIo};
use super::turn::TargetTurn;
use super::{Out, Target};
use wire::access::Access as _;
use wire::bugs::Bug;
use wire::component::GuestMemory;

/// Guest memory was not where it should be.
struct Gone;

impl Target {
    /// Everything that the devices have finished by now: the data move, the tasks end, the driver is
    /// called.
    ///
    /// # Divergence from SPDK
    ///
    /// There, each controller's thread polls the devices for itself, and calls the driver in the run of
    /// its poller after that.
    pub fn bdev_turn(&mut self, cx: &mut Out<'_>) -> TargetTurn {
        let mut ios = 0;
        let mut vdevs = 0_u64;
        // The memory of the session whose I/O ended last: counted once, not for each of its requests.
        let mut held = Held::None;
        while let Some(ended) = self.bdevs.engine.pop(cx.now) {
            ios += 1;
            vdevs |= 1 << ended.task.vdev;
            self.end_io(cx, ended, &mut held);
            if self.dead {
                return TargetTurn::BdevDone { ios };
            }
        }
        while vdevs != 0 {
            let vdev = vdevs.trailing_zeros() as usize;
            vdevs &= vdevs - 1;
            let is_due = self.signal_all(cx, vdev);
            if is_due && let Some(ctl) = self.ctl[vdev].as_mut() {
                // The driver wants no call now: the poller looks once more.
                ctl.poll_at = ctl.poll_at.min(cx.now);
            }
            self.touch_vdev(vdev);
        }
        TargetTurn::BdevDone { ios }
    }

    fn end_io(&mut self, cx: &mut Out<'_>, mut ended: Ended, held: &mut Held) {
        if ended.kind == IoKind::Read && self.dev.has(Bug::SharedCursor) {
            let before = std::mem::replace(&mut self.cursor, ended.store);
            ended.store = before.or(ended.store);
        }
        let Self { ctl, bdevs, .. } = self;
        let vdev = usize::from(ended.task.vdev);
        let Some(ctl) = ctl[vdev].as_mut() else {
            cx.broken(
                scenarios::CheckId::I3,
                "an I/O ended on a controller that is gone".to_owned(),
            );
            return;
        };
        let poll_at = ctl.poll_at;
        let mut status = ended.status;
        let session = ctl.session(ended.task.session);
        if let Some(session) = session
            && ended.kind != IoKind::Reset
            && status == BdevStatus::Success
        {
            if session.unmapped {
                self.memory_gone(
                    cx,
                    "accel copy: the session leaked and its memory is unmapped (N1)",
                );
                return;
            }
            let late = session.draining;
            if !late && let Some((task, Some(memory))) = session.task_and_memory(ended.task) {
                match carry_out(
                    memory,
                    &task.iovs,
                    task.io.as_ref(),
                    &ended,
                    &mut bdevs.stores,
                    &mut self.data_out,
                ) {
                    Ok(outcome) => status = outcome,
                    Err(Gone) => {
                        self.memory_gone(cx, "accel copy: payload is not in guest memory");
                        return;
                    }
                }
            }
        }
        self.io_done(cx, ended.task, ended.kind, status, held);
        // The driver is called at the end of this turn: that needs no poll of its own.
        if let Some(ctl) = self.ctl[vdev].as_mut() {
            ctl.poll_at = poll_at;
        }
    }
}

fn carry_out(
    memory: &GuestMemory,
    iovs: &[Iov],
    io: Option<&BlockIo>,
    ended: &Ended,
    stores: &mut Stores,
    scratch: &mut Vec<u8>,
) -> Result<BdevStatus, Gone> {
    let (Some(io), Some(store)) = (io, ended.store) else {
        return Ok(BdevStatus::Success);
    };
    let block = u64::from(ended.block_size);
    let at = |lba: u64| ended.origin.saturating_add(lba.saturating_mul(block));
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    match io {
        BlockIo::Read { lba, blocks } => {
            read(
                memory,
                iovs,
                stores,
                store,
                at(*lba),
                bytes(u64::from(*blocks)),
            )?;
            if let Some((offset, value)) = ended.corrupt {
                spoil(memory, iovs, offset, value)?;
            }
        }
        BlockIo::Write { lba, blocks } => {
            write(
                memory,
                iovs,
                stores,
                store,
                at(*lba),
                bytes(u64::from(*blocks)),
            )?;
            if let Some((offset, value)) = ended.corrupt
                && offset < bytes(u64::from(*blocks))
            {
                stores.write(store, at(*lba) + offset, &[value]);
            }
        }
        BlockIo::Flush { .. } => {}
        BlockIo::Unmap(list) => {
            for (lba, blocks) in &list.ranges {
                stores.zero(store, at(*lba), bytes(u64::from(*blocks)));
            }
        }
        BlockIo::WriteSame { lba, blocks } => {
            gather(memory, iovs, block, scratch)?;
            for n in 0..u64::from(*blocks) {
                stores.write(store, at(lba.saturating_add(n)), scratch);
            }
        }
        BlockIo::CompareAndWrite { lba } => {
            let len = block;
            gather(memory, iovs, 2 * len, scratch)?;
            let (old, new) = scratch.split_at(scratch.len() / 2);
            let mut there = vec![0; old.len()];
            stores.read(store, at(*lba), &mut there);
            if there != old {
                return Ok(BdevStatus::Miscompare);
            }
            stores.write(store, at(*lba), new);
        }
    }
    Ok(BdevStatus::Success)
}

/// From the device's pages into guest memory.
fn read(
    memory: &GuestMemory,
    iovs: &[Iov],
    stores: &mut Stores,
    store: StoreId,
    mut at: u64,
    mut left: u64,
) -> Result<(), Gone> {
    let mut gone = false;
    for iov in iovs {
        let len = left.min(u64::from(iov.len));
        each_page(at, len as usize, |number, offset, from, count| {
            let page = &stores.page(store, number)[offset..offset + count];
            let to = GuestAddress(iov.addr + from as u64);
            gone |= memory.write_at(page, to).is_err();
        });
        at += len;
        left -= len;
    }
    if gone { Err(Gone) } else { Ok(()) }
}

/// From guest memory into the device's pages.
fn write(
    memory: &GuestMemory,
    iovs: &[Iov],
    stores: &mut Stores,
    store: StoreId,
    mut at: u64,
    mut left: u64,
) -> Result<(), Gone> {
    let mut gone = false;
    for iov in iovs {
        let len = left.min(u64::from(iov.len));
        each_page(at, len as usize, |number, offset, from, count| {
            let source = GuestAddress(iov.addr + from as u64);
            let copy = |page: &mut [u8]| memory.read_at(page, source);
            let copied = if count == PAGE {
                stores.put(store, number, |page| copy(page))
            } else {
                copy(&mut stores.page_mut(store, number)[offset..offset + count])
            };
            gone |= copied.is_err();
        });
        at += len;
        left -= len;
    }
    if gone { Err(Gone) } else { Ok(()) }
}

fn gather(memory: &GuestMemory, iovs: &[Iov], len: u64, scratch: &mut Vec<u8>) -> Result<(), Gone> {
    scratch.clear();
    for iov in iovs {
        let from = scratch.len();
        let count = (len - from as u64).min(u64::from(iov.len));
        scratch.resize(from + count as usize, 0);
        memory
            .read_at(&mut scratch[from..], GuestAddress(iov.addr))
            .map_err(|_| Gone)?;
    }
    Ok(())
}

fn spoil(memory: &GuestMemory, iovs: &[Iov], offset: u64, value: u8) -> Result<(), Gone> {
    let mut left = offset;
    for iov in iovs {
        if left < u64::from(iov.len) {
            let at = GuestAddress(iov.addr + left);
            return memory.write_at(&[value], at).map_err(|_| Gone);
        }
        left -= u64::from(iov.len);
    }
    Ok(())
}
