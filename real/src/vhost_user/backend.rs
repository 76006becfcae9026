//! A back-end's side of one vhost-user connection: requests off the socket, one at a time, and their answers.
//!
//! Translates; whoever [`Answers`] decides. Blocks on the socket and on answers, so it wants a thread.
//!
//! # Divergence from SPDK
//!
//! DPDK serves all connections with one thread (the model does so behind [`Answers`]). The crate `vhost`
//! ends a connection where DPDK would say no or do nothing: ring addresses that are not aligned, requests
//! whose protocol feature was not accepted, an inflight buffer of no queues.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use sim::wire::message::{VhostUser, VhostUserReply, VringIndex};
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Backend, BackendReqHandler, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut,
};
use vm_memory::GuestMemoryBackend as _;

use super::header::{GET_STATUS, Header, SET_STATUS};
use super::memory::{self, Table};

/// Ring addresses that are in no region of the front-end's table are here, where no memory is.
const NOWHERE: u64 = 1 << 62;

/// Who answers requests.
pub trait Answers {
    /// The answer to `message`, which brought a kick or call descriptor, or none; `Ack` where the
    /// specification has no other. `None`: the connection is over.
    fn answer(&mut self, message: VhostUser, descriptor: Option<File>) -> Option<VhostUserReply>;
}

/// Serves a connection until it ends.
///
/// # Errors
///
/// Why it was ended, if not by the front-end: a message that is none, or one that was refused.
pub fn serve(stream: &UnixStream, answers: impl Answers) -> io::Result<()> {
    let translator = Arc::new(Mutex::new(Translator {
        answers,
        table: None,
        refused: None,
        requests_back: None,
    }));
    let mut requests = BackendReqHandler::from_stream(stream.try_clone()?, translator.clone());
    while let Some(header) = Header::peek(stream)? {
        if matches!(header.request, GET_STATUS | SET_STATUS) {
            let mut translator = translator.lock().unwrap_or_else(PoisonError::into_inner);
            translator.status(header, stream)?;
            continue;
        }
        let handled = requests.handle_request();
        let mut translator = translator.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = translator.refused.take();
        match (handled, refused) {
            (Ok(()), _) => {}
            // The front-end was told, and may go on.
            (Err(_), Some(_)) if header.needs_reply() => {}
            (Err(Error::Disconnected), _) => break,
            (Err(error), refused) => {
                let request = header.request;
                let why = refused.unwrap_or_else(|| error.to_string());
                return Err(io::Error::other(format!("request {request}: {why}")));
            }
        }
    }
    Ok(())
}

struct Translator<A> {
    answers: A,
    table: Option<Table>,
    /// Why the last request was refused.
    refused: Option<String>,
    /// The channel for requests of a back-end. SPDK has none; QEMU complains if it is closed.
    requests_back: Option<Backend>,
}

impl<A: Answers> Translator<A> {
    fn ask(&mut self, message: VhostUser, descriptor: Option<File>) -> Result<VhostUserReply> {
        let answer = self.answers.answer(message, descriptor);
        answer.ok_or(Error::Disconnected)
    }

    fn tell(&mut self, message: VhostUser, descriptor: Option<File>) -> Result<()> {
        match self.ask(message, descriptor)? {
            VhostUserReply::Ack { ok: true } => Ok(()),
            _ => Err(self.refuse("the target refuses it".to_owned())),
        }
    }

    fn refuse(&mut self, why: String) -> Error {
        self.refused = Some(why);
        Error::BackendInternalError
    }

    /// GET_STATUS and SET_STATUS.
    fn status(&mut self, header: Header, mut stream: &UnixStream) -> io::Result<()> {
        let over = || io::Error::from(io::ErrorKind::ConnectionAborted);
        match (header.request, header.take(&mut stream)?) {
            (GET_STATUS, None) => {
                let answer = self.answers.answer(VhostUser::GetStatus, None);
                let VhostUserReply::Status(status) = answer.ok_or_else(over)? else {
                    return Err(over());
                };
                header.answer(&mut stream, status)
            }
            (SET_STATUS, Some(status)) => {
                let answer = self.answers.answer(VhostUser::SetStatus(status), None);
                let answer = answer.ok_or_else(over)?;
                if !header.needs_reply() {
                    return Ok(());
                }
                let ok = matches!(answer, VhostUserReply::Ack { ok: true });
                header.answer(&mut stream, u64::from(!ok))
            }
            (request, _) => {
                let wrong = format!("request {request}: {} bytes", header.size);
                Err(io::Error::new(io::ErrorKind::InvalidData, wrong))
            }
        }
    }

    fn guest_address(&self, user: u64) -> u64 {
        let known = self.table.as_ref();
        known
            .and_then(|table| table.guest_address(user))
            .unwrap_or(NOWHERE)
    }
}

/// A ring's number; one that does not fit is beyond any target's rings.
fn vring(index: u32) -> VringIndex {
    VringIndex(u16::try_from(index).unwrap_or(u16::MAX))
}

/// What SPDK does not offer.
fn not_offered<T>() -> Result<T> {
    Err(Error::InvalidOperation("not offered"))
}

