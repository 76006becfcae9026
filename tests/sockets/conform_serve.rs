//! Recordings of a real SPDK, played to processes of `plugfest serve` over their sockets.

use std::path::{Path, PathBuf};

use real::socket_peer::{SocketPeer, fresh_dir};
use sim::conformance::conform;
use sim::conformance::differences::OVER_SOCKETS;
use sim::conformance::report::{FileReport, Outcome};

/// A few: attaching, events, a malformed chain, a message, a crash, a stopped reactor.
const FEW: [&str; 6] = ["T-C01-", "T-C05-", "T-D02-", "T-F28-", "T-E06-", "T-C53-"];

/// Plays the transcripts whose names begin so.
fn play(begin: &[&str]) -> Vec<FileReport> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = std::fs::read_dir(dir).expect("transcripts");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".jsonl") && begin.iter().any(|begin| name.starts_with(begin))
    });
    paths.iter().map(|path| once(path)).collect()
}

/// Plays a transcript to a process of its own.
fn once(path: &Path) -> FileReport {
    let text = std::fs::read_to_string(path).expect("a transcript");
    let head = ["--target-behaviour", "head"].map(str::to_owned);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_plugfest"));
    let dir = fresh_dir("conform").expect("a directory");
    let mut peer = SocketPeer::new(program, head.to_vec(), dir);
    conform(&path.display().to_string(), &text, &mut peer)
}

/// What did not hold, by case.
fn different(reports: &[FileReport]) -> Vec<&str> {
    let different = reports
        .iter()
        .filter(|report| !matches!(report.outcome, Outcome::Held));
    different.map(|report| report.case.as_str()).collect()
}

#[test]
fn a_few_recordings_hold_over_sockets() {
    let reports = play(&FEW);
    assert_eq!(reports.len(), FEW.len());
    assert_eq!(different(&reports), [""; 0], "{reports:#?}");
}

#[test]
#[ignore = "needs two minutes"]
fn every_recording_holds_over_sockets_but_those_that_are_listed() {
    let reports = play(&["T-"]);
    assert!(reports.len() > 150, "{} transcripts", reports.len());
    let listed: Vec<&str> = OVER_SOCKETS.iter().map(|known| known.case).collect();
    assert_eq!(different(&reports), listed, "{reports:#?}");
}
