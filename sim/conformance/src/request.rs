//! Requests as the recorder built them: lists of descriptors in guest memory.
//!
//! Knows layouts, and no ring: descriptor numbers are handed in.

use super::answer::{PREFILL, Request, Shows};
use super::memory::{Buffer, FrontEndMemory};
use super::posted::{Chain, Role, Scsi, Tmf};
use wire::ring::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, Desc};
use wire::scsi::{CDB_SIZE, REQUEST_CDB, REQUEST_SIZE, RESPONSE_SIZE, TMF_SIZE};

/// Bytes of an asynchronous notification request: le32 type, lun[8], le32 event_requested.
const AN_SIZE: u32 = 16;
/// Bytes of its response: le32 event_actual, le8 response.
const AN_RESPONSE_SIZE: u32 = 5;
/// A chain's descriptor may claim more memory than there is; it gets no more than this.
const CHAIN_BUFFER_MAX: u32 = 1 << 20;

/// Descriptors that were not put anywhere yet; `next` counts within them.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The descriptors.
    pub descs: Vec<DraftDesc>,
    /// In a table of its own.
    pub indirect: Option<Table>,
    request: Request,
}

/// Where a table is, and how long the descriptor that points to it says it is.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    addr: u64,
    len: u32,
}

/// A descriptor.
#[derive(Clone, Copy, Debug)]
pub struct DraftDesc {
    buffer: Buffer,
    flags: u16,
    next: Next,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// The chain ends.
    End,
    /// The descriptor of this number in the draft.
    Draft(usize),
    /// As it stands.
    Raw(u16),
}

impl Draft {
    /// A SCSI command: header, data for the target, response, data from the target.
    ///
    /// # Errors
    ///
    /// The stimulus cannot be built.
    pub fn scsi(scsi: &Scsi, tag: u64, memory: &mut FrontEndMemory) -> Result<Self, String> {
        let mut header = vec![0; REQUEST_SIZE as usize];
        put(&mut header, 0, &from_hex(&scsi.lun)?)?;
        put(&mut header, 8, &tag.to_le_bytes())?;
        let cdb = from_hex(&scsi.cdb)?;
        if cdb.len() > CDB_SIZE {
            return Err(format!("a CDB of {} bytes", cdb.len()));
        }
        put(&mut header, REQUEST_CDB, &cdb)?;
        let segments = scsi.segs.unwrap_or(1).max(1);
        let header_at = memory.allocate(REQUEST_SIZE, 0)?;
        memory.write(header_at.addr, &header);
        let mut parts = vec![(header_at, 0)];
        if let Some(out) = &scsi.data_out {
            let at = memory.allocate(out.len, out.fill)?;
            memory.write(at.addr, &clipped(from_hex(&out.bytes)?, out.len));
            parts.extend(split(at, segments).map(|part| (part, 0)));
        }
        let response = memory.allocate(RESPONSE_SIZE, 0)?;
        parts.push((response, DESC_F_WRITE));
        let mut data = Vec::new();
        if let Some(len) = scsi.data_in {
            data.push(memory.allocate(len, 0)?);
            parts.extend(split(data[0], segments).map(|part| (part, DESC_F_WRITE)));
        }
        let request = Request {
            tag,
            descs: Vec::new(),
            shows: Shows::Scsi,
            response: Some(response),
            data,
        };
        Self::chained(&parts, scsi.indirect, request, memory)
    }

    /// A control queue request: request and response.
    ///
    /// # Errors
    ///
    /// The stimulus cannot be built.
    pub fn tmf(tmf: &Tmf, memory: &mut FrontEndMemory) -> Result<Self, String> {
        let lun = from_hex(&tmf.lun)?;
        let notification = tmf.kind == 1 || tmf.kind == 2;
        let (size, response_size) = if notification {
            (AN_SIZE, AN_RESPONSE_SIZE)
        } else {
            (TMF_SIZE, 1)
        };
        let mut bytes = vec![0; size as usize];
        put(&mut bytes, 0, &tmf.kind.to_le_bytes())?;
        if notification {
            put(&mut bytes, 4, &lun)?;
            put(&mut bytes, 12, &tmf.event_requested.to_le_bytes())?;
        } else {
            put(&mut bytes, 4, &tmf.subtype.to_le_bytes())?;
            put(&mut bytes, 8, &lun)?;
            put(&mut bytes, 16, &tmf.task_tag.to_le_bytes())?;
        }
        let request_at = memory.allocate(size, 0)?;
        memory.write(request_at.addr, &bytes);
        let response = memory.allocate(tmf.resp_len.unwrap_or(response_size), PREFILL)?;
        let request = Request {
            tag: tmf.tag,
            descs: Vec::new(),
            shows: Shows::Control,
            response: Some(response),
            data: Vec::new(),
        };
        let parts = [(request_at, 0), (response, DESC_F_WRITE)];
        Self::chained(&parts, false, request, memory)
    }

