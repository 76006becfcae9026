//! Block commands (SBC-3; `bdev_scsi_process_block`): which range of the bdev a CDB means.
//!
//! Knows no data but UNMAP's parameter list.

use wire::scsi::CDB_SIZE;

use super::inquiry::UNMAP_RANGES_MAX;
use super::reply::Reply;
use super::{BlockIo, Command, Direction, LunView, Outcome, Sense, Step, TRANSFER_MAX, UnmapList};
use super::{be32, be64};

/// The service action of READ CAPACITY(16).
pub(super) const READ_CAPACITY_16: u8 = 0x10;
/// The header of an UNMAP parameter list.
const UNMAP_HEADER: usize = 8;
/// A range in an UNMAP parameter list.
const UNMAP_RANGE: usize = 16;

/// READ. The descriptors, not the CDB, decide how many blocks move.
pub(super) fn read(command: &Command, lun: &LunView, lba: u64, blocks: u32) -> Step {
    match range(command, lun, Direction::FromDev, lba, blocks) {
        Ok(blocks) => Step::Io(BlockIo::Read { lba, blocks }),
        Err(outcome) => Step::Done(outcome),
    }
}

/// WRITE. As [`read`], but the descriptors must hold at least what the CDB says.
pub(super) fn write(command: &Command, lun: &LunView, lba: u64, blocks: u32) -> Step {
    match range(command, lun, Direction::ToDev, lba, blocks) {
        Ok(blocks) => Step::Io(BlockIo::Write { lba, blocks }),
        Err(outcome) => Step::Done(outcome),
    }
}

/// The checks of `bdev_scsi_readwrite`, in its order; then those of the bdev layer, whose refusal
/// of a length or range is CHECK CONDITION 00/00/00.
fn range(
    command: &Command,
    lun: &LunView,
    direction: Direction,
    lba: u64,
    blocks: u32,
) -> Result<u32, Outcome> {
    if command.direction != direction {
        return Err(Outcome::check(Sense::NONE));
    }
    if lun.num_blocks <= lba || lun.num_blocks - lba < blocks.into() {
        return Err(Outcome::check(Sense::LBA_OUT_OF_RANGE));
    }
    if blocks == 0 {
        return Err(Outcome::good(0));
    }
    let block_size = lun.block_size.max(1);
    if blocks > TRANSFER_MAX / block_size {
        return Err(Outcome::check(Sense::INVALID_FIELD));
    }
    let short = u64::from(blocks) * u64::from(block_size) > command.transfer_len.into();
    if direction == Direction::ToDev && short {
        return Err(Outcome::check(Sense::NONE));
    }
    let moved = command.transfer_len / block_size;
    if !command.transfer_len.is_multiple_of(block_size) || lun.num_blocks - lba < moved.into() {
        return Err(Outcome::check(Sense::NONE));
    }
    Ok(moved)
}

/// The 21-bit block address of a 6-byte CDB.
pub(super) fn lba_6(c: &[u8; CDB_SIZE]) -> u64 {
    u64::from(c[1] & 0x1f) << 16 | u64::from(c[2]) << 8 | u64::from(c[3])
}

/// The length of a 6-byte CDB, where 0 is 256.
pub(super) fn blocks_6(c: &[u8; CDB_SIZE]) -> u32 {
    if c[4] == 0 { 256 } else { c[4].into() }
}

/// SYNCHRONIZE CACHE: no blocks means up to the end.
pub(super) fn flush(lun: &LunView, lba: u64, blocks: u32) -> Step {
    let blocks = match blocks {
        0 => lun.num_blocks.wrapping_sub(lba),
        some => some.into(),
    };
    if blocks == 0 {
        return Step::Done(Outcome::good(0));
    }
    if lba
        .checked_add(blocks)
        .is_none_or(|end| end > lun.num_blocks)
    {
        return Step::Done(Outcome::check(Sense::NONE));
    }
    Step::Io(BlockIo::Flush { lba, blocks })
}

