//! Guest memory behind file descriptors: a peer's memory table, mapped, and memory of our own to share.
//!
//! Knows mappings and their limits; knows nothing of rings.
//!
//! # Divergence from SPDK
//!
//! DPDK maps each file from its beginning and believes the sizes it is told: a file that is shorter kills
//! it with SIGBUS. Here such a table is refused, and so are more than [`BYTES_MAX`]; for a file that is cut
//! off later see [`cut`](super::cut). An offset into a file of huge pages must be a multiple of their size.

use std::fs::File;
use std::io;
use std::sync::Arc;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sim::Memory;
use sim::wire::component::GuestMemory;
use sim::wire::dirty::DirtyPages;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryRegion, GuestRegionMmap};

use crate::huge_pages::Pages;

/// `VHOST_MEMORY_MAX_NREGIONS` of DPDK.
pub const REGIONS_MAX: usize = 8;
/// Bytes of a guest's memory at most: each mapped page costs two bits of ours.
pub const BYTES_MAX: u64 = 64 << 30;

/// A front-end's memory table.
#[derive(Clone, Debug)]
pub struct Table {
    /// The memory, by guest physical address.
    pub memory: Memory,
    /// The front-end's own addresses: where a region begins, its length, its guest physical address.
    regions: Vec<(u64, u64, u64)>,
}

impl Table {
    /// Maps the regions of a table.
    ///
    /// # Errors
    ///
    /// Too many or too large regions, a file that is no memory or shorter than its region, regions that
    /// overlap, or the system refuses.
    pub fn map(regions: &[VhostUserMemoryRegion], files: Vec<File>) -> io::Result<Self> {
        if regions.len() > REGIONS_MAX || regions.len() != files.len() {
            return Err(refused(format!("{} regions", regions.len())));
        }
        let sizes = regions.iter().map(|region| region.memory_size);
        let bytes = sizes.fold(0, u64::saturating_add);
        if bytes > BYTES_MAX {
            return Err(refused(format!("{bytes:#x} bytes")));
        }
        let mut mapped = Vec::new();
        let mut known = Vec::new();
        for (region, file) in regions.iter().zip(files) {
            let (guest, len) = (region.guest_phys_addr, region.memory_size);
            mapped.push(map(file, region.mmap_offset, guest, len)?);
            known.push((region.user_addr, len, guest));
        }
        mapped.sort_by_key(GuestMemoryRegion::start_addr);
        let memory = GuestMemory::from_regions(mapped).map_err(io::Error::other)?;
        Ok(Self {
            memory: Arc::new(memory),
            regions: known,
        })
    }

    /// The guest physical address of an address of the front-end's process.
    #[must_use]
    pub fn guest_address(&self, user: u64) -> Option<u64> {
        self.regions.iter().find_map(|(start, len, guest)| {
            let offset = user.checked_sub(*start)?;
            (offset < *len).then(|| guest + offset)
        })
    }
}

/// Maps a buffer that begins at address 0.
///
/// # Errors
///
/// As for [`Table::map`].
pub fn map_buffer(file: File, offset: u64, len: u64) -> io::Result<Memory> {
    let region = map(file, offset, 0, len)?;
    let memory = GuestMemory::from_regions(vec![region]).map_err(io::Error::other)?;
    Ok(Arc::new(memory))
}

/// Fresh memory that can be shared: a memfd for each range of address and length, in ascending order, made of
/// whole `pages`.
///
/// # Errors
///
/// The ranges overlap, there are too few such pages, or the system refuses.
pub fn shared(ranges: &[(GuestAddress, usize)], pages: Pages) -> io::Result<Memory> {
    let regions = ranges
        .iter()
        .map(|(start, len)| region_of(*start, *len, pages));
    let regions = regions.collect::<io::Result<_>>()?;
    let memory = GuestMemory::from_regions(regions).map_err(io::Error::other)?;
    Ok(Arc::new(memory))
}

/// A fresh region that can be shared.
///
/// # Errors
///
/// The system refuses.
pub fn shared_region(start: GuestAddress, len: usize) -> io::Result<GuestRegionMmap<DirtyPages>> {
    region_of(start, len, Pages::Ordinary)
}

fn region_of(
    start: GuestAddress,
    len: usize,
    pages: Pages,
) -> io::Result<GuestRegionMmap<DirtyPages>> {
    let bytes = pages.whole(len as u64);
    let file = match pages {
        Pages::Ordinary => memfd("plugfest guest", bytes)?,
        Pages::Huge => in_huge_pages("plugfest guest", bytes)?,
    };
    let (file, len) = (FileOffset::new(file, 0), bytes as usize);
    GuestRegionMmap::from_range(start, len, Some(file)).map_err(io::Error::other)
}

