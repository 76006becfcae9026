//! How much a disk moves, or trims, with one command: `sd_revalidate_disk` (drivers/scsi/sd.c), Linux 6.1.
//!
//! Knows the pages of block limits and of provisioning; knows no request.
//!
//! # Divergence from Linux
//!
//! A disk whose page B2 says that it unmaps is believed; Linux looks at LBPME of READ CAPACITY(16) first.

/// Blocks that READ(10) and WRITE(10) can name (`SD_DEF_XFER_BLOCKS`).
const CDB_BLOCKS: u32 = 0xffff;
/// What Linux makes of a disk that names no optimal length (`BLK_DEF_MAX_SECTORS`); recorded as a
/// `max_sectors_kb` of 1280.
pub const DEFAULT_BYTES: u32 = 1280 << 10;
/// What the device says: `max_sectors` of its configuration space, 0xFFFF sectors, as recorded.
const CONTROLLER_BYTES: u64 = 0xffff * 512;
/// An optimal length below a page is taken for garbage.
const PAGE_BYTES: u64 = 4096;

/// What the block limits (VPD page B0) say of transfers, in logical blocks; 0: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// OPTIMAL TRANSFER LENGTH GRANULARITY.
    pub granularity: u16,
    /// MAXIMUM TRANSFER LENGTH.
    pub most: u32,
    /// OPTIMAL TRANSFER LENGTH.
    pub optimal: u32,
    /// MAXIMUM UNMAP LBA COUNT.
    pub unmap: u32,
    /// LBPU, of the page of logical block provisioning (VPD page B2): it knows UNMAP.
    pub unmaps: bool,
}

/// Blocks that Linux trims with one command at most (`SD_MAX_WS16_BLOCKS`).
const UNMAP_BLOCKS: u32 = 0x7f_ffff;

impl Transfers {
    /// From the page, with its header; a page that is too short says nothing.
    pub fn of(page: &[u8]) -> Self {
        let rest = page.get(20..);
        let Some(page) = page.first_chunk::<16>() else {
            return Self::default();
        };
        let word =
            |at: usize| u32::from_be_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        let unmap = rest.and_then(|rest| rest.first_chunk());
        Self {
            granularity: u16::from_be_bytes([page[6], page[7]]),
            most: word(8),
            optimal: word(12),
            unmap: unmap.map_or(0, |count| u32::from_be_bytes(*count)),
            unmaps: false,
        }
    }

    /// Whether a page of logical block provisioning, with its header, says that the disk knows UNMAP.
    pub fn is_unmapping(page: &[u8]) -> bool {
        page.get(5).is_some_and(|flags| flags & 0x80 != 0)
    }

    /// The most bytes that one UNMAP of a disk with such blocks trims; 0: it cannot be trimmed.
    pub fn trim_bytes(self, block_size: u32) -> u64 {
        match self.unmaps {
            true => u64::from(self.unmap.min(UNMAP_BLOCKS)) * u64::from(block_size),
            false => 0,
        }
    }

    /// The most bytes that one command of a disk with such blocks moves (`max_sectors`).
    pub fn max_bytes(self, block_size: u32) -> u32 {
        let bytes = |blocks: u32| u64::from(blocks) * u64::from(block_size);
        let most = if self.most == 0 {
            CDB_BLOCKS
        } else {
            self.most.min(CDB_BLOCKS)
        };
        let optimal = bytes(self.optimal);
        let granularity = bytes(self.granularity.into());
        let is_sane = self.optimal <= most
            && optimal >= PAGE_BYTES
            && (granularity == 0 || optimal & (granularity - 1) == 0);
        let wanted = if is_sane {
            optimal
        } else {
            bytes(most).min(DEFAULT_BYTES.into())
        };
        let bytes = wanted.min(CONTROLLER_BYTES) as u32;
        (bytes - bytes % block_size).max(block_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimal_length_counts_if_it_is_sane() {
        let max = |granularity, most, optimal, block| {
            let transfers = Transfers {
                granularity,
                most,
                optimal,
                ..Transfers::default()
            };
            transfers.max_bytes(block)
        };
        assert_eq!(max(0, 0, 0, 512), DEFAULT_BYTES);
        assert_eq!(max(0, 0, 0, 4096), DEFAULT_BYTES);
        // What SPDK says: 4 MiB of each.
        assert_eq!(max(8, 8192, 8192, 512), 4 << 20);
        assert_eq!(max(0, 1024, 1024, 4096), 4 << 20);
        assert_eq!(max(8, 1024, 8192, 512), 512 << 10, "more than the most");
        assert_eq!(max(0, 0, 7, 512), DEFAULT_BYTES, "less than a page");
        assert_eq!(max(8, 0, 4097, 512), DEFAULT_BYTES, "no whole granules");
        assert_eq!(max(0, 0, 0xffff, 4096), 0xffff * 512 / 4096 * 4096);
    }

    #[test]
    fn a_short_page_says_nothing() {
        let page: [u8; 16] = [0, 0xb0, 0, 12, 0, 0, 0, 8, 0, 0, 32, 0, 0, 0, 16, 0];
        let transfers = Transfers::of(&page);
        assert_eq!(
            (transfers.granularity, transfers.most, transfers.optimal),
            (8, 8192, 4096)
        );
        assert_eq!(Transfers::of(&page[..15]), Transfers::default());
    }
}
