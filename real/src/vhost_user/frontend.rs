//! A front-end's side of one vhost-user connection: what a guest's device sends, and what it is answered.
//!
//! Translates [`VhostUser`] to the wire and answers back, and has the kick and call descriptors. Blocks
//! until an answer is there. Knows no driver.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use sim::Memory;
use sim::wire::message::{VhostUser, VhostUserReply, VringIndex};
use vhost::vhost_user::message::{
    FrontendReq, VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Error as WireError, Frontend, VhostUserFrontend as _};
use vhost::{VhostBackend as _, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryRegion as _};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::header::{GET_STATUS, Header, SET_STATUS};
use super::memory::map_buffer;

/// Rings that may be named before the back-end has said how many it has.
const RINGS_MAX: u64 = 256;

/// A connection.
pub struct FrontEnd {
    stream: UnixStream,
    wire: Frontend,
    /// REPLY_ACK was accepted.
    acks: bool,
    memory: Option<Memory>,
    rings: Vec<Descriptors>,
}

/// The descriptors of a ring: a driver kicks, a back-end calls. Both are non-blocking.
#[derive(Debug)]
pub struct Descriptors {
    /// The driver has published something.
    pub kick: EventFd,
    /// The back-end has used something.
    pub call: EventFd,
}

/// Why a message has no answer.
#[derive(Debug)]
pub enum FrontEndError {
    /// The connection is over.
    Closed,
    /// The message cannot be sent, or its answer is wrong.
    Wire(vhost::Error),
    /// The system refuses.
    Io(io::Error),
}

impl From<vhost::Error> for FrontEndError {
    fn from(error: vhost::Error) -> Self {
        match error {
            vhost::Error::VhostUserProtocol(
                WireError::Disconnected | WireError::PartialMessage | WireError::SocketBroken(_),
            ) => Self::Closed,
            error => Self::Wire(error),
        }
    }
}

