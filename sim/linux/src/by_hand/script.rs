//! What neither QEMU nor Linux does by itself: task management, commands and chains by hand, messages
//! out of turn.
//!
//! Each step has buffers of its own in a page that no driver uses, and is judged when it comes back.
//! Knows what a driver may expect; knows nothing of why a step is taken.

use std::time::Duration;

use scenarios::{CheckId, IoId, TARGETS_PER_CONTROLLER_MAX, Time};
use vm_memory::GuestAddress;
use wire::access::Access as _;
use wire::component::Cx;
use wire::message::{CONTROLQ, EVENTQ, FromGuest, HbaId, Part, PartOf, REQUESTQ, VringIndex};
use wire::scsi::{REQUEST_CDB, REQUEST_SIZE, RESPONSE_SIZE, TMF_SIZE, lun_bytes, response, tmf};

use crate::block::Block;
use crate::driver::answer::{read_reply, take_answer};
use crate::driver::request::ChainEnd;
use crate::driver::ring::Segment;
use crate::ids::{IoNo, StepNo};
use crate::scsi::disk::Disk;
use crate::shared::Shared;

/// Where the buffers of scripts begin, and what one step has: request, response, data.
const BUFFERS: u64 = 0x1000;
const STEP_BYTES: u64 = 0x400;
const RESPONSE: u64 = 0x80;
const DATA: u64 = 0x100;
/// Steps whose buffers fit below the first device's.
const STEPS: usize = 48;
/// An address beyond all memory.
const NOWHERE: u64 = 1 << 52;
/// No response: nothing that virtio-scsi defines.
const NONE: u8 = 0xa5;
/// The control queue is looked at every 5 ms: what is sent so long after a reset comes behind it.
const SEEN_BY: Duration = Duration::from_millis(20);

/// What scripts have sent.
#[derive(Clone, Debug, Default)]
pub struct Scripts {
    steps: Vec<Scripted>,
    /// LUN RESETs among it that are not answered.
    resets_sent: usize,
}

#[derive(Clone, Debug)]
struct Scripted {
    hba: HbaId,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A command with so many bytes of payload.
    Command(u32),
    /// A chain that has a place for its response, or none.
    Chain(bool),
    /// Task management.
    Manage(Management),
    /// It came back.
    Over,
}

#[derive(Clone, Debug)]
struct Management {
    lun: [u8; 8],
    reset: bool,
    sent: Time,
    /// Requests that were in flight on the LUN: place and number. None behind an earlier reset: SPDK
    /// holds what comes then back until all resets are over.
    before: Vec<(IoNo, IoId)>,
}

fn buffers(step: StepNo) -> u64 {
    BUFFERS + (step.0 % STEPS) as u64 * STEP_BYTES
}

/// Whether a disk is the LUN that a request names.
fn is_lun(disk: &Disk, hba: HbaId, lun: [u8; 8]) -> bool {
    disk.hba() == hba && lun == lun_bytes(disk.target(), 0)
}

impl Scripts {
    /// Sends a command, past the SCSI mid-layer.
    pub fn command(
        &mut self,
        hba: HbaId,
        (lun, cdb): ([u8; 8], &[u8]),
        data_in: u32,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let part = |what, len, write| Part { what, len, write };
        let mut parts = vec![
            part(PartOf::Header, REQUEST_SIZE, false),
            part(PartOf::Response, RESPONSE_SIZE, true),
        ];
        if data_in > 0 {
            parts.push(part(PartOf::Data, data_in, true));
        }
        self.request(lun, cdb, shared);
        let chain = (&parts[..], ChainEnd::Proper);
        self.send((hba, REQUESTQ), chain, What::Command(data_in), shared, cx);
    }

    /// Sends a chain of descriptors as it stands.
    pub fn chain(
        &mut self,
        hba: HbaId,
        lun: [u8; 8],
        chain: (&[Part], ChainEnd),
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let answerable =
            |part: &Part| part.what == PartOf::Response && part.write && part.len >= RESPONSE_SIZE;
        let what = What::Chain(chain.0.iter().any(answerable));
        self.request(lun, &[0; 6], shared);
        self.send((hba, REQUESTQ), chain, what, shared, cx);
    }

    /// Sends a task management request; `block` holds what it may be about, unless one is under way.
    pub fn manage(
        &mut self,
        hba: HbaId,
        (lun, subtype): ([u8; 8], u32),
        block: Option<&Block>,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let mut request = [0; TMF_SIZE as usize];
        request[4..8].copy_from_slice(&subtype.to_le_bytes());
        request[8..16].copy_from_slice(&lun);
        self.put(0, &request, shared);
        let block = block.filter(|_| self.resets_sent == 0);
        let disks = &shared.disks;
        let before = block
            .into_iter()
            .flat_map(|block| block.unanswered(|disk| is_lun(&disks[disk], hba, lun)));
        let what = What::Manage(Management {
            lun,
            reset: subtype == tmf::LOGICAL_UNIT_RESET,
            sent: cx.now,
            before: before.collect(),
        });
        let part = |what, len, write| Part { what, len, write };
        let parts = [
            part(PartOf::Header, TMF_SIZE, false),
            part(PartOf::Response, 1, true),
        ];
        let chain = (&parts[..], ChainEnd::Proper);
        self.send((hba, CONTROLQ), chain, what, shared, cx);
    }

