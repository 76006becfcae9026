//! A cpio archive of the format "newc", as the kernel unpacks one at boot.
//!
//! Knows the format (Linux's Documentation/driver-api/early-userspace/buffer-format.rst); reads no file.

use std::collections::BTreeSet;
use std::path::Path;

/// Every entry starts at a multiple of this.
const ALIGN: usize = 4;

/// An archive under construction. Directories are made as they are needed.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a file, at an absolute path; `mode` is its permissions.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, 0o100_000 | mode, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.entry(path, 0o120_777, (0, 0), to.as_bytes());
    }

    /// Adds a directory, and those that it is in.
    pub fn directory(&mut self, path: &str) {
        self.parents(path);
        if self.directories.insert(path.to_owned()) {
            self.entry(path, 0o040_755, (0, 0), &[]);
        }
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, 0o020_600, (major, minor), &[]);
    }

    /// The archive, ended.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.header("TRAILER!!!", 0, (0, 0), 0);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        let above: Vec<_> = Path::new(path).ancestors().skip(1).collect();
        for dir in above.into_iter().rev() {
            let dir = dir.to_string_lossy().into_owned();
            if dir != "/" && !dir.is_empty() && self.directories.insert(dir.clone()) {
                self.entry(&dir, 0o040_755, (0, 0), &[]);
            }
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let name = path.trim_start_matches('/');
        self.header(name, mode, device, content.len());
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn header(&mut self, name: &str, mode: u32, device: (u32, u32), size: usize) {
        self.entries += 1;
        // Magic, then thirteen fields of eight hexadecimal digits.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(size).expect("a file of a guest is smaller than 4 GiB"),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).expect("a short name"),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGN), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_headers_names_and_contents_each_padded() {
        let mut archive = Archive::default();
        archive.file("/a/b", 0o755, b"hello");
        archive.link("/a/c", "b");
        let bytes = archive.finish();
        let header = |entry: u32, mode: u32, size: u32, name: &str| {
            let mut text = format!("070701{entry:08x}{mode:08x}{:016x}{:08x}{:08x}", 0, 1, 0);
            text += &format!(
                "{size:08x}{:032x}{:08x}{:08x}{name}\0",
                0,
                name.len() + 1,
                0
            );
            while text.len() % ALIGN != 0 {
                text.push('\0');
            }
            text
        };
        let expected = [
            header(1, 0o040_755, 0, "a"),
            header(2, 0o100_755, 5, "a/b"),
            "hello\0\0\0".to_owned(),
            header(3, 0o120_777, 1, "a/c"),
            "b\0\0\0".to_owned(),
            header(4, 0, 0, "TRAILER!!!"),
        ];
        assert_eq!(String::from_utf8(bytes).expect("text"), expected.concat());
    }

    #[test]
    fn a_directory_is_there_once() {
        let mut archive = Archive::default();
        archive.directory("/d");
        archive.file("/d/e", 0o644, b"");
        archive.file("/d/f", 0o644, b"");
        let text = String::from_utf8(archive.finish()).expect("text");
        assert_eq!(text.matches("070701").count(), 4);
    }
}