impl From<io::Error> for FrontEndError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl FrontEnd {
    /// Connects to a controller's socket.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        let wire = Frontend::from_stream(stream.try_clone()?, RINGS_MAX);
        Ok(Self {
            stream,
            wire,
            acks: false,
            memory: None,
            rings: Vec::new(),
        })
    }

    /// The connection: to end it from another thread, or to send what is no message.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The descriptors of a ring, made if need be.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn ring(&mut self, vring: VringIndex) -> io::Result<&Descriptors> {
        let index = usize::from(vring.0);
        while self.rings.len() <= index {
            let made = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
            self.rings.push(Descriptors {
                kick: made()?,
                call: made()?,
            });
        }
        Ok(&self.rings[index])
    }

    /// Whether a ring was called for since this was last asked.
    #[must_use]
    pub fn take_call(&self, vring: VringIndex) -> bool {
        let ring = self.rings.get(usize::from(vring.0));
        ring.is_some_and(|ring| ring.call.read().is_ok())
    }

    /// Kicks a ring.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kick(&mut self, vring: VringIndex) -> io::Result<()> {
        self.ring(vring)?.kick.write(1)
    }

    /// Sends a message, and waits for its answer if it has one. Memory and buffers must be file-backed.
    ///
    /// # Errors
    ///
    /// See [`FrontEndError`]; that the back-end says no is an answer.
    pub fn send(
        &mut self,
        message: VhostUser,
        need_reply: bool,
    ) -> Result<Option<VhostUserReply>, FrontEndError> {
        let flags = if need_reply {
            VhostUserHeaderFlag::NEED_REPLY
        } else {
            VhostUserHeaderFlag::empty()
        };
        self.wire.set_hdr_flags(flags);
        let told = match message {
            VhostUser::GetFeatures => {
                let features = self.wire.get_features()?;
                return Ok(Some(VhostUserReply::Features(features)));
            }
            VhostUser::GetProtocolFeatures => {
                let bits = self.wire.get_protocol_features()?.bits();
                return Ok(Some(VhostUserReply::ProtocolFeatures(bits)));
            }
            VhostUser::GetQueueNum => {
                let queues = self.wire.get_queue_num()?;
                return Ok(Some(VhostUserReply::QueueNum(queues)));
            }
            VhostUser::GetVringBase { vring } => {
                let base = self.wire.get_vring_base(vring.0.into())? as u16;
                return Ok(Some(VhostUserReply::VringBase { vring, base }));
            }
            VhostUser::GetInflightFd { queues, size } => {
                let asked = VhostUserInflight::new(0, 0, queues, size);
                let (made, file) = self.wire.get_inflight_fd(&asked)?;
                let buffer = map_buffer(file, made.mmap_offset, made.mmap_size)?;
                return Ok(Some(VhostUserReply::Inflight { buffer }));
            }
            VhostUser::GetStatus => {
                let header = Header::of(GET_STATUS, need_reply, 0);
                header.send(&mut &self.stream, &[])?;
                let status = header.answered(&mut &self.stream)?;
                return Ok(Some(VhostUserReply::Status(status)));
            }
            VhostUser::SetStatus(status) => {
                return self.plain(SET_STATUS, need_reply, &status.to_ne_bytes());
            }
            VhostUser::SetVringNum { vring, size } => {
                // The crate takes 16 bits.
                let words = [u32::from(vring.0).to_ne_bytes(), size.to_ne_bytes()];
                let request = FrontendReq::SET_VRING_NUM.into();
                return self.plain(request, need_reply, &words.concat());
            }
            message => self.tell(message),
        };
        let ok = match told {
            Ok(()) => true,
            // The acknowledgement says no.
            Err(FrontEndError::Wire(vhost::Error::VhostUserProtocol(
                WireError::BackendInternalError,
            ))) => false,
            Err(error) => return Err(error),
        };
        Ok((need_reply && self.acks).then_some(VhostUserReply::Ack { ok }))
    }

    /// Sends a message that has no answer but an acknowledgement.
    fn tell(&mut self, message: VhostUser) -> Result<(), FrontEndError> {
        match message {
            VhostUser::SetFeatures(features) => self.wire.set_features(features)?,
            VhostUser::SetProtocolFeatures(bits) => {
                let bits = VhostUserProtocolFeatures::from_bits_retain(bits);
                self.acks = bits.contains(VhostUserProtocolFeatures::REPLY_ACK);
                self.wire.set_protocol_features(bits)?;
            }
            VhostUser::SetOwner => self.wire.set_owner()?,
            VhostUser::SetMemTable(memory) => {
                let regions = memory
                    .iter()
                    .map(VhostUserMemoryRegionInfo::from_guest_region);
                let regions: Vec<_> = regions.collect::<Result<_, _>>()?;
                self.memory = Some(memory.clone());
                self.wire.set_mem_table(&regions)?;
            }
            VhostUser::SetVringBase { vring, base } => {
                self.wire.set_vring_base(vring.0.into(), base)?;
            }
            VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            } => {
                let addresses = VringConfigData {
                    desc_table_addr: self.user_address(desc),
                    avail_ring_addr: self.user_address(avail),
                    used_ring_addr: self.user_address(used),
                    ..VringConfigData::default()
                };
                self.wire.set_vring_addr(vring.0.into(), &addresses)?;
            }
            VhostUser::SetVringKick { vring } => {
                self.ring(vring)?;
                let ring = &self.rings[usize::from(vring.0)];
                self.wire.set_vring_kick(vring.0.into(), &ring.kick)?;
            }
            VhostUser::SetVringCall { vring } => {
                self.ring(vring)?;
                let ring = &self.rings[usize::from(vring.0)];
                self.wire.set_vring_call(vring.0.into(), &ring.call)?;
            }
            VhostUser::SetVringErr { vring } => {
                let unheard = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
                self.wire.set_vring_err(vring.0.into(), &unheard)?;
            }
            VhostUser::SetVringEnable { vring, on } => {
                self.wire.set_vring_enable(vring.0.into(), on)?;
            }
            VhostUser::SetInflightFd {
                queues,
                size,
                buffer,
            } => self.hand_over(queues, size, &buffer)?,
            // Those with an answer of their own.
            VhostUser::GetFeatures
            | VhostUser::GetProtocolFeatures
            | VhostUser::GetQueueNum
            | VhostUser::GetVringBase { .. }
            | VhostUser::GetInflightFd { .. }
            | VhostUser::GetStatus
            | VhostUser::SetStatus(_)
            | VhostUser::SetVringNum { .. } => {}
        }
        Ok(())
    }

    /// Hands over an inflight buffer.
    fn hand_over(&mut self, queues: u16, size: u16, buffer: &Memory) -> Result<(), FrontEndError> {
        let region = buffer.iter().next();
        let backing = region.and_then(|region| Some((region.len(), region.file_offset()?)));
        let Some((len, file)) = backing else {
            let text = "no file is behind the buffer";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
        };
        let given = VhostUserInflight::new(len, file.start(), queues, size);
        let descriptor = file.file().as_raw_fd();
        Ok(self.wire.set_inflight_fd(&given, descriptor)?)
    }

    /// Sends a message that the crate does not know, or not so.
    fn plain(
        &self,
        request: u32,
        need_reply: bool,
        body: &[u8],
    ) -> Result<Option<VhostUserReply>, FrontEndError> {
        let header = Header::of(request, need_reply, body.len() as u32);
        header.send(&mut &self.stream, body)?;
        if !(need_reply && self.acks) {
            return Ok(None);
        }
        let ok = header.answered(&mut &self.stream)? == 0;
        Ok(Some(VhostUserReply::Ack { ok }))
    }

    /// Where a guest physical address is in this process; one that is in no region is said as it is.
    fn user_address(&self, guest: u64) -> u64 {
        let host = self
            .memory
            .as_ref()
            .and_then(|memory| memory.get_host_address(GuestAddress(guest)).ok());
        host.map_or(guest, |host| host as u64)
    }
}

impl fmt::Debug for FrontEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontEnd")
            .field("stream", &self.stream)
            .field("rings", &self.rings.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for FrontEndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "the back-end closed the connection"),
            Self::Wire(error) => write!(f, "vhost-user: {error}"),
            Self::Io(error) => write!(f, "vhost-user: {error}"),
        }
    }
}

impl std::error::Error for FrontEndError {}