/// A file in huge pages, all of which it has: one that is missing when it is touched would be SIGBUS.
fn in_huge_pages(name: &str, len: u64) -> io::Result<File> {
    Pages::Huge.can_be_had(len)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB;
    let file = File::from(memfd_create(name, flags)?);
    file.set_len(len)?;
    let len = i64::try_from(len).map_err(io::Error::other)?;
    fallocate(&file, FallocateFlags::empty(), 0, len)?;
    Ok(file)
}

/// A file in memory, `len` bytes of zeroes.
///
/// # Errors
///
/// The system refuses.
pub fn memfd(name: &str, len: u64) -> io::Result<File> {
    let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.set_len(len)?;
    Ok(file)
}

fn map(file: File, offset: u64, guest: u64, len: u64) -> io::Result<GuestRegionMmap<DirtyPages>> {
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(refused("a descriptor that is no memory".to_owned()));
    }
    let end = offset.checked_add(len);
    if len > BYTES_MAX || end.is_none_or(|end| end > about.len()) {
        let has = about.len();
        let text = format!("{len:#x} bytes at {offset:#x} of a file of {has:#x}");
        return Err(refused(text));
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let file = FileOffset::new(file, offset);
    GuestRegionMmap::from_range(GuestAddress(guest), len, Some(file)).map_err(io::Error::other)
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use sim::wire::access::Access as _;
    use vm_memory::GuestMemoryBackend as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn region(guest: u64, len: u64, user: u64, offset: u64) -> VhostUserMemoryRegion {
        VhostUserMemoryRegion::new(guest, len, user, offset)
    }

    #[test]
    fn a_table_is_the_peers_memory_in_any_order_and_its_addresses_are_known() {
        let file = memfd("test", 3 * MIB).expect("a memfd");
        let regions = [
            region(4 * MIB, MIB, 0x7000_0000, 2 * MIB),
            region(0, 2 * MIB, 0x5000_0000, 0),
        ];
        let files = vec![
            file.try_clone().expect("a copy"),
            file.try_clone().expect("a copy"),
        ];
        let table = Table::map(&regions, files).expect("it is mapped");
        std::os::unix::fs::FileExt::write_at(&file, b"there", 2 * MIB).expect("written");
        let mut bytes = [0; 5];
        let read = table.memory.read_at(&mut bytes, GuestAddress(4 * MIB));
        assert!(read.is_ok() && &bytes == b"there");
        assert_eq!(table.guest_address(0x7000_0010), Some(4 * MIB + 0x10));
        assert_eq!(table.guest_address(0x5020_0000), None);
        assert_eq!(table.guest_address(0x4fff_ffff), None);
    }

    #[test]
    fn what_could_not_be_used_without_harm_is_refused() {
        let file = || memfd("test", MIB).expect("a memfd");
        let sparse = || memfd("test", BYTES_MAX).expect("a memfd");
        let null = || File::open("/dev/null").expect("it is there");
        for (regions, files) in [
            (vec![region(0, MIB, 0, 4096)], vec![file()]),
            (vec![region(0, 2 * MIB, 0, 0)], vec![file()]),
            (vec![region(0, 4096, 0, u64::MAX - 4096)], vec![file()]),
            (vec![region(0, 4096, 0, 0)], vec![null()]),
            (vec![region(0, 4096, 0, 100)], vec![file()]),
            (
                vec![region(0, BYTES_MAX, 0, 0), region(BYTES_MAX, 1 << 20, 0, 0)],
                vec![sparse(), file()],
            ),
            (
                vec![region(0, 4096, 0, 0); 9],
                (0..9).map(|_| file()).collect(),
            ),
            (vec![region(0, 4096, 0, 0); 2], vec![file(), file()]),
        ] {
            assert!(
                Table::map(&regions, files).is_err(),
                "{} regions",
                regions.len()
            );
        }
        assert!(map_buffer(file(), 0, MIB + 1).is_err());
    }

    #[test]
    #[ignore = "needs two free huge pages: sysctl vm.nr_hugepages=2"]
    fn memory_in_huge_pages_is_whole_pages_that_are_there() {
        let range = (GuestAddress(0), (2 * MIB + 1) as usize);
        let memory = shared(&[range], Pages::Huge).expect("two huge pages");
        let region = memory.iter().next().expect("a region");
        assert_eq!(region.len(), 4 * MIB);
        let file = region.file_offset().expect("a file is behind it").file();
        let about = file.metadata().expect("a file");
        let (page, blocks) = (about.blksize(), about.blocks());
        assert_eq!((page, blocks * 512), (2 * MIB, 4 * MIB));
        let mut bytes = [1; 5];
        let read = memory.read_at(&mut bytes, GuestAddress(4 * MIB - 5));
        assert!(read.is_ok() && bytes == [0; 5]);
    }
}
