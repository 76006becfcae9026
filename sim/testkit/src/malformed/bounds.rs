//! What an input may cost at most, and memory that none may change.

use vm_memory::{Bytes as _, GuestAddress};
use wire::Memory;

/// A region that no chain names: addresses run into it, or are it but for their upper bits.
pub const CANARY: u64 = 0x5ca1_ab1e_0000;
pub const CANARY_BYTES: usize = 0x1000;
const PATTERN: u8 = 0xc5;

/// The most that one input may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Turns: a ring's worth of requests, each with its turns of a LUN, a bdev and a poller.
    pub turns: u32,
    /// Messages of the target: an answer, a call or a line of its log each.
    pub messages: usize,
    /// Bytes that it says on its RPC socket: what it has, which may be thousands of parts of a bdev.
    pub said: usize,
    /// Bytes of bdevs' contents that it begins to keep.
    pub kept: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            turns: 4_096,
            messages: 8_192,
            said: 16 << 20,
            kept: 4 << 20,
        }
    }
}

/// What an input came to cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub messages: usize,
    pub said: usize,
    pub kept: u64,
}

impl Bounds {
    /// What is over its bound, if something is; turns are counted as they are taken.
    pub fn exceeded(&self, cost: &Cost) -> Result<(), String> {
        let all = [
            ("messages", cost.messages as u64, self.messages as u64),
            ("bytes said", cost.said as u64, self.said as u64),
            ("bytes kept", cost.kept, self.kept),
        ];
        let over = all.iter().find(|(_, cost, bound)| cost > bound);
        over.map_or(Ok(()), |(what, cost, bound)| {
            Err(format!("{cost} {what}, more than {bound}"))
        })
    }
}

pub fn paint(memory: &Memory) {
    let wrote = memory.write_slice(&[PATTERN; CANARY_BYTES], GuestAddress(CANARY));
    wrote.expect("it is a region");
}

/// Whether nobody has written to the canary.
pub fn is_painted(memory: &Memory) -> bool {
    let mut bytes = [0; CANARY_BYTES];
    let read = memory.read_slice(&mut bytes, GuestAddress(CANARY));
    read.is_ok() && bytes == [PATTERN; CANARY_BYTES]
}
