//! The shim with SPDK's own code in it. Each case is a process of its own: there is one target a process.
//!
//! Needs SPDK_DIR, a built SPDK tree: `SPDK_DIR=~/spdk cargo test -p linked -- --ignored`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Links the library, once.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let spdk = std::env::var_os("SPDK_DIR").expect("SPDK_DIR names a built SPDK tree");
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shim");
        let mut make = Command::new("make");
        make.args(["-C", concat!(env!("CARGO_MANIFEST_DIR"), "/shim"), "-s"]);
        make.arg(format!("SPDK_DIR={}", spdk.display()))
            .arg(format!("OUT={}", out.display()));
        assert!(
            make.status().expect("make runs").success(),
            "the shim links"
        );
        out.join("libplugfest_spdk.so")
    })
}

/// What the demo prints, a line a seed.
fn demo(words: &[&str]) -> Vec<String> {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_linked-demo"));
    let output = demo
        .arg(library())
        .args(words)
        .output()
        .expect("the demo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(str::to_owned)
        .collect()
}

fn hash(line: &str) -> &str {
    line.split_whitespace().nth(3).expect("seed N hash H")
}

#[test]
#[ignore = "needs SPDK_DIR"]
fn a_disk_is_attached_used_and_detached_under_every_seed() {
    for line in demo(&["0..1000"]) {
        for part in [
            "events [(1, 0, 1), (1, 0, 2)]",
            "inquiry 0/0 \"INTEL   delay",
            "write 0/0 data true",
            "gone 0/2 [5, 37, 0]",
            "delete true",
            "memory_registrations: 0, connections: 0, threads: 0, requests: 0, rpcs: 0, locks: 0",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}

#[test]
#[ignore = "needs SPDK_DIR"]
fn two_processes_and_a_fresh_one_do_the_same() {
    let (one, two) = (demo(&["0..1000"]), demo(&["0..1000"]));
    assert_eq!(one.len(), 1000);
    assert_eq!(one, two, "addresses are at random in each process");
    for seed in (0..1000).step_by(61) {
        let fresh = demo(&[&format!("{seed}..{}", seed + 1)]);
        assert_eq!(hash(&fresh[0]), hash(&one[seed]), "seed {seed}");
    }
    let different = one
        .iter()
        .map(|line| hash(line))
        .collect::<std::collections::BTreeSet<_>>();
    assert!(
        different.len() > 900,
        "{} of 1000 schedules differ",
        different.len()
    );
}

#[test]
#[ignore = "needs SPDK_DIR"]
fn a_use_after_free_is_named_and_does_not_end_the_process() {
    let lines = demo(&["0..20", "--scenario=delete"]);
    let found = lines.iter().filter(|line| {
        line.contains("SIGSEGV in vhost_dev_unregister < vhost_scsi_dev_unregister")
    });
    assert!(found.count() > 10, "known bug X1: {lines:#?}");
}

#[test]
#[ignore = "needs SPDK_DIR"]
fn a_deadlock_says_who_waits_for_whom() {
    let lines = demo(&["0..1000", "--scenario=connect"]);
    let text = "app waits: rte_vhost_driver_unregister, for a callback that runs; \
                vhost-evt waits for a mutex that app holds";
    assert!(lines.iter().any(|line| line.contains(text)), "known bug X2");
}
