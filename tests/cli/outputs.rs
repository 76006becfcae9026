//! What is written beside standard output is written whatever becomes of that, and of each other.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A file of this test, which is not there yet.
fn place(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It is there if the test ran before.
    let _ = std::fs::remove_file(&path);
    path
}

/// A run that fails, with these files; X4 answers each RPC twice.
fn failing(files: &[(&str, &Path)], stdout: Stdio) -> Output {
    let files = files
        .iter()
        .flat_map(|(option, path)| [option.as_ref(), path.as_os_str()]);
    Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["run", "hotattach/1", "--io-count", "quick"])
        .args(["--bug", "answered_twice"])
        .args(files)
        .stdout(stdout)
        .output()
        .expect("plugfest starts")
}

/// The writing end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.expect("it is there").into()
}

/// What was said on standard error.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const FULL: &str = "plugfest: cannot write the output: No space left on device (os error 28)\n";

#[test]
fn files_are_written_though_the_output_cannot_be() {
    for seeds in [&[][..], &[("--seeds", Path::new("0..2"))]] {
        for (stdout, status, error) in [(unread(), 1, ""), (full(), 2, FULL)] {
            let (junit, repro) = (place("unseen.xml"), place("unseen.kdl"));
            let files = [("--junit", junit.as_path()), ("--repro", &repro)];
            let output = failing(&[&files[..], seeds].concat(), stdout);
            assert_eq!(output.status.code(), Some(status), "{output:?}");
            assert!(said(&output).ends_with(error), "{output:?}");
            let xml = std::fs::read_to_string(&junit).expect("it is written");
            assert!(xml.contains("I5"), "{xml}");
            assert!(repro.exists());
        }
    }
}

#[test]
fn what_is_found_is_written_down_though_nobody_reads() {
    let repro = place("unseen_scenario.kdl");
    let fuzz = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args([
            "fuzz",
            "--bug",
            "answered_twice",
            "--stop-at",
            "1",
            "--repro",
        ])
        .arg(&repro)
        .stdout(Stdio::piped())
        .spawn();
    let mut fuzz = fuzz.expect("plugfest starts");
    // The reader goes after the first line.
    let mut reader = BufReader::new(fuzz.stdout.take().expect("a pipe"));
    reader.read_line(&mut String::new()).expect("a line");
    drop(reader);
    assert_eq!(fuzz.wait().expect("it ends").code(), Some(1));
    assert!(repro.exists());
}

#[test]
fn a_file_that_cannot_be_written_takes_no_other_along() {
    for option in ["--trace", "--turns"] {
        let (junit, repro) = (place("beside.xml"), place("beside.kdl"));
        let full = Path::new("/dev/full");
        let files = [
            (option, full),
            ("--junit", junit.as_path()),
            ("--repro", &repro),
        ];
        let output = failing(&files, Stdio::piped());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let why = "plugfest: cannot write /dev/full: No space left on device (os error 28)\n";
        assert_eq!(said(&output), why, "{option}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("\n0 of 1 cases passed"), "{option}: {text}");
        assert!(junit.exists() && repro.exists(), "{option}");
    }
}

#[test]
fn a_file_that_cannot_be_written_whole_leaves_what_was_there() {
    for option in ["--trace", "--turns", "--junit", "--repro"] {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kept");
        // It is there if the test ran before.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a folder");
        let file = folder.join("old");
        std::fs::write(&file, "precious").expect("it is written");
        // No file may hold a byte.
        let output = Command::new("sh")
            .args(["-c", r#"trap "" XFSZ; ulimit -f 0; exec "$@""#, "sh"])
            .arg(env!("CARGO_BIN_EXE_plugfest"))
            .args(["run", "hotattach/1", "--io-count", "quick"])
            .args(["--bug", "answered_twice", option])
            .arg(&file)
            .output()
            .expect("sh starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let why = format!("cannot write {}: File too large", file.display());
        assert!(said(&output).contains(&why), "{output:?}");
        let left = std::fs::read_to_string(&file).expect("it is there");
        assert_eq!(left, "precious", "{option}");
        let names = std::fs::read_dir(&folder).expect("it is there");
        assert_eq!(names.count(), 1, "{option}: nothing else is left");
    }
}

#[test]
fn a_pipe_without_a_reader_is_not_waited_for() {
    for option in ["--junit", "--trace", "--turns", "--repro"] {
        let pipe = place("unread_pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo starts").success());
        let output = failing(&[(option, &pipe)], Stdio::piped());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = said(&output);
        assert!(said.contains("it is a pipe that nobody reads"), "{said}");
        let kind = std::fs::metadata(&pipe).expect("it is there").file_type();
        assert!(kind.is_fifo(), "{option}: it is a pipe still");
    }
}

#[test]
fn a_pipe_with_a_reader_gets_everything() {
    let (pipe, copy) = (place("read_pipe"), place("read.xml"));
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo starts").success());
    let reader = Command::new("cat")
        .stdin(Stdio::null())
        .arg(&pipe)
        .stdout(File::create(&copy).expect("a file"))
        .spawn();
    let mut reader = reader.expect("cat starts");
    let output = failing(&[("--junit", &pipe)], Stdio::piped());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(reader.wait().expect("it ends").success());
    let xml = std::fs::read_to_string(&copy).expect("it is written");
    assert!(xml.trim_end().ends_with("</testsuites>"), "{xml}");
}
