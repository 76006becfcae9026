//! SCSI commands that a guest sends, and what it makes of the answers.
//!
//! CDBs as SPC and SBC lay them out; knows no queue and no policy.

use wire::scsi::{response, status};

use super::request::Direction;

/// A command for one LUN. Data only come in: writes belong to the block layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// The target.
    pub target: u8,
    /// The LUN.
    pub lun: u16,
    /// The CDB, zero padded.
    pub cdb: [u8; 32],
    /// Bytes that it wants.
    pub data_in: u32,
}

impl Command {
    fn new(target: u8, bytes: &[u8], data_in: u32) -> Self {
        let mut cdb = [0; 32];
        cdb[..bytes.len()].copy_from_slice(bytes);
        Self {
            target,
            lun: 0,
            cdb,
            data_in,
        }
    }

    /// INQUIRY, standard data.
    pub fn inquiry(target: u8, alloc: u8) -> Self {
        Self::new(target, &[0x12, 0, 0, 0, alloc, 0], u32::from(alloc))
    }

    /// INQUIRY, vital product data.
    pub fn vpd(target: u8, page: u8, alloc: u16) -> Self {
        let [high, low] = alloc.to_be_bytes();
        Self::new(target, &[0x12, 1, page, high, low, 0], u32::from(alloc))
    }

    /// REPORT LUNS.
    pub fn report_luns(target: u8, alloc: u32) -> Self {
        let a = alloc.to_be_bytes();
        Self::new(
            target,
            &[0xa0, 0, 0, 0, 0, 0, a[0], a[1], a[2], a[3], 0, 0],
            alloc,
        )
    }

    /// TEST UNIT READY.
    pub fn test_unit_ready(target: u8) -> Self {
        Self::new(target, &[0; 6], 0)
    }

    /// READ CAPACITY(10).
    pub fn read_capacity_10(target: u8) -> Self {
        Self::new(target, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8)
    }

    /// READ CAPACITY(16).
    pub fn read_capacity_16(target: u8) -> Self {
        Self::new(
            target,
            &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32],
            32,
        )
    }

    /// MODE SENSE(6).
    pub fn mode_sense(target: u8, page: u8, alloc: u8) -> Self {
        Self::new(target, &[0x1a, 0, page, 0, alloc, 0], u32::from(alloc))
    }

    /// REPORT SUPPORTED OPERATION CODES, asking for WRITE SAME as sd does.
    pub fn report_opcodes(target: u8) -> Self {
        Self::new(target, &[0xa3, 0x0c, 1, 0x12, 0, 0, 0, 0, 0, 10, 0, 0], 10)
    }

    /// SYNCHRONIZE CACHE(10).
    pub fn synchronize_cache(target: u8) -> Self {
        Self::new(target, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0)
    }

    /// Whether it reads blocks.
    pub fn is_read(&self) -> bool {
        self.cdb[0] == 0x28
    }

    /// READ(10) of `blocks` blocks at the beginning.
    pub fn read_start(target: u8, blocks: u8, bytes: u32) -> Self {
        Self::new(target, &[0x28, 0, 0, 0, 0, 0, 0, 0, blocks, 0], bytes)
    }
}

/// READ or WRITE as sd chooses it: the (10) form where the address fits, else the (16) form.
pub fn read_write_cdb(direction: Direction, lba: u64, blocks: u32) -> [u8; 32] {
    let mut cdb = [0; 32];
    if let (Ok(lba), Ok(blocks)) = (u32::try_from(lba), u16::try_from(blocks)) {
        // In words: this is the one that nearly all requests take.
        let [high, low] = blocks.to_be_bytes();
        let opcode = direction.pick(0x28, 0x2a);
        let front = opcode | u64::from(lba.swap_bytes()) << 16 | u64::from(high) << 56;
        cdb[..8].copy_from_slice(&front.to_le_bytes());
        cdb[8..16].copy_from_slice(&u64::from(low).to_le_bytes());
    } else {
        cdb[0] = direction.pick(0x88, 0x8a);
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    }
    cdb
}

