//! INQUIRY: standard data and vital product data pages (SPC-4 6.4, 7.8; `bdev_scsi_inquiry`).
//!
//! Layouts are the standard's; which fields are set is as recorded (T-B01 to T-B04).

use wire::scsi::CDB_SIZE;

use super::reply::Reply;
use super::{LunView, Outcome, Sense, TRANSFER_MAX, be16};

/// The longest serial number, with the NUL at its end.
const SERIAL_MAX: usize = 32;
/// The most bytes of a COMPARE AND WRITE, as announced.
const COMPARE_MAX: u32 = 1 << 20;
/// The most blocks in one range of an UNMAP, as announced.
const UNMAP_BLOCKS_MAX: u32 = 4 << 20;
/// The most ranges of an UNMAP.
pub(super) const UNMAP_RANGES_MAX: u32 = 256;
/// IEEE company id of Intel in the NAA identifier.
const COMPANY: u64 = 0x00_0347;

/// Pages of every LUN; B2 joins them if the bdev can unmap.
const PAGES: [u8; 9] = [0x00, 0x80, 0x83, 0x85, 0x86, 0x87, 0x88, 0xb0, 0xb1];

pub(super) fn inquiry(c: &[u8; CDB_SIZE], lun: &LunView, reply: &mut Reply) -> Outcome {
    let page = c[2];
    if c[1] & 1 == 0 {
        if page != 0 {
            return Outcome::check(Sense::INVALID_FIELD);
        }
        standard(lun, reply);
    } else {
        reply.bytes(&[0, page, 0, 0]);
        match page {
            0x00 => {
                reply.bytes(&PAGES);
                if lun.unmap {
                    reply.bytes(&[0xb2]);
                }
            }
            0x80 => serial_number(lun, reply),
            0x83 => identification(lun, reply),
            0x85 => {}
            // Extended inquiry data: SIMPSUP and HEADSUP.
            0x86 => {
                reply.bytes(&[0, 0x05]);
                reply.zeroes(58);
            }
            // Mode page policy: all pages and subpages, shared.
            0x87 => reply.bytes(&[0x3f, 0xff, 0, 0]),
            0x88 => ports(lun, reply),
            0xb0 => block_limits(lun, reply),
            // Block device characteristics: no rotation; byte 7 is not a nominal form factor.
            0xb1 => {
                reply.bytes(&[0, 1, 0, 0x20]);
                reply.zeroes(56);
            }
            // Logical block provisioning: LBPU, thin.
            0xb2 if lun.unmap => reply.bytes(&[0, 0x80, 0x02, 0, 0, 0, 0]),
            _ => {
                reply.cut(0);
                return Outcome::check(Sense::NONE);
            }
        }
        reply.set_len16(2);
    }
    reply.send(be16(c, 3).into())
}

/// 96 bytes, whatever the allocation length: SPC-3, HISUP, MULTIP, CMDQUE.
fn standard(lun: &LunView, reply: &mut Reply) {
    reply.bytes(&[0, 0, 0x05, 0x12, 96 - 5, 0, 0x10, 0x02]);
    reply.padded("INTEL", 8);
    reply.padded(lun.product, 16);
    reply.padded("0001", 4);
    reply.padded("", 20);
    reply.zeroes(2);
    // Version descriptors: iSCSI, SPC-3, SBC-2, SAM-2.
    reply.bytes(&[0x09, 0x60, 0x03, 0x00, 0x03, 0x20, 0x00, 0x40]);
    reply.zeroes(30);
}

/// The bdev's name and a NUL.
fn serial_number(lun: &LunView, reply: &mut Reply) {
    let name = lun.bdev_name.as_bytes();
    reply.bytes(&name[..name.len().min(SERIAL_MAX - 1)]);
    reply.zeroes(1);
}

/// Device identification: seven designators.
fn identification(lun: &LunView, reply: &mut Reply) {
    // LUN: NAA IEEE extended.
    reply.bytes(&[0x61, 0x83, 0, 8]);
    reply.bytes(&naa(lun.bdev_name).to_be_bytes());
    // LUN: T10 vendor identification.
    reply.bytes(&[0x62, 0x81, 0, (8 + 16 + SERIAL_MAX) as u8]);
    reply.padded("INTEL", 8);
    reply.padded(lun.product, 16);
    reply.padded(lun.bdev_name, SERIAL_MAX);
    // Target device: SCSI name string, with a NUL and up to a multiple of four.
    let name = lun.target.as_bytes();
    let padded = (name.len() + 4) & !3;
    reply.bytes(&[0x63, 0xa8]);
    reply.bytes(&(padded as u16).to_be_bytes());
    reply.bytes(name);
    reply.zeroes(padded - name.len());
    // Target port: SCSI name string.
    reply.bytes(&[0x63, 0x98]);
    reply.bytes(&(lun.port.len() as u16).to_be_bytes());
    reply.bytes(lun.port.as_bytes());
    // Target port: relative port 0. Target port group 0. Logical unit group 0.
    reply.bytes(&[0x61, 0x94, 0, 4, 0, 0, 0, 0]);
    reply.bytes(&[0x61, 0x95, 0, 4, 0, 0, 0, 0]);
    reply.bytes(&[0x61, 0x86, 0, 4, 0, 0, 0, 0]);
}

/// NAA 2: a hash of the name (times 131, plus the byte) around the company id. Found by fitting
/// the two identifiers recorded.
fn naa(name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(0u64, |h, b| h.wrapping_mul(131).wrapping_add(b.into()));
    let (a, b) = (hash >> 24 & 0xfff, hash & 0xff_ffff);
    2 << 60 | a << 48 | COMPANY << 24 | b
}

/// SCSI ports: the one port. Its descriptor is two bytes longer than the standard's and than the
/// page length says, so that the end of the name is lost.
fn ports(lun: &LunView, reply: &mut Reply) {
    let name_len = lun.port.len();
    let end = reply.len() + 12 + 4 + name_len;
    reply.zeroes(12);
    reply.bytes(&((4 + name_len) as u16).to_be_bytes());
    reply.bytes(&[0x53, 0x98]);
    reply.bytes(&(name_len as u16).to_be_bytes());
    reply.bytes(lun.port.as_bytes());
    reply.cut(end);
}

/// Block limits. Short when there is no unmap.
fn block_limits(lun: &LunView, reply: &mut Reply) {
    let block = lun.block_size.max(1);
    reply.bytes(&[0, (COMPARE_MAX / block).min(0xff) as u8]);
    // Optimal granularity: 4 KiB, if blocks are smaller.
    let granularity = if block < 4096 { 4096 / block } else { 0 };
    reply.bytes(&(granularity as u16).to_be_bytes());
    reply.bytes(&(TRANSFER_MAX / block).to_be_bytes());
    reply.bytes(&(TRANSFER_MAX / block).to_be_bytes());
    reply.zeroes(4);
    if lun.unmap {
        reply.bytes(&UNMAP_BLOCKS_MAX.to_be_bytes());
        reply.bytes(&UNMAP_RANGES_MAX.to_be_bytes());
        reply.zeroes(8);
        reply.bytes(&u64::from(TRANSFER_MAX / block).to_be_bytes());
        reply.zeroes(20);
    }
}
