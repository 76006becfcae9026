//! Moving data: between guest memory and the devices, when an I/O is due.
//!
//! Knows what a block operation does to bytes, not why; what the task's end is answered stands in
//! `execute` and `answer`.

use vm_memory::GuestAddress;

use super::chain::Iov;
use super::execute::{Held, io_done};
use super::reset::bdev_reset_done;
use super::task::Gone;
use super::thread::VdevThread;
use crate::bdev::io::{Ended, IoKind};
use crate::bdev::store::{PAGE, StoreId, Stores, each_page};
use crate::scsi::{BdevStatus, BlockIo};
use wire::access::Access as _;
use wire::component::GuestMemory;

/// Where a request's data are in guest memory.
#[derive(Clone, Copy)]
struct Payload<'a> {
    memory: &'a GuestMemory,
    iovs: &'a [Iov],
}

/// A range of a device, in bytes.
#[derive(Clone, Copy)]
struct Range {
    store: StoreId,
    at: u64,
    len: u64,
}

/// A bdev has finished I/O: the data move, the task ends.
pub fn end_io(vdev: &mut VdevThread<'_>, ended: &Ended, held: &mut Held) {
    // The driver is called at the end of this turn: that needs no poll of its own.
    let poll_at = vdev.own.poll_at;
    if ended.kind == IoKind::Reset {
        bdev_reset_done(vdev, ended.task);
    } else if let Some(status) = move_data(vdev, ended) {
        io_done(vdev, ended.task, status, held);
    } else {
        return;
    }
    vdev.own.poll_at = poll_at;
}

/// How the I/O ends once its data are moved; `None` if that killed the process.
fn move_data(vdev: &mut VdevThread<'_>, ended: &Ended) -> Option<BdevStatus> {
    let status = ended.status;
    if status != BdevStatus::Success {
        return Some(status);
    }
    let Some(session) = vdev.own.session(ended.task.session) else {
        return Some(status);
    };
    if session.unmapped {
        let place = "accel copy: the session leaked and its memory is unmapped (N1)";
        vdev.memory_gone(place);
        return None;
    }
    if session.draining {
        return Some(status);
    }
    let Some((task, Some(memory))) = session.task_and_memory(ended.task) else {
        return Some(status);
    };
    let Some(io) = &task.io else {
        return Some(status);
    };
    let payload = Payload {
        memory,
        iovs: &task.iovs,
    };
    let stores = &mut vdev.shared.bdevs.stores;
    let scratch = &mut vdev.shared.scratch.data_out;
    let carried = carry_out(payload, io, ended, stores, scratch);
    match carried {
        Ok(status) => Some(status),
        Err(Gone) => {
            vdev.memory_gone("accel copy: payload is not in guest memory");
            None
        }
    }
}

fn carry_out(
    payload: Payload<'_>,
    io: &BlockIo,
    ended: &Ended,
    stores: &mut Stores,
    scratch: &mut Vec<u8>,
) -> Result<BdevStatus, Gone> {
    let Some(store) = ended.store else {
        return Ok(BdevStatus::Success);
    };
    let block = u64::from(ended.block_size);
    let at = |lba: u64| ended.origin.saturating_add(lba.saturating_mul(block));
    let range = |lba: u64, blocks: u64| Range {
        store,
        at: at(lba),
        len: blocks.saturating_mul(block),
    };
    match io {
        BlockIo::Read { lba, blocks } => {
            read(payload, stores, range(*lba, u64::from(*blocks)))?;
            if let Some((offset, value)) = ended.corrupt {
                spoil(payload, offset, value)?;
            }
        }
        BlockIo::Write { lba, blocks } => {
            let range = range(*lba, u64::from(*blocks));
            write(payload, stores, range)?;
            if let Some((offset, value)) = ended.corrupt
                && offset < range.len
            {
                stores.write(store, range.at + offset, &[value]);
            }
        }
        BlockIo::Flush { .. } => {}
        BlockIo::Unmap(list) => {
            for (lba, blocks) in &list.ranges {
                let Range { at, len, .. } = range(*lba, u64::from(*blocks));
                stores.zero(store, at, len);
            }
        }
        BlockIo::WriteSame { lba, blocks } => {
            gather(payload, block, scratch)?;
            for n in 0..u64::from(*blocks) {
                stores.write(store, at(lba.saturating_add(n)), scratch);
            }
        }
        BlockIo::CompareAndWrite { lba } => {
            gather(payload, 2 * block, scratch)?;
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
fn read(payload: Payload<'_>, stores: &mut Stores, mut range: Range) -> Result<(), Gone> {
    let mut gone = false;
    for iov in payload.iovs {
        let len = range.len.min(u64::from(iov.len));
        each_page(range.at, len as usize, |number, offset, from, count| {
            let page = &stores.page(range.store, number)[offset..offset + count];
            let to = GuestAddress(iov.addr + from as u64);
            gone |= payload.memory.write_at(page, to).is_err();
        });
        range.at += len;
        range.len -= len;
    }
    if gone { Err(Gone) } else { Ok(()) }
}

/// From guest memory into the device's pages.
fn write(payload: Payload<'_>, stores: &mut Stores, mut range: Range) -> Result<(), Gone> {
    let mut gone = false;
    for iov in payload.iovs {
        let len = range.len.min(u64::from(iov.len));
        each_page(range.at, len as usize, |number, offset, from, count| {
            let source = GuestAddress(iov.addr + from as u64);
            let copy = |page: &mut [u8]| payload.memory.read_at(page, source);
            let copied = if count == PAGE {
                stores.put(range.store, number, |page| copy(page))
            } else {
                copy(&mut stores.page_mut(range.store, number)[offset..offset + count])
            };
            gone |= copied.is_err();
        });
        range.at += len;
        range.len -= len;
    }
    if gone { Err(Gone) } else { Ok(()) }
}

fn gather(payload: Payload<'_>, len: u64, scratch: &mut Vec<u8>) -> Result<(), Gone> {
    scratch.clear();
    for iov in payload.iovs {
        let from = scratch.len();
        let count = (len - from as u64).min(u64::from(iov.len));
        scratch.resize(from + count as usize, 0);
        let read = payload
            .memory
            .read_at(&mut scratch[from..], GuestAddress(iov.addr));
        read.map_err(|_| Gone)?;
    }
    Ok(())
}

fn spoil(payload: Payload<'_>, offset: u64, value: u8) -> Result<(), Gone> {
    let mut left = offset;
    for iov in payload.iovs {
        if left < u64::from(iov.len) {
            let at = GuestAddress(iov.addr + left);
            return payload.memory.write_at(&[value], at).map_err(|_| Gone);
        }
        left -= u64::from(iov.len);
    }
    Ok(())
}
