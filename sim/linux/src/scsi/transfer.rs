//! How much a disk moves with one command: `sd_revalidate_disk` (drivers/scsi/sd.c), Linux 6.1.
//!
//! Knows the page of block limits; knows no request.

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
}

impl Transfers {
    /// From the page, with its header; a page that is too short says nothing.
    pub fn of(page: &[u8]) -> Self {
        let Some(page) = page.first_chunk::<16>() else {
            return Self::default();
        };
        let word =
            |at: usize| u32::from_be_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        Self {
            granularity: u16::from_be_bytes([page[6], page[7]]),
            most: word(8),
            optimal: word(12),
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
