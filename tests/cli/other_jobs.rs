//! Plans with other jobs than the documented one (`--job`): a right target passes wherever fio does.

use std::path::Path;
use std::process::Command;

/// Exit status and report of the first case of `hotattach` with a job of these options.
fn run(name: &str, options: &str) -> (Option<i32>, String) {
    run_case("hotattach/1", name, options)
}

/// The same of any case.
fn run_case(case: &str, name: &str, options: &str) -> (Option<i32>, String) {
    let job = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.fio"));
    let text = format!("[global]\nioengine=libaio\ndirect=1\nbs=4k\n{options}\n");
    std::fs::write(&job, text).expect("a job file");
    let output = Command::new(env!("CARGO_BIN_EXE_plugfest"))
        .args(["run", case, "--io-count", "quick", "--job"])
        .arg(&job)
        .output()
        .expect("plugfest starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

#[test]
fn reads_and_blocks_written_again_are_not_to_be_verified() {
    for (name, options) in [
        ("mixed", "rw=randrw\nverify=md5\niodepth=32"),
        ("mixed_in_order", "rw=rw\nrwmixread=70\nverify=crc32c"),
        ("repeated", "rw=randwrite\nnorandommap\nverify=md5"),
        (
            "repeated_backlog",
            "rw=randrw\nnorandommap\nverify=md5\nverify_backlog=64",
        ),
        ("two_sizes", "rw=randwrite\nbs=4k,64k\nverify=md5"),
        ("io_size", "rw=randwrite\nio_size=256k\nverify=md5"),
        (
            "header_inside",
            "rw=randwrite\nverify=crc32c\nverify_offset=1024",
        ),
        (
            "no_header",
            "rw=randwrite\nverify=pattern\nverify_pattern=0x5a",
        ),
        (
            "headers",
            "rw=randwrite\nbs=8k\nverify=md5\nverify_interval=1024",
        ),
    ] {
        let (status, said) = run(name, options);
        assert_eq!(status, Some(0), "{name}: {said}");
    }
}

#[test]
fn clones_and_long_requests_are_right_too() {
    for (name, options) in [
        (
            "clones",
            "rw=randwrite\nverify=md5\nnumjobs=2\niodepth=16\ntime_based\nruntime=10",
        ),
        // The target refuses a command of more than 4 MiB, and says so.
        ("long", "rw=randwrite\nbs=8m\nverify=crc32c\niodepth=4"),
    ] {
        let (status, said) = run(name, options);
        assert_eq!(status, Some(0), "{name}: {said}");
    }
}

#[test]
fn a_job_that_verifies_nothing_decides_nothing() {
    for (name, options) in [
        ("unverified", "rw=randwrite"),
        ("only_reads", "rw=randread"),
        ("unread", "rw=randwrite\nverify=md5\ndo_verify=0"),
    ] {
        let (status, said) = run(name, options);
        assert_eq!(status, Some(3), "{name}: {said}");
        assert!(said.contains("verified no block"), "{name}: {said}");
    }
}

/// What fio finds there real fio finds too, whatever the disk.
#[test]
fn a_job_that_can_spoil_itself_is_said_to_once_and_no_other() {
    for (name, options, doubt) in [
        (
            "spoilt_by_clones",
            "rw=randrw\nverify=md5\nnumjobs=2\niodepth=16",
            "numjobs=2: its clones write the same blocks",
        ),
        (
            "spoilt_again",
            "rw=randrw\nverify=md5\nnorandommap\niodepth=16",
            "norandommap: it writes blocks again before they are verified",
        ),
    ] {
        let (status, said) = run(name, options);
        assert_eq!(status, Some(3), "{name}: {said}");
        assert!(said.contains("disk 1 error 84 (verify: "), "{name}: {said}");
        let hint = format!("; this job can do that by itself ({doubt})");
        assert_eq!(said.matches(&hint).count(), 1, "{name}: {said}");
    }
    // The fios of this case run in lanes.
    let options = "rw=randrw\nverify=md5\nnumjobs=2\niodepth=16";
    let (_, said) = run_case("hotplug/1", "spoilt_in_lanes", options);
    assert!(said.contains("by itself (numjobs=2: "), "{said}");
}

/// What fio or the guest's kernel refuses is none of the target's.
#[test]
fn a_job_that_does_not_fit_a_disk_says_nothing_of_the_target() {
    for (name, options, seen, doubt) in [
        (
            "unaligned",
            "rw=randrw\nbs=1000\nverify=md5\nnumjobs=2",
            "error 22",
            "blocks, or places, of 1000 bytes",
        ),
        (
            "behind_the_end",
            "rw=write\nverify=md5\noffset=1t",
            "error 22 (you need to specify valid offset=)",
            "offset: the disk may end before it",
        ),
        (
            "no_state",
            "rw=read\nverify=md5\nverify_state_load=1",
            "error 22 (fio: open state file",
            "verify_state_load: its state file may be missing",
        ),
        (
            "unwritten",
            "rw=read\nverify=md5\nsize=1m",
            "error 84 (verify: bad magic header 0",
            "verifies what it has not written",
        ),
        (
            "written_otherwise",
            "verify=md5\nsize=1m\n[w]\nrw=write\nbs=8k\n[r]\nstonewall\nrw=read\nbs=4k",
            "error 84 (verify: bad header",
            "[r] verifies what it has not written",
        ),
        (
            "mix_drawn_again",
            "verify=md5\nsize=1m\nexperimental_verify=1\n[a]\nrw=randwrite\n[b]\nstonewall\nrw=randrw",
            "error 84 (verify: bad header rand_seed 59864971564696990, wanted 1584616954246794908",
            "experimental_verify: ",
        ),
    ] {
        let (status, said) = run(name, options);
        assert_eq!(status, Some(3), "{name}: {said}");
        assert!(said.contains(seen), "{name}: {said}");
        assert!(
            said.contains("; this job can do that by itself ("),
            "{name}: {said}"
        );
        assert!(said.contains(doubt), "{name}: {said}");
    }
}

/// One line for people; for programs each disk with what fio said of it.
#[test]
fn errors_that_are_equal_are_said_once() {
    let job = Path::new(env!("CARGO_TARGET_TMPDIR")).join("equal.fio");
    let text = "[global]\nioengine=libaio\ndirect=1\nrw=write\nbs=1000\nverify=md5\n";
    std::fs::write(&job, text).expect("a job file");
    let run = |format: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_plugfest"))
            .args([
                "run",
                "hotdetach/1",
                "--io-count",
                "quick",
                "--format",
                format,
            ])
            .arg("--job")
            .arg(&job)
            .output()
            .expect("plugfest starts");
        String::from_utf8(output.stdout).expect("text")
    };
    let said = run("text");
    let first = "fio: io_u error on file /dev/sda: Invalid argument: write offset=0, buflen=1000";
    let seen = format!("passes elsewhere: disk 9 10 11 12 13 14 15 16: 8 × error 22 ({first}; ");
    assert!(said.contains(&seen), "{said}");
    let case: serde_json::Value = serde_json::from_str(&run("json")).expect("an object");
    let jobs = case["fios"][0]["jobs"].as_array().expect("jobs");
    assert_eq!(jobs.len(), 8);
    for job in jobs {
        assert_eq!(job["error"], 22);
        let message = job["messages"][0].as_str().expect("what fio said");
        assert!(message.contains("Invalid argument"), "{message}");
    }
}

#[test]
fn sections_of_their_own_run_each_on_its_part() {
    for (name, options) in [
        (
            "two_regions",
            "filename=/dev/sda\nverify=crc32c\nverify_backlog=128\n\
             [small]\nrw=randwrite\niodepth=16\nsize=8m\n[stripes]\nrw=write\nbs=64k\noffset=8m\nsize=8m",
        ),
        (
            "then_read",
            "verify=md5\n[write]\nrw=randwrite\ndo_verify=0\niodepth=8\n[read]\nstonewall\nrw=randread",
        ),
        (
            "named_apart",
            "verify=md5\nrw=randwrite\ndirectory=/mnt\n[a]\nfilename=x\n[b]\nfilename=y\n[c]\nfilename=z",
        ),
        (
            "many",
            "verify=md5\nrw=randwrite\nsize=1m\noffset_increment=1m\n[a]\nnumjobs=12",
        ),
        (
            "cached",
            "direct=0\nfsync=32\nend_fsync=1\nrw=randwrite\nverify=sha1\n[a]",
        ),
        (
            "asked_for_nothing",
            "rw=randwrite\nverify=crc32c\nrefill_buffers\nramp_time=0s\nzonemode=none\nnice=3\nrate=1g",
        ),
        (
            "unlike",
            "rw=randwrite\nrandom_distribution=zipf:1.2\niodepth=32\nserialize_overlap=1\nverify=md5",
        ),
        (
            "ended_by_another",
            "rw=randwrite\nverify=md5\nverify_backlog=8\nexitall\n[short]\nsize=64k\n[long]\noffset=8m\nsize=8m",
        ),
        (
            "once_each",
            "rw=randwrite\nrandom_generator=lfsr\nverify=md5\nverify_async=2",
        ),
    ] {
        let (status, said) = run(name, options);
        assert_eq!(status, Some(0), "{name}: {said}");
    }
}

#[test]
fn trims_files_and_other_engines_are_right_too() {
    for (name, options) in [
        (
            "trims_beside",
            "verify=md5\nsize=8m\n[w]\nrw=randwrite\n[t]\nrw=randtrim\noffset=8m\niodepth=8",
        ),
        (
            "trimmed_and_written",
            "rw=randtrimwrite\nverify=crc32c\niodepth=8\nverify_backlog=32",
        ),
        (
            "trimmed_then_zero",
            "size=8m\n[w]\nrw=write\nverify=md5\n[t]\nstonewall\nrw=trim\nbs=1m\n\
            [z]\nstonewall\nrw=write\nverify=pattern\nverify_pattern=0\nverify_only",
        ),
        (
            "several_files",
            "rw=randwrite\nverify=md5\niodepth=8\nfilename=a:b:c\n[x]",
        ),
        ("nameless_files", "rw=write\nverify=md5\nnrfiles=4"),
        ("spliced", "rw=randwrite\nioengine=splice\nverify=crc32c"),
        (
            "beside_a_defrag",
            "rw=randwrite\nverify=md5\n[d]\nioengine=e4defrag\ndonorname=d\n[w]\nfilename=x",
        ),
    ] {
        let (status, said) = run(name, options);
        assert_eq!(status, Some(0), "{name}: {said}");
    }
}

#[test]
fn sections_meet_a_detach_or_have_ended_before() {
    let options =
        "verify=md5\nrw=randwrite\niodepth=8\nsize=8m\n[a]\n[b]\noffset=8m\n[c]\nstonewall";
    let (status, said) = run_case("hotdetach/1", "detached_sections", options);
    assert_eq!(status, Some(0), "{said}");
    // Linux refuses a trim of a disk that went as one behind the end: nobody can tell.
    let options = "verify=md5\nrw=randtrimwrite\niodepth=8";
    let (status, said) = run_case("hotdetach/1", "detached_trims", options);
    assert!(matches!(status, Some(0 | 3)), "{said}");
}

#[test]
fn a_section_that_verifies_what_another_one_writes_says_so() {
    let options = "verify=md5\niodepth=16\n[a]\nrw=randwrite\n[b]\nrw=write\nbs=8k";
    let (status, said) = run("meeting", options);
    let hint = "by itself ([a] and [b] run at once on the same blocks)";
    assert!(status == Some(0) || said.contains(hint), "{said}");
}
