//! What holds of the requests under way between two turns.

use super::io::Share;
use super::{Block, cpu_of};
use crate::driver::request::Owner;
use crate::ids::{DiskNo, IoNo, ThreadNo};
use crate::shared::Shared;

impl Block {
    /// Reports what does not hold.
    pub fn invariants(&self, shared: &Shared, report: &mut dyn FnMut(&'static str, String)) {
        let mut places = vec![0; self.ios.len()];
        for n in &self.free {
            places[n.0] += 1;
        }
        for (n, io) in self.ios.iter().enumerate() {
            if places[n] != usize::from(io.is_none()) {
                let found = format!("{n} is free {} times", places[n]);
                report("a place in the table of requests is free or taken", found);
            }
        }
        for n in self.where_they_are(shared) {
            places[n.0] += 1;
        }
        let live = self.ios.iter().enumerate();
        for (n, io) in live.filter_map(|(n, io)| Some((n, io.as_ref()?))) {
            let mut expected = 1;
            if let Share::Whole { left, .. } = io.share {
                let parts = self.ios.iter().flatten();
                let parts = parts.filter(|part| part.share == Share::Part(IoNo(n)));
                let parts = parts.count();
                expected = usize::from(left == 0);
                if parts != left as usize {
                    let found = format!("{n}: {parts} under way, {left} left");
                    report("a request in parts waits for those under way", found);
                }
            }
            if places[n] != expected {
                let found = format!("{n} is in {}", places[n]);
                report("a request is in one place", found);
            }
        }
    }

    /// Requests in rings, those that wait to be tried again, and those that are to be reaped.
    fn where_they_are<'a>(&'a self, shared: &'a Shared) -> impl Iterator<Item = IoNo> + 'a {
        let in_rings = shared.hbas.iter().flat_map(|hba| hba.owners());
        let in_rings = in_rings.filter_map(|owner| match owner {
            Owner::Io(n) => Some(n),
            Owner::Flow(_) | Owner::Script(_) => None,
        });
        let delayed = self.delayed.iter().map(|(_, n)| *n);
        let done = self.completions.iter().flatten();
        let done = done.flat_map(|of| of.done.iter().map(|(n, _)| *n));
        in_rings.chain(delayed).chain(done)
    }

    /// Commands of requests on a disk that are not over.
    pub fn commands_on(&self, disk: DiskNo) -> u32 {
        let done = self.completions.iter().flatten();
        let done: Vec<IoNo> = done
            .flat_map(|of| of.done.iter().map(|(n, _)| *n))
            .collect();
        let ios = self.ios.iter().enumerate();
        let commands = ios.filter_map(|(n, io)| Some((IoNo(n), io.as_ref()?)));
        let commands = commands.filter(|(n, io)| {
            let is_command = !matches!(io.share, Share::Whole { .. });
            io.disk == disk && is_command && !done.contains(n)
        });
        commands.count() as u32
    }

    pub fn is_open(&self, thread: ThreadNo) -> bool {
        self.completions[thread.0].is_some()
    }

    /// Whether a thread sleeps until there is a completion, and there is one.
    pub fn is_due(&self, thread: ThreadNo) -> bool {
        let of = self.completions[thread.0].as_ref();
        of.is_some_and(|of| of.awaited && !of.done.is_empty())
    }

    /// Whether requests of a CPU wait to be tried again.
    pub fn has_delayed(&self, cpu: usize) -> bool {
        let mut delayed = self.delayed.iter();
        delayed.any(|(_, n)| {
            let io = self.ios[n.0].as_ref();
            io.is_some_and(|io| cpu_of(io.vring) == cpu)
        })
    }
}

#[cfg(test)]
impl Block {
    pub fn spoil_free(&mut self) {
        self.free.push(IoNo(0));
    }

    pub fn spoil_places(&mut self) {
        self.delayed.push((scenarios::Time(0), IoNo(0)));
    }

    pub fn spoil_share(&mut self) {
        let io = self.ios[0].as_mut().expect("it is under way");
        io.share = Share::Whole {
            left: 3,
            failed: None,
        };
    }

    pub fn spoil_completions(&mut self, thread: ThreadNo) {
        let of = self.completions[thread.0].as_mut().expect("it runs");
        let completion = fio_model::Completion::Done { bytes: 0 };
        of.done.push_back((IoNo(0), completion));
    }
}
