//! Small accesses to guest memory, which nearly always lie in one region.
//!
//! `vm_memory`'s own walk the regions of a range for every access, which costs more than most of the
//! accesses themselves. Knows bytes and addresses.

use std::sync::atomic::Ordering;

use vm_memory::bitmap::BS;
use vm_memory::{
    ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress, VolatileMemory, VolatileSlice,
};

use crate::component::GuestMemory;
use crate::dirty::DirtyPages;

/// Some of the memory is not there, or a number is not aligned. Nothing that has to be dropped, and in a
/// register, unlike `vm_memory`'s errors: nobody asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped;

/// Reads and writes of guest memory.
pub trait Access {
    /// Fills `bytes` from `addr` on.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped.
    fn read_at(&self, bytes: &mut [u8], addr: GuestAddress) -> Result<(), Unmapped>;

    /// Writes `bytes` from `addr` on.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped; the rest may have been written.
    fn write_at(&self, bytes: &[u8], addr: GuestAddress) -> Result<(), Unmapped>;

    /// A few bytes at `addr`, in registers.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped.
    fn read_few<F: Few>(&self, addr: GuestAddress) -> Result<F, Unmapped>;

    /// Writes a few bytes at `addr`, from registers.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped; the rest may have been written.
    fn write_few<F: Few>(&self, bytes: F, addr: GuestAddress) -> Result<(), Unmapped>;

    /// Writes words, as little-endian numbers, from `addr` on.
    ///
    /// # Errors
    ///
    /// Some of it is not mapped; the rest may have been written.
    fn write_words<const N: usize>(
        &self,
        words: [u64; N],
        addr: GuestAddress,
    ) -> Result<(), Unmapped>;

    /// The little-endian number at `addr`, read at once.
    ///
    /// # Errors
    ///
    /// It is not mapped, or not aligned.
    fn load_le16(&self, addr: GuestAddress) -> Result<u16, Unmapped>;

    /// Writes a little-endian number at once, after all that was written before.
    ///
    /// # Errors
    ///
    /// It is not mapped, or not aligned.
    fn store_le16(&self, value: u16, addr: GuestAddress) -> Result<(), Unmapped>;
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
pub fn region(memory: &GuestMemory, addr: u64) -> Option<(&GuestRegionMmap<DirtyPages>, u64)> {
    let first = memory.iter().next()?;
    let offset = addr.wrapping_sub(first.start_addr().0);
    if offset < first.len() {
        Some((first, offset))
    } else {
        later_region(memory, addr)
    }
}

#[cold]
fn later_region(memory: &GuestMemory, addr: u64) -> Option<(&GuestRegionMmap<DirtyPages>, u64)> {
    let region = memory.find_region(GuestAddress(addr))?;
    Some((region, addr - region.start_addr().0))
}

/// The bytes from `addr` on, if they lie in the first region.
#[inline]
fn piece(
    memory: &GuestMemory,
    addr: GuestAddress,
    len: usize,
) -> Option<VolatileSlice<'_, BS<'_, DirtyPages>>> {
    let first = memory.iter().next()?;
    let offset = addr.0.wrapping_sub(first.start_addr().0);
    let piece = first.get_slice(MemoryRegionAddress(offset), len);
    piece.map_err(unmapped).ok()
}

/// Drops what else there is to know, where it costs those nothing that have no error.
#[cold]
fn unmapped<E>(_: E) -> Unmapped {
    Unmapped
}

#[cold]
fn read_across(memory: &GuestMemory, bytes: &mut [u8], addr: GuestAddress) -> Result<(), Unmapped> {
    memory.read_slice(bytes, addr).map_err(unmapped)
}

#[cold]
fn write_across(memory: &GuestMemory, bytes: &[u8], addr: GuestAddress) -> Result<(), Unmapped> {
    memory.write_slice(bytes, addr).map_err(unmapped)
}

#[cold]
fn load_across(memory: &GuestMemory, addr: GuestAddress) -> Result<u16, Unmapped> {
    let value = memory.load(addr, Ordering::Acquire);
    value.map(u16::from_le).map_err(unmapped)
}

#[cold]
fn store_across(memory: &GuestMemory, value: u16, addr: GuestAddress) -> Result<(), Unmapped> {
    let stored = memory.store(value.to_le(), addr, Ordering::Release);
    stored.map_err(unmapped)
}

impl Access for GuestMemory {
    #[inline]
    fn read_at(&self, bytes: &mut [u8], addr: GuestAddress) -> Result<(), Unmapped> {
        let Some(piece) = piece(self, addr, bytes.len()) else {
            return read_across(self, bytes, addr);
        };
        piece.copy_to(bytes);
        Ok(())
    }

