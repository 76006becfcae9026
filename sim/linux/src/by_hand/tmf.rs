//! Task management from a guest: a request of 24 bytes on the control queue, a response of one.
//!
//! LUN RESET is what `sg_reset -d` makes Linux send: `scsi_ioctl_reset` → `virtscsi_device_reset` →
//! `virtscsi_tmf` (drivers/scsi/virtio_scsi.c). ABORT TASK only its error handler sends
//! (`virtscsi_abort`), the other functions another system. Requests of the disk that the target aborts
//! come back on their own queues. Knows nothing of what the target does with it.
//!
//! # Divergence from Linux
//!
//! `sg_reset` holds back no other request of the disk (Linux neither, for this ioctl), and goes on
//! to no bus or host reset when the device reset fails. What Linux sends of itself never, somebody in the
//! guest sends beside its driver, to any address.

use scenarios::{CheckId, Observation, Place, TARGETS_PER_CONTROLLER_MAX, TaskFunction, Ticket};
use vm_memory::GuestAddress;
use wire::access::Access as _;
use wire::component::Cx;
use wire::message::{CONTROLQ, FromGuest, HbaId};
use wire::scsi::{TMF_SIZE, lun_bytes, response, tmf};

use crate::driver::layout::TMFS_MAX;
use crate::driver::ring::Segment;
use crate::shared::Shared;

/// Written where the response will stand. Linux writes 0, which means "complete": a target that
/// answers nothing would not be noticed.
const UNANSWERED: u8 = 0xA5;

/// Task management requests (TMFs) that are not answered yet.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Vec<TaskRequest>);

/// A request that was sent.
#[derive(Clone, Debug)]
struct TaskRequest {
    ticket: Ticket,
    function: TaskFunction,
    hba: HbaId,
    head: u16,
    /// Its buffer on that device.
    buffer: usize,
    place: Place,
}

impl Tasks {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Sends a request, or says at once why not.
    pub fn ask(
        &mut self,
        ticket: Ticket,
        place: Place,
        function: TaskFunction,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        if let Err(why) = self.send(ticket, place, function, shared, cx) {
            let result = Err(why.to_owned());
            cx.see(Observation::Answered { ticket, result });
        }
    }

    fn send(
        &mut self,
        ticket: Ticket,
        place: Place,
        function: TaskFunction,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) -> Result<(), &'static str> {
        if !shared.runs() {
            return Err("the VM does not run");
        }
        let hba = shared.hbas.on(place.controller);
        let hba = hba.ok_or("the VM has no such controller")?;
        // sg_reset opens the disk; who writes to the ring needs none.
        let disk = shared.disks.at(hba, place.target.0);
        let visible = disk.is_some_and(|disk| shared.disks[disk].was_visible());
        if function == TaskFunction::LunReset && !visible {
            return Err("No such device");
        }
        let taken = |buffer: &usize| {
            let mut others = self.0.iter();
            others.any(|other| other.hba == hba && other.buffer == *buffer)
        };
        let buffer = (0..TMFS_MAX).find(|buffer| !taken(buffer));
        let buffer = buffer.ok_or("Device or resource busy")?;
        let addr = shared.hbas[hba].layout.tmf(buffer);
        let mut bytes = [0; TMF_SIZE as usize + 1];
        bytes[..4].copy_from_slice(&tmf::TYPE.to_le_bytes());
        bytes[4..8].copy_from_slice(&tmf::subtype(function).to_le_bytes());
        bytes[8..16].copy_from_slice(&lun_bytes(place.target.0, 0));
        if let Some(tag) = shared.hbas[hba].tag_in_flight() {
            bytes[16..24].copy_from_slice(&tag.to_le_bytes());
        }
        bytes[TMF_SIZE as usize] = UNANSWERED;
        shared
            .memory
            .write_at(&bytes, GuestAddress(addr))
            .expect("task management lies in guest memory");
        let segment = |addr, len, write| Segment { addr, len, write };
        let request = segment(addr, TMF_SIZE, false);
        let response = segment(addr + u64::from(TMF_SIZE), 1, true);
        let head = shared.hbas[hba].send_control(&[request, response]);
        let head = head.ok_or("Device or resource busy")?;
        self.0.push(TaskRequest {
            ticket,
            function,
            hba,
            head,
            buffer,
            place,
        });
        cx.out.push(FromGuest::Doorbell {
            hba,
            vring: CONTROLQ,
        });
        Ok(())
    }

    /// One came back on a device.
    pub fn back(&mut self, hba: HbaId, head: u16, shared: &Shared, cx: &mut Cx<'_, FromGuest>) {
        let of = |request: &TaskRequest| request.hba == hba && request.head == head;
        let Some(n) = self.0.iter().position(of) else {
            return;
        };
        let request = self.0.swap_remove(n);
        let addr = shared.hbas[hba].layout.tmf(request.buffer) + u64::from(TMF_SIZE);
        let mut answer = [0];
        shared
            .memory
            .read_at(&mut answer, GuestAddress(addr))
            .expect("task management lies in guest memory");
        let [answer] = answer;
        let (function, place) = (request.function, request.place);
        let nobody = place.target.0 >= TARGETS_PER_CONTROLLER_MAX;
        let refused = [response::BAD_TARGET, response::INCORRECT_LUN].contains(&answer);
        if answer == UNANSWERED {
            let text = format!("{function} of {place}: expected a response, none was written");
            cx.broken(CheckId::I11, text);
        } else if nobody && !refused {
            let text = format!("{function} of {place}, which is nobody's, was answered {answer}");
            cx.broken(CheckId::I11, text);
        }
        let (ticket, result) = (request.ticket, Ok(answer));
        cx.see(Observation::Answered { ticket, result });
    }

    /// The guest goes down: nobody waits for what it asked any more.
    pub fn end(&mut self, cx: &mut Cx<'_, FromGuest>) {
        for request in self.0.drain(..) {
            let (ticket, result) = (request.ticket, Err("the VM went down".to_owned()));
            cx.see(Observation::Answered { ticket, result });
        }
    }
}
