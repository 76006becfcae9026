//! Files that people name: read whole, within bounds, with an error that names what was expected.

use std::fs::{self, File, FileType};
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Bytes that a file may have: the longest that ships has a hundredth of it.
const SIZE_MAX: u64 = 64 << 20;

/// The text of a file, which is to be `what`: "a plan".
///
/// # Errors
///
/// It cannot be read, is no regular file, is longer than 64 MiB, or is no text.
pub fn read_text(path: &Path, what: &str) -> Result<String, String> {
    let bytes = read_bytes(path, what)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("it is no text: byte {at} is not UTF-8\n  = expected {what}")
    })
}

/// The bytes of a file, which is to be `what`: "a plan".
///
/// # Errors
///
/// It cannot be read, is no regular file, or is longer than 64 MiB.
pub fn read_bytes(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    // Before it is opened: to open a pipe waits for somebody who writes, and Ctrl-C does not end that.
    let kind = fs::metadata(path).map_err(|error| format!("{error}\n  = expected {what}"))?;
    if let Some(other) = irregular(kind.file_type()) {
        return Err(format!(
            "it is {other}\n  = expected {what}, a regular file"
        ));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SIZE_MAX {
        let most = SIZE_MAX >> 20;
        return Err(format!("it is longer than {most} MiB\n  = expected {what}"));
    }
    Ok(bytes)
}

/// What a file is, if not a regular one.
fn irregular(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}
