//! What neither QEMU nor Linux does by itself: task management, commands and chains by hand, messages
//! out of turn.
//!
//! Each step has buffers of its own in a page that no driver uses, and is judged when it comes back.
//! Knows what a driver may expect; knows nothing of why a step is taken.

use std::time::Duration;

use scenarios::{CheckId, IoId, Time};
use vm_memory::GuestAddress;

use super::Guest;
use super::answer::{read_reply, take_answer};
use super::ring::Segment;
use wire::access::Access as _;
use wire::component::Cx;
use wire::message::{
    CONTROLQ, EVENTQ, FromGuest, HbaId, Part, PartOf, REQUESTQ, Script, VringIndex,
};
use wire::scsi::{REQUEST_CDB, REQUEST_SIZE, RESPONSE_SIZE, TMF_SIZE, lun_bytes, response, tmf};

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
/// Targets that a controller can have.
const TARGETS: u8 = 8;

/// A step that was sent.
#[derive(Clone, Debug)]
pub struct Scripted {
    hba: usize,
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
    before: Vec<(usize, IoId)>,
}

fn buffers(step: usize) -> u64 {
    BUFFERS + (step % STEPS) as u64 * STEP_BYTES
}

impl Guest {
    /// Takes a step of a script.
    pub(super) fn script(&mut self, step: Script, cx: &mut Cx<'_, FromGuest>) {
        match step {
            Script::Command {
                hba,
                lun,
                cdb,
                data_in,
            } => {
                let header = (PartOf::Header, REQUEST_SIZE, false);
                let mut parts = vec![header, (PartOf::Response, RESPONSE_SIZE, true)];
                if data_in > 0 {
                    parts.push((PartOf::Data, data_in, true));
                }
                let parts = parts.into_iter();
                let parts: Vec<Part> = parts
                    .map(|(what, len, write)| Part { what, len, write })
                    .collect();
                self.request(lun, &cdb);
                self.send_parts((hba, REQUESTQ), &parts, false, What::Command(data_in), cx);
            }
            Script::Chain {
                hba,
                lun,
                parts,
                endless,
            } => {
                let answerable = |part: &Part| {
                    part.what == PartOf::Response && part.write && part.len >= RESPONSE_SIZE
                };
                let what = What::Chain(parts.iter().any(answerable));
                self.request(lun, &[0; 6]);
                self.send_parts((hba, REQUESTQ), &parts, endless, what, cx);
            }
            Script::Manage { hba, lun, subtype } => self.manage(hba, lun, subtype, cx),
            Script::Message { hba, message } => self.send_scripted(hba, message),
            Script::PostEvents { hba } => {
                self.hbas[usize::from(hba.0)].post_all_events(&self.memory);
                cx.out.push(FromGuest::Doorbell { hba, vring: EVENTQ });
            }
            Script::Calls { hba, vring, wanted } => {
                let ring = self.hbas[usize::from(hba.0)].ring_mut(vring);
                ring.set_no_interrupt(!wanted);
                cx.out.push(FromGuest::Doorbell { hba, vring });
            }
        }
    }

    fn put_script(&self, offset: u64, bytes: &[u8]) {
        let at = buffers(self.scripts.len()) + offset;
        self.memory
            .write_at(bytes, GuestAddress(at))
            .expect("scripts have a page in memory");
    }

    /// Writes the request header of the next step.
    fn request(&self, lun: [u8; 8], cdb: &[u8]) {
        let mut header = [0; REQUEST_SIZE as usize];
        header[..8].copy_from_slice(&lun);
        header[REQUEST_CDB..REQUEST_CDB + cdb.len()].copy_from_slice(cdb);
        self.put_script(0, &header);
    }

    fn send_parts(
        &mut self,
        (hba, vring): (HbaId, VringIndex),
        parts: &[Part],
        endless: bool,
        what: What,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let n = self.scripts.len();
        self.put_script(RESPONSE, &[NONE; 32]);
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
        let device = usize::from(hba.0);
        let sent = self.hbas[device].send_chain(vring, &segments, endless, n);
        assert!(sent, "a script finds room in vring {}", vring.0);
        self.resets_sent += usize::from(matches!(&what, What::Manage(request) if request.reset));
        self.scripts.push(Scripted { hba: device, what });
        cx.out.push(FromGuest::Doorbell { hba, vring });
    }

