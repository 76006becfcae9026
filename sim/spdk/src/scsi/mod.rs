//! SPDK's SCSI command layer (lib/scsi/scsi_bdev.c, scsi_pr.c): a CDB in, an outcome or a bdev I/O out.
//!
//! Pure functions. Knows no guest memory, queues, time or bdev contents; whether a LUN is removed,
//! resizing or busy is decided before it is asked (`lun.c`, in the target core).

mod block;
mod inquiry;
mod mode;
mod reply;
mod reservation;
mod sense;
#[cfg(test)]
mod tests;

pub use reservation::Reservation;
pub use sense::{BdevStatus, Sense, sense_bytes};

use reply::Reply;
use wire::bugs::{Bug, Bugs};
use wire::scsi::{CDB_SIZE, status};

/// Operation codes that SPDK knows (SPC-4, SBC-3).
pub mod opcode {
    #![expect(missing_docs, reason = "the names are those of SPC-4 and SBC-3")]
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SELECT_6: u8 = 0x15;
    pub const RESERVE_6: u8 = 0x16;
    pub const RELEASE_6: u8 = 0x17;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const RESERVE_10: u8 = 0x56;
    pub const RELEASE_10: u8 = 0x57;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
    pub const READ_16: u8 = 0x88;
    pub const COMPARE_AND_WRITE: u8 = 0x89;
    pub const WRITE_16: u8 = 0x8a;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const WRITE_SAME_16: u8 = 0x93;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
    pub const READ_12: u8 = 0xa8;
    pub const WRITE_12: u8 = 0xaa;
}

/// The most bytes that one command may move (`SPDK_WORK_BLOCK_SIZE`).
pub const TRANSFER_MAX: u32 = 4 << 20;

/// What the command layer sees of a LUN and of the bdev under it.
#[derive(Debug)]
pub struct LunView<'a> {
    /// The bdev's canonical name.
    pub bdev_name: &'a str,
    /// Its product name: "Malloc disk", "Split Disk", "NVMe disk".
    pub product: &'a str,
    pub block_size: u32,
    pub num_blocks: u64,
    /// Bytes per physical block; `block_size` where the bdev says nothing.
    pub physical_block_size: u32,
    /// Whether the bdev supports unmap.
    pub unmap: bool,
    /// Whether the bdev has a volatile write cache (the WCE bit; true for malloc and split).
    pub write_cache: bool,
    /// The SCSI device's name: "Target N".
    pub target: &'a str,
    /// The name of its port: "vhost".
    pub port: &'a str,
    /// Reservations of this LUN.
    pub reservation: &'a mut Reservation,
}

/// Which way the data descriptors go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The guest reads (also when there is no data at all).
    FromDev,
    ToDev,
}

/// A command as the request queue holds it.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    pub cdb: &'a [u8; CDB_SIZE],
    /// The direction of its data descriptors.
    pub direction: Direction,
    /// The length of all data descriptors together.
    pub transfer_len: u32,
    /// How many pieces of memory they are.
    pub iov_count: usize,
}

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is finished. Bytes for the guest, if any, are in `data_in`.
    Done(Outcome),
    /// The bdev has to work; [`finished`] turns its answer into an outcome.
    Io(BlockIo),
    /// Call [`start`] again with the bytes of the data descriptors, whichever their direction
    /// (at most [`TRANSFER_MAX`] are looked at). Nothing has changed yet.
    NeedData,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The SCSI status byte.
    pub status: u8,
    /// Sense data: 18 bytes are written when there is any, none when not.
    pub sense: Option<Sense>,
    /// `data_transferred`. May be above the buffer's length ([`Bug::ResidUnderflow`]).
    pub transferred: u32,
}

impl Outcome {
    pub const fn good(transferred: u32) -> Self {
        Self {
            status: status::GOOD,
            sense: None,
            transferred,
        }
    }

    /// CHECK CONDITION, with nothing transferred.
    pub const fn check(sense: Sense) -> Self {
        Self {
            status: status::CHECK_CONDITION,
            sense: Some(sense),
            transferred: 0,
        }
    }

    /// RESERVATION CONFLICT, with nothing transferred.
    pub const fn reservation_conflict() -> Self {
        Self {
            status: status::RESERVATION_CONFLICT,
            sense: None,
            transferred: 0,
        }
    }

    /// The response's residual: `transfer_len` − transferred, in 32 bits as SPDK computes it.
    pub const fn resid(&self, transfer_len: u32) -> u32 {
        transfer_len.wrapping_sub(self.transferred)
    }
}

