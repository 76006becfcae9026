//! What a fio thread has written and not yet verified.
//!
//! With a random map the log is a queue in the order of issue; without one, and for sequential
//! jobs, it is sorted by offset and a newer overlapping write takes the older one's place. Knows
//! nothing of when to verify: that is the thread's backlog rule.

use std::collections::VecDeque;

/// A logged write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// Where it went, in bytes.
    pub offset: u64,
    /// How long it was.
    pub len: u32,
    /// Low 16 bits of the count of writes before it.
    pub numberio: u16,
    /// Seed of its payload.
    pub seed: u64,
    state: State,
    number: u32,
}

impl Logged {
    /// A write that was not logged.
    pub fn new(offset: u64, len: u32, numberio: u16) -> Logged {
        Logged {
            offset,
            len,
            numberio,
            ..Logged::default()
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Gone,
    InFlight,
    Done,
}

/// Names an entry until it is done, failed, or pushed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    number: u32,
    block: u64,
}

/// The head of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Nothing is logged.
    Empty,
    /// Its write has not completed, so it cannot be verified yet.
    InFlight,
    /// Taken from the log, to be read back.
    Taken(Logged),
}

/// The log itself.
#[derive(Clone, Debug)]
pub struct WriteLog {
    order: Order,
    len: u64,
    next_number: u32,
    replaced: u64,
}

#[derive(Clone, Debug)]
enum Order {
    /// Oldest first. `first` is the number of the entry in front.
    Issue {
        entries: VecDeque<Logged>,
        first: u32,
    },
    /// Lowest offset first: a slot a block, the write stands at its first block.
    Offset {
        slots: Vec<Logged>,
        unit: u64,
        base: u64,
        reach: u64,
        lowest: usize,
    },
}

impl WriteLog {
    /// A log in order of issue that holds `capacity` writes without growing.
    pub fn in_issue_order(capacity: usize) -> WriteLog {
        let order = Order::Issue {
            entries: VecDeque::with_capacity(capacity),
            first: 0,
        };
        WriteLog {
            order,
            len: 0,
            next_number: 0,
            replaced: 0,
        }
    }

    /// A log in order of offset for `blocks` blocks of `unit` bytes from `base` on, and writes of at
    /// most `len_max` bytes.
    pub fn in_offset_order(blocks: u64, unit: u32, base: u64, len_max: u32) -> WriteLog {
        let order = Order::Offset {
            slots: vec![Logged::default(); blocks as usize],
            unit: u64::from(unit),
            base,
            reach: u64::from(len_max.div_ceil(unit)),
            lowest: blocks as usize,
        };
        WriteLog {
            order,
            len: 0,
            next_number: 0,
            replaced: 0,
        }
    }

