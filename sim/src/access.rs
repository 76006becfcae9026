//! Small accesses to guest memory, which nearly always lie in one region.
//!
//! `vm_memory`'s own walk the regions of a range for every access, which costs more than most of the
//! accesses themselves. Knows bytes and addresses.

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
    MemoryRegionAddress,
};

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
}

impl Access for GuestMemoryMmap<()> {
    #[inline]
    fn read_at(&self, bytes: &mut [u8], addr: GuestAddress) -> Result<(), GuestMemoryError> {
        if let Some(region) = self.find_region(addr) {
            let offset = addr.0 - region.start_addr().0;
            if bytes.len() as u64 <= region.len() - offset {
                return region.read_slice(bytes, MemoryRegionAddress(offset));
            }
        }
        self.read_slice(bytes, addr)
    }

    #[inline]
    fn write_at(&self, bytes: &[u8], addr: GuestAddress) -> Result<(), GuestMemoryError> {
        if let Some(region) = self.find_region(addr) {
            let offset = addr.0 - region.start_addr().0;
            if bytes.len() as u64 <= region.len() - offset {
                return region.write_slice(bytes, MemoryRegionAddress(offset));
            }
        }
        self.write_slice(bytes, addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_may_span_regions_and_may_not_leave_them() {
        let ranges = [(GuestAddress(0), 0x1000), (GuestAddress(0x1000), 0x1000)];
        let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).expect("two pages");
        memory
            .write_at(b"abcd", GuestAddress(0xffe))
            .expect("it is mapped");
        let mut bytes = [0; 4];
        memory
            .read_at(&mut bytes, GuestAddress(0xffe))
            .expect("it is mapped");
        assert_eq!(&bytes, b"abcd");
        assert!(memory.write_at(b"abcd", GuestAddress(0x1ffe)).is_err());
        assert!(memory.read_at(&mut bytes, GuestAddress(0x4000)).is_err());
    }
}
