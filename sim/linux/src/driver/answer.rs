//! What lies in a response: an answer, part of one, or none.
//!
//! Knows bytes; knows neither rings nor what a request is to its owner.

use vm_memory::GuestAddress;

use super::command::Reply;
use super::request::Owner;
use wire::access::Access as _;
use wire::component::Memory;
use wire::scsi::{RESPONSE_SIZE, response, status};

/// No answer has this as response, status or sense length, and none leaves so much unmoved.
const POISON: u8 = 0xa5;
/// The bytes of a response that a driver looks at: 12, and the sense data.
const ANSWER: usize = 30;
/// Lies over a response while its head is free or in flight: who writes to a request that he has given
/// back is found out, and who gives one back without an answer.
///
/// # Divergence from Linux
///
/// Linux zeroes the response before it sends a request; what is not written reads as zero here too.
const UNANSWERED: [u8; HALF] = [POISON; HALF];
/// Answers are read and written in two halves that overlap, each in a register.
const HALF: usize = 16;
/// Where in an answer the second half begins.
const SECOND: usize = ANSWER - HALF;

/// A command that came back.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    /// Whose it was.
    pub owner: Owner,
    /// What was answered.
    pub reply: Reply,
    /// What the driver looks at was not all written.
    pub unanswered: bool,
    /// The used length is not what was written, or more is left than there was.
    pub miscounted: bool,
    /// The used length.
    pub used_len: u32,
}

/// A command that is in flight.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// Whose it is.
    pub owner: Owner,
    /// Bytes of payload.
    pub len: u32,
    /// Bytes that the device may write.
    pub writable: u32,
}

impl Returned {
    /// What a driver makes of the bytes of a response.
    pub fn read(flight: InFlight, bytes: &[u8; ANSWER], used_len: u32) -> Self {
        let (reply, unanswered) = read_reply(bytes);
        let too_much = used_len > flight.writable || reply.resid > flight.len;
        Self {
            owner: flight.owner,
            reply,
            unanswered,
            miscounted: too_much || (!unanswered && used_len < RESPONSE_SIZE),
            used_len,
        }
    }
}

/// Makes a response unanswered.
pub fn clear(memory: &Memory, response: u64) {
    for at in [0, SECOND] {
        memory
            .write_few(UNANSWERED, GuestAddress(response + at as u64))
            .expect("responses lie in memory");
    }
}

/// Reads a response, and makes it unanswered again.
pub fn take_answer(memory: &Memory, response: u64) -> [u8; ANSWER] {
    let bytes = answer(memory, response);
    clear(memory, response);
    bytes
}

/// Whether nobody wrote to a response.
pub fn is_clear(memory: &Memory, response: u64) -> bool {
    [0, SECOND].map(|at| half(memory, response, at)) == [UNANSWERED; 2]
}

fn answer(memory: &Memory, response: u64) -> [u8; ANSWER] {
    let mut bytes = [0; ANSWER];
    for at in [0, SECOND] {
        bytes[at..at + HALF].copy_from_slice(&half(memory, response, at));
    }
    bytes
}

#[inline]
fn half(memory: &Memory, response: u64, at: usize) -> [u8; HALF] {
    memory
        .read_few(GuestAddress(response + at as u64))
        .expect("responses lie in memory")
}

/// The answer in a response; whether some of it is missing.
pub fn read_reply(bytes: &[u8; ANSWER]) -> (Reply, bool) {
    const WORD: u32 = u32::from_le_bytes([POISON; 4]);
    let word = |at: usize| {
        let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (word != WORD).then_some(word)
    };
    let byte = |at: usize| (bytes[at] != POISON).then_some(bytes[at]);
    let (sense_len, resid) = (word(0), word(4));
    let (status, answer) = (byte(10), byte(11));
    let checked = status == Some(status::CHECK_CONDITION);
    let unanswered = match answer {
        None => true,
        Some(response::OK) => {
            status.is_none() || resid.is_none() || (checked && sense_len.is_none())
        }
        Some(_) => false,
    };
    let sense = &bytes[12..];
    let has_sense = checked && sense_len.is_some_and(|len| len >= 14);
    let reply = Reply {
        response: answer.unwrap_or_default(),
        status: status.unwrap_or_default(),
        sense: has_sense.then_some((sense[2] & 0xf, sense[12], sense[13])),
        resid: resid.unwrap_or_default(),
    };
    (reply, unanswered)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use wire::component::GuestMemory;

    #[test]
    fn whoever_writes_any_byte_of_an_answer_is_found_out() {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x1000)]).expect("a page");
        let memory = Arc::new(memory);
        for at in 0..ANSWER {
            clear(&memory, 0x100);
            assert!(is_clear(&memory, 0x100));
            memory
                .write_at(&[7], GuestAddress(0x100 + at as u64))
                .expect("it is mapped");
            assert!(!is_clear(&memory, 0x100), "{at}");
            let mut bytes = [POISON; ANSWER];
            bytes[at] = 7;
            assert_eq!(take_answer(&memory, 0x100), bytes, "{at}");
            assert!(is_clear(&memory, 0x100), "it is taken once");
        }
    }
}
