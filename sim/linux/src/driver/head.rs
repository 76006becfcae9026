//! What a request begins with: its header, and its indirect table right behind.
//!
//! Knows the layout of both (virtio 1.x §2.7.5.3, §5.6.6.1); knows neither rings nor what is asked for.

use vm_memory::GuestAddress;

use super::layout::TABLE_AT;
use super::ring::{DriverRing, Segment, TABLE_WORDS};
use wire::access::Access as _;
use wire::component::Memory;
use wire::scsi::{CDB_SIZE, REQUEST_CDB};

/// Words, of eight bytes, from the header of a head to its indirect table.
const HEADER_WORDS: usize = TABLE_AT as usize / 8;

/// Writes the header of a head, and its indirect table, which lies right behind: one access, in words.
pub fn write_head(
    memory: &Memory,
    addr: u64,
    (lun, tag): ([u8; 8], u64),
    cdb: &[u8; CDB_SIZE],
    segments: &[Segment],
) {
    // The CDB begins at byte 3 of the third word.
    const SHIFT: usize = 8 * (REQUEST_CDB % 8);
    let mut words = [0; HEADER_WORDS + TABLE_WORDS];
    (words[0], words[1]) = (u64::from_le_bytes(lun), tag);
    let mut carried = 0;
    for (n, bytes) in cdb.as_chunks().0.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        words[REQUEST_CDB / 8 + n] = carried | word << SHIFT;
        carried = word >> (64 - SHIFT);
    }
    words[(REQUEST_CDB + CDB_SIZE) / 8] = carried;
    words[HEADER_WORDS..].copy_from_slice(&DriverRing::table(segments));
    memory
        .write_words(words, GuestAddress(addr))
        .expect("requests lie in guest memory");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use wire::component::GuestMemory;
    use wire::ring::{DESC_F_NEXT, DESC_F_WRITE, DESC_SIZE, Desc};
    use wire::scsi::{REQUEST_SIZE, RESPONSE_SIZE};

    #[test]
    fn header_and_table_stand_where_the_specification_has_them() {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x1000)]).expect("a page");
        let memory = Arc::new(memory);
        let cdb = std::array::from_fn(|n| n as u8 + 0x80);
        let segment = |addr, len, write| Segment { addr, len, write };
        let segments = [
            segment(0x100, REQUEST_SIZE, false),
            segment(0x200, RESPONSE_SIZE, true),
            segment(0x1_2345_6000, 4096, true),
        ];
        let lun = [1, 2, 3, 4, 5, 6, 7, 8];
        write_head(
            &memory,
            0x100,
            (lun, 0x1122_3344_5566_7788),
            &cdb,
            &segments,
        );
        let mut bytes = [0xff; TABLE_AT as usize];
        let at = GuestAddress(0x100);
        memory.read_at(&mut bytes, at).expect("it is mapped");
        assert_eq!(bytes[..8], lun);
        assert_eq!(bytes[8..16], 0x1122_3344_5566_7788_u64.to_le_bytes());
        assert_eq!(bytes[16..REQUEST_CDB], [0; 3], "task_attr, prio, crn");
        assert_eq!(bytes[REQUEST_CDB..REQUEST_SIZE as usize], cdb);
        let flags = [DESC_F_NEXT, DESC_F_NEXT | DESC_F_WRITE, DESC_F_WRITE];
        for (n, (segment, flags)) in segments.iter().zip(flags).enumerate() {
            let at = 0x100 + TABLE_AT + n as u64 * DESC_SIZE;
            let desc = Desc::from_bytes(memory.read_few(GuestAddress(at)).expect("it is mapped"));
            assert_eq!((desc.addr, desc.len), (segment.addr, segment.len));
            let next = if n < 2 { n as u16 + 1 } else { 0 };
            assert_eq!((desc.flags, desc.next), (flags, next));
        }
    }
}
