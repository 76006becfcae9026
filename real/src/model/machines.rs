//! The thread of all model guests: whose turn it is by the wall clock, kicks, calls, letters.
//!
//! One thread, so that what guests see of a disk that they share is told in the order in which it was
//! seen. Knows the guests' messages; what is sent on a connection stands in `main_loop`.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fio_model::JobFile;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use scenarios::driver::{self, Boots};
use scenarios::{Observation, Seen, Time, VmId};
use sim::linux::{Guest, GuestConfig, RINGS};
use sim::wire::message::{FromGuest, GuestAct, HbaId, ToGuest, VringIndex};
use sim::{ActorId, Component as _, Cx, Rng, Stream, When, guest_act};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

use super::Shared;
use super::mail::{Mail, Post, Said};
use super::main_loop::{self, Order};
use crate::testbed::guests::{Ask, FioStart, Hba, Told};
use crate::vhost_user::frontend::FrontEnd;
use crate::vhost_user::memory::shared;

/// Turns between two looks at calls and letters.
const TURNS: usize = 64;
/// The longest sleep; after one it is looked for what was written that nobody may write any more.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// What the bell is called among the descriptors.
const BELL: u64 = u64::MAX;

/// All guests.
pub struct Machines {
    shared: Shared,
    post: Post,
    inbox: Receiver<Mail>,
    epoll: Epoll,
    began: Instant,
    rng: Rng,
    seats: Vec<Seat>,
    conns: u32,
    out: Vec<FromGuest>,
    saw: Vec<Seen>,
}

/// A guest, and what connects it.
struct Seat {
    vm: VmId,
    guest: Guest,
    main_loop: Sender<Order>,
    sockets: Vec<PathBuf>,
    links: Vec<Option<Link>>,
    /// What each listing was asked for.
    listings: VecDeque<driver::Ask>,
}

/// A device's connection.
struct Link {
    conn: u32,
    stream: UnixStream,
    rings: Vec<Ring>,
}

struct Ring {
    kick: EventFd,
    call: EventFd,
}

