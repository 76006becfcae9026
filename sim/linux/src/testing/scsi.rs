//! What the scripted back-end says to a command, and how recordings name vhost-user messages.

use super::chain::Sent;
use super::message::message_words;
use wire::message::VhostUser;

/// The state of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nobody: BAD_TARGET.
    Absent,
    /// A disk.
    Present,
    /// Being removed or removed: LOGICAL UNIT NOT SUPPORTED; INQUIRY says so, too.
    Removed,
}

/// The fields of a response that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Says {
    pub response: u8,
    pub status: u8,
    pub sense: Option<(u8, u8, u8)>,
    pub resid: u32,
}

impl Says {
    pub fn response(response: u8) -> Self {
        Self {
            response,
            ..Self::default()
        }
    }

    pub fn status(status: u8) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn check(key: u8, asc: u8, ascq: u8) -> Self {
        let sense = Some((key, asc, ascq));
        Self {
            status: 2,
            sense,
            ..Self::default()
        }
    }

    pub fn is_good(&self) -> bool {
        self.response == 0 && self.status == 0
    }

    pub fn bytes(&self) -> [u8; 108] {
        let mut bytes = [0; 108];
        bytes[4..8].copy_from_slice(&self.resid.to_le_bytes());
        bytes[10] = self.status;
        bytes[11] = self.response;
        if let Some((key, asc, ascq)) = self.sense {
            bytes[0] = 18;
            bytes[12] = 0x70;
            (bytes[14], bytes[19], bytes[24], bytes[25]) = (key, 10, asc, ascq);
        }
        bytes
    }
}

/// What becomes of a READ or WRITE.
#[derive(Clone, Copy, Debug)]
pub enum Reaction {
    Normal,
    Hold,
    Says(Says),
}

/// An answer, with the data that come in.
#[derive(Clone, Debug)]
pub struct Answer {
    pub says: Says,
    pub data: Option<Vec<u8>>,
}

impl Answer {
    pub fn good() -> Self {
        Self {
            says: Says::default(),
            data: None,
        }
    }

    /// As recordings have it.
    pub fn words(&self, slot: Slot) -> String {
        let says = self.says;
        match (slot, says.response, says.status) {
            (Slot::Removed, ..) => "NULL LUN".to_owned(),
            (_, 3, _) => "BAD_TARGET".to_owned(),
            (_, 0, 0) => "GOOD".to_owned(),
            (_, 0, 2) => {
                let (key, asc, ascq) = says.sense.unwrap_or_default();
                format!("CHECK ({key:x}, {asc:x}, {ascq:x})")
            }
            (_, 0, status) => format!("STATUS {status:#x}"),
            (_, response, _) => format!("RESPONSE {response}"),
        }
    }

    fn with(data: Vec<u8>, sent: &Sent) -> Self {
        let mut data = data;
        data.truncate(sent.bytes_in as usize);
        let resid = sent.bytes_in - data.len() as u32;
        let says = Says {
            resid,
            ..Says::default()
        };
        Self {
            says,
            data: Some(data),
        }
    }

    fn check(key: u8, asc: u8, ascq: u8, sent: &Sent) -> Self {
        let resid = sent.bytes_in;
        let says = Says {
            resid,
            ..Says::check(key, asc, ascq)
        };
        Self { says, data: None }
    }
}

/// The answer of a target in this state.
pub fn answer(slot: Slot, sent: &Sent, blocks: u64) -> Answer {
    match slot {
        Slot::Absent => Answer {
            says: Says::response(3),
            data: None,
        },
        Slot::Removed if sent.cdb[0] == 0x12 => {
            Answer::with([&[0x7f, 0, 0, 0, 31][..], &[0; 31]].concat(), sent)
        }
        Slot::Removed => Answer::check(5, 0x25, 0, sent),
        Slot::Present => disk(sent, blocks),
    }
}

fn disk(sent: &Sent, blocks: u64) -> Answer {
    let cdb = &sent.cdb;
    let data = match (cdb[0], cdb[1], cdb[2]) {
        (0x00 | 0x35, ..) | (0x28 | 0x2a, ..) => return Answer::good(),
        (0x12, 0, _) => [&[0, 0, 5, 0x12, 47][..], &[0; 47]].concat(),
        (0x12, 1, 0x00) => vec![0, 0, 0, 5, 0, 0x80, 0x83, 0xb0, 0xb1],
        (0x12, 1, 0x80) => {
            let serial = format!("disk{:04}", sent.target);
            [&[0, 0x80, 0, 8][..], serial.as_bytes()].concat()
        }
        (0x12, 1, 0x83) => [&[0, 0x83, 0, 12][..], &[0; 12]].concat(),
        (0x12, 1, page) => [&[0, page, 0, 60][..], &[0; 60]].concat(),
        (0xa0, ..) => [&[0, 0, 0, 8][..], &[0; 12]].concat(),
        (0x25, ..) => [&(blocks as u32 - 1).to_be_bytes()[..], &[0, 0, 2, 0]].concat(),
        (0x9e, 0x10, _) => {
            let last = (blocks - 1).to_be_bytes();
            [&last[..], &[0, 0, 2, 0], &[0; 20]].concat()
        }
        (0x1a, _, 0x08) => [&[23, 0, 0, 0, 8, 18, 4][..], &[0; 17]].concat(),
        (0x1a, ..) => vec![3, 0, 0, 0],
        _ => return Answer::check(5, 0x20, 0, sent),
    };
    Answer::with(data, sent)
}

/// A message as the distilled recordings have it.
pub fn message_line(message: &VhostUser) -> String {
    let words = message_words(message);
    let kept = match message {
        VhostUser::SetProtocolFeatures(_)
        | VhostUser::GetInflightFd { .. }
        | VhostUser::SetInflightFd { .. } => 1,
        VhostUser::SetVringAddr { .. }
        | VhostUser::SetVringKick { .. }
        | VhostUser::SetVringCall { .. }
        | VhostUser::SetVringErr { .. } => 2,
        VhostUser::GetFeatures
        | VhostUser::SetFeatures(_)
        | VhostUser::GetProtocolFeatures
        | VhostUser::GetQueueNum
        | VhostUser::SetOwner
        | VhostUser::SetMemTable(_)
        | VhostUser::SetVringNum { .. }
        | VhostUser::SetVringBase { .. }
        | VhostUser::SetVringEnable { .. }
        | VhostUser::GetVringBase { .. }
        | VhostUser::SetStatus(_)
        | VhostUser::GetStatus => usize::MAX,
    };
    let words: Vec<&str> = words.split(' ').take(kept).collect();
    format!("MSG {}", words.join(" "))
}
