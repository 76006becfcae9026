//! `iot`, the application of the recordings: threads that read or write 4 KiB here and there, and count
//! what they get; at the end an `fsync`, and one more `open`.

use std::time::Duration;

use fio_model::{Completion, Op};
use scenarios::Time;

use super::console::{Iot, Returned};
use super::scenario::IotStep;
use linux::testing::{CPUS, DeviceState, DirectIo, DiskNo, Finished, ScriptedBackEnd};

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
    disk: Option<DiskNo>,
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
    pub fn new(number: usize, step: &IotStep, back_end: &mut ScriptedBackEnd) -> Self {
        let disk = back_end.disk_at(step.target);
        let disk = disk.filter(|disk| back_end.disk(*disk).was_visible());
        let mut result = Iot::default();
        match disk {
            Some(disk) => back_end.open(disk),
            None => result.unopened = Some(ENOENT),
        }
        let threads = disk.map_or(0, |_| step.threads);
        Self {
            number,
            disk,
            until: back_end.now + step.time,
            threads: vec![Some(back_end.now); threads],
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
    pub fn go(&mut self, back_end: &mut ScriptedBackEnd) -> Option<Iot> {
        if self.over {
            return None;
        }
        for thread in 0..self.threads.len() {
            if self.threads[thread].is_some_and(|at| at <= back_end.now) {
                self.threads[thread] = None;
                if back_end.now < self.until {
                    self.ask(thread, back_end);
                }
            }
        }
        let busy = self.waiting > 0 || self.wakes().is_some();
        if busy {
            return None;
        }
        if let Some(disk) = self.disk {
            if !self.flushing {
                self.flushing = true;
                if back_end.disk(disk).has_write_cache() {
                    self.submit((0, disk), 0, 0, back_end);
                    return None;
                }
                self.result.end = Some((0, 0));
            }
            if let Some((_, reopened)) = &mut self.result.end {
                *reopened = match back_end.disk(disk).state() {
                    _ if back_end.disk(disk).is_dead() => ENOENT,
                    DeviceState::Running => 0,
                    DeviceState::Created | DeviceState::Cancel | DeviceState::Del => ENXIO,
                };
                back_end.close(disk);
            }
        }
        self.over = true;
        Some(std::mem::take(&mut self.result))
    }

    fn ask(&mut self, thread: usize, back_end: &mut ScriptedBackEnd) {
        let Some(disk) = self.disk else { return };
        let offset = u64::from(back_end.rng.below(PLACES)) * u64::from(BYTES);
        self.submit((thread, disk), offset, BYTES, back_end);
    }

    fn submit(
        &mut self,
        (thread, disk): (usize, DiskNo),
        offset: u64,
        len: u32,
        back_end: &mut ScriptedBackEnd,
    ) {
        self.asked += 1;
        let number = (self.number as u64) << 32 | u64::from(self.asked) << 8;
        let io = DirectIo {
            tag: number & !0xff | thread as u64,
            disk,
            cpu: thread % CPUS,
            op: if thread % 2 == 1 { Op::Write } else { Op::Read },
            offset,
            len,
            buffer: thread,
        };
        self.waiting += 1;
        back_end.submit(io);
    }
}
