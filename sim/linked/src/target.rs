//! The library as a [`Component`]: messages one to one, an actor a thread, a turn a step.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use scenarios::Time;
use vm_memory::GuestAddress;
use wire::component::GuestMemory;
use wire::message::{
    ClientId, ConnId, Crash, FromTarget, ToTarget, VhostUser, VhostUserReply, VringIndex,
};
use wire::{ActorId, Component, Cx, Inside, Memory, When};

use crate::abi;
use crate::library::{Config, Error, Left, Library, Out};
use crate::memories::Memories;
use crate::turn::{Turn, hash, is_hotplug};

/// A name of the library's, looked at once.
#[derive(Clone, Copy)]
struct Name {
    hash: u64,
    hotplug: bool,
}

/// SPDK's own target.
pub struct Target {
    path: PathBuf,
    /// `None` only while it is dropped.
    library: Option<Library>,
    memories: Memories,
    /// The preemption point at which the next turn ends, if it comes so far.
    stop_at: Option<NonZeroU32>,
    /// Whether what SPDK draws itself is still to be seeded.
    unseeded: bool,
    rewinds: u64,
    /// By number; grows only.
    names: Vec<Name>,
    /// How it died, if it has.
    died: Option<Crash>,
    /// A message that could not be taken over: too many of something.
    overrun: Option<Error>,
    /// Texts of crashes, each kept once.
    texts: BTreeSet<&'static str>,
}

/// The slot of the state after the start, and that of a world's snapshot.
const STARTED: u32 = 0;
const WORLD: u32 = 1;

thread_local! {
    /// The library of this thread while nobody has it: it is started once a process.
    static PARKED: RefCell<Option<(PathBuf, Library)>> = const { RefCell::new(None) };
}

/// Why a target has its library.
const HELD: &str = "it is taken away only when the target is dropped";

impl Target {
    /// The target of a library, as it is after its start: no bdevs, no controllers. A process has one; it starts the
    /// first time, and when it is asked for again after the last one was dropped, it goes back to that.
    ///
    /// # Errors
    ///
    /// Another is in use in this process, or it does not start.
    pub fn boot(path: &Path, config: &Config) -> Result<Self, Error> {
        let parked = PARKED.take().filter(|(of, _)| of == path);
        let library = match parked {
            Some((_, library)) => {
                library.rewind(STARTED, true)?;
                library
            }
            None => {
                let library = Library::open(path)?;
                library.boot(config)?;
                while library.pop().is_some() {}
                library.mark(STARTED)?;
                library
            }
        };
        Ok(Self {
            path: path.to_owned(),
            library: Some(library),
            memories: Memories::default(),
            stop_at: None,
            unseeded: true,
            rewinds: 0,
            names: Vec::new(),
            died: None,
            overrun: None,
            texts: BTreeSet::new(),
        })
    }

    fn library(&self) -> &Library {
        self.library.as_ref().expect(HELD)
    }

    fn number(&mut self, memory: &Memory) -> Result<u32, Error> {
        let library = self.library.as_ref().expect(HELD);
        self.memories.number(library, memory)
    }

    /// What is left over, at the end.
    #[must_use]
    pub fn left(&self) -> Left {
        self.library().left()
    }

    /// Who waits for whom, a line an actor.
    #[must_use]
    pub fn waits(&self) -> Vec<String> {
        (0..self.library().actors())
            .filter_map(|actor| self.library().waits(actor))
            .collect()
    }

    /// A message that was lost because the library has no room for more, if any: what came after says nothing.
    #[must_use]
    pub fn overrun(&self) -> Option<&Error> {
        self.overrun.as_ref()
    }

    /// What is linked: "SPDK v26.09-pre".
    #[must_use]
    pub fn about(&self) -> String {
        self.library().about()
    }

    /// An actor's name, for people.
    #[must_use]
    pub fn actor_name(&self, actor: ActorId) -> String {
        self.library().actor_name(actor.0.into())
    }

