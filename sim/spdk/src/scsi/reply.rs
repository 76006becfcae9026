//! A data-in reply under construction, and how much of it the guest gets.
//!
//! Knows no command: what is in it is its caller's.

use wire::bugs::{Bug, Bugs};

use super::{Outcome, Sense};

/// Bytes for the guest.
pub(super) struct Reply<'a> {
    data: &'a mut Vec<u8>,
    buffer_len: u32,
    bugs: Bugs,
}

impl<'a> Reply<'a> {
    /// An empty one, for a buffer of `buffer_len` bytes.
    pub(super) fn new(data: &'a mut Vec<u8>, buffer_len: u32, bugs: Bugs) -> Self {
        data.clear();
        Self {
            data,
            buffer_len,
            bugs,
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    pub(super) fn zeroes(&mut self, count: usize) {
        self.data.resize(self.data.len() + count, 0);
    }

    /// Appends `text`, cut or filled with blanks to `width` (`spdk_strcpy_pad`).
    pub(super) fn padded(&mut self, text: &str, width: usize) {
        let end = self.data.len() + width;
        self.data.extend(text.bytes().take(width));
        self.data.resize(end, b' ');
    }

    /// Drops what is behind the first `len` bytes.
    pub(super) fn cut(&mut self, len: usize) {
        self.data.truncate(len);
    }

    /// What is in it so far.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// Overwrites; the place must exist.
    pub(super) fn set(&mut self, at: usize, bytes: &[u8]) {
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Overwrites the 16-bit length field at `at` with the number of bytes behind it.
    pub(super) fn set_len16(&mut self, at: usize) {
        let len = (self.data.len() - at - 2) as u16;
        self.set(at, &len.to_be_bytes());
    }

    /// GOOD with at most `allocation` bytes of it. `process_primary` ignores that the copy fails
    /// when the guest's buffer is shorter: nothing is copied, and all is counted.
    pub(super) fn send(&mut self, allocation: u32) -> Outcome {
        self.data.truncate(allocation as usize);
        let reply_len = self.data.len() as u32;
        if reply_len <= self.buffer_len {
            return Outcome::good(reply_len);
        }
        if self.bugs.has(Bug::ResidUnderflow) {
            self.data.clear();
            return Outcome::good(reply_len);
        }
        self.data.truncate(self.buffer_len as usize);
        Outcome::good(self.buffer_len)
    }

    /// As [`send`](Self::send), filled with zeroes up to `allocation` (PERSISTENT RESERVE IN).
    pub(super) fn send_filled(&mut self, allocation: u32) -> Outcome {
        self.data.resize(allocation as usize, 0);
        self.send(allocation)
    }

    /// GOOD with what fits into the buffer (READ CAPACITY(10), which looks at the buffer alone).
    pub(super) fn send_fitting(&mut self) -> Outcome {
        self.data.truncate(self.buffer_len as usize);
        Outcome::good(self.data.len() as u32)
    }

    /// As [`send`](Self::send), but a short buffer is refused (READ CAPACITY(16)).
    pub(super) fn send_or_refuse(&mut self, allocation: u32) -> Outcome {
        self.data.truncate(allocation as usize);
        let reply_len = self.data.len() as u32;
        if reply_len <= self.buffer_len {
            return Outcome::good(reply_len);
        }
        self.data.clear();
        Outcome::check(Sense::INVALID_FIELD)
    }
}