    #[inline]
    fn write_at(&self, bytes: &[u8], addr: GuestAddress) -> Result<(), Unmapped> {
        let Some(piece) = piece(self, addr, bytes.len()) else {
            return write_across(self, bytes, addr);
        };
        piece.copy_from(bytes);
        Ok(())
    }

    #[inline]
    fn read_few<F: Few>(&self, addr: GuestAddress) -> Result<F, Unmapped> {
        if let Some(piece) = piece(self, addr, size_of::<F::Word>()) {
            let word = piece.get_ref(0).map_err(unmapped)?;
            return Ok(F::from_word(word.load()));
        }
        let mut word = F::Word::zeroed();
        read_across(self, word.as_mut_slice(), addr)?;
        Ok(F::from_word(word))
    }

    #[inline]
    fn write_few<F: Few>(&self, bytes: F, addr: GuestAddress) -> Result<(), Unmapped> {
        let word = bytes.to_word();
        let Some(piece) = piece(self, addr, size_of::<F::Word>()) else {
            return write_across(self, word.as_slice(), addr);
        };
        piece.get_ref(0).map_err(unmapped)?.store(word);
        Ok(())
    }

    #[inline]
    fn write_words<const N: usize>(
        &self,
        words: [u64; N],
        addr: GuestAddress,
    ) -> Result<(), Unmapped> {
        let words = words.map(u64::to_le);
        let Some(piece) = piece(self, addr, size_of::<[u64; N]>()) else {
            return write_across(self, words.map(u64::to_ne_bytes).as_flattened(), addr);
        };
        piece.copy_from(&words);
        Ok(())
    }

    #[inline]
    fn load_le16(&self, addr: GuestAddress) -> Result<u16, Unmapped> {
        let Some(piece) = piece(self, addr, 2) else {
            return load_across(self, addr);
        };
        let value: u16 = piece.load(0, Ordering::Acquire).map_err(unmapped)?;
        Ok(u16::from_le(value))
    }

    #[inline]
    fn store_le16(&self, value: u16, addr: GuestAddress) -> Result<(), Unmapped> {
        let Some(piece) = piece(self, addr, 2) else {
            return store_across(self, value, addr);
        };
        let stored = piece.store(value.to_le(), 0, Ordering::Release);
        stored.map_err(unmapped)
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
        let words = [u64::from_le_bytes(*b"wordword"), 7];
        for at in [0x100, 0xff8, 0xffc] {
            memory
                .write_words(words, GuestAddress(at))
                .expect("it is mapped");
            let mut both = [0; 16];
            memory
                .read_at(&mut both, GuestAddress(at))
                .expect("it is mapped");
            assert_eq!(&both, b"wordword\x07\0\0\0\0\0\0\0", "{at:#x}");
        }
        assert!(memory.write_words(words, GuestAddress(0x1ff8)).is_err());
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
        let ranges = [(GuestAddress(0), 0x1000), (GuestAddress(0x2000), 0x1000)];
        let memory = GuestMemory::from_ranges(&ranges).expect("two pages");
        memory
            .store_le16(0x1234, GuestAddress(0x2000))
            .expect("it is mapped, though not in the first region");
        assert_eq!(memory.load_le16(GuestAddress(0x2000)).ok(), Some(0x1234));
        assert!(memory.load_le16(GuestAddress(0x1ffe)).is_err());
        assert!(memory.store_le16(1, GuestAddress(0x1000)).is_err());
    }
}
