//! What a disk may hold: the history of its blocks.
//!
//! A write takes effect at some moment between its submission and its return, or not at all if it
//! fails. A read may return a write unless an acknowledged one began after that write had ended, and
//! ended before the read began. Knows fingerprints and times, not requests.

use std::collections::BTreeMap;

use crate::time::Time;

/// A block on which no two writes met, and none failed, since the last acknowledged one.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// The last acknowledged write.
    acked: u64,
    acked_at: Time,
    /// The one before it, for reads that were under way then.
    before: u64,
    /// The one write in flight; 0: none.
    flight: u64,
    flight_since: Time,
}

/// A write to a block on which several met, or one failed.
#[derive(Clone, Copy, Debug)]
struct Write {
    wrote: u64,
    since: Time,
    /// When it came back; `NEVER`: it is in flight.
    ended: Time,
    acked: bool,
    /// Reads from later on cannot return it: an acknowledged write began after it had ended.
    until: Time,
}

/// The history of a disk.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Bytes of a block; 0: no request yet.
    unit: u32,
    /// Writes have several lengths, or blocks are trimmed: none is followed any more.
    mixed: bool,
    blocks: Vec<Block>,
    /// What may be on the blocks that are not simple.
    met: BTreeMap<usize, Vec<Write>>,
}

impl History {
    /// The block that a request is about, if requests of its length are followed. A write of another
    /// length ends that: from then on blocks hold what no one write says.
    pub fn block(&mut self, offset: u64, len: u32, write: bool) -> Option<usize> {
        if self.unit == 0 {
            self.unit = len;
        }
        let unit = u64::from(self.unit);
        if self.mixed || len == 0 || len != self.unit || !offset.is_multiple_of(unit) {
            self.mixed |= write && len > 0;
            return None;
        }
        let block = (offset / unit) as usize;
        if block >= self.blocks.len() {
            self.blocks.resize(block + 1, Block::default());
        }
        Some(block)
    }

    /// Blocks hold what no write says, from now on: the disk was trimmed, or is about to be.
    pub fn forget(&mut self) {
        self.mixed = true;
    }

    /// The last acknowledged write of a block; 0: none.
    #[must_use]
    pub fn acked(&self, block: usize) -> u64 {
        self.blocks.get(block).map_or(0, |block| block.acked)
    }

    /// A write was submitted.
    pub fn begin(&mut self, block: usize, wrote: u64, at: Time) {
        let here = &mut self.blocks[block];
        let met = self.met.contains_key(&block);
        if here.flight == 0 && !met {
            (here.flight, here.flight_since) = (wrote, at);
            return;
        }
        self.meet(block).push(Write {
            wrote,
            since: at,
            ended: Time::NEVER,
            acked: false,
            until: Time::NEVER,
        });
    }

    /// A write came back; `oldest`: when the oldest request in flight was submitted.
    pub fn end(&mut self, block: usize, wrote: u64, good: bool, at: Time, oldest: Time) {
        let here = &mut self.blocks[block];
        // A request that was under way when the last write was acknowledged may return the one before.
        let forgettable = here.acked_at < oldest || here.before == here.acked;
        if good && here.flight == wrote && wrote != 0 && forgettable {
            (here.before, here.acked, here.acked_at) = (here.acked, wrote, at);
            here.flight = 0;
            return;
        }
        let writes = self.meet(block);
        let of = |write: &&mut Write| write.wrote == wrote && write.ended == Time::NEVER;
        let Some(write) = writes.iter_mut().find(of) else {
            return;
        };
        (write.ended, write.acked) = (at, good);
        if good {
            let since = write.since;
            for older in writes.iter_mut().filter(|older| older.ended < since) {
                older.until = older.until.min(at);
            }
            self.blocks[block].acked = wrote;
        }
        self.settle(block, oldest);
    }

    /// Whether a read that was submitted at `since`, and comes back now, may return `read`.
    #[must_use]
    pub fn may_read(&self, block: usize, read: u64, since: Time) -> bool {
        if let Some(writes) = self.met.get(&block) {
            let mut writes = writes.iter();
            return writes.any(|write| write.wrote == read && write.until >= since);
        }
        let here = &self.blocks[block];
        read == here.acked
            || (read == here.flight && here.flight != 0)
            || (read == here.before && here.acked_at >= since)
    }