/// UNMAP (`bdev_scsi_unmap`): ranges are handed on one by one until the bdev layer refuses one.
pub(super) fn unmap(command: &Command, data_out: Option<&[u8]>, lun: &LunView) -> Step {
    if command.transfer_len < UNMAP_HEADER as u32 {
        return Step::Done(Outcome::check(Sense::INVALID_FIELD));
    }
    let Some(list) = data_out else {
        return Step::NeedData;
    };
    let Some(descriptors) = unmap_descriptors(list) else {
        return Step::Done(Outcome::check(Sense::INVALID_FIELD));
    };
    let (descriptors, _) = descriptors.as_chunks::<UNMAP_RANGE>();
    let mut ranges = Vec::new();
    let mut refused = false;
    for d in descriptors {
        let lba = u64::from_be_bytes([d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]);
        let blocks = u32::from_be_bytes([d[8], d[9], d[10], d[11]]);
        if blocks == 0 {
            continue;
        }
        let end = lba.checked_add(blocks.into());
        if !lun.unmap || end.is_none_or(|end| end > lun.num_blocks) {
            refused = true;
            break;
        }
        ranges.push((lba, blocks));
    }
    if ranges.is_empty() {
        return Step::Done(if refused {
            Outcome::check(Sense::NONE)
        } else {
            Outcome::good(0)
        });
    }
    let ranges = ranges.into_boxed_slice();
    Step::Io(BlockIo::Unmap(UnmapList { ranges, refused }))
}

/// The descriptors in an UNMAP parameter list, if its lengths hold. A last one that is not whole is
/// ignored.
fn unmap_descriptors(list: &[u8]) -> Option<&[u8]> {
    let header = list.first_chunk::<UNMAP_HEADER>()?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if len > UNMAP_RANGES_MAX as usize * UNMAP_RANGE {
        return None;
    }
    list.get(UNMAP_HEADER..UNMAP_HEADER + len)
}

/// WRITE SAME(10) and (16): exactly one block of payload, also with NDOB; UNMAP is not looked at.
pub(super) fn write_same(command: &Command, lun: &LunView, lba: u64, blocks: u32) -> Step {
    let done = |outcome| Step::Done(outcome);
    if command.direction != Direction::ToDev {
        return done(Outcome::check(Sense::NONE));
    }
    if lun.num_blocks <= lba || lun.num_blocks - lba < blocks.into() {
        return done(Outcome::check(Sense::LBA_OUT_OF_RANGE));
    }
    if blocks == 0 {
        return done(Outcome::good(0));
    }
    if blocks > TRANSFER_MAX / lun.block_size.max(1) {
        return done(Outcome::check(Sense::INVALID_FIELD));
    }
    if command.transfer_len != lun.block_size {
        return done(Outcome::check(Sense::NONE));
    }
    Step::Io(BlockIo::WriteSame { lba, blocks })
}

/// COMPARE AND WRITE: one block, both halves in one piece of memory.
///
/// The order of these checks is not fixed by any source; each alone is.
pub(super) fn compare_and_write(command: &Command, lun: &LunView) -> Step {
    let c = command.cdb;
    let (lba, blocks) = (be64(c, 2), u64::from(c[13]));
    let done = |outcome| Step::Done(outcome);
    if command.direction != Direction::ToDev {
        return done(Outcome::check(Sense::NONE));
    }
    // WRPROTECT, DPO, FUA.
    if c[1] & 0xf8 != 0 {
        return done(Outcome::check(Sense::INVALID_FIELD));
    }
    if lun.num_blocks <= lba || lun.num_blocks - lba < blocks {
        return done(Outcome::check(Sense::LBA_OUT_OF_RANGE));
    }
    if blocks == 0 {
        return done(Outcome::good(0));
    }
    let both = u64::from(lun.block_size) * 2;
    if blocks != 1 || command.iov_count != 1 || u64::from(command.transfer_len) != both {
        return done(Outcome::check(Sense::INVALID_FIELD));
    }
    Step::Io(BlockIo::CompareAndWrite { lba })
}

pub(super) fn read_capacity_10(lun: &LunView, reply: &mut Reply) -> Outcome {
    let last = lun.num_blocks.saturating_sub(1);
    reply.bytes(&u32::try_from(last).unwrap_or(u32::MAX).to_be_bytes());
    reply.bytes(&lun.block_size.to_be_bytes());
    reply.send_fitting()
}

pub(super) fn read_capacity_16(c: &[u8; CDB_SIZE], lun: &LunView, reply: &mut Reply) -> Outcome {
    reply.bytes(&lun.num_blocks.saturating_sub(1).to_be_bytes());
    reply.bytes(&lun.block_size.to_be_bytes());
    let per_physical = lun.physical_block_size / lun.block_size.max(1);
    // Logical blocks per physical block exponent; then LBPME.
    let exponent = per_physical.checked_ilog2().unwrap_or(0) as u8;
    reply.bytes(&[0, exponent, u8::from(lun.unmap) << 7, 0]);
    reply.zeroes(16);
    reply.send_or_refuse(be32(c, 10))
}
