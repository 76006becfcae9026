//! A request's chain: which descriptor is header, response and data, in SPDK's order of checks.
//!
//! Source: `task_data_setup` (lib/vhost/vhost_scsi.c); fact sheet §3.6. Knows no command.

use vm_memory::GuestAddress;

use super::chain::{Malformed, Walk};
use super::task::Task;
use wire::access::Access as _;
use wire::component::GuestMemory;
use wire::scsi::{REQUEST_CDB, REQUEST_SIZE, RESPONSE_SIZE};

/// `task_data_setup`: fills the task from its chain, its command included; says the LUN of the request header.
pub fn parse(
    memory: &GuestMemory,
    table: u64,
    size: u16,
    head: u16,
    task: &mut Task,
) -> Result<[u8; 8], Malformed> {
    let mut walk = Walk::begin(memory, table, size, head)?;
    if walk.writable() || walk.desc.len < REQUEST_SIZE || !walk.holds(REQUEST_SIZE) {
        return Err(Malformed(
            "the header is not readable, too short or not in memory",
        ));
    }
    // In registers: three loads cost less than a copy of 51 bytes and what waits for it.
    let header = walk.desc.addr;
    let unmapped = |_| Malformed("the header is not in memory");
    let lun = memory.read_few(GuestAddress(header)).map_err(unmapped)?;
    for (at, bytes) in (0..).step_by(16).zip(task.cdb.as_chunks_mut().0) {
        let from = GuestAddress(header + REQUEST_CDB as u64 + at);
        *bytes = memory.read_few::<[u8; 16]>(from).map_err(unmapped)?;
    }
    if !walk.next()? {
        return Err(Malformed("there is no second descriptor"));
    }
    task.to_device = !walk.writable();
    let mut length = 0u32;
    if task.to_device {
        while !walk.writable() {
            walk.payload(&mut task.iovs)?;
            length = length.wrapping_add(walk.desc.len);
            if !matches!(walk.next(), Ok(true)) {
                return Err(Malformed("TO_DEV cmd: no response descriptor"));
            }
        }
    }
    if walk.desc.len < RESPONSE_SIZE || !walk.holds(RESPONSE_SIZE) {
        return Err(Malformed("the response is too short or not in memory"));
    }
    task.response = walk.desc.addr;
    task.used_len = RESPONSE_SIZE;
    if !task.to_device {
        while walk.next()? {
            if !walk.writable() {
                return Err(Malformed("a data-in descriptor is not writable"));
            }
            walk.payload(&mut task.iovs)?;
            length = length.wrapping_add(walk.desc.len);
        }
        task.used_len = RESPONSE_SIZE.wrapping_add(length);
    }
    task.length = length;
    Ok(lun)
}

/// The first writable descriptor that can hold a response.
pub fn find_response(memory: &GuestMemory, table: u64, size: u16, head: u16) -> Option<u64> {
    let mut walk = Walk::begin(memory, table, size, head).ok()?;
    for _ in 0..=walk.entries() {
        if walk.writable() && walk.desc.len >= RESPONSE_SIZE && walk.holds(RESPONSE_SIZE) {
            return Some(walk.desc.addr);
        }
        if !matches!(walk.next(), Ok(true)) {
            return None;
        }
    }
    None
}

/// Whether the chain has no end.
pub fn loops(memory: &GuestMemory, table: u64, size: u16, head: u16) -> bool {
    if head >= size {
        return false;
    }
    let Ok(mut walk) = Walk::begin(memory, table, size, head) else {
        return false;
    };
    (0..=walk.entries()).all(|_| matches!(walk.next(), Ok(true)))
}

/// Whether the chain has no end, and nothing in it but its header.
pub fn spins(memory: &GuestMemory, table: u64, size: u16, head: u16) -> bool {
    if !loops(memory, table, size, head) {
        return false;
    }
    let Ok(mut walk) = Walk::begin(memory, table, size, head) else {
        return false;
    };
    (0..=walk.entries()).all(|_| matches!(walk.next(), Ok(true)) && walk.desc.len == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ring::{DESC_F_NEXT, DESC_F_WRITE, DESC_SIZE, Desc};
    use wire::scsi::CDB_SIZE;

    /// Where the response lies.
    const RESPONSE: u64 = 0x800;

    /// Two regions side by side, a ring's table at 0, and a request in it without data.
    fn request(header: u64) -> GuestMemory {
        let ranges = [(GuestAddress(0), 0x1000), (GuestAddress(0x1000), 0x1000)];
        let memory = GuestMemory::from_ranges(&ranges).expect("two pages");
        let descriptors = [
            (header, REQUEST_SIZE, DESC_F_NEXT),
            (RESPONSE, RESPONSE_SIZE, DESC_F_WRITE),
        ];
        for (n, (addr, len, flags)) in descriptors.into_iter().enumerate() {
            let next = 1;
            let desc = Desc {
                addr,
                len,
                flags,
                next,
            };
            let at = GuestAddress(n as u64 * DESC_SIZE);
            let wrote = memory.write_few(desc.to_bytes(), at);
            wrote.expect("it is mapped");
        }
        let bytes: [u8; REQUEST_SIZE as usize] = std::array::from_fn(|n| n as u8 + 1);
        let wrote = memory.write_at(&bytes, GuestAddress(header));
        wrote.expect("it is mapped");
        memory
    }

    #[test]
    fn lun_and_command_are_those_of_the_header() {
        let mut task = Task::default();
        let lun = parse(&request(0x101), 0, 2, 0, &mut task);
        assert_eq!(lun, Ok([1, 2, 3, 4, 5, 6, 7, 8]));
        let cdb: [u8; CDB_SIZE] = std::array::from_fn(|n| (REQUEST_CDB + n) as u8 + 1);
        assert_eq!(task.cdb, cdb);
        assert_eq!(task.response, RESPONSE);
    }

    #[test]
    fn a_header_over_two_regions_is_refused() {
        for header in [0x1000 - 1, 0x1000 - u64::from(REQUEST_SIZE) + 1] {
            let parsed = parse(&request(header), 0, 2, 0, &mut Task::default());
            assert!(parsed.is_err(), "{header:#x}");
        }
        let fits = request(0x1000 - u64::from(REQUEST_SIZE));
        assert!(parse(&fits, 0, 2, 0, &mut Task::default()).is_ok());
    }
}