    fn name(&mut self, number: u32) -> Name {
        while self.names.len() <= number as usize {
            let text = self.library().name(self.names.len() as u32);
            self.names.push(Name {
                hash: hash(&text),
                hotplug: is_hotplug(&text),
            });
        }
        self.names[number as usize]
    }

    fn take_out(&mut self, out: &mut Vec<FromTarget>) {
        while let Some(came) = self.library().pop() {
            match came {
                Out::Wrote {
                    memory,
                    region,
                    offset,
                    bytes,
                } => self.memories.wrote(memory, region, offset, bytes),
                Out::Answer {
                    conn,
                    request,
                    of,
                    value,
                } => {
                    if let Some(reply) = self.reply(request, of, value) {
                        out.push(FromTarget::Answer {
                            conn: ConnId(conn),
                            reply,
                        });
                    }
                }
                Out::Closed(conn) => out.push(FromTarget::Closed { conn: ConnId(conn) }),
                Out::Call(conn, vring) => out.push(FromTarget::Call {
                    conn: ConnId(conn),
                    vring: VringIndex(vring as u16),
                }),
                Out::Rpc(client, bytes) => out.push(FromTarget::Rpc {
                    client: ClientId(client),
                    bytes,
                }),
                Out::RpcClosed(client) => out.push(FromTarget::RpcClosed {
                    client: ClientId(client),
                }),
                Out::Log(line) => out.push(FromTarget::Log(line)),
                Out::Died(text) => {
                    let crash = self.crash(&text);
                    self.died = Some(crash.clone());
                    out.push(FromTarget::Died(crash));
                }
            }
        }
    }

    fn reply(&self, request: u32, of: u32, value: u64) -> Option<VhostUserReply> {
        Some(match request {
            abi::ACK => VhostUserReply::Ack { ok: value == 0 },
            request::GET_FEATURES => VhostUserReply::Features(value),
            request::GET_PROTOCOL_FEATURES => VhostUserReply::ProtocolFeatures(value),
            request::GET_QUEUE_NUM => VhostUserReply::QueueNum(value),
            request::GET_STATUS => VhostUserReply::Status(value),
            request::GET_VRING_BASE => VhostUserReply::VringBase {
                vring: VringIndex(of as u16),
                base: value as u16,
            },
            request::GET_INFLIGHT_FD => VhostUserReply::Inflight {
                buffer: self.memories.get(of)?.clone(),
            },
            _ => return None,
        })
    }

    /// "SIGSEGV", and the functions that it died in, from the inside out.
    fn crash(&mut self, text: &str) -> Crash {
        let (why, stack) = text.split_once('\n').unwrap_or((text, ""));
        let place = stack.lines().take(6).collect::<Vec<_>>().join(" < ");
        Crash {
            signal: self.keep(why),
            place: self.keep(&place),
        }
    }

