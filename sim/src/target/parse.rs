//! A request's chain: which descriptor is header, response and data, in SPDK's order of checks.
//!
//! Source: `task_data_setup` (lib/vhost/vhost_scsi.c); fact sheet §3.6. Knows no command.

use vm_memory::GuestAddress;

use super::chain::{Malformed, Walk};
use super::task::Task;
use crate::access::Access as _;
use crate::end::GuestMemory;
use crate::wire::scsi::{REQUEST_CDB, REQUEST_SIZE, RESPONSE_SIZE};

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