    /// Posts all event buffers once more.
    pub fn post_events(hba: HbaId, shared: &mut Shared, cx: &mut Cx<'_, FromGuest>) {
        shared.hbas[hba].post_all_events(&shared.memory);
        cx.out.push(FromGuest::Doorbell { hba, vring: EVENTQ });
    }

    fn put(&self, offset: u64, bytes: &[u8], shared: &Shared) {
        let at = buffers(StepNo(self.steps.len())) + offset;
        shared
            .memory
            .write_at(bytes, GuestAddress(at))
            .expect("scripts have a page in memory");
    }

    /// Writes the request header of the next step.
    fn request(&self, lun: [u8; 8], cdb: &[u8], shared: &Shared) {
        let mut header = [0; REQUEST_SIZE as usize];
        header[..8].copy_from_slice(&lun);
        header[REQUEST_CDB..REQUEST_CDB + cdb.len()].copy_from_slice(cdb);
        self.put(0, &header, shared);
    }

    fn send(
        &mut self,
        (hba, vring): (HbaId, VringIndex),
        (parts, end): (&[Part], ChainEnd),
        what: What,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let n = StepNo(self.steps.len());
        self.put(RESPONSE, &[NONE; 32], shared);
        let base = buffers(n);
        let segments: Vec<Segment> = (parts.iter())
            .map(|part| Segment {
                addr: match part.what {
                    PartOf::Header => base,
                    PartOf::Response => base + RESPONSE,
                    PartOf::Data => base + DATA,
                    PartOf::Nowhere => NOWHERE,
                },
                len: part.len,
                write: part.write,
            })
            .collect();
        shared.hbas[hba].send_chain(vring, &segments, end, n);
        self.resets_sent += usize::from(matches!(&what, What::Manage(request) if request.reset));
        self.steps.push(Scripted { hba, what });
        cx.out.push(FromGuest::Doorbell { hba, vring });
    }

    /// A step came back.
    pub fn returned(
        &mut self,
        n: StepNo,
        used_len: u32,
        block: &Block,
        shared: &Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let step = &mut self.steps[n.0];
        let what = std::mem::replace(&mut step.what, What::Over);
        let bytes = take_answer(&shared.memory, buffers(n) + RESPONSE);
        let (reply, unanswered) = read_reply(&bytes);
        let controller = shared.hbas[step.hba].controller;
        match what {
            What::Command(len) => {
                if unanswered {
                    let text = format!("{controller}: a command came back without a response");
                    cx.broken(CheckId::G2, text);
                }
                if reply.resid > len || (!unanswered && used_len < RESPONSE_SIZE) {
                    let resid = reply.resid;
                    let text = format!("{controller}: residual {resid} of {len}, used {used_len}");
                    cx.broken(CheckId::I17, text);
                }
            }
            What::Chain(answerable) => {
                if answerable && unanswered {
                    let text = format!("{controller}: a chain came back without a response");
                    cx.broken(CheckId::G2, text);
                }
            }
            What::Manage(request) => {
                self.resets_sent -= usize::from(request.reset);
                if let Some(wrong) = request.wrong(bytes[0], block) {
                    let text = format!("{controller}: a task management request {wrong}");
                    cx.broken(CheckId::I11, text);
                }
            }
            What::Over => {}
        }
    }

    /// A device was reset: what scripts have in its rings is forgotten.
    pub fn forget(&mut self, hba: HbaId) {
        for step in self.steps.iter_mut().filter(|step| step.hba == hba) {
            let what = std::mem::replace(&mut step.what, What::Over);
            let reset = matches!(what, What::Manage(request) if request.reset);
            self.resets_sent -= usize::from(reset);
        }
    }

    /// Whether a reset is not answered.
    pub fn waits_for_reset(&self) -> bool {
        self.resets_sent > 0
    }

    /// A request was answered while a reset waits: it must not have come behind the reset. A reset whose
    /// answer lies in the ring, and was not called for yet, does not wait any more.
    pub fn overtakes_reset(
        &self,
        n: IoNo,
        block: &Block,
        shared: &Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let Some((disk, id, since)) = block.under_way(n) else {
            return;
        };
        let disk = &shared.disks[disk];
        let answered = shared.hbas[disk.hba()].has_used(CONTROLQ);
        let overtaken = self.steps.iter().any(|step| match &step.what {
            What::Manage(reset) if reset.reset && !answered => {
                is_lun(disk, step.hba, reset.lun) && since >= reset.sent + SEEN_BY
            }
            What::Manage(_) | What::Command(_) | What::Chain(_) | What::Over => false,
        });
        if overtaken {
            let text = format!("request {id} overtook a reset of its LUN");
            cx.broken(CheckId::I11, text);
        }
    }
}

impl Management {
    /// What is wrong with the answer, if anything is.
    fn wrong(&self, answer: u8, block: &Block) -> Option<String> {
        let nobody = self.lun[0] != 1 || self.lun[1] >= TARGETS_PER_CONTROLLER_MAX;
        let refused = [response::BAD_TARGET, response::INCORRECT_LUN].contains(&answer);
        let before = self.before.iter();
        let in_flight = before.filter(|(n, id)| block.is_unanswered(*n, *id));
        let in_flight = in_flight.count();
        if answer == NONE {
            Some("came back without a response".to_owned())
        } else if nobody && !refused {
            Some(format!("to nobody was answered {answer}"))
        } else if self.reset && answer == response::OK && in_flight > 0 {
            let requests = format!("{in_flight} requests from before it");
            Some(format!("was answered while {requests} were in flight"))
        } else {
            None
        }
    }
}