    fn keep(&mut self, text: &str) -> &'static str {
        if let Some(kept) = self.texts.get(text) {
            return kept;
        }
        let kept: &'static str = Box::leak(text.into());
        self.texts.insert(kept);
        kept
    }

    fn put(&mut self, now: u64, message: ToTarget) -> Result<(), Error> {
        match message {
            ToTarget::Connect { conn, controller } => {
                self.library().connect(now, conn.0, &controller)
            }
            ToTarget::Disconnect { conn } => self.library().disconnect(now, conn.0),
            ToTarget::VhostUser {
                conn,
                message,
                need_reply,
            } => {
                let mut raw = self.raw(message)?;
                raw.need_reply = need_reply.into();
                self.library().message(now, conn.0, &raw)
            }
            ToTarget::Doorbell { conn, vring } => {
                self.library().look(now, conn.0, vring.0.into());
                Ok(())
            }
            ToTarget::Rpc { client, bytes } => self.library().rpc(now, client.0, &bytes),
            ToTarget::RpcClosed { client } => {
                self.library().rpc_closed(now, client.0);
                Ok(())
            }
        }
    }

    fn raw(&mut self, message: VhostUser) -> Result<abi::Message, Error> {
        let plain = |request, value| abi::Message {
            request,
            value,
            ..abi::Message::default()
        };
        let of = |request, vring: VringIndex, value| abi::Message {
            request,
            vring: vring.0.into(),
            value,
            ..abi::Message::default()
        };
        Ok(match message {
            VhostUser::GetFeatures => plain(request::GET_FEATURES, 0),
            VhostUser::SetFeatures(bits) => plain(request::SET_FEATURES, bits),
            VhostUser::GetProtocolFeatures => plain(request::GET_PROTOCOL_FEATURES, 0),
            VhostUser::SetProtocolFeatures(bits) => plain(request::SET_PROTOCOL_FEATURES, bits),
            VhostUser::GetQueueNum => plain(request::GET_QUEUE_NUM, 0),
            VhostUser::SetOwner => plain(request::SET_OWNER, 0),
            VhostUser::SetMemTable(memory) => abi::Message {
                memory: self.number(&memory)?,
                ..plain(request::SET_MEM_TABLE, 0)
            },
            VhostUser::SetVringNum { vring, size } => {
                of(request::SET_VRING_NUM, vring, size.into())
            }
            VhostUser::SetVringBase { vring, base } => {
                of(request::SET_VRING_BASE, vring, base.into())
            }
            VhostUser::SetVringAddr {
                vring,
                desc,
                avail,
                used,
            } => abi::Message {
                desc,
                avail,
                used,
                ..of(request::SET_VRING_ADDR, vring, 0)
            },
            VhostUser::SetVringKick { vring } => of(request::SET_VRING_KICK, vring, 0),
            VhostUser::SetVringCall { vring } => of(request::SET_VRING_CALL, vring, 0),
            VhostUser::SetVringErr { vring } => of(request::SET_VRING_ERR, vring, 0),
            VhostUser::SetVringEnable { vring, on } => {
                of(request::SET_VRING_ENABLE, vring, on.into())
            }
            VhostUser::GetVringBase { vring } => of(request::GET_VRING_BASE, vring, 0),
            VhostUser::GetInflightFd { queues, size } => {
                let buffer = inflight_buffer(queues, size);
                let memory = self.number(&buffer)?;
                inflight(request::GET_INFLIGHT_FD, queues, size, memory)
            }
            VhostUser::SetInflightFd {
                queues,
                size,
                buffer,
            } => {
                let memory = self.number(&buffer)?;
                inflight(request::SET_INFLIGHT_FD, queues, size, memory)
            }
            VhostUser::SetStatus(bits) => plain(request::SET_STATUS, bits),
            VhostUser::GetStatus => plain(request::GET_STATUS, 0),
        })
    }
}

fn inflight(request: u32, queues: u16, queue_size: u16, memory: u32) -> abi::Message {
    abi::Message {
        request,
        memory,
        queues,
        queue_size,
        ..abi::Message::default()
    }
}

/// What DPDK would make for GET_INFLIGHT_FD (`inflight_mem_alloc`): 16 bytes a descriptor and 16 a queue, a queue
/// a multiple of 64.
///
/// # Panics
///
/// If there is no memory.
fn inflight_buffer(queues: u16, size: u16) -> Memory {
    let queue = (16 * usize::from(size) + 16).next_multiple_of(64);
    let bytes = (queue * usize::from(queues))
        .next_multiple_of(4096)
        .max(4096);
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), bytes)]);
    Memory::new(memory.expect("an inflight buffer can be mapped"))
}

/// Numbers of vhost-user requests.
mod request {
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_VRING_ERR: u32 = 14;
    pub const GET_PROTOCOL_FEATURES: u32 = 15;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const GET_QUEUE_NUM: u32 = 17;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const GET_INFLIGHT_FD: u32 = 31;
    pub const SET_INFLIGHT_FD: u32 = 32;
    pub const SET_STATUS: u32 = 39;
    pub const GET_STATUS: u32 = 40;
}