    /// How many writes are logged, in flight or done.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the writes whose place a newer one took before they were verified, since the log was last
    /// cleared.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        match &mut self.order {
            Order::Issue { entries, first } => {
                *first = first.wrapping_add(entries.len() as u32);
                entries.clear();
            }
            Order::Offset { slots, lowest, .. } => {
                slots.fill(Logged::default());
                *lowest = slots.len();
            }
        }
        (self.len, self.replaced) = (0, 0);
    }

    /// Logs a write that is about to be issued.
    pub fn push(&mut self, offset: u64, len: u32, numberio: u16, seed: u64) -> Ticket {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let logged = Logged {
            offset,
            len,
            numberio,
            seed,
            state: State::InFlight,
            number,
        };
        self.len += 1;
        let mut ticket = Ticket { number, block: 0 };
        match &mut self.order {
            Order::Issue { entries, .. } => entries.push_back(logged),
            Order::Offset {
                slots,
                unit,
                base,
                reach,
                lowest,
            } => {
                let block = ((offset - *base) / *unit) as usize;
                let from = block.saturating_sub(*reach as usize);
                let to = slots
                    .len()
                    .min(block + (u64::from(len).div_ceil(*unit)) as usize);
                for slot in &mut slots[from..to] {
                    let below = slot.offset + u64::from(slot.len) <= offset;
                    if slot.state != State::Gone && !below {
                        slot.state = State::Gone;
                        self.len -= 1;
                        self.replaced += u64::from(slot.len);
                    }
                }
                slots[block] = logged;
                *lowest = (*lowest).min(block);
                ticket.block = block as u64;
            }
        }
        ticket
    }

    /// The write of `ticket` has completed: it may be verified.
    pub fn done(&mut self, ticket: Ticket) {
        if let Some(logged) = self.find(ticket) {
            logged.state = State::Done;
        }
    }

    /// The write of `ticket` has failed: it leaves the log.
    pub fn failed(&mut self, ticket: Ticket) {
        if let Some(logged) = self.find(ticket) {
            logged.state = State::Gone;
            self.len -= 1;
        }
    }

    /// Takes the head, if there is one and its write has completed.
    pub fn take(&mut self) -> Head {
        let head = match &mut self.order {
            Order::Issue { entries, first } => loop {
                match entries.front().map(|logged| logged.state) {
                    None => return Head::Empty,
                    Some(State::InFlight) => return Head::InFlight,
                    Some(State::Gone | State::Done) => {}
                }
                *first = first.wrapping_add(1);
                let logged = entries.pop_front().expect("there is a front");
                if logged.state == State::Done {
                    break logged;
                }
            },
            Order::Offset { slots, lowest, .. } => {
                let rest = slots.get(*lowest..).unwrap_or_default();
                let Some(ahead) = rest.iter().position(|slot| slot.state != State::Gone) else {
                    *lowest = slots.len();
                    return Head::Empty;
                };
                *lowest += ahead;
                let slot = &mut slots[*lowest];
                if slot.state == State::InFlight {
                    return Head::InFlight;
                }
                std::mem::take(slot)
            }
        };
        self.len -= 1;
        Head::Taken(head)
    }

    fn find(&mut self, ticket: Ticket) -> Option<&mut Logged> {
        let logged = match &mut self.order {
            Order::Issue { entries, first } => {
                entries.get_mut(ticket.number.wrapping_sub(*first) as usize)
            }
            Order::Offset { slots, .. } => slots.get_mut(ticket.block as usize),
        };
        logged.filter(|logged| logged.number == ticket.number && logged.state == State::InFlight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_order_waits_for_its_head_and_skips_failures() {
        let mut log = WriteLog::in_issue_order(4);
        let tickets: Vec<_> = (0..4)
            .map(|i| log.push(i * 4096, 4096, i as u16, i))
            .collect();
        log.done(tickets[1]);
        assert_eq!(log.take(), Head::InFlight);
        log.failed(tickets[0]);
        assert_eq!(log.len(), 3);
        assert!(matches!(
            log.take(),
            Head::Taken(Logged { numberio: 1, .. })
        ));
        log.done(tickets[2]);
        log.done(tickets[3]);
        assert!(matches!(
            log.take(),
            Head::Taken(Logged { numberio: 2, .. })
        ));
        assert!(matches!(
            log.take(),
            Head::Taken(Logged { numberio: 3, .. })
        ));
        assert_eq!((log.take(), log.len()), (Head::Empty, 0));
    }

    #[test]
    fn offset_order_gives_the_lowest_and_a_newer_write_replaces() {
        let mut log = WriteLog::in_offset_order(16, 4096, 0, 8192);
        let old = log.push(5 * 4096, 8192, 0, 0);
        let low = log.push(2 * 4096, 4096, 1, 0);
        let new = log.push(6 * 4096, 4096, 2, 0);
        assert_eq!(log.len(), 2, "the write at 5 reached into 6");
        assert_eq!(log.replaced(), 8192);
        log.done(old);
        log.done(new);
        assert_eq!(log.take(), Head::InFlight);
        log.done(low);
        assert!(matches!(
            log.take(),
            Head::Taken(Logged { numberio: 1, .. })
        ));
        assert!(matches!(
            log.take(),
            Head::Taken(Logged { numberio: 2, .. })
        ));
        assert_eq!(log.take(), Head::Empty);
    }
}
