//! I/O in flight: which devices it goes through, when it ends, and how.
//!
//! Knows no SCSI status and moves no data; `datapath` does when this says that an I/O is due.
//!
//! # Divergence from SPDK
//!
//! A delay bdev has four queues, in which a request that waits long holds up those behind it, also when
//! its latency was lowered meanwhile (`_process_io_stailq`, vbdev_delay.c). Here each ends at its own time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use scenarios::Time;

use super::store::StoreId;
use super::{Bdev, Kind, Latencies};
use crate::handles::{BdevHandle, TaskRef};
use crate::scsi::BdevStatus;
use wire::Rng;

/// What I/O does to a device, as far as latency and injected errors go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IoKind {
    Read,
    /// Writes blocks, compare and write included.
    Write,
    Flush,
    Unmap,
    Reset,
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub task: TaskRef,
    pub bdev: BdevHandle,
    pub kind: IoKind,
}

/// What an error bdev does to the next I/O of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    Failure,
    /// It is held until `bdev_error_resume_pending`, or a reset.
    Pending,
    /// It is tried again by the bdev layer, and succeeds.
    NoMemory,
    /// A byte of its data is wrong: at this offset, with this value.
    Corrupt {
        /// Where, from the start of the I/O.
        offset: u64,
        /// What it is instead.
        value: u8,
    },
    /// It fails with an NVMe status: an internal device error.
    NvmeFailure,
}

/// A rule of an error bdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub what: Injected,
    /// How many more times.
    pub times: u32,
}

/// I/O that has ended: its data can be moved.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub task: TaskRef,
    pub kind: IoKind,
    pub status: BdevStatus,
    /// On which device's content; none for a null bdev.
    pub store: Option<StoreId>,
    /// Where block 0 of the bdev lies in it, in bytes.
    pub origin: u64,
    /// Bytes in a block.
    pub block_size: u32,
    /// A byte to spoil.
    pub corrupt: Option<(u64, u8)>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    ended: Ended,
    /// The latest heap entry for it; older ones are void.
    ticket: u64,
    /// The error bdev that holds it.
    held: Option<BdevHandle>,
    /// The bdevs that abort it when they are reset: those that hold or delay it.
    aborters: [Option<BdevHandle>; 2],
}

/// The bdevs that a flight goes down through, and the chance of their latencies.
pub(super) struct Below<'a> {
    pub list: &'a [Option<Bdev>],
    pub rng: &'a mut Rng,
}

/// All I/O in flight.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    latencies: Latencies,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    tickets: u64,
    last_malloc: Time,
    rules: BTreeMap<(BdevHandle, IoKind), Rule>,
}

impl Engine {
    pub fn reset(&mut self, latencies: Latencies) {
        assert!(latencies.nvme_period > 0, "devices post what they complete");
        self.latencies = latencies;
        self.flights.clear();
        self.free.clear();
        self.heap.clear();
        self.tickets = 0;
        self.last_malloc = Time::ZERO;
        self.rules.clear();
    }

    /// When the next I/O ends.
    pub fn due(&self) -> Time {
        self.heap
            .peek()
            .map_or(Time::NEVER, |Reverse((at, ..))| *at)
    }

