//! What is seen of a request when it comes back: response, sense, data, and what was not touched.
//!
//! Response memory was filled beforehand, with 0x00 under `scsi` and 0xAA under `chain` and on the
//! control queue, so untouched bytes show.

use serde_json::{Map, Value, json};

use super::memory::{Buffer, FrontEndMemory};
use wire::scsi::{RESPONSE_RESPONSE, RESPONSE_SENSE, response};

/// What memory that the target should write is filled with under `chain`, and for control requests.
pub const PREFILL: u8 = 0xaa;
/// Bytes of data that are reported in full.
const DATA_HEAD: usize = 96;
/// Bytes of sense data that are reported.
const SENSE_HEAD: usize = 18;
/// Bytes of a control queue response that are reported.
const CONTROL_HEAD: usize = 16;

/// What a request reports when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// The fields of a response, and the data.
    Scsi,
    /// The same, and what of it is untouched.
    Chain,
    /// The bytes of a control response.
    Control,
}

/// A request that was made available.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name in the observations.
    pub tag: u64,
    /// Its descriptors in the ring.
    pub descs: Vec<u16>,
    /// How it is reported.
    pub shows: Shows,
    /// Where the target answers.
    pub response: Option<Buffer>,
    /// Where the target puts data.
    pub data: Vec<Buffer>,
}

impl Request {
    /// What is seen of it now that it has come back: the members after `frontend`, `queue`, `tag`.
    #[must_use]
    pub fn seen(&self, memory: &FrontEndMemory, used_len: u32) -> Map<String, Value> {
        let mut seen = Map::new();
        seen.insert("used_len".into(), used_len.into());
        let response = self.response.and_then(|buffer| memory.read(buffer));
        if let Some(bytes) = &response {
            let untouched = bytes.iter().all(|byte| *byte == PREFILL);
            if self.shows != Shows::Scsi {
                seen.insert("resp_untouched".into(), untouched.into());
            }
            match self.shows {
                Shows::Scsi => see_response(&mut seen, bytes),
                Shows::Chain if !untouched => {
                    let head = &bytes[..bytes.len().min(RESPONSE_SENSE as usize)];
                    seen.insert("resp_head".into(), hex::encode(head).into());
                    see_response(&mut seen, bytes);
                }
                Shows::Control if !untouched => {
                    let head = &bytes[..bytes.len().min(CONTROL_HEAD)];
                    seen.insert("resp_bytes".into(), hex::encode(head).into());
                    if let [code] = bytes[..] {
                        seen.insert("response".into(), response_name(code));
                    }
                }
                Shows::Chain | Shows::Control => {}
            }
        }
        self.see_data(&mut seen, memory);
        seen
    }

    fn see_data(&self, seen: &mut Map<String, Value>, memory: &FrontEndMemory) {
        if self.data.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        for buffer in &self.data {
            let Some(part) = memory.read(*buffer) else {
                return;
            };
            bytes.extend(part);
        }
        if self.shows == Shows::Chain && bytes.iter().all(|byte| *byte == PREFILL) {
            seen.insert("data_untouched".into(), true.into());
            return;
        }
        let crc = crc32fast::hash(&bytes);
        seen.insert("data_crc32".into(), format!("{crc:08x}").into());
        let head = &bytes[..bytes.len().min(DATA_HEAD)];
        seen.insert("data_head".into(), hex::encode(head).into());
    }
}

/// The fields of a virtio-scsi response, as far as it is long.
fn see_response(seen: &mut Map<String, Value>, bytes: &[u8]) {
    let Some(head) = bytes.first_chunk::<12>() else {
        return;
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let sense_len = word(0);
    seen.insert(
        "response".into(),
        response_name(head[RESPONSE_RESPONSE as usize]),
    );
    seen.insert("status".into(), head[10].into());
    if sense_len == u32::from_le_bytes([PREFILL; 4]) {
        seen.insert("sense_len".into(), "untouched".into());
    } else {
        seen.insert("sense_len".into(), sense_len.into());
        let sense = &bytes[head.len()..];
        if sense_len > 0 {
            let sense = &sense[..sense.len().min(SENSE_HEAD)];
            seen.insert("sense".into(), hex::encode(sense).into());
        }
    }
    seen.insert("resid".into(), word(4).into());
}

/// The name of a response code (virtio 1.x §5.6.6.1.1), or the number.
fn response_name(code: u8) -> Value {
    let name = match code {
        response::OK => "OK",
        response::OVERRUN => "OVERRUN",
        response::ABORTED => "ABORTED",
        response::BAD_TARGET => "BAD_TARGET",
        response::RESET => "RESET",
        response::BUSY => "BUSY",
        response::TRANSPORT_FAILURE => "TRANSPORT_FAILURE",
        response::TARGET_FAILURE => "TARGET_FAILURE",
        response::NEXUS_FAILURE => "NEXUS_FAILURE",
        response::FAILURE => "FAILURE",
        response::INCORRECT_LUN => "INCORRECT_LUN",
        other => return json!(other),
    };
    name.into()
}