/// READ(6) or WRITE(6), where address and length fit.
pub fn short_cdb(direction: Direction, lba: u64, blocks: u32) -> Option<[u8; 32]> {
    let blocks = u8::try_from(blocks).ok()?;
    let lba = u32::try_from(lba).ok().filter(|lba| lba >> 21 == 0)?;
    let [_, high, middle, low] = lba.to_be_bytes();
    let mut cdb = [0; 32];
    cdb[..5].copy_from_slice(&[direction.pick(0x08, 0x0a), high, middle, low, blocks]);
    Some(cdb)
}

/// Bytes of the parameters of an UNMAP of one range.
pub const UNMAP_BYTES: u32 = 24;

/// UNMAP of one range: the CDB, and its parameters (`sd_setup_unmap_cmnd`).
pub fn unmap(lba: u64, blocks: u32) -> ([u8; 32], [u8; UNMAP_BYTES as usize]) {
    let mut cdb = [0; 32];
    (cdb[0], cdb[8]) = (0x42, UNMAP_BYTES as u8);
    let mut list = [0; UNMAP_BYTES as usize];
    (list[1], list[3]) = (UNMAP_BYTES as u8 - 2, UNMAP_BYTES as u8 - 8);
    list[8..16].copy_from_slice(&lba.to_be_bytes());
    list[16..20].copy_from_slice(&blocks.to_be_bytes());
    (cdb, list)
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The virtio-scsi response.
    pub response: u8,
    /// The SCSI status.
    pub status: u8,
    /// Sense key, ASC, ASCQ, if there is sense data.
    pub sense: Option<(u8, u8, u8)>,
    /// Bytes that were not moved.
    pub resid: u32,
}

impl Reply {
    /// Whether the command was carried out.
    pub fn is_good(&self) -> bool {
        self.response == response::OK && self.status == status::GOOD
    }

    /// Whether the target does not exist.
    pub fn is_bad_target(&self) -> bool {
        self.response == response::BAD_TARGET
    }

    /// Whether the device does not know the command (INVALID COMMAND OPERATION CODE).
    pub fn is_unknown_opcode(&self) -> bool {
        self.response == response::OK
            && self.status == status::CHECK_CONDITION
            && self.sense == Some((5, 0x20, 0))
    }

    /// Response, status, and sense packed, as an observation shows it.
    pub fn packed(&self) -> (u8, u8, u32) {
        let (key, asc, ascq) = self.sense.unwrap_or_default();
        (
            self.response,
            self.status,
            u32::from(key) << 16 | u32::from(asc) << 8 | u32::from(ascq),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cdbs_are_those_of_a_real_guest() {
        assert_eq!(
            Command::vpd(0, 0x80, 12).cdb[..6],
            [0x12, 1, 0x80, 0, 12, 0]
        );
        assert_eq!(Command::report_luns(0, 4096).cdb[6..10], [0, 0, 0x10, 0]);
        assert_eq!(Command::read_capacity_16(0).cdb[13], 0x20);
        assert_eq!(
            Command::report_opcodes(0).cdb[..10],
            [0xa3, 0xc, 1, 0x12, 0, 0, 0, 0, 0, 10]
        );
    }

    #[test]
    fn the_short_form_is_that_of_a_real_guest_and_has_its_bounds() {
        let cdb = short_cdb(Direction::In, 0x1c88, 8).unwrap();
        assert_eq!(cdb[..6], [8, 0, 0x1c, 0x88, 8, 0]);
        assert_eq!(short_cdb(Direction::Out, 0x1f_ffff, 255).unwrap()[0], 0x0a);
        assert_eq!(short_cdb(Direction::Out, 0x20_0000, 1), None);
        assert_eq!(short_cdb(Direction::Out, 0, 256), None);
    }

    #[test]
    fn a_trim_names_one_range() {
        let (cdb, list) = unmap(0x1_0000_0002, 0x304);
        assert_eq!(cdb[..10], [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
        assert_eq!(list[..8], [0, 22, 0, 16, 0, 0, 0, 0]);
        assert_eq!(list[8..], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 3, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn a_large_address_takes_the_long_form() {
        assert_eq!(
            read_write_cdb(Direction::Out, 7, 8)[..9],
            [0x2a, 0, 0, 0, 0, 7, 0, 0, 8]
        );
        assert_eq!(
            read_write_cdb(Direction::In, 1 << 32, 8)[..6],
            [0x88, 0, 0, 0, 0, 1]
        );
    }
}
