//! The split virtqueue: virtio 1.x §2.7. All fields are little-endian.

/// Size of a descriptor: le64 addr, le32 len, le16 flags, le16 next.
pub const DESC_SIZE: u64 = 16;
/// The chain goes on at `next`.
pub const DESC_F_NEXT: u16 = 1;
/// The device writes here.
pub const DESC_F_WRITE: u16 = 2;
/// The buffer is a table of descriptors.
pub const DESC_F_INDIRECT: u16 = 4;
/// `avail.flags`: the driver wants no calls.
pub const AVAIL_F_NO_INTERRUPT: u16 = 1;
/// `used.flags`: the device wants no kicks.
pub const USED_F_NO_NOTIFY: u16 = 1;
/// Offset of `avail.idx`; the ring of le16 heads follows at 4.
pub const AVAIL_IDX: u64 = 2;
/// Offset of `avail.ring`.
pub const AVAIL_RING: u64 = 4;
/// Offset of `used.idx`; the ring of {le32 id, le32 len} follows at 4.
pub const USED_IDX: u64 = 2;
/// Offset of `used.ring`.
pub const USED_RING: u64 = 4;
/// Size of a used element.
pub const USED_ELEM_SIZE: u64 = 8;

/// A descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desc {
    /// Guest physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// `DESC_F_…`.
    pub flags: u16,
    /// The next descriptor, if `DESC_F_NEXT`.
    pub next: u16,
}

impl Desc {
    /// From its 16 bytes. In registers: it is read of every request.
    #[inline]
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(bytes);
        Self {
            addr: word as u64,
            len: (word >> 64) as u32,
            flags: (word >> 96) as u16,
            next: (word >> 112) as u16,
        }
    }

    /// Its 16 bytes.
    #[inline]
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let [low, high] = self.to_words();
        (u128::from(low) | u128::from(high) << 64).to_le_bytes()
    }

    /// Its two words, as little-endian numbers.
    #[inline]
    #[must_use]
    pub fn to_words(self) -> [u64; 2] {
        let rest = u64::from(self.len) | u64::from(self.flags) << 32 | u64::from(self.next) << 48;
        [self.addr, rest]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_survives_the_wire() {
        let desc = Desc {
            addr: 0x1122_3344_5566_7788,
            len: 0x99aa_bbcc,
            flags: 3,
            next: 0x0102,
        };
        let bytes = desc.to_bytes();
        assert_eq!(bytes[0], 0x88);
        assert_eq!(bytes[14], 0x02);
        assert_eq!(Desc::from_bytes(bytes), desc);
    }
}