impl Component for Target {
    type In = ToTarget;
    type Out = FromTarget;
    type Turn = Turn;

    fn input(&mut self, now: Time, message: ToTarget) {
        if self.died.is_none()
            && let Err(error) = self.put(now.0, message)
            && error != Error::Call("pf_disconnect", abi::ARGUMENT.into())
        {
            self.overrun.get_or_insert(error);
        }
    }

    fn when(&self, actor: ActorId) -> When {
        self.library()
            .when(actor.0.into())
            .map_or(When::Blocked, |at| When::At(Time(at)))
    }

    fn actors(&self) -> u16 {
        self.library().actors() as u16
    }

    fn changed(&mut self) -> u64 {
        self.library().changed()
    }

    fn turn(&mut self, actor: ActorId, cx: &mut Cx<'_, FromTarget>) -> Turn {
        if std::mem::take(&mut self.unseeded) {
            self.library().chance(cx.rng.bits());
        }
        let stop_at = self.stop_at.take().map_or(0, NonZeroU32::get);
        let step = self.library().step(actor.0.into(), cx.now.0, stop_at);
        let step = step.unwrap_or_else(|error| panic!("{actor:?} of the target: {error}"));
        let name = self.name(step.map_or(0, |step| step.name));
        self.take_out(cx.out);
        Turn::new(step, name.hash, name.hotplug)
    }
}

/// One rewind in so many compares every byte, of the library and of guest memory.
const COMPARED_ONE_IN: u64 = 64;

/// What a target was; its bytes are in the library.
pub struct Mark {
    memories: Memories,
    /// What was in each memory.
    bytes: Vec<u64>,
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(library) = self.library.take() {
            PARKED.set(Some((std::mem::take(&mut self.path), library)));
        }
    }
}

impl Inside for Target {
    type Mark = Mark;

    const PREEMPTIBLE: bool = true;

    fn mark(&mut self) -> Option<Mark> {
        let marked = self.library().mark(WORLD);
        marked.unwrap_or_else(|error| panic!("the linked target: {error}"));
        let memories = self.memories.clone();
        let bytes = memories.hashes();
        Some(Mark { memories, bytes })
    }

    /// # Panics
    ///
    /// If something has changed that nobody knew of: what was run since the last comparing did not begin at the mark.
    fn rewind(&mut self, to: &Mark) {
        let compare = self.rewinds.is_multiple_of(COMPARED_ONE_IN);
        self.rewinds += 1;
        let late = self.library().rewind(WORLD, compare);
        let late = late.unwrap_or_else(|error| panic!("the linked target: {error}"));
        assert_eq!(
            late, 0,
            "pages of the linked target that changed and nobody knew of"
        );
        self.memories = to.memories.clone();
        self.died = None;
        self.overrun = None;
        self.stop_at = None;
        self.unseeded = true;
        if compare {
            let same = self.memories.hashes() == to.bytes;
            assert!(same, "guest memory was written and nobody knew of it");
        }
    }

    fn preempt_at(&mut self, point: NonZeroU32) {
        self.stop_at = Some(point);
    }

    fn left(&self) -> Option<Vec<String>> {
        let left = self.library().left();
        let idle_memory = if left.connections == 0 {
            left.memory_registrations
        } else {
            0
        };
        let counts = [
            ("requests that were taken and not given back", left.requests),
            ("RPC clients without an answer", left.rpcs),
            ("locks that are held", left.locks),
            ("memory registrations without a connection", idle_memory),
        ];
        let left = counts.iter().filter(|(_, count)| *count > 0);
        Some(
            left.map(|(what, count)| format!("{what}: {count}"))
                .collect(),
        )
    }

    fn memories(&self, f: &mut dyn FnMut(&Memory)) {
        self.memories.all().iter().for_each(f);
    }
}
