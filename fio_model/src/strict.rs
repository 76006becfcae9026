//! An oracle stricter than fio: a verify read must return the *last* write that completed.
//!
//! fio's hot-plug job cannot see a lost or stale write, as every pass writes the same payload at the
//! same place and neither seed nor count is compared. Knows nothing of fio's checks: it compares
//! fingerprints. Knows one thread's writes, so it is silent where several write.

use std::fmt;

use crate::fingerprint::Fingerprint;
use crate::header::{HEADER_LEN, Header, MAGIC};

/// A moment between completions, by which the oracle tells before from after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u32);

impl Moment {
    /// Before any completion.
    pub(crate) const START: Moment = Moment(0);
}

/// What a block held that should have held the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictKind {
    /// An older write of the same thread to the same place.
    Stale,
    /// Zeros: the write never arrived.
    Lost,
    /// Something that this thread did not write there.
    Foreign,
    /// The read returned 0 bytes, and fio checked what the buffer held before.
    NoData,
}

/// A read that returned something else than the last completed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrictViolation {
    /// Offset of the block on the device, in bytes.
    pub offset: u64,
    /// What kind of wrong.
    pub kind: StrictKind,
    /// The last completed write.
    pub wanted: Fingerprint,
    /// What was read.
    pub got: Fingerprint,
}

impl fmt::Display for StrictViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StrictViolation {
            offset,
            kind,
            wanted,
            got,
        } = self;
        let kind = match kind {
            StrictKind::Stale => "an older write",
            StrictKind::Lost => "zeros",
            StrictKind::Foreign => "something never written there",
            StrictKind::NoData => "no data",
        };
        write!(
            f,
            "strict: offset {offset}: read {kind} ({got}) instead of the last write ({wanted})"
        )
    }
}

/// What the oracle knows of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    last: Option<Fingerprint>,
    since: Moment,
}

/// Remembers the last completed write of each block of one thread's region.
#[derive(Clone, Debug)]
pub struct StrictOracle {
    base: u64,
    unit: u32,
    now: Moment,
    blocks: Vec<Known>,
    is_shared: bool,
}

impl StrictOracle {
    /// An oracle for `size` bytes from `base` on, in blocks of `unit` bytes, that knows nothing yet.
    pub fn new(base: u64, size: u64, unit: u32) -> StrictOracle {
        let blocks = vec![Known::default(); size.div_ceil(u64::from(unit)) as usize];
        StrictOracle {
            base,
            unit,
            now: Moment::default(),
            blocks,
            is_shared: false,
        }
    }

    /// Others write here, too: what is read may be theirs, and is not judged any more. That something is
    /// read still has to be so.
    pub fn share(&mut self) {
        self.is_shared = true;
    }

    /// Now, to be kept with a read that is being issued.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The write of the block at `offset` has completed.
    pub fn written(&mut self, offset: u64, fingerprint: Fingerprint) {
        self.now.0 += 1;
        let index = self.index(offset);
        self.blocks[index] = Known {
            last: Some(fingerprint),
            since: self.now,
        };
    }

    /// The write of the block at `offset` has failed: it may hold the old or the new content.
    pub fn unknown(&mut self, offset: u64) {
        self.now.0 += 1;
        let index = self.index(offset);
        self.blocks[index] = Known {
            last: None,
            since: self.now,
        };
    }

    /// Holds the block at `offset`, whose fingerprint is `got`, read by a request issued at `issued`, against the
    /// last write.
    ///
    /// A block that was written since, whose last write is not known, or that others write, is not judged.
    pub fn check(
        &self,
        offset: u64,
        issued: Moment,
        got: Fingerprint,
        block: &[u8],
    ) -> Option<StrictViolation> {
        if self.is_shared {
            return None;
        }
        let wanted = self.wanted(offset, issued)?;
        if got == wanted {
            return None;
        }
        let kind = if got == Fingerprint::ZEROS {
            StrictKind::Lost
        } else if got.is_content() || block.len() < HEADER_LEN {
            StrictKind::Foreign
        } else {
            let header = Header::decode(block);
            let here = header.magic == MAGIC && header.offset == offset;
            if here {
                StrictKind::Stale
            } else {
                StrictKind::Foreign
            }
        };
        Some(StrictViolation {
            offset,
            kind,
            wanted,
            got,
        })
    }

    /// The violation of a read of the block at `offset` that returned no data.
    pub fn no_data(&self, offset: u64, issued: Moment) -> Option<StrictViolation> {
        let wanted = self.wanted(offset, issued)?;
        let got = Fingerprint::ZEROS;
        Some(StrictViolation {
            offset,
            kind: StrictKind::NoData,
            wanted,
            got,
        })
    }

    fn wanted(&self, offset: u64, issued: Moment) -> Option<Fingerprint> {
        let known = self.blocks[self.index(offset)];
        if known.since > issued {
            None
        } else {
            known.last
        }
    }

    fn index(&self, offset: u64) -> usize {
        ((offset - self.base) / u64::from(self.unit)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::fingerprint;

    impl StrictOracle {
        fn check_block(
            &self,
            offset: u64,
            issued: Moment,
            block: &[u8],
        ) -> Option<StrictViolation> {
            self.check(offset, issued, fingerprint(block), block)
        }
    }

    fn block(offset: u64, numberio: u16) -> ([u8; 512], Fingerprint) {
        let mut bytes = [0x5a; 512];
        let header = Header {
            magic: MAGIC,
            offset,
            numberio,
            ..Header::default()
        };
        header.encode(&mut bytes);
        (bytes, fingerprint(&bytes))
    }

    #[test]
    fn the_last_write_is_wanted_and_the_others_are_named() {
        let mut oracle = StrictOracle::new(0, 4096, 512);
        let (old, old_print) = block(512, 1);
        let (new, new_print) = block(512, 2);
        let (elsewhere, _) = block(1024, 2);
        assert_eq!(
            oracle.check_block(512, oracle.now(), &old),
            None,
            "nothing is known yet"
        );
        oracle.written(512, old_print);
        oracle.written(512, new_print);
        let kind = |bytes: &[u8]| {
            oracle
                .check_block(512, oracle.now(), bytes)
                .map(|bad| bad.kind)
        };
        assert_eq!(kind(&new), None);
        assert_eq!(kind(&old), Some(StrictKind::Stale));
        assert_eq!(kind(&elsewhere), Some(StrictKind::Foreign));
        assert_eq!(kind(&[7; 512]), Some(StrictKind::Foreign));
        assert_eq!(kind(&[0; 512]), Some(StrictKind::Lost));
    }

    #[test]
    fn what_was_written_since_or_failed_is_not_judged() {
        let mut oracle = StrictOracle::new(0, 4096, 512);
        let (bytes, print) = block(0, 1);
        let issued = oracle.now();
        oracle.written(0, print);
        assert_eq!(oracle.check_block(0, issued, &[0; 512]), None);
        assert!(oracle.check_block(0, oracle.now(), &[0; 512]).is_some());
        oracle.unknown(0);
        assert_eq!(oracle.check_block(0, oracle.now(), &bytes), None);
        oracle.written(0, print);
        assert!(oracle.check_block(0, oracle.now(), &[0; 512]).is_some());
        oracle.share();
        assert_eq!(oracle.check_block(0, oracle.now(), &[0; 512]), None);
        assert!(oracle.no_data(0, oracle.now()).is_some());
    }
}