    /// A chain as it stands.
    ///
    /// # Errors
    ///
    /// The stimulus cannot be built.
    pub fn chain(chain: &Chain, memory: &mut FrontEndMemory) -> Result<Self, String> {
        let mut request = Request {
            tag: chain.tag,
            descs: Vec::new(),
            shows: if chain.queue == 0 {
                Shows::Control
            } else {
                Shows::Chain
            },
            response: None,
            data: Vec::new(),
        };
        let mut descs = Vec::new();
        for (n, desc) in chain.descs.iter().enumerate() {
            let bytes = desc.bytes.as_deref().map(from_hex).transpose()?;
            let own = desc
                .len
                .max(bytes.as_ref().map_or(0, |bytes| bytes.len() as u32));
            let shown = desc.write || desc.role.is_some();
            let fill = desc.fill.unwrap_or(if shown { PREFILL } else { 0 });
            let buffer = match desc.addr {
                Some(addr) => Buffer {
                    addr,
                    len: desc.len,
                },
                None => Buffer {
                    len: desc.len,
                    ..memory.allocate(own.min(CHAIN_BUFFER_MAX), 0)?
                },
            };
            memory.fill(buffer, fill);
            memory.write(buffer.addr, &bytes.unwrap_or_default());
            match desc.role {
                Some(Role::Resp) => request.response = Some(buffer),
                Some(Role::Data) => request.data.push(buffer),
                None => {}
            }
            let next = match (desc.next, desc.next_desc) {
                (Some(next), _) => Next::Raw(next),
                (None, Some(next)) if next < chain.descs.len() => Next::Draft(next),
                (None, Some(next)) => return Err(format!("there is no descriptor {next}")),
                (None, None) if n + 1 < chain.descs.len() => Next::Draft(n + 1),
                (None, None) => Next::End,
            };
            let mut flags = 0;
            if desc.write {
                flags |= DESC_F_WRITE;
            }
            if desc.indirect_flag {
                flags |= DESC_F_INDIRECT;
            }
            descs.push(DraftDesc {
                buffer,
                flags,
                next,
            });
        }
        let mut draft = Self {
            descs,
            indirect: None,
            request,
        };
        if let Some(indirect) = &chain.indirect {
            draft.put_into_table(indirect.addr, indirect.len, memory)?;
        }
        Ok(draft)
    }

    fn chained(
        parts: &[(Buffer, u16)],
        indirect: bool,
        request: Request,
        memory: &mut FrontEndMemory,
    ) -> Result<Self, String> {
        let next = |n| {
            if n + 1 < parts.len() {
                Next::Draft(n + 1)
            } else {
                Next::End
            }
        };
        let mut draft = Self {
            descs: parts
                .iter()
                .enumerate()
                .map(|(n, (buffer, flags))| DraftDesc {
                    buffer: *buffer,
                    flags: *flags,
                    next: next(n),
                })
                .collect(),
            indirect: None,
            request,
        };
        if indirect {
            draft.put_into_table(None, None, memory)?;
        }
        Ok(draft)
    }

    fn put_into_table(
        &mut self,
        addr: Option<u64>,
        len: Option<u32>,
        memory: &mut FrontEndMemory,
    ) -> Result<(), String> {
        let own = self.descs.len() as u32 * 16;
        let len = len.unwrap_or(own);
        let addr = match addr {
            Some(addr) => addr,
            None => memory.allocate(own.max(len), 0)?.addr,
        };
        let numbers: Vec<u16> = (0..self.descs.len() as u16).collect();
        let bytes: Vec<u8> = self
            .descs
            .iter()
            .flat_map(|desc| desc.with(&numbers).to_bytes())
            .collect();
        memory.write(addr, &bytes);
        self.indirect = Some(Table { addr, len });
        Ok(())
    }

    /// Descriptors that it takes in the ring.
    #[must_use]
    pub fn slots(&self) -> usize {
        if self.indirect.is_some() {
            1
        } else {
            self.descs.len()
        }
    }

    /// The ring's descriptors, once their numbers are known, and the request that they are.
    #[must_use]
    pub fn place(mut self, numbers: Vec<u16>) -> (Vec<Desc>, Request) {
        let descs = match self.indirect {
            Some(table) => vec![Desc {
                addr: table.addr,
                len: table.len,
                flags: DESC_F_INDIRECT,
                next: 0,
            }],
            None => self.descs.iter().map(|desc| desc.with(&numbers)).collect(),
        };
        self.request.descs = numbers;
        (descs, self.request)
    }
}