    fn manage(&mut self, hba: HbaId, lun: [u8; 8], subtype: u32, cx: &mut Cx<'_, FromGuest>) {
        let mut request = [0; TMF_SIZE as usize];
        request[4..8].copy_from_slice(&subtype.to_le_bytes());
        request[8..16].copy_from_slice(&lun);
        self.put_script(0, &request);
        let behind_none = self.resets_sent == 0 && self.managing.is_empty();
        let ios = self.ios.iter().enumerate();
        let before = ios.filter_map(|(n, io)| {
            let io = io.as_ref()?;
            let theirs = self.is_about(io.disk, usize::from(hba.0), lun);
            (theirs && io.answer.is_none() && behind_none).then_some((n, io.io.id))
        });
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
        self.send_parts((hba, CONTROLQ), &parts, false, what, cx);
    }

    /// Whether a disk is the LUN that a request names.
    fn is_about(&self, disk: usize, hba: usize, lun: [u8; 8]) -> bool {
        let disk = &self.disks[disk];
        usize::from(disk.hba) == hba && lun == lun_bytes(disk.target, 0)
    }

    /// A step came back.
    pub(super) fn script_returned(
        &mut self,
        hba: usize,
        n: usize,
        used_len: u32,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let what = std::mem::replace(&mut self.scripts[n].what, What::Over);
        let bytes = take_answer(&self.memory, buffers(n) + RESPONSE);
        let (reply, unanswered) = read_reply(&bytes);
        let controller = self.hbas[hba].controller;
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
            What::Manage(request) => self.managed(hba, &request, bytes[0], cx),
            What::Over => {}
        }
    }

    /// A task management request came back.
    fn managed(
        &mut self,
        hba: usize,
        request: &Management,
        answer: u8,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        self.resets_sent -= usize::from(request.reset);
        let nobody = request.lun[0] != 1 || request.lun[1] >= TARGETS;
        let refused = [response::BAD_TARGET, response::INCORRECT_LUN].contains(&answer);
        let in_flight = request.before.iter().filter(|(n, id)| {
            let io = self.ios[*n].as_ref();
            io.is_some_and(|io| io.io.id == *id && io.answer.is_none())
        });
        let in_flight = in_flight.count();
        let wrong = if answer == NONE {
            "came back without a response".to_owned()
        } else if nobody && !refused {
            format!("to nobody was answered {answer}")
        } else if request.reset && answer == response::OK && in_flight > 0 {
            format!("was answered while {in_flight} requests from before it were in flight")
        } else {
            return;
        };
        let controller = self.hbas[hba].controller;
        let text = format!("{controller}: a task management request {wrong}");
        cx.broken(CheckId::I11, text);
    }

    /// A device was reset: what scripts have in its rings is forgotten.
    pub(super) fn forget_scripts(&mut self, hba: usize) {
        for script in self.scripts.iter_mut().filter(|script| script.hba == hba) {
            let what = std::mem::replace(&mut script.what, What::Over);
            let reset = matches!(what, What::Manage(request) if request.reset);
            self.resets_sent -= usize::from(reset);
        }
    }

    /// A request was answered while a reset waits: it must not have come behind the reset. A reset whose
    /// answer lies in the ring, and was not called for yet, does not wait any more.
    pub(super) fn overtakes_reset(&mut self, n: usize, cx: &mut Cx<'_, FromGuest>) {
        let Some(io) = &self.ios[n] else { return };
        let hba = usize::from(self.disks[io.disk].hba);
        let answered = self.hbas[hba].ring_mut(CONTROLQ).has_used();
        let overtaken = self.scripts.iter().any(|script| match &script.what {
            What::Manage(reset) if reset.reset && !answered => {
                self.is_about(io.disk, script.hba, reset.lun) && io.since >= reset.sent + SEEN_BY
            }
            _ => false,
        });
        if overtaken {
            let text = format!("request {} overtook a reset of its LUN", io.io.id);
            cx.broken(CheckId::I11, text);
        }
    }
}
