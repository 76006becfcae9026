//! What holds of the requests under way between two turns.

use super::io::Share;
use super::{Block, cpu_of};
use crate::driver::request::Owner;
use crate::ids::{DiskNo, IoNo, ThreadNo};
use crate::shared::Shared;

impl Block {
    /// A place in the table that is neither free nor taken, or both.
    pub fn place_lost(&self) -> Option<String> {
        let mut free = vec![0; self.ios.len()];
        for n in &self.free {
            free[n.0] += 1;
        }
        self.ios
            .iter()
            .zip(free)
            .enumerate()
            .find_map(|(n, (io, free))| {
                (free != usize::from(io.is_none())).then(|| format!("{n} is free {free} times"))
            })
    }

    /// A request that is in no place, or in two.
    pub fn request_astray(&self, shared: &Shared) -> Option<String> {
        let mut places = vec![0; self.ios.len()];
        for n in self.where_they_are(shared) {
            places[n.0] += 1;
        }
        self.ios
            .iter()
            .zip(places)
            .enumerate()
            .find_map(|(n, (io, places))| {
                // One in parts has none before they are over.
                let expected = match io.as_ref()?.share {
                    Share::Whole { left, .. } => usize::from(left == 0),
                    Share::Own | Share::Part(_) => 1,
                };
                (places != expected).then(|| format!("{n} is in {places}"))
            })
    }

    /// A request that waits for more or fewer parts than are under way.
    pub fn parts_miscounted(&self) -> Option<String> {
        self.ios.iter().enumerate().find_map(|(n, io)| {
            let Share::Whole { left, .. } = io.as_ref()?.share else {
                return None;
            };
            let parts = self.ios.iter().flatten();
            let parts = parts.filter(|part| part.share == Share::Part(IoNo(n)));
            let parts = parts.count();
            (parts != left as usize).then(|| format!("{n}: {parts} under way, {left} left"))
        })
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