/// Work for the bdev. Ranges are inside the bdev unless said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockIo {
    /// Read `blocks` (0 if there was no buffer) into the data descriptors.
    Read {
        lba: u64,
        blocks: u32,
    },
    /// Write the data descriptors.
    Write {
        lba: u64,
        blocks: u32,
    },
    Flush {
        lba: u64,
        blocks: u64,
    },
    /// Forget ranges, as one bdev I/O each, in this order; the command fails if one fails.
    Unmap(UnmapList),
    /// Write the one block in the data descriptors to each of `blocks` blocks, one I/O a block.
    WriteSame {
        lba: u64,
        blocks: u32,
    },
    /// If the block at `lba` equals the first half of the data descriptors, write the second half.
    CompareAndWrite {
        lba: u64,
    },
}

/// The ranges of an UNMAP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnmapList {
    /// (first block, blocks), none of them empty, all inside the bdev; at least one.
    pub ranges: Box<[(u64, u32)]>,
    /// A range behind these was refused by the bdev layer: the command fails even if these succeed.
    pub refused: bool,
}

/// Begins `command` on a LUN that exists and is not removed.
///
/// `data_out` is `None` on the first call, and the bytes of the data descriptors on the second,
/// which only [`Step::NeedData`] asks for. `data_in` is cleared, and holds at most
/// `command.transfer_len` bytes afterwards, none unless the outcome is GOOD; it is to be copied to
/// the guest only if the descriptors are writable ([`Direction::FromDev`]).
pub fn start(
    command: &Command,
    data_out: Option<&[u8]>,
    lun: &mut LunView,
    data_in: &mut Vec<u8>,
    bugs: Bugs,
) -> Step {
    data_in.clear();
    let c = command.cdb;
    match c[0] {
        opcode::READ_10 => block::read(command, lun, be32(c, 2).into(), be16(c, 7).into()),
        opcode::WRITE_10 => block::write(command, lun, be32(c, 2).into(), be16(c, 7).into()),
        opcode::READ_16 => block::read(command, lun, be64(c, 2), be32(c, 10)),
        opcode::WRITE_16 => block::write(command, lun, be64(c, 2), be32(c, 10)),
        opcode::READ_12 => block::read(command, lun, be32(c, 2).into(), be32(c, 6)),
        opcode::WRITE_12 => block::write(command, lun, be32(c, 2).into(), be32(c, 6)),
        opcode::READ_6 => block::read(command, lun, block::lba_6(c), block::blocks_6(c)),
        opcode::WRITE_6 => block::write(command, lun, block::lba_6(c), block::blocks_6(c)),
        opcode::SYNCHRONIZE_CACHE_10 => block::flush(lun, be32(c, 2).into(), be16(c, 7).into()),
        opcode::SYNCHRONIZE_CACHE_16 => block::flush(lun, be64(c, 2), be32(c, 10)),
        opcode::UNMAP => block::unmap(command, data_out, lun),
        opcode::WRITE_SAME_10 => {
            block::write_same(command, lun, be32(c, 2).into(), be16(c, 7).into())
        }
        opcode::WRITE_SAME_16 => block::write_same(command, lun, be64(c, 2), be32(c, 10)),
        opcode::COMPARE_AND_WRITE => block::compare_and_write(command, lun),
        _ => {
            let reply = &mut Reply::new(data_in, command.transfer_len, bugs);
            primary(command, data_out, lun, reply)
        }
    }
}

/// The commands that need no bdev I/O (`bdev_scsi_process_primary`, and the rest of
/// `bdev_scsi_process_block`).
fn primary(
    command: &Command,
    data_out: Option<&[u8]>,
    lun: &mut LunView,
    reply: &mut Reply,
) -> Step {
    let c = command.cdb;
    Step::Done(match c[0] {
        opcode::TEST_UNIT_READY | opcode::START_STOP_UNIT => Outcome::good(0),
        opcode::INQUIRY => inquiry::inquiry(c, lun, reply),
        opcode::REPORT_LUNS => report_luns(c, reply),
        opcode::REQUEST_SENSE => request_sense(c, reply),
        opcode::READ_CAPACITY_10 => block::read_capacity_10(lun, reply),
        opcode::SERVICE_ACTION_IN_16 if c[1] & 0x1f == block::READ_CAPACITY_16 => {
            block::read_capacity_16(c, lun, reply)
        }
        opcode::MODE_SENSE_6 | opcode::MODE_SENSE_10 => mode::sense(c, lun, reply),
        opcode::MODE_SELECT_6 => mode::select(c[4].into(), 4, command.transfer_len),
        opcode::MODE_SELECT_10 => mode::select(be16(c, 7).into(), 8, command.transfer_len),
        opcode::RESERVE_6 | opcode::RESERVE_10 => lun.reservation.reserve_spc2(c),
        opcode::RELEASE_6 | opcode::RELEASE_10 => lun.reservation.release_spc2(),
        opcode::PERSISTENT_RESERVE_IN => lun.reservation.persistent_in(c, reply),
        opcode::PERSISTENT_RESERVE_OUT => match lun.reservation.persistent_out(command, data_out) {
            Some(outcome) => outcome,
            None => return Step::NeedData,
        },
        _ => Outcome::check(Sense::INVALID_OPCODE),
    })
}

