//! Error numbers as Linux gives them to fio, with the names and texts that fio prints.
//!
//! Knows nothing of where an error came from.

use std::fmt;

/// A Linux error number, positive. `Errno(0)` is "no error", as in fio's `err= 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub u16);

/// Number, name and glibc's `strerror` text of each error number that a disk or a job can end with.
const TABLE: &[(u16, &str, &str)] = &[
    (0, "0", "Success"),
    (1, "EPERM", "Operation not permitted"),
    (2, "ENOENT", "No such file or directory"),
    (4, "EINTR", "Interrupted system call"),
    (5, "EIO", "Input/output error"),
    (6, "ENXIO", "No such device or address"),
    (9, "EBADF", "Bad file descriptor"),
    (11, "EAGAIN", "Resource temporarily unavailable"),
    (12, "ENOMEM", "Cannot allocate memory"),
    (13, "EACCES", "Permission denied"),
    (14, "EFAULT", "Bad address"),
    (16, "EBUSY", "Device or resource busy"),
    (19, "ENODEV", "No such device"),
    (22, "EINVAL", "Invalid argument"),
    (27, "EFBIG", "File too large"),
    (28, "ENOSPC", "No space left on device"),
    (30, "EROFS", "Read-only file system"),
    (52, "EBADE", "Invalid exchange"),
    (61, "ENODATA", "No data available"),
    (62, "ETIME", "Timer expired"),
    (67, "ENOLINK", "Link has been severed"),
    (
        84,
        "EILSEQ",
        "Invalid or incomplete multibyte or wide character",
    ),
    (95, "EOPNOTSUPP", "Operation not supported"),
    (
        108,
        "ESHUTDOWN",
        "Cannot send after transport endpoint shutdown",
    ),
    (110, "ETIMEDOUT", "Connection timed out"),
    (121, "EREMOTEIO", "Remote I/O error"),
];

impl Errno {
    /// No error.
    pub const OK: Errno = Errno(0);
    /// No such file or directory: the device node is gone.
    pub const ENOENT: Errno = Errno(2);
    /// Input/output error.
    pub const EIO: Errno = Errno(5);
    /// No such device or address.
    pub const ENXIO: Errno = Errno(6);
    /// No such device.
    pub const ENODEV: Errno = Errno(19);
    /// Operation not supported: a disk that is trimmed and does not know UNMAP.
    pub const EOPNOTSUPP: Errno = Errno(95);
    /// Invalid argument.
    pub const EINVAL: Errno = Errno(22);
    /// No space left on device: what a write beyond a vanished disk's capacity gets.
    pub const ENOSPC: Errno = Errno(28);
    /// What fio ends with when a verify check fails.
    pub const EILSEQ: Errno = Errno(84);
    /// Connection timed out.
    pub const ETIMEDOUT: Errno = Errno(110);
    /// Remote I/O error.
    pub const EREMOTEIO: Errno = Errno(121);

    /// Whether this is "no error".
    pub fn is_ok(self) -> bool {
        self == Errno::OK
    }

    /// The symbol, such as `EIO`; `E?` for a number outside the table.
    pub fn name(self) -> &'static str {
        TABLE
            .iter()
            .find(|row| row.0 == self.0)
            .map_or("E?", |row| row.1)
    }

    /// The error of that name, if it is in the table.
    pub fn named(name: &str) -> Option<Errno> {
        let row = TABLE.iter().find(|row| row.1 == name && row.0 > 0)?;
        Some(Errno(row.0))
    }

    /// The text that `strerror` gives under glibc, such as `Input/output error`.
    pub fn text(self) -> &'static str {
        TABLE
            .iter()
            .find(|row| row.0 == self.0)
            .map_or("Unknown error", |row| row.2)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_fios_words() {
        assert_eq!(Errno::EIO.text(), "Input/output error");
        assert_eq!(Errno::EILSEQ.name(), "EILSEQ");
        assert_eq!(Errno(4095).name(), "E?");
        assert!(
            TABLE.windows(2).all(|w| w[0].0 < w[1].0),
            "sorted, no number twice"
        );
    }
}
