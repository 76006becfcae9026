//! Small accesses to guest memory, which nearly always lie in one region.
//!
//! `vm_memory`'s own walk the regions of a range for every access, which costs more than most of the
//! accesses themselves. Knows bytes and addresses.

use std::sync::atomic::Ordering;

use vm_memory::bitmap::BS;
use vm_memory::{
    ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion,
    GuestRegionMmap, MemoryRegionAddress, VolatileMemory, VolatileSlice,
};

use crate::end::GuestMemory;
use crate::touched::Touched;

/// Reads and writes of guest memory.
pub trait Access {
    /// Fills `bytes` from `addr` on.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped.
    fn read_at(&self, bytes: &mut [u8], addr: GuestAddress) -> Result<(), GuestMemoryError>;

    /// Writes `bytes` from `addr` on.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped; the rest may have been written.
    fn write_at(&self, bytes: &[u8], addr: GuestAddress) -> Result<(), GuestMemoryError>;

    /// A few bytes at `addr`, in registers.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped.
    fn read_few<F: Few>(&self, addr: GuestAddress) -> Result<F, GuestMemoryError>;

    /// Writes a few bytes at `addr`, from registers.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped; the rest may have been written.
    fn write_few<F: Few>(&self, bytes: F, addr: GuestAddress) -> Result<(), GuestMemoryError>;

    /// The little-endian number at `addr`, read at once.
    ///
    /// # Errors
    ///
    /// It is not mapped, or not aligned.
    fn load_le16(&self, addr: GuestAddress) -> Result<u16, GuestMemoryError>;

    /// Writes a little-endian number at once, after all that was written before.
    ///
    /// # Errors
    ///
    /// It is not mapped, or not aligned.
    fn store_le16(&self, value: u16, addr: GuestAddress) -> Result<(), GuestMemoryError>;
}

/// A few bytes that fit into a register.
///
/// `vm_memory` reads and writes an array byte by byte, as each access is volatile.
pub trait Few: Sized {
    /// The register.
    type Word: ByteValued;

    /// Into it.
    fn to_word(self) -> Self::Word;

    /// Out of it.
    fn from_word(word: Self::Word) -> Self;
}

macro_rules! few {
    ($($bytes:literal $word:ty),*) => {$(
        impl Few for [u8; $bytes] {
            type Word = $word;

            #[inline]
            fn to_word(self) -> $word {
                <$word>::from_ne_bytes(self)
            }

            #[inline]
            fn from_word(word: $word) -> Self {
                word.to_ne_bytes()
            }
        }
    )*};
}

few!(1 u8, 2 u16, 4 u32, 8 u64, 16 u128);

/// The region that holds `addr`, and where in it. Most guests have one, and most addresses lie in the
/// first of several.
#[inline]
#[must_use]
pub fn region(memory: &GuestMemory, addr: u64) -> Option<(&GuestRegionMmap<Touched>, u64)> {
    let first = memory.iter().next()?;
    let offset = addr.wrapping_sub(first.start_addr().0);
    if offset < first.len() {
        return Some((first, offset));
    }
    let region = memory.find_region(GuestAddress(addr))?;
    Some((region, addr - region.start_addr().0))
}

/// The bytes from `addr` on, if they lie in one region.
#[inline]
fn piece(
    memory: &GuestMemory,
    addr: GuestAddress,
    len: usize,
) -> Option<VolatileSlice<'_, BS<'_, Touched>>> {
    let (region, offset) = region(memory, addr.0)?;
    region.get_slice(MemoryRegionAddress(offset), len).ok()
}

impl Access for GuestMemory {
    #[inline]
    fn read_at(&self, bytes: &mut [u8], addr: GuestAddress) -> Result<(), GuestMemoryError> {
        let Some(piece) = piece(self, addr, bytes.len()) else {
            return self.read_slice(bytes, addr);
        };
        piece.copy_to(bytes);
        Ok(())
    }

    #[inline]
    fn write_at(&self, bytes: &[u8], addr: GuestAddress) -> Result<(), GuestMemoryError> {
        let Some(piece) = piece(self, addr, bytes.len()) else {
            return self.write_slice(bytes, addr);
        };
        piece.copy_from(bytes);
        Ok(())
    }

    #[inline]
    fn read_few<F: Few>(&self, addr: GuestAddress) -> Result<F, GuestMemoryError> {
        if let Some(piece) = piece(self, addr, size_of::<F::Word>()) {
            return Ok(F::from_word(piece.get_ref(0)?.load()));
        }
        let mut word = F::Word::zeroed();
        self.read_slice(word.as_mut_slice(), addr)?;
        Ok(F::from_word(word))
    }

    #[inline]
    fn write_few<F: Few>(&self, bytes: F, addr: GuestAddress) -> Result<(), GuestMemoryError> {
        let word = bytes.to_word();
        let Some(piece) = piece(self, addr, size_of::<F::Word>()) else {
            return self.write_slice(word.as_slice(), addr);
        };
        piece.get_ref(0)?.store(word);
        Ok(())
    }

    #[inline]
    fn load_le16(&self, addr: GuestAddress) -> Result<u16, GuestMemoryError> {
        let value = match piece(self, addr, 2) {
            Some(piece) => piece.load(0, Ordering::Acquire)?,
            None => self.load(addr, Ordering::Acquire)?,
        };
        Ok(u16::from_le(value))
    }

    #[inline]
    fn store_le16(&self, value: u16, addr: GuestAddress) -> Result<(), GuestMemoryError> {
        match piece(self, addr, 2) {
            Some(piece) => Ok(piece.store(value.to_le(), 0, Ordering::Release)?),
            None => self.store(value.to_le(), addr, Ordering::Release),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_may_span_regions_and_may_not_leave_them() {
        let ranges = [(GuestAddress(0), 0x1000), (GuestAddress(0x1000), 0x1000)];
        let memory = GuestMemory::from_ranges(&ranges).expect("two pages");
        memory
            .write_at(b"abcd", GuestAddress(0xffe))
            .expect("it is mapped");
        let mut bytes = [0; 4];
        memory
            .read_at(&mut bytes, GuestAddress(0xffe))
            .expect("it is mapped");
        assert_eq!(&bytes, b"abcd");
        assert_eq!(memory.read_few(GuestAddress(0xffe)).ok(), Some(*b"abcd"));
        memory
            .write_few(*b"bc", GuestAddress(0xffd))
            .expect("it is mapped");
        assert_eq!(memory.read_few(GuestAddress(0xffc)).ok(), Some(*b"\0bcb"));
        assert!(memory.write_few(*b"abcd", GuestAddress(0x1ffe)).is_err());
        assert!(memory.read_few::<[u8; 4]>(GuestAddress(0x1ffe)).is_err());
        assert!(memory.write_at(b"abcd", GuestAddress(0x1ffe)).is_err());
        assert!(memory.read_at(&mut bytes, GuestAddress(0x4000)).is_err());
    }

    #[test]
    fn a_number_is_little_endian_aligned_and_mapped() {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x1000)]).expect("a page");
        memory
            .store_le16(0x1234, GuestAddress(0xffe))
            .expect("it is mapped");
        let mut bytes = [0; 2];
        memory
            .read_at(&mut bytes, GuestAddress(0xffe))
            .expect("it is mapped");
        assert_eq!(bytes, [0x34, 0x12]);
        assert_eq!(memory.load_le16(GuestAddress(0xffe)).ok(), Some(0x1234));
        assert!(memory.load_le16(GuestAddress(1)).is_err());
        assert!(memory.store_le16(1, GuestAddress(0x1000)).is_err());
    }
}
