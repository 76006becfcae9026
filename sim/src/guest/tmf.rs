//! LUN RESET from a guest: what `sg_reset -d` makes Linux send on the control queue.
//!
//! `scsi_ioctl_reset` → `virtscsi_device_reset` → `virtscsi_tmf` (drivers/scsi/virtio_scsi.c): a request
//! of 24 bytes, a response of one. Requests of the disk that the target aborts come back on their own
//! queues. Knows nothing of what the target does with it.
//!
//! # Divergence from Linux
//!
//! `sg_reset` holds back no other request of the disk (Linux neither, for this ioctl), and goes on
//! to no bus or host reset when the device reset fails.

use scenarios::{CheckId, Observation, Place, Ticket};
use vm_memory::GuestAddress;

use super::hba::Owner;
use super::layout::RESETS_MAX;
use super::ring::Segment;
use super::{Guest, Power};
use crate::access::Access as _;
use crate::end::Cx;
use crate::message::{CONTROLQ, FromGuest, HbaId};
use crate::wire::scsi::{TMF_SIZE, lun_bytes, tmf};

/// Written where the response will stand. Linux writes 0, which means "complete": a target that
/// answers nothing would not be noticed.
const UNANSWERED: u8 = 0xA5;

/// A LUN RESET that was sent.
#[derive(Clone, Debug)]
pub struct LunReset {
    ticket: Ticket,
    hba: usize,
    head: u16,
    /// Its buffer on that device.
    buffer: usize,
    place: Place,
}

impl Guest {
    /// Sends a LUN RESET, or says at once why not.
    pub(super) fn reset_lun(&mut self, ticket: Ticket, place: Place, cx: &mut Cx<'_, FromGuest>) {
        if let Err(why) = self.send_reset(ticket, place, cx) {
            let result = Err(why.to_owned());
            cx.see(Observation::Answered { ticket, result });
        }
    }

    fn send_reset(
        &mut self,
        ticket: Ticket,
        place: Place,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Result<(), &'static str> {
        if self.power != Power::Running || self.paused {
            return Err("the VM does not run");
        }
        let hba = self
            .hbas
            .iter()
            .position(|hba| hba.controller == place.controller)
            .ok_or("the VM has no such controller")?;
        let disk = self.disk_at(hba, place.target.0).ok_or("No such device")?;
        if !self.disks[disk].visible {
            return Err("No such device");
        }
        let taken = |buffer: &usize| {
            let mut resets = self.resets.iter();
            resets.any(|reset| reset.hba == hba && reset.buffer == *buffer)
        };
        let buffer = (0..RESETS_MAX).find(|buffer| !taken(buffer));
        let buffer = buffer.ok_or("Device or resource busy")?;
        let addr = self.hbas[hba].layout.reset(buffer);
        let mut bytes = [0; TMF_SIZE as usize + 1];
        bytes[..4].copy_from_slice(&tmf::TYPE.to_le_bytes());
        bytes[4..8].copy_from_slice(&tmf::LOGICAL_UNIT_RESET.to_le_bytes());
        bytes[8..16].copy_from_slice(&lun_bytes(place.target.0, 0));
        bytes[TMF_SIZE as usize] = UNANSWERED;
        self.memory
            .write_at(&bytes, GuestAddress(addr))
            .expect("resets lie in guest memory");
        let segment = |addr, len, write| Segment { addr, len, write };
        let request = segment(addr, TMF_SIZE, false);
        let response = segment(addr + u64::from(TMF_SIZE), 1, true);
        let head = self.hbas[hba].send_control(&[request, response]);
        let head = head.ok_or("Device or resource busy")?;
        self.resets.push(LunReset {
            ticket,
            hba,
            head,
            buffer,
            place,
        });
        cx.out.push(FromGuest::Look {
            hba: HbaId(hba as u8),
            vring: CONTROLQ,
        });
        Ok(())
    }

    /// Takes the LUN RESETs that came back on a device; says how many.
    pub(super) fn pop_resets(&mut self, hba: usize, cx: &mut Cx<'_, FromGuest>) -> u32 {
        let mut popped = 0;
        loop {
            match self.hbas[hba].receive_control() {
                Ok(Some((_, Some(Owner::Script(n))))) => {
                    popped += 1;
                    self.script_returned(hba, n, 1, cx);
                }
                Ok(Some((head, _))) => {
                    popped += 1;
                    self.reset_answered(hba, head, cx);
                }
                Ok(None) => return popped,
                Err(broken) => {
                    self.not_a_head(hba, CONTROLQ, broken.id, cx);
                    return popped;
                }
            }
        }
    }

    fn reset_answered(&mut self, hba: usize, head: u16, cx: &mut Cx<'_, FromGuest>) {
        let of = |reset: &LunReset| reset.hba == hba && reset.head == head;
        let Some(n) = self.resets.iter().position(of) else {
            return;
        };
        let reset = self.resets.swap_remove(n);
        let addr = self.hbas[hba].layout.reset(reset.buffer) + u64::from(TMF_SIZE);
        let mut response = [0];
        self.memory
            .read_at(&mut response, GuestAddress(addr))
            .expect("resets lie in guest memory");
        let [response] = response;
        if response == UNANSWERED {
            let place = reset.place;
            let text = format!("LUN RESET of {place}: expected a response, none was written");
            cx.broken(CheckId::I11, text);
        }
        let (ticket, result) = (reset.ticket, Ok(response));
        cx.see(Observation::Answered { ticket, result });
    }

    /// The guest goes down: nobody waits for its LUN RESETs any more.
    pub(super) fn end_resets(&mut self, cx: &mut Cx<'_, FromGuest>) {
        for reset in self.resets.drain(..) {
            let (ticket, result) = (reset.ticket, Err("the VM went down".to_owned()));
            cx.see(Observation::Answered { ticket, result });
        }
    }
}
