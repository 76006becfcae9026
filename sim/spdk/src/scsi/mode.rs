//! MODE SENSE and MODE SELECT (SPC-4 6.9, 7.5; `bdev_scsi_mode_sense_page`).
//!
//! All pages are zero but for the caching page's WCE and RCD; what is selected is ignored.

use wire::scsi::CDB_SIZE;

use super::reply::Reply;
use super::{LunView, Outcome, Sense, be16, opcode};

/// Pages without subpages: code and length.
const PAGES: [(u8, u8); 8] = [
    (0x01, 0x0a),
    (0x02, 0x0e),
    (0x07, 0x0a),
    (0x08, 0x12),
    (0x0a, 0x0a),
    (0x10, 0x16),
    (0x1a, 0x0a),
    (0x1c, 0x0a),
];
const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const ALL: u8 = 0x3f;
/// Page control: which values of a page are asked for.
const CHANGEABLE: u8 = 1;
const SAVED: u8 = 3;

pub(super) fn sense(c: &[u8; CDB_SIZE], lun: &LunView, reply: &mut Reply) -> Outcome {
    let ten = c[0] == opcode::MODE_SENSE_10;
    let (control, page, subpage) = (c[2] >> 6, c[2] & 0x3f, c[3]);
    if control == SAVED {
        return Outcome::check(Sense::SAVING_NOT_SUPPORTED);
    }
    let no_block_descriptor = c[1] & 0x08 != 0;
    let long_lba = ten && c[1] & 0x10 != 0;
    let descriptor_len = match (no_block_descriptor, long_lba) {
        (true, _) => 0,
        (_, true) => 16,
        (_, false) => 8,
    };
    if ten {
        let flags = u8::from(long_lba && !no_block_descriptor);
        reply.bytes(&[0, 0, 0, 0, flags, 0, 0, descriptor_len]);
    } else {
        reply.bytes(&[0, 0, 0, descriptor_len]);
    }
    match descriptor_len {
        8 => {
            let blocks = u32::try_from(lun.num_blocks).unwrap_or(u32::MAX);
            reply.bytes(&blocks.to_be_bytes());
            reply.bytes(&[0]);
            reply.bytes(&lun.block_size.to_be_bytes()[1..]);
        }
        16 => {
            reply.bytes(&lun.num_blocks.to_be_bytes());
            reply.zeroes(4);
            reply.bytes(&lun.block_size.to_be_bytes());
        }
        _ => {}
    }
    pages(control, page, subpage, lun, reply);
    if ten {
        reply.set_len16(0);
        reply.send(be16(c, 7).into())
    } else {
        let behind = (reply.len() - 1) as u8;
        reply.set(0, &[behind]);
        reply.send(c[4].into())
    }
}

/// Appends `page` and `subpage`, or what stands for all of them. Unknown ones are left out.
fn pages(control: u8, page: u8, subpage: u8, lun: &LunView, reply: &mut Reply) {
    let one = PAGES
        .iter()
        .filter(|(code, _)| page == ALL || page == *code);
    match subpage {
        0x00 => one.for_each(|p| plain(control, *p, lun, reply)),
        0x01 if page == CONTROL => control_extension(reply),
        0xff => {
            // "All subpages" of a page means something for the control page alone.
            if page == ALL {
                one.for_each(|p| plain(control, *p, lun, reply));
            }
            if page == ALL || page == CONTROL {
                plain(control, (CONTROL, 0x0a), lun, reply);
                control_extension(reply);
            }
        }
        _ => {}
    }
}

fn plain(control: u8, (code, len): (u8, u8), lun: &LunView, reply: &mut Reply) {
    reply.bytes(&[code, len]);
    let mut rest = usize::from(len);
    if code == CACHING && control != CHANGEABLE {
        // WCE as the bdev has it, and RCD.
        reply.bytes(&[u8::from(lun.write_cache) << 2 | 1]);
        rest -= 1;
    }
    reply.zeroes(rest);
}

fn control_extension(reply: &mut Reply) {
    reply.bytes(&[0x40 | CONTROL, 1, 0, 0x1c]);
    reply.zeroes(0x1c);
}

/// MODE SELECT: a list that is there and long enough is taken and ignored.
pub(super) fn select(list_len: u32, header_len: u32, transfer_len: u32) -> Outcome {
    if list_len == 0 {
        return Outcome::good(0);
    }
    if list_len < header_len || transfer_len < list_len {
        return Outcome::check(Sense::INVALID_FIELD);
    }
    Outcome::good(list_len)
}
