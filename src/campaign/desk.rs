//! Where workers take work from: findings that are to be made smaller first, then seeds in their order.
//!
//! Knows no scenario.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::findings::ShrinkJob;

/// What a worker does next.
#[derive(Debug)]
pub enum Job {
    /// Carry out the scenarios of this seed, counted from the first.
    Seed(u64),
    /// Make a finding smaller.
    Shrink(Box<ShrinkJob>),
}

/// What there is to do.
#[derive(Debug)]
pub struct Desk {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    shrink: VecDeque<ShrinkJob>,
    next: u64,
    /// The first that is not begun any more.
    end: u64,
    closed: bool,
}

impl Desk {
    /// So many seeds.
    pub fn new(seeds: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                shrink: VecDeque::new(),
                next: 0,
                end: seeds,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing to do, for which it waits; `None` if there is nothing any more. If it `is_over`, no seed is
    /// begun any more.
    pub fn take(&self, is_over: &dyn Fn() -> bool) -> Option<Job> {
        let mut inner = self.inner();
        loop {
            if inner.closed {
                return None;
            }
            if let Some(job) = inner.shrink.pop_front() {
                return Some(Job::Shrink(Box::new(job)));
            }
            if inner.next < inner.end && is_over() {
                inner.end = inner.next;
            }
            if inner.next < inner.end {
                inner.next += 1;
                return Some(Job::Seed(inner.next - 1));
            }
            let waited = self.changed.wait(inner);
            inner = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A finding is to be made smaller.
    pub fn shrink(&self, job: ShrinkJob) {
        self.inner().shrink.push_back(job);
        self.changed.notify_one();
    }

    /// Whether the seed of this number has been begun, or will be.
    pub fn has(&self, seed: u64) -> bool {
        seed < self.inner().end
    }

    /// No more seed is begun.
    pub fn stop(&self) {
        let mut inner = self.inner();
        inner.end = inner.next;
    }

    /// Nothing is to be done any more.
    pub fn close(&self) {
        self.inner().closed = true;
        self.changed.notify_all();
    }
}
