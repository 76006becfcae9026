//! `iot`, the application of the recordings: threads that read or write 4 KiB here and there, and count
//! what they get; at the end an `fsync`, and one more `open`.

use std::time::Duration;

use fio_model::Completion;
use scenarios::Time;

use super::console::{Iot, Returned};
use super::scenario::IotStep;
use linux::bench::Bench;
use linux::direct::{DirectIo, Finished};
use linux::disk::DeviceState;
use linux::layout::thread_buffers;
use linux::{CPUS, Guest};
use wire::component::Cx;
use wire::message::FromGuest;

/// Bytes of a request.
const BYTES: u32 = 4096;
/// Where on the disk: in its first 8 MiB.
const PLACES: u32 = 2048;
/// What a thread rests after a failure, or after nothing was moved.
const REST: Duration = Duration::from_millis(20);
/// From a result to the next request.
const THINK: Duration = Duration::from_micros(100);
/// No such file or directory; no such device or address.
const ENOENT: u16 = 2;
const ENXIO: u16 = 6;

/// An `iot` that runs.
#[derive(Debug)]
pub struct IotRun {
    number: usize,
    disk: usize,
    until: Time,
    /// When each thread asks next; `None`: it waits, or has ended.
    threads: Vec<Option<Time>>,
    waiting: usize,
    asked: u32,
    flushing: bool,
    result: Iot,
    over: bool,
}

impl IotRun {
    /// Opens the disk, and starts.
    pub fn new(number: usize, step: &IotStep, bench: &mut Bench) -> Self {
        let disk = bench.guest.disk_at(0, step.target);
        let disk = disk.filter(|disk| bench.guest.disks[*disk].visible);
        let mut result = Iot::default();
        match disk {
            Some(disk) => bench.guest.direct.open.push(disk),
            None => result.unopened = Some(ENOENT),
        }
        let threads = disk.map_or(0, |_| step.threads);
        Self {
            number,
            disk: disk.unwrap_or_default(),
            until: bench.now + step.time,
            threads: vec![Some(bench.now); threads],
            waiting: 0,
            asked: 0,
            flushing: false,
            result,
            over: false,
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// When it does something by itself.
    #[must_use]
    pub fn wakes(&self) -> Option<Time> {
        self.threads.iter().flatten().min().copied()
    }

    /// A request of it has ended.
    pub fn finished(&mut self, finished: &Finished, now: Time) {
        self.waiting -= 1;
        let returned = match finished.completion {
            Completion::Done { bytes } => Returned::Bytes(bytes),
            Completion::Failed { errno } => Returned::Failed(errno.0),
        };
        if self.flushing {
            let errno = match returned {
                Returned::Bytes(_) => 0,
                Returned::Failed(errno) => errno,
            };
            self.result.end = Some((errno, 0));
            return;
        }
        let thread = finished.tag as usize & 0xff;
        *self
            .result
            .results
            .entry((thread % 2 == 1, returned))
            .or_default() += 1;
        let rest = if returned == Returned::Bytes(BYTES) {
            THINK
        } else {
            REST
        };
        self.threads[thread] = Some(now + rest);
    }

    /// Goes on as far as it can; with its end, what it has found.
    pub fn go(&mut self, bench: &mut Bench) -> Option<Iot> {
        if self.over {
            return None;
        }
        for thread in 0..self.threads.len() {
            if self.threads[thread].is_some_and(|at| at <= bench.now) {
                self.threads[thread] = None;
                if bench.now < self.until {
                    self.ask(thread, bench);
                }
            }
        }
        let busy = self.waiting > 0 || self.wakes().is_some();
        if busy {
            return None;
        }
        if self.result.unopened.is_none() && !self.flushing {
            self.flushing = true;
            if bench.guest.disks[self.disk].write_cache {
                self.submit(0, 0, 0, bench);
                return None;
            }
            self.result.end = Some((0, 0));
        }
        self.over = true;
        let disk = &bench.guest.disks[self.disk];
        if let Some((_, reopened)) = &mut self.result.end {
            *reopened = match disk.state {
                _ if disk.dead => ENOENT,
                DeviceState::Running => 0,
                _ => ENXIO,
            };
            let open = &mut bench.guest.direct.open;
            if let Some(at) = open.iter().position(|disk| *disk == self.disk) {
                open.swap_remove(at);
            }
        }
        Some(std::mem::take(&mut self.result))
    }

    fn ask(&mut self, thread: usize, bench: &mut Bench) {
        let offset = u64::from(bench.rng.below(PLACES)) * u64::from(BYTES);
        self.submit(thread, offset, BYTES, bench);
    }

    fn submit(&mut self, thread: usize, offset: u64, len: u32, bench: &mut Bench) {
        self.asked += 1;
        let number = (self.number as u64) << 32 | u64::from(self.asked) << 8;
        let io = DirectIo {
            tag: number & !0xff | thread as u64,
            disk: self.disk,
            cpu: thread % CPUS,
            write: thread % 2 == 1,
            offset,
            len,
            addr: thread_buffers(1, 0) + thread as u64 * u64::from(BYTES),
        };
        self.waiting += 1;
        let submitted = with_cx(bench, |guest, cx| guest.submit_direct(io, cx));
        assert!(submitted, "a queue has room for a few threads");
    }
}

/// Does something as the guest, and serves what it sent.
fn with_cx<T>(bench: &mut Bench, f: impl FnOnce(&mut Guest, &mut Cx<'_, FromGuest>) -> T) -> T {
    let mut out = Vec::new();
    let mut cx = Cx {
        now: bench.now,
        rng: &mut bench.rng,
        out: &mut out,
        saw: &mut bench.seen,
    };
    let done = f(&mut bench.guest, &mut cx);
    bench.deliver(out);
    done
}
