//! The floor F: what one verified I/O costs if nothing but its data is moved and checked.
//!
//! fio's own fill, CRC-32C, a copy into guest memory, a copy to the store, a copy back, CRC-32C, a
//! comparison: for one 4 KiB write and its read back, with 2 MiB of guest memory and 16 MiB of disk,
//! at random.

const BLOCK: usize = 4096;
const GUEST: usize = 2 << 20;
const DISK: usize = 16 << 20;

/// Buffers of the floor, touched once.
pub struct Floor {
    guest: Vec<u8>,
    disk: Vec<u8>,
    draw: u64,
}

impl Floor {
    pub fn new() -> Self {
        Self {
            guest: vec![1; GUEST],
            disk: vec![1; DISK],
            draw: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn place(&mut self, bytes: usize) -> usize {
        self.draw ^= self.draw << 13;
        self.draw ^= self.draw >> 7;
        self.draw ^= self.draw << 17;
        self.draw as usize % (bytes / BLOCK) * BLOCK
    }

    /// `count` verified I/Os.
    pub fn run(&mut self, count: u64) -> u64 {
        let mut private = [0; BLOCK];
        for n in 0..count {
            let (guest, disk) = (self.place(GUEST), self.place(DISK));
            fio_model::fill(n | 1, &mut private);
            let wrote = fio_model::crc32c(&private);
            self.guest[guest..guest + BLOCK].copy_from_slice(&private);
            self.disk[disk..disk + BLOCK].copy_from_slice(&self.guest[guest..guest + BLOCK]);
            self.guest[guest..guest + BLOCK].copy_from_slice(&self.disk[disk..disk + BLOCK]);
            let read = fio_model::crc32c(&self.guest[guest..guest + BLOCK]);
            assert_eq!(wrote, read);
            assert_eq!(self.guest[guest..guest + BLOCK], private);
        }
        count
    }
}