impl<A: Answers> VhostUserBackendReqHandlerMut for Translator<A> {
    fn set_owner(&mut self) -> Result<()> {
        self.tell(VhostUser::SetOwner, None)
    }

    fn get_features(&mut self) -> Result<u64> {
        match self.ask(VhostUser::GetFeatures, None)? {
            VhostUserReply::Features(features) => Ok(features),
            _ => Err(Error::BackendInternalError),
        }
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        self.tell(VhostUser::SetFeatures(features), None)
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        match self.ask(VhostUser::GetProtocolFeatures, None)? {
            VhostUserReply::ProtocolFeatures(bits) => {
                Ok(VhostUserProtocolFeatures::from_bits_retain(bits))
            }
            _ => Err(Error::BackendInternalError),
        }
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.tell(VhostUser::SetProtocolFeatures(features), None)
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        match self.ask(VhostUser::GetQueueNum, None)? {
            VhostUserReply::QueueNum(num) => Ok(num),
            _ => Err(Error::BackendInternalError),
        }
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<u64>>> {
        let table = match Table::map(regions, files) {
            Ok(table) => table,
            Err(error) => return Err(self.refuse(format!("SET_MEM_TABLE: {error}"))),
        };
        self.tell(VhostUser::SetMemTable(table.memory.clone()), None)?;
        self.table = Some(table);
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let (vring, size) = (vring(index), num);
        self.tell(VhostUser::SetVringNum { vring, size }, None)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let message = VhostUser::SetVringAddr {
            vring: vring(index),
            desc: self.guest_address(descriptor),
            avail: self.guest_address(available),
            used: self.guest_address(used),
        };
        self.tell(message, None)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        // DPDK keeps the low half for a split ring.
        let base = base as u16;
        let vring = vring(index);
        self.tell(VhostUser::SetVringBase { vring, base }, None)
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let vring = vring(index);
        match self.ask(VhostUser::GetVringBase { vring }, None)? {
            VhostUserReply::VringBase { base, .. } => {
                Ok(VhostUserVringState::new(index, base.into()))
            }
            _ => Err(Error::BackendInternalError),
        }
    }

    fn set_vring_kick(&mut self, index: u8, descriptor: Option<File>) -> Result<()> {
        let vring = vring(index.into());
        self.tell(VhostUser::SetVringKick { vring }, descriptor)
    }

    fn set_vring_call(&mut self, index: u8, descriptor: Option<File>) -> Result<()> {
        let vring = vring(index.into());
        self.tell(VhostUser::SetVringCall { vring }, descriptor)
    }

    fn set_vring_err(&mut self, index: u8, _descriptor: Option<File>) -> Result<()> {
        let vring = vring(index.into());
        self.tell(VhostUser::SetVringErr { vring }, None)
    }

    fn set_vring_enable(&mut self, index: u32, on: bool) -> Result<()> {
        let vring = vring(index);
        self.tell(VhostUser::SetVringEnable { vring, on }, None)
    }

    fn get_inflight_fd(&mut self, asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let (queues, size) = (asked.num_queues, asked.queue_size);
        match self.ask(VhostUser::GetInflightFd { queues, size }, None)? {
            VhostUserReply::Inflight { buffer } => {
                // A fresh one is zeroes; the front-end hands it back before anybody writes to it.
                let len = buffer.last_addr().0 + 1;
                let file =
                    memory::memfd("plugfest inflight", len).map_err(Error::ReqHandlerError)?;
                Ok((VhostUserInflight::new(len, 0, queues, size), file))
            }
            _ => Err(Error::BackendInternalError),
        }
    }

    fn set_inflight_fd(&mut self, given: &VhostUserInflight, file: File) -> Result<()> {
        let (queues, size) = (given.num_queues, given.queue_size);
        let buffer = match memory::map_buffer(file, given.mmap_offset, given.mmap_size) {
            Ok(buffer) => buffer,
            Err(error) => return Err(self.refuse(format!("SET_INFLIGHT_FD: {error}"))),
        };
        let message = VhostUser::SetInflightFd {
            queues,
            size,
            buffer,
        };
        self.tell(message, None)
    }

    fn set_backend_req_fd(&mut self, channel: Backend) {
        self.requests_back = Some(channel);
    }

    /// Live migration's: accepted, as by DPDK; nothing is written there, as the model moves no VM.
    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        not_offered()
    }

    fn reset_device(&mut self) -> Result<()> {
        not_offered()
    }

    fn get_config(&mut self, _: u32, _: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        not_offered()
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        not_offered()
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        not_offered()
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        not_offered()
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        not_offered()
    }

    fn add_mem_region(
        &mut self,
        _: &VhostUserSingleMemoryRegion,
        _: File,
        _: Option<bool>,
    ) -> Result<Option<u64>> {
        not_offered()
    }

    fn remove_mem_region(&mut self, _: &VhostUserSingleMemoryRegion) -> Result<()> {
        not_offered()
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        not_offered()
    }

    fn check_device_state(&mut self) -> Result<()> {
        not_offered()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        not_offered()
    }
}