/// The outcome of a command whose bdev I/O has ended.
///
/// With `BdevStatus::Refused` (submission failed), nothing was transferred.
pub fn finished(io: &BlockIo, transfer_len: u32, status: BdevStatus) -> Outcome {
    let ended = status.outcome();
    // data_transferred is set when a read or write was accepted, whatever comes of it; UNMAP and
    // SYNCHRONIZE CACHE never set it (T-B19, T-B26).
    let moves = match io {
        BlockIo::Read { .. }
        | BlockIo::Write { .. }
        | BlockIo::WriteSame { .. }
        | BlockIo::CompareAndWrite { .. } => status != BdevStatus::Refused,
        BlockIo::Flush { .. } => false,
        BlockIo::Unmap(list) => {
            let failed = list.refused || status != BdevStatus::Success;
            return if failed {
                Outcome::check(Sense::NONE)
            } else {
                Outcome::good(0)
            };
        }
    };
    Outcome {
        transferred: if moves { transfer_len } else { 0 },
        ..ended
    }
}

/// The answer for a LUN that is not there (`spdk_scsi_task_process_null_lun`): a target that is
/// being or has been removed, a LUN other than 0, or one whose bdev is going.
pub fn null_lun(command: &Command, data_in: &mut Vec<u8>, bugs: Bugs) -> Outcome {
    const LEN: u32 = 36;
    data_in.clear();
    if command.cdb[0] != opcode::INQUIRY {
        return Outcome::check(Sense::LUN_NOT_SUPPORTED);
    }
    let copied = LEN.min(be16(command.cdb, 3).into());
    if command.transfer_len < copied {
        return Outcome::check(Sense::INVALID_FIELD);
    }
    data_in.resize(copied as usize, 0);
    // Peripheral qualifier 3, type 1F: not capable of having a device here (SPC-4 6.4.2).
    for (at, byte) in [(0, 0x7f), (4, (LEN - 5) as u8)] {
        if let Some(place) = data_in.get_mut(at) {
            *place = byte;
        }
    }
    if bugs.has(Bug::ResidUnderflow) {
        Outcome::good(LEN)
    } else {
        Outcome::good(copied)
    }
}

/// REPORT LUNS: LUN 0 alone, as vhost makes no other.
fn report_luns(c: &[u8; CDB_SIZE], reply: &mut Reply) -> Outcome {
    let allocation = be32(c, 6);
    if allocation < 16 {
        return Outcome::check(Sense::INVALID_FIELD);
    }
    if c[2] > 2 {
        return Outcome::check(Sense::NONE);
    }
    reply.bytes(&[0, 0, 0, 8, 0, 0, 0, 0]);
    reply.zeroes(8);
    reply.send(allocation)
}

/// REQUEST SENSE: there is never anything to report. With DESC the refusal is overwritten by GOOD.
fn request_sense(c: &[u8; CDB_SIZE], reply: &mut Reply) -> Outcome {
    if c[1] & 1 != 0 {
        return Outcome::good(0);
    }
    reply.bytes(&sense_bytes(Sense::NONE));
    reply.send(c[4].into())
}

fn be16(c: &[u8; CDB_SIZE], at: usize) -> u16 {
    u16::from_be_bytes([c[at], c[at + 1]])
}

fn be32(c: &[u8; CDB_SIZE], at: usize) -> u32 {
    u32::from_be_bytes([c[at], c[at + 1], c[at + 2], c[at + 3]])
}

fn be64(c: &[u8; CDB_SIZE], at: usize) -> u64 {
    u64::from(be32(c, at)) << 32 | u64::from(be32(c, at + 4))
}