    /// The block is simple no more: what it may hold, one by one.
    fn meet(&mut self, block: usize) -> &mut Vec<Write> {
        let here = &mut self.blocks[block];
        self.met.entry(block).or_insert_with(|| {
            let past = |wrote, ended, until| Write {
                wrote,
                since: ended,
                ended,
                acked: true,
                until,
            };
            let mut writes = vec![
                past(here.before, Time::ZERO, here.acked_at),
                past(here.acked, here.acked_at, Time::NEVER),
            ];
            if here.flight != 0 {
                writes.push(Write {
                    wrote: here.flight,
                    since: here.flight_since,
                    ended: Time::NEVER,
                    acked: false,
                    until: Time::NEVER,
                });
                here.flight = 0;
            }
            writes
        })
    }

    /// Forgets what no read in flight can return; a block that holds one write for sure is simple again.
    fn settle(&mut self, block: usize, oldest: Time) {
        let Some(writes) = self.met.get_mut(&block) else {
            return;
        };
        writes.retain(|write| write.until >= oldest);
        if let [last] = writes[..]
            && last.acked
        {
            let here = &mut self.blocks[block];
            (here.acked, here.before, here.acked_at) = (last.wrote, last.wrote, last.ended);
            self.met.remove(&block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Time = Time(0);

    fn disk() -> History {
        let mut disk = History::default();
        assert_eq!(disk.block(0, 4096, true), Some(0));
        disk.begin(0, 1, Time(10));
        disk.end(0, 1, true, Time(20), EARLY);
        disk
    }

    fn may(disk: &History, since: u64) -> Vec<u64> {
        let wrote = 0..9;
        wrote
            .filter(|wrote| disk.may_read(0, *wrote, Time(since)))
            .collect()
    }

    #[test]
    fn a_write_of_another_length_ends_what_is_known() {
        let mut disk = disk();
        assert_eq!(disk.block(0, 8192, false), None, "a read changes nothing");
        assert_eq!(disk.block(0, 4096, false), Some(0));
        assert_eq!(disk.block(0, 8192, true), None);
        assert_eq!(disk.block(0, 4096, false), None);
    }

    #[test]
    fn a_block_holds_its_last_write() {
        let mut disk = disk();
        assert_eq!(may(&disk, 21), [1]);
        assert_eq!(may(&disk, 20), [0, 1], "a read that was under way");
        disk.begin(0, 2, Time(30));
        assert_eq!(may(&disk, 31), [1, 2]);
        disk.end(0, 2, true, Time(40), EARLY);
        assert_eq!(may(&disk, 41), [2]);
    }

    #[test]
    fn a_long_read_may_return_any_write_since_it_was_sent() {
        let mut disk = disk();
        for (wrote, at) in [(2, 40), (3, 60), (4, 80)] {
            disk.begin(0, wrote, Time(at));
            disk.end(0, wrote, true, Time(at + 10), Time(30));
        }
        assert_eq!(may(&disk, 30), [1, 2, 3, 4], "a guest that was paused");
        assert_eq!(may(&disk, 75), [3, 4]);
        assert_eq!(may(&disk, 91), [4]);
    }

    #[test]
    fn writes_that_meet_may_land_in_either_order() {
        let mut disk = disk();
        disk.begin(0, 2, Time(30));
        disk.begin(0, 3, Time(31));
        disk.end(0, 2, true, Time(40), EARLY);
        disk.end(0, 3, true, Time(41), EARLY);
        assert_eq!(may(&disk, 50), [2, 3]);
        disk.begin(0, 4, Time(60));
        disk.end(0, 4, true, Time(61), Time(62));
        assert_eq!(may(&disk, 62), [4], "neither is younger");
        assert!(disk.met.is_empty());
    }

    #[test]
    fn a_failed_write_may_have_landed_until_another_covers_it() {
        let mut disk = disk();
        disk.begin(0, 2, Time(30));
        disk.end(0, 2, false, Time(40), EARLY);
        assert_eq!(may(&disk, 50), [1, 2]);
        disk.begin(0, 3, Time(60));
        disk.end(0, 3, true, Time(70), Time(65));
        assert_eq!(may(&disk, 65), [1, 2, 3], "a read that was under way");
        assert_eq!(may(&disk, 71), [3]);
    }
}
