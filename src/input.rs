//! Files that people name: read whole, within bounds, with an error that names them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes that a file may have: the longest that ships has a hundredth of it.
const SIZE_MAX: u64 = 64 << 20;

/// The text of a file.
///
/// # Errors
///
/// It cannot be read, is longer than 64 MiB (or has no end, as `/dev/zero`), or is no text.
pub fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!("it is longer than {} MiB", SIZE_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("it is no text: byte {at} is not UTF-8")
    })
}
