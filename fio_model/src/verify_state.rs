//! The file that `verify_state_save` leaves and `verify_state_load` reads: how far the writes of a thread
//! had come when it ended, so that a later run that only reads knows where to stop.
//!
//! Knows nothing of files: bytes and a name. The format is fio 3.33's (`verify-state.h`), little endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8, 8..16, 16..24 | version 3, length of what follows, its CRC-32C |
//! | 24..32, 32..36, 36..40 | completed writes that are named, depth, files |
//! | 40..48, 48..56 | writes issued, number of the thread from 0 |
//! | 56..64, 64..112 | 0, and the generator of offsets: three words of 32 bits |
//! | 112..176 | name of the job |
//! | 176.. | number of the file and offset of each of the last writes, newest first; `depth` of them |

use crate::random::Taus88;
use crate::sums::crc32c;

/// `VSTATE_HDR_VERSION`
const VERSION: u64 = 3;
const HEADER_LEN: usize = 24;
/// Where in what follows the header the list of writes begins.
const LIST_AT: usize = 152;
/// Bytes of an entry of that list.
const ENTRY_LEN: usize = 16;
const NAME_AT: usize = 88;
const NAME_LEN: usize = 64;

/// What a state file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyState {
    /// Name of the job.
    pub name: String,
    /// Number of the thread, from 0.
    pub index: u64,
    /// `iodepth`
    pub depth: u32,
    /// Writes that were issued.
    pub numberio: u64,
    /// The generator of offsets, as it stood at the end.
    pub(crate) offset_draws: Taus88,
    /// Offsets of the last writes that completed, newest first; `depth` of them at most.
    pub completed: Vec<u64>,
}

/// Why a state file cannot be used; its text is fio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyStateError {
    /// There is none.
    #[error("fio: open state file: No such file or directory")]
    Missing,
    /// It ends before its header does.
    #[error("fio: failed reading verify state header")]
    NoHeader,
    /// Its version is another.
    #[error("fio: unsupported ({0}) version in verify state header")]
    Version(u32),
    /// It ends before its contents do; the spelling is fio's.
    #[error("fio: failed reading verity state")]
    Short,
    /// Its checksum does not fit.
    #[error("fio: verify state is corrupt")]
    Corrupt,
}

impl VerifyState {
    /// The name of the file of thread `thread_number` (from 1) of the job `name`, in fio's directory.
    pub fn file_name(name: &str, thread_number: u32) -> String {
        let name = name.replace('/', ".");
        format!("local-{name}-{}-verify.state", thread_number - 1)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend((self.completed.len() as u64).to_le_bytes());
        body.extend(self.depth.to_le_bytes());
        body.extend(1u32.to_le_bytes());
        body.extend(self.numberio.to_le_bytes());
        body.extend(self.index.to_le_bytes());
        body.extend(0u64.to_le_bytes());
        for word in self.offset_draws.words() {
            body.extend(word.to_le_bytes());
        }
        body.resize(NAME_AT, 0);
        let name = self.name.as_bytes();
        body.extend_from_slice(&name[..name.len().min(NAME_LEN - 1)]);
        body.resize(LIST_AT, 0);
        for offset in &self.completed {
            body.extend(0u64.to_le_bytes());
            body.extend(offset.to_le_bytes());
        }
        body.resize(LIST_AT + self.depth as usize * ENTRY_LEN, 0);
        let mut file = Vec::with_capacity(HEADER_LEN + body.len());
        file.extend(VERSION.to_le_bytes());
        file.extend((body.len() as u64).to_le_bytes());
        file.extend(u64::from(crc32c(&body)).to_le_bytes());
        file.append(&mut body);
        file
    }

    /// Reads such a file.
    ///
    /// # Errors
    ///
    /// As fio's, whatever the bytes are; a file of several targets is taken for a corrupt one.
    pub fn decode(file: &[u8]) -> Result<VerifyState, VerifyStateError> {
        let (header, rest) = file
            .split_at_checked(HEADER_LEN)
            .ok_or(VerifyStateError::NoHeader)?;
        let version = u64_at(header, 0);
        if version != VERSION {
            return Err(VerifyStateError::Version(version as u32));
        }
        let len = usize::try_from(u64_at(header, 8)).map_err(|_| VerifyStateError::Short)?;
        let body = rest.get(..len).ok_or(VerifyStateError::Short)?;
        if u64::from(crc32c(body)) != u64_at(header, 16) || len < LIST_AT {
            return Err(VerifyStateError::Corrupt);
        }
        let entries = body[LIST_AT..].chunks_exact(ENTRY_LEN);
        let completed = u64_at(body, 0);
        let (depth, files) = (u32_at(body, 8), u32_at(body, 12));
        if files != 1 || completed > entries.len() as u64 {
            return Err(VerifyStateError::Corrupt);
        }
        let name = &body[NAME_AT..NAME_AT + NAME_LEN];
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(VerifyState {
            name: String::from_utf8_lossy(name).into_owned(),
            index: u64_at(body, 24),
            depth,
            numberio: u64_at(body, 16),
            offset_draws: Taus88::from_words([40, 44, 48].map(|at| u32_at(body, at))),
            completed: entries
                .take(completed as usize)
                .map(|entry| u64_at(entry, 8))
                .collect(),
        })
    }

    /// Whether a run that only reads has come to the end of what was written, `reads` done: what was in
    /// flight at the end is verified only if it had completed. fio's `verify_state_should_stop`.
    pub(crate) fn should_stop(&self, reads: u64, offset: u64) -> bool {
        let depth = u64::from(self.depth);
        let before_the_window = reads < depth || self.numberio.wrapping_sub(reads) > depth;
        if before_the_window && self.numberio > depth {
            return false;
        }
        !self.completed.contains(&offset)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> VerifyState {
        VerifyState {
            name: "a/b".into(),
            index: 2,
            depth: 4,
            numberio: 1000,
            offset_draws: Taus88::new(7),
            completed: vec![8192, 0, 4096],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = state().encode();
        assert_eq!(bytes.len(), HEADER_LEN + LIST_AT + 4 * ENTRY_LEN);
        assert_eq!(VerifyState::decode(&bytes), Ok(state()));
        assert_eq!(VerifyState::file_name("a/b", 3), "local-a.b-2-verify.state");
    }

    #[test]
    fn no_damaged_file_is_taken() {
        let bytes = state().encode();
        for len in 0..bytes.len() {
            assert!(VerifyState::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            assert!(VerifyState::decode(&bytes).is_err(), "byte {at}");
        }
        // A right checksum of wrong contents.
        for (at, value) in [(24, 5), (36, 2)] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let crc = u64::from(crc32c(&bytes[HEADER_LEN..]));
            bytes[16..24].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(VerifyState::decode(&bytes), Err(VerifyStateError::Corrupt));
        }
    }

    #[test]
    fn only_what_was_completed_is_verified_at_the_end() {
        let state = state();
        assert!(!state.should_stop(0, 12288), "far from the end");
        assert!(
            !state.should_stop(995, 12288),
            "not yet among the last four"
        );
        assert!(!state.should_stop(996, 4096), "completed");
        assert!(state.should_stop(996, 12288), "not completed");
    }
}