impl Machines {
    pub fn new(shared: Shared, post: Post, inbox: Receiver<Mail>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(fd(&post.bell), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        Ok(Self {
            rng: Rng::new(shared.seed, Stream::SocketGuests),
            shared,
            post,
            inbox,
            epoll,
            began: Instant::now(),
            seats: Vec::new(),
            conns: 0,
            out: Vec::new(),
            saw: Vec::new(),
        })
    }

    /// Runs until it is stopped, or until nobody listens.
    pub fn run(mut self) {
        loop {
            while let Ok(mail) = self.inbox.try_recv() {
                let done = match mail {
                    Mail::Stop => return,
                    Mail::Ask(vm, ask) => self.asked(vm, ask),
                    Mail::Said {
                        vm,
                        hba,
                        conn,
                        said,
                    } => self.said(vm, hba, conn, said),
                };
                if let Err(why) = done {
                    self.lost(&why);
                }
            }
            let next = (0..TURNS).find_map(|_| self.turn().err());
            self.calls(next.map_or(Duration::ZERO, |next| next.since(self.now())));
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn lost(&self, why: &str) {
        // The run is over if nobody hears it.
        let _ = self.shared.tell.send(Told::Lost(why.to_owned()));
    }

    fn seat(&mut self, vm: VmId) -> Result<&mut Seat, String> {
        let seat = self.seats.iter_mut().find(|seat| seat.vm == vm);
        seat.ok_or_else(|| format!("{vm} was never started"))
    }

    /// The guest that has been ready longest takes a turn; when the next one is ready, if none is.
    fn turn(&mut self) -> Result<(), Time> {
        let now = self.now();
        let mut first: Option<(Time, usize, ActorId)> = None;
        for (n, seat) in self.seats.iter().enumerate() {
            for actor in (0..seat.guest.actors()).map(ActorId) {
                if let When::At(at) = seat.guest.when(actor)
                    && first.is_none_or(|(sooner, ..)| at < sooner)
                {
                    first = Some((at, n, actor));
                }
            }
        }
        let (at, n, actor) = first.ok_or(Time::NEVER)?;
        if at > now {
            return Err(at);
        }
        let mut cx = Cx {
            now,
            rng: &mut self.rng,
            out: &mut self.out,
            saw: &mut self.saw,
        };
        self.seats[n].guest.turn(actor, &mut cx);
        self.said_by_guest(n);
        Ok(())
    }

    /// Hands on what a guest said and saw.
    fn said_by_guest(&mut self, n: usize) {
        let seat = &mut self.seats[n];
        for Seen { what, .. } in self.saw.drain(..) {
            let told = match what {
                Observation::DisksListed { .. }
                    if seat.listings.pop_front() == Some(driver::Ask::Ping) =>
                {
                    Told::Alive(seat.vm)
                }
                // How much a job does in its time is the machine's, and nobody asked for so much.
                Observation::FioEnded {
                    fio,
                    exit,
                    mut jobs,
                } if self.shared.volume.is_none() => {
                    jobs.iter_mut().for_each(|job| job.volume = 0);
                    Told::Saw(seat.vm, Observation::FioEnded { fio, exit, jobs })
                }
                what => Told::Saw(seat.vm, what),
            };
            // The run is over if nobody hears it.
            let _ = self.shared.tell.send(told);
        }
        for message in std::mem::take(&mut self.out) {
            if let Err(why) = self.route(n, message) {
                self.lost(&why);
            }
        }
    }

    fn route(&mut self, n: usize, message: FromGuest) -> Result<(), String> {
        match message {
            FromGuest::Connect { hba } => return self.connect(n, hba),
            FromGuest::Disconnect { hba } => self.disconnect(n, hba),
            FromGuest::VhostUser {
                hba,
                message,
                need_reply,
            } => {
                // A main loop ends with its machine only.
                let _ = self.seats[n]
                    .main_loop
                    .send(Order::Send(hba, message, need_reply));
            }
            FromGuest::Doorbell { hba, vring } => {
                let link = self.seats[n].links[usize::from(hba.0)].as_ref();
                let ring = link.and_then(|link| link.rings.get(usize::from(vring.0)));
                // A counter that is full is a kick as well.
                let _ = ring.map(|ring| ring.kick.write(1));
            }
        }
        Ok(())
    }

    fn connect(&mut self, n: usize, hba: HbaId) -> Result<(), String> {
        self.disconnect(n, hba);
        let now = self.now();
        self.conns += 1;
        let conn = self.conns;
        let seat = &mut self.seats[n];
        let path = &seat.sockets[usize::from(hba.0)];
        let Ok(mut front_end) = FrontEnd::connect(path) else {
            seat.guest.input(now, ToGuest::Closed { hba });
            return Ok(());
        };
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let mut rings = Vec::new();
        for vring in (0..RINGS).map(VringIndex) {
            let made = front_end.ring(vring).map_err(failed)?;
            let kick = made.kick.try_clone().map_err(failed)?;
            let call = made.call.try_clone().map_err(failed)?;
            let name = name_of(n, hba, vring);
            let event = EpollEvent::new(EpollFlags::EPOLLIN, name);
            let added = self.epoll.add(fd(&call), event);
            added.map_err(|errno| failed(errno.into()))?;
            rings.push(Ring { kick, call });
        }
        let stream = front_end.stream().try_clone().map_err(failed)?;
        let link = Link {
            conn,
            stream,
            rings,
        };
        seat.links[usize::from(hba.0)] = Some(link);
        let vm = seat.vm;
        if let Some(controller) = seat.guest.controller(hba) {
            let connected = Observation::Connected {
                vm,
                controller,
                conn,
            };
            // The run is over if nobody hears it.
            let _ = self.shared.tell.send(Told::Saw(vm, connected));
        }
        let order = Order::Connected(hba, conn, Box::new(front_end));
        // A main loop ends with its machine only.
        let _ = seat.main_loop.send(order);
        Ok(())
    }

    fn disconnect(&mut self, n: usize, hba: HbaId) {
        let seat = &mut self.seats[n];
        if let Some(link) = seat.links[usize::from(hba.0)].take() {
            for ring in &link.rings {
                // It was added when it was made.
                let _ = self.epoll.delete(fd(&ring.call));
            }
            // The target may have closed it before.
            let _ = link.stream.shutdown(Shutdown::Both);
            let _ = seat.main_loop.send(Order::Disconnected(hba));
        }
    }

    fn said(&mut self, vm: VmId, hba: HbaId, conn: u32, said: Said) -> Result<(), String> {
        let now = self.now();
        let seat = self.seat(vm)?;
        let link = seat.links[usize::from(hba.0)].as_ref();
        if link.is_none_or(|link| link.conn != conn) {
            return Ok(());
        }
        match said {
            Said::Reply(reply) => seat.guest.input(now, ToGuest::Answer { hba, reply }),
            Said::Closed => seat.guest.input(now, ToGuest::Closed { hba }),
            Said::Broken(why) => return Err(format!("{vm}, device {}: {why}", hba.0)),
        }
        Ok(())
    }

    /// Sleeps for `span` at most, and hands on the calls that came.
    fn calls(&mut self, span: Duration) {
        if !span.is_zero() {
            let mut polled = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
            let span = TimeSpec::from_duration(span.min(SLEEP_MAX));
            // A signal wakes as well.
            let slept = ppoll(&mut polled, Some(span), None);
            if slept == Ok(0) {
                self.audit();
            }
        }
        let mut events = [EpollEvent::empty(); 64];
        let count = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        let now = self.now();
        for event in &events[..count] {
            if event.data() == BELL {
                // What was sent is looked for in any case.
                let _ = self.post.bell.read();
                continue;
            }
            let (n, hba, vring) = of_name(event.data());
            let seat = &mut self.seats[n];
            let link = seat.links[usize::from(hba.0)].as_ref();
            let ring = link.and_then(|link| link.rings.get(usize::from(vring.0)));
            if ring.is_some_and(|ring| ring.call.read().is_ok()) {
                seat.guest.input(now, ToGuest::Call { hba, vring });
            }
        }
    }

    /// Lets idle guests look for responses that were written after they had been given back.
    fn audit(&mut self) {
        for n in 0..self.seats.len() {
            let mut cx = Cx {
                now: self
                    .began
                    .elapsed()
                    .as_nanos()
                    .try_into()
                    .map_or(Time::NEVER, Time),
                rng: &mut self.rng,
                out: &mut self.out,
                saw: &mut self.saw,
            };
            self.seats[n].guest.audit(false, &mut cx);
            self.said_by_guest(n);
        }
    }

    fn asked(&mut self, vm: VmId, ask: Ask) -> Result<(), String> {
        let act = match ask {
            Ask::Boot(hbas, boots) => {
                self.power_on(vm, &hbas, boots)?;
                GuestAct::Boot
            }
            Ask::StartFio(FioStart {
                fio, globals, on, ..
            }) => {
                let job = JobFile::parse("the job", &globals).map_err(|e| e.to_string())?;
                let job = Arc::new(job);
                GuestAct::StartFio { fio, job, on }
            }
            // These guests wait for nobody.
            Ask::Go(_) => return Ok(()),
            Ask::WaitJobClock { ticket, fio, at } => GuestAct::WaitJobClock { ticket, fio, at },
            Ask::Do(ask) => {
                if matches!(ask, driver::Ask::ListDisks | driver::Ask::Ping) {
                    self.seat(vm)?.listings.push_back(ask.clone());
                }
                let (act, at_once) = guest_act(ask);
                self.act(vm, act)?;
                if let Some(ticket) = at_once {
                    let result = Ok(0);
                    let answered = Told::Saw(vm, Observation::Answered { ticket, result });
                    // The run is over if nobody hears it.
                    let _ = self.shared.tell.send(answered);
                }
                return Ok(());
            }
        };
        self.act(vm, act)
    }

    fn act(&mut self, vm: VmId, act: GuestAct) -> Result<(), String> {
        let now = self.now();
        self.seat(vm)?.guest.input(now, ToGuest::Do(act));
        Ok(())
    }

    /// Powers a machine on that is not known yet.
    fn power_on(&mut self, vm: VmId, hbas: &[Hba], boots: Boots) -> Result<(), String> {
        if self.seat(vm).is_ok() {
            return Ok(());
        }
        let serials = self.shared.serials.read();
        let disks = serials.unwrap_or_else(PoisonError::into_inner).clone();
        let controllers = hbas.iter().map(|hba| hba.controller).collect();
        let config = GuestConfig {
            bootable: boots == Boots::System,
            ..GuestConfig::new(vm, controllers, disks, self.shared.volume)
        };
        config.check()?;
        let range = (GuestAddress(0), Guest::memory_bytes(&config));
        let memory = shared(&[range], self.shared.pages)
            .map_err(|error| format!("{vm}'s memory: {error}"))?;
        let main_loop = main_loop::start(vm, self.post.clone());
        self.seats.push(Seat {
            vm,
            guest: Guest::over(memory, config),
            main_loop: main_loop.map_err(|error| format!("{vm}: {error}"))?,
            sockets: hbas.iter().map(|hba| hba.socket.clone()).collect(),
            links: hbas.iter().map(|_| None).collect(),
            listings: VecDeque::new(),
        });
        Ok(())
    }
}

#[expect(
    unsafe_code,
    reason = "vmm-sys-util's EventFd says its descriptor as a number only"
)]
fn fd(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `event`, which the result borrows.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// What a ring's call is called among the descriptors.
fn name_of(seat: usize, hba: HbaId, vring: VringIndex) -> u64 {
    (seat as u64) << 32 | u64::from(hba.0) << 16 | u64::from(vring.0)
}

fn of_name(name: u64) -> (usize, HbaId, VringIndex) {
    let (hba, vring) = ((name >> 16) as u8, name as u16);
    ((name >> 32) as usize, HbaId(hba), VringIndex(vring))
}