impl DraftDesc {
    fn with(&self, numbers: &[u16]) -> Desc {
        let (next, flag) = match self.next {
            Next::End => (0, 0),
            Next::Draft(n) => (numbers[n], DESC_F_NEXT),
            Next::Raw(next) => (next, DESC_F_NEXT),
        };
        Desc {
            addr: self.buffer.addr,
            len: self.buffer.len,
            flags: self.flags | flag,
            next,
        }
    }
}

/// `buffer` in `count` parts, the last of which takes what is left.
fn split(buffer: Buffer, count: u32) -> impl Iterator<Item = Buffer> {
    let each = buffer.len / count;
    (0..count).map(move |n| Buffer {
        addr: buffer.addr + u64::from(n * each),
        len: if n + 1 < count {
            each
        } else {
            buffer.len - n * each
        },
    })
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) -> Result<(), String> {
    let place = bytes
        .get_mut(at..at + part.len())
        .ok_or_else(|| format!("{} bytes at {at} are too many", part.len()))?;
    place.copy_from_slice(part);
    Ok(())
}

fn clipped(mut bytes: Vec<u8>, len: u32) -> Vec<u8> {
    bytes.truncate(len as usize);
    bytes
}

/// Bytes from hex digits, as transcripts write them; blanks between them do not count.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text.replace(' ', "")).map_err(|_| format!("`{text}` is not hex"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::memory::anonymous;
    use super::*;

    #[test]
    fn hex_may_have_blanks() {
        assert_eq!(from_hex("00ff 1A").unwrap(), [0, 255, 26]);
        for wrong in ["0", "0g", "00\n"] {
            assert_eq!(from_hex(wrong), Err(format!("`{wrong}` is not hex")));
        }
    }

    fn chain(text: &str) -> Chain {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_chain_names_the_descriptors_it_got() {
        let mut memory = FrontEndMemory::new(anonymous).unwrap();
        let stimulus = chain(
            r#"{"frontend":"f0","queue":2,"tag":1,"descs":[
                {"len":51,"bytes":"0100"},{"len":108,"write":true,"role":"resp","next_desc":0}]}"#,
        );
        let draft = Draft::chain(&stimulus, &mut memory).unwrap();
        let (descs, request) = draft.place(vec![4, 9]);
        assert_eq!(request.descs, [4, 9]);
        assert_eq!((descs[0].flags, descs[0].next), (DESC_F_NEXT, 9));
        assert_eq!(
            (descs[1].flags, descs[1].next),
            (DESC_F_NEXT | DESC_F_WRITE, 4)
        );
        let seen = request.seen(&memory, 0);
        assert_eq!(
            Value::Object(seen),
            json!({"used_len": 0, "resp_untouched": true})
        );
    }

    #[test]
    fn an_indirect_chain_takes_one_descriptor_and_says_what_it_was_told_to() {
        let mut memory = FrontEndMemory::new(anonymous).unwrap();
        let stimulus = chain(
            r#"{"frontend":"f0","queue":2,"tag":1,"indirect":{"len":47},"descs":[
                {"len":51},{"len":8,"write":true}]}"#,
        );
        let draft = Draft::chain(&stimulus, &mut memory).unwrap();
        assert_eq!(draft.slots(), 1);
        let (descs, _) = draft.place(vec![3]);
        assert_eq!((descs[0].len, descs[0].flags), (47, DESC_F_INDIRECT));
        let second = Buffer {
            addr: descs[0].addr + 16,
            len: 16,
        };
        let bytes = memory.read(second).unwrap();
        assert_eq!(bytes[8..12], [8, 0, 0, 0]);
        assert_eq!(bytes[12..14], [2, 0]);
    }

    #[test]
    fn a_response_is_reported_field_by_field() {
        let mut memory = FrontEndMemory::new(anonymous).unwrap();
        let scsi: Scsi = serde_json::from_str(
            r#"{"frontend":"f0","queue":2,"tag":1,"lun":"0100000000000000","cdb":"28",
                "data_in":512,"segs":8}"#,
        )
        .unwrap();
        let draft = Draft::scsi(&scsi, 1, &mut memory).unwrap();
        assert_eq!(draft.slots(), 10);
        let (descs, request) = draft.place((0..10).collect());
        assert_eq!(descs.iter().map(|d| d.len).sum::<u32>(), 51 + 108 + 512);
        let mut response = [0; 108];
        response[0] = 18;
        response[4..6].copy_from_slice(&[1, 2]);
        response[10] = 2;
        response[12] = 0xf0;
        memory.write(descs[1].addr, &response);
        let seen = Value::Object(request.seen(&memory, 620));
        assert_eq!(seen["status"], 2);
        assert_eq!(seen["response"], "OK");
        assert_eq!(seen["resid"], 513);
        assert_eq!(seen["sense"], "f00000000000000000000000000000000000");
        assert_eq!(seen["data_crc32"], "b2aa7578");
        assert_eq!(seen["data_head"].as_str().unwrap().len(), 192);
    }
}