    /// I/O in flight, held ones included.
    pub fn in_flight(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// I/O in flight other than resets.
    pub fn flying(&self) -> usize {
        let flights = self.flights.iter().flatten();
        let ios = flights.filter(|flight| flight.ended.kind != IoKind::Reset);
        ios.count()
    }

    /// A flight that is lost or ends twice, for the invariants.
    pub fn flight_adrift(&self) -> Option<String> {
        if let Some(free) = self
            .free
            .iter()
            .find(|n| self.flights[**n as usize].is_some())
        {
            return Some(format!("flight {free} is free"));
        }
        let flights = || self.flights.iter().flatten();
        let count = flights().count();
        if self.flights.len() - count != self.free.len() {
            return Some(format!("{count} fly, {} are free", self.free.len()));
        }
        // A ticket is given once: a flight has one entry that is not void at most.
        let valid = self.heap.iter().filter(|Reverse((_, ticket, index))| {
            let flight = &self.flights[*index as usize];
            flight.is_some_and(|flight| flight.ticket == *ticket)
        });
        let held = flights().filter(|flight| flight.held.is_some());
        let (ends, held) = (valid.count(), held.count());
        (ends + held != count).then(|| format!("{count} fly, {ends} end, {held} are held"))
    }

    /// Sets what an error bdev does to I/O of `kind`.
    pub fn inject(&mut self, bdev: BdevHandle, kind: IoKind, rule: Option<Rule>) {
        match rule {
            Some(rule) => self.rules.insert((bdev, kind), rule),
            None => self.rules.remove(&(bdev, kind)),
        };
    }

    /// The bdev is gone.
    pub fn forget(&mut self, bdev: BdevHandle) {
        self.rules.retain(|(of, _), _| *of != bdev);
    }

    pub(super) fn submit(&mut self, now: Time, request: Request, below: Below<'_>) {
        let list = below.list;
        let block_size = at(list, request.bdev).map_or(512, |bdev| bdev.block_size);
        let index = self.free.pop().unwrap_or(self.flights.len() as u32);
        if index as usize == self.flights.len() {
            self.flights.push(None);
        }
        let flight = Flight {
            ended: Ended {
                task: request.task,
                kind: request.kind,
                status: BdevStatus::Success,
                store: None,
                origin: 0,
                block_size,
                corrupt: None,
            },
            ticket: 0,
            held: None,
            aborters: [None; 2],
        };
        if request.kind == IoKind::Reset {
            self.abort_below(now, request.bdev, list);
        }
        self.go(now, (index, flight), request.bdev, below);
    }

    /// Sends a flight down from `bdev` until it ends somewhere.
    fn go(
        &mut self,
        now: Time,
        (index, mut flight): (u32, Flight),
        from: BdevHandle,
        below: Below<'_>,
    ) {
        let Below { list, rng } = below;
        let mut handle = from;
        let mut extra = Duration::ZERO;
        let mut grouped = false;
        let latency = loop {
            let Some(bdev) = at(list, handle) else {
                flight.ended.status = BdevStatus::Failed;
                break self.latencies.malloc;
            };
            match bdev.kind {
                Kind::Malloc { store } => {
                    flight.ended.store = Some(store);
                    break self.latencies.malloc;
                }
                Kind::Nvme { store, .. } => {
                    flight.ended.store = Some(store);
                    grouped = true;
                    break self.latencies.nvme;
                }
                Kind::Null => break self.latencies.malloc,
                Kind::Split { base, start } => {
                    flight.ended.origin += start * u64::from(bdev.block_size);
                    handle = base;
                }
                Kind::Delay { base, us } => {
                    extra += delay(us, flight.ended.kind, rng);
                    remember(&mut flight.aborters, handle);
                    handle = base;
                }
                Kind::Error { base } => {
                    match self.injected(handle, flight.ended.kind) {
                        Some(Injected::Pending) => {
                            flight.held = Some(handle);
                            remember(&mut flight.aborters, handle);
                            self.flights[index as usize] = Some(flight);
                            return;
                        }
                        Some(Injected::Failure) => {
                            flight.ended.status = BdevStatus::Failed;
                            break (0, 0);
                        }
                        Some(Injected::NvmeFailure) => {
                            flight.ended.status = BdevStatus::Nvme { sct: 0, sc: 6 };
                            break (0, 0);
                        }
                        Some(Injected::NoMemory) => extra += Duration::from_micros(10),
                        Some(Injected::Corrupt { offset, value }) => {
                            flight.ended.corrupt = Some((offset, value));
                        }
                        None => {}
                    }
                    handle = base;
                }
            }
        };
        let drawn = rng.between(latency.0, latency.1.max(latency.0));
        let due = now + extra + Duration::from_nanos(u64::from(drawn));
        let due = if grouped {
            Time(due.0.next_multiple_of(self.latencies.nvme_period.into()))
        } else if extra == Duration::ZERO && latency == self.latencies.malloc {
            self.in_order(due)
        } else {
            due
        };
        self.flights[index as usize] = Some(flight);
        self.schedule(index, due);
    }

    /// A malloc bdev completes in the order of submission, from one poller.
    fn in_order(&mut self, due: Time) -> Time {
        self.last_malloc = self.last_malloc.max(due);
        self.last_malloc
    }

    fn schedule(&mut self, index: u32, due: Time) {
        self.tickets += 1;
        if let Some(flight) = &mut self.flights[index as usize] {
            flight.ticket = self.tickets;
        }
        self.heap.push(Reverse((due, self.tickets, index)));
    }

    fn injected(&mut self, bdev: BdevHandle, kind: IoKind) -> Option<Injected> {
        if self.rules.is_empty() {
            return None;
        }
        let rule = self.rules.get_mut(&(bdev, kind))?;
        if rule.times == 0 {
            return None;
        }
        rule.times -= 1;
        Some(rule.what)
    }

    /// A reset of `bdev`: what an error or delay bdev at or below it holds ends as aborted.
    fn abort_below(&mut self, now: Time, bdev: BdevHandle, list: &[Option<Bdev>]) {
        let mut handle = Some(bdev);
        while let Some(here) = handle {
            for index in 0..self.flights.len() {
                let Some(flight) = &mut self.flights[index] else {
                    continue;
                };
                if flight.ended.kind != IoKind::Reset && flight.aborters.contains(&Some(here)) {
                    flight.held = None;
                    flight.ended.status = BdevStatus::Aborted;
                    self.schedule(index as u32, now);
                }
            }
            handle = at(list, here).and_then(|bdev| bdev.kind.base());
        }
    }

    pub(super) fn resume(&mut self, now: Time, bdev: BdevHandle, below: Below<'_>) {
        let Below { list, rng } = below;
        let base = at(list, bdev).and_then(|bdev| bdev.kind.base());
        // What is yet to be held is not, after that (T-C47).
        self.rules
            .retain(|(of, _), rule| *of != bdev || rule.what != Injected::Pending);
        for index in 0..self.flights.len() {
            let Some(flight) = &mut self.flights[index] else {
                continue;
            };
            if flight.held == Some(bdev) {
                flight.held = None;
                flight.aborters = [None; 2];
                let flight = *flight;
                if let Some(base) = base {
                    let below = Below { list, rng };
                    self.go(now, (index as u32, flight), base, below);
                }
            }
        }
    }

    /// The next I/O that has ended by `now`.
    pub fn pop(&mut self, now: Time) -> Option<Ended> {
        while let Some(&Reverse((due, ticket, index))) = self.heap.peek() {
            if due > now {
                return None;
            }
            self.heap.pop();
            let place = &mut self.flights[index as usize];
            if place.is_some_and(|flight| flight.ticket == ticket) {
                let flight = place.take().expect("checked above");
                self.free.push(index);
                return Some(flight.ended);
            }
        }
        None
    }
}

/// What a delay bdev adds: its 99th percentile once in a hundred, of reads and writes only.
fn delay([read, read99, write, write99]: [u64; 4], kind: IoKind, rng: &mut Rng) -> Duration {
    let (usual, rare) = match kind {
        IoKind::Read => (read, read99),
        IoKind::Write => (write, write99),
        IoKind::Flush | IoKind::Unmap | IoKind::Reset => (0, 0),
    };
    Duration::from_micros(if rng.chance(1, 100) { rare } else { usual })
}

fn remember(aborters: &mut [Option<BdevHandle>; 2], bdev: BdevHandle) {
    if let Some(place) = aborters.iter_mut().find(|place| place.is_none()) {
        *place = Some(bdev);
    }
}

fn at(list: &[Option<Bdev>], handle: BdevHandle) -> Option<&Bdev> {
    list.get(usize::from(handle.index))
        .and_then(Option::as_ref)
        .filter(|bdev| bdev.generation == handle.generation)
}

/// A change to a target that breaks the invariant of this name.
#[cfg(test)]
pub const MUTANTS: crate::tests::Mutants = &[
    ("time_of_the_devices", |t| {
        let engine = &mut t.shared.bdevs.engine;
        engine.schedule(0, Time(1));
    }),
    ("flights_end_once", |t| {
        let flights = &mut t.shared.bdevs.engine.flights;
        flights
            .iter_mut()
            .flatten()
            .for_each(|flight| flight.held = None);
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bdev::{Bdevs, NewBdev};
    use crate::handles::{SessionId, VdevId};

    fn task(head: u16) -> TaskRef {
        TaskRef {
            vdev: VdevId(3),
            vring: 2,
            head,
            session: SessionId(0),
            life: 0,
        }
    }

    #[test]
    fn what_is_let_go_is_held_and_aborted_no_more() {
        let mut bdevs = Bdevs::new(&[], Latencies::USUAL);
        let store = bdevs.stores.create();
        let mut register = |name: &str, kind| {
            let new = NewBdev {
                name: name.to_owned(),
                kind,
                block_size: 512,
                num_blocks: 8,
                physical_block_size: 512,
                uuid: None,
            };
            bdevs.register(new).expect("the name is free")
        };
        let base = register("Malloc0", Kind::Malloc { store });
        let error = register("EE_Malloc0", Kind::Error { base });
        let rule = Rule {
            what: Injected::Pending,
            times: 1,
        };
        bdevs.engine.inject(error, IoKind::Read, Some(rule));
        let mut rng = Rng::new(1, wire::Stream::Directed);
        let mut submit = |bdevs: &mut Bdevs, kind, head| {
            let request = Request {
                task: task(head),
                bdev: error,
                kind,
            };
            bdevs.submit(Time::ZERO, request, &mut rng);
        };
        submit(&mut bdevs, IoKind::Read, 7);
        let late = Time::ZERO + Duration::from_secs(1);
        assert!(bdevs.engine.pop(late).is_none(), "it is held");
        let mut rng = Rng::new(2, wire::Stream::Directed);
        bdevs.resume(Time::ZERO, error, &mut rng);
        // Neither a second time nor a reset has anything to do with it any more.
        bdevs.resume(late, error, &mut rng);
        submit(&mut bdevs, IoKind::Reset, 8);
        let ended: Vec<_> = std::iter::from_fn(|| bdevs.engine.pop(late)).collect();
        let ended: Vec<_> = ended.iter().map(|io| (io.task.head, io.status)).collect();
        assert!(ended.contains(&(7, BdevStatus::Success)), "{ended:?}");
        assert_eq!((ended.len(), bdevs.engine.in_flight()), (2, 0));
    }
}
