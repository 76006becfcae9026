//! Job files as fio reads them, and what is wrong with those it, or the model, would not take.

use super::*;
use crate::digest::VerifyType;
use crate::job::IoEngine;
use crate::job::ReadWrite;
use crate::span::Span;

const DOCUMENTED: &str = "[global]\nblocksize=4k\niodepth=512\niodepth_batch=128\niodepth_low=256\n\
    ioengine=libaio\ngroup_reporting\nthread\nnumjobs=1\ndirect=1\nrw=randwrite\ndo_verify=1\n\
    verify=md5\nverify_backlog=1024\ntime_based=1\nruntime=10\nverify_state_save=0\n";

fn job(options: &str) -> Job {
    let text = format!("[x]\nfilename=/dev/x\n{options}\n");
    match JobFile::parse("x.fio", &text) {
        Ok(mut file) => file.jobs.remove(0),
        Err(error) => panic!("{error}"),
    }
}

fn error(text: &str) -> String {
    match JobFile::parse("x.fio", text) {
        Ok(file) => panic!("taken as {:?}", file.jobs),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_documented_job_is_a_template() {
    let file = JobFile::parse("default_integrity.fio", DOCUMENTED).expect("the documented job");
    assert!(file.jobs.is_empty());
    let job = file.job_for("disk1", "/dev/sda");
    assert_eq!(
        (job.name.as_str(), job.filename.as_deref()),
        ("disk1", Some("/dev/sda"))
    );
    assert_eq!(
        (job.iodepth, job.iodepth_batch, job.iodepth_low),
        (512, 128, 256)
    );
    assert_eq!(
        (job.rw, job.verify),
        (ReadWrite::RandWrite, Some(VerifyType::Md5))
    );
    assert_eq!((job.verify_backlog, job.runtime_ns), (1024, 10_000_000_000));
    assert!(job.time_based && job.thread && job.direct && job.group_reporting);
}

#[test]
fn what_is_rendered_is_read_back_the_same() {
    let file = JobFile::parse("d.fio", DOCUMENTED).expect("the documented job");
    let text = file.to_text([("a", "/dev/sda"), ("b", "/dev/sdb")]);
    let again = JobFile::parse("again.fio", &text).expect("what was rendered");
    assert_eq!(
        again.jobs,
        [file.job_for("a", "/dev/sda"), file.job_for("b", "/dev/sdb")]
    );
}

#[test]
fn a_section_inherits_the_globals_as_they_stood_when_it_began() {
    let text = "[global]\nbs=8k\n[a]\nfilename=/a\nsize=1m\n[global]\nbs=16k\n[b]\nfilename=/b\n\
        bs=2k\nsize=1m\n[c]\nfilename=/c\nsize=1m\n";
    let file = JobFile::parse("x.fio", text).expect("three jobs");
    let sizes: Vec<u32> = file.jobs.iter().map(|job| job.write_len.0).collect();
    assert_eq!(sizes, [8192, 2048, 16384]);
}

#[test]
fn numbers_are_read_as_fio_reads_them() {
    assert_eq!(job("bs=4kib").write_len.0, 4000);
    assert_eq!(job("bs=4k\nkb_base=1000").write_len.0, 4000);
    assert_eq!(job("bs=8k#c").write_len.0, 8192);
    assert_eq!(job("bs=,8k").read_len.0, 4096);
    assert_eq!(job("bs=4k-512k").write_len, (524_288, 524_288));
    assert_eq!(job("bs=0x1000").write_len.0, 4096);
    assert_eq!(job("size=13%").size, Some(Span::Percent(13)));
    assert_eq!(job("time_based\nruntime=2m").runtime_ns, 120_000_000_000);
}

#[test]
fn engines_and_switches_are_read_as_fio_reads_them() {
    assert_eq!(job("ioengine=aio-like").ioengine, IoEngine::Libaio);
    assert_eq!(job("ioengine=linuxaio ").ioengine, IoEngine::Libaio);
    assert_eq!(job("ioengine=splice").ioengine, IoEngine::Psync);
    assert!(job("time_based=10\nruntime=1").time_based);
    assert!(!job("time_based=0\nruntime=1").time_based);
}

#[test]
fn each_kind_of_wrong_says_which_it_is_and_where() {
    let rows = [
        ("[x]\niodpeth=4\n", "x.fio:2", "unknown option"),
        ("[x]\nzonemode=zbd\n", "x.fio:2", "unsupported"),
        ("[x]\nbs=4k\nverify_policy=all\n", "x.fio:3", "after 3.42"),
        ("[x]\nverify=md6\n", "x.fio:2", "md6"),
        ("[x]\nfilename=/x\nbs=32\nverify=md5\n", "x.fio:3", ""),
        ("bs=4k\n", "x.fio:1", ""),
        ("[x\nbs=4k\n", "x.fio:1", ""),
        ("[x]\niodepth=0\n", "x.fio:2", "0"),
        ("[x]\ndirect=yes\n", "x.fio:2", "0 or 1"),
        ("[x]\nthread=yes\n", "x.fio:2", "no value, 0 or 1"),
        ("[x]\nioengine=sg\n", "x.fio:2", "unsupported"),
        (
            "[x]\nioengine=libaoi\n",
            "x.fio:2",
            "expected libaio, io_uring",
        ),
        ("[x]\nbs=4k\nioengine=null\n", "x.fio:3", "would do nothing"),
        ("[global]\nioengine=cpuio\n", "x.fio:2", "would do nothing"),
    ];
    refused(&rows);
}

#[test]
fn patterns_splits_and_places_are_refused_where_fio_or_the_model_would_not_take_them() {
    let rows = [
        (
            "[x]\nrw=write\nverify=pattern\n",
            "x.fio:3",
            "needs verify_pattern",
        ),
        ("[x]\nverify=pattern_hdr\n", "x.fio:2", "bad value"),
        ("[x]\nverify_pattern=zz\n", "x.fio:2", "0xdeadbeef"),
        ("[x]\nverify_pattern='f'\n", "x.fio:2", "reads no files"),
        (
            "[x]\nrw=write\nverify_pattern=1\nverify_offset=512\n",
            "x.fio:4",
            "%o",
        ),
        (
            "[x]\nbssplit=4k/60:8k/50\n",
            "x.fio:2",
            "how many in a hundred",
        ),
        ("[x]\nbssplit=4k/x\n", "x.fio:2", "bad value"),
        ("[x]\nbssplit=0/10\n", "x.fio:2", "bad value"),
        (
            "[x]\nbssplit=4k/4294967295:8k/4294967295\n",
            "x.fio:2",
            "bad value",
        ),
        ("[x]\nbssplit=1k:1k,2k,3k,4k\n", "x.fio:2", "bad value"),
        ("[x]\nbssplit=\n", "x.fio:2", "bad value"),
        ("[x]\nverify_offset=-1\n", "x.fio:2", "a number from 0"),
        (
            "[x]\nrw=write\nverify=md5\nverify_offset=20\n",
            "x.fio:4",
            "among them",
        ),
        (
            "[x]\nrw=write\nverify=md5\nverify_offset=4050\n",
            "x.fio:4",
            "leaves no room",
        ),
        (
            "[x]\nrw=write\nverify=md5\nverify_offset=4294967295\n",
            "x.fio:4",
            "bad value",
        ),
        ("[x]\nio_size=much\n", "x.fio:2", "a number from 0"),
        ("[x]\nio_size=\n", "x.fio:2", "a number from 0"),
        ("[x]\nrw=write:x\n", "x.fio:2", "a distance"),
        ("[x]\nrw=randwrite:0\n", "x.fio:2", "a number of I/Os"),
        (
            "[x]\nrandom_distribution=pareto:2\n",
            "x.fio:2",
            "between 0 and 1",
        ),
        (
            "[x]\nignore_error=EREMOTEIO\n",
            "x.fio:2",
            "such as EIO:110",
        ),
        ("[x]\nsize=${SIZE}\n", "x.fio:2", "knows no such variable"),
    ];
    refused(&rows);
}

/// That each text is one error, which begins with its place and has these words.
fn refused(rows: &[(&str, &str, &str)]) {
    for (text, place, words) in rows {
        let said = error(text);
        assert!(said.starts_with(place), "{text:?}: {said}");
        assert!(said.contains(words), "{text:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{text:?}: {said}");
    }
}

#[test]
fn an_unknown_option_names_the_nearest_known_one() {
    let said = error("[x]\niodpeth=4\n");
    assert!(said.contains("\"iodepth\""), "{said}");
    assert!(!error("[x]\nqqqqqqqqqqqqqqq=4\n").contains("did you mean"));
}

#[test]
fn all_obstacles_are_said_at_once_each_with_its_line() {
    let text = "[global]\nverify=md5\nbs=32\nzonemode=zbd\n[a]\niodpeth=4\n[b]\nverify_mode=x\nexec_prerun=sh\n\
        [c]\nsize=much\n";
    let said = error(text);
    let places: Vec<&str> = said.lines().map(|line| &line[..8]).collect();
    let expected = [
        "x.fio:4:", "x.fio:6:", "x.fio:3:", "x.fio:8:", "x.fio:9:", "x.fio:11",
    ];
    assert_eq!(places, expected, "{said}");
    assert!(said.contains("it came with fio 3.38"), "{said}");
}

#[test]
fn what_changes_nothing_is_taken_and_listed() {
    let text = "[global]\nrw=randwrite\nverify=crc32c\nverify_fatal=1\nrefill_buffers\nramp_time=0s\n\
        zonemode=none\nzero_buffers=0\nscramble_buffers=1\ncreate_serialize=1\nverify_dump=1\n\
        log_avg_msec=1000\nwrite_lat_log=latency\ncpus_allowed=0\nnrfiles=1\nrate=10m,20m\n";
    let file = JobFile::parse("x.fio", text).expect("nothing is asked");
    let idle: Vec<&str> = file.without_effect.keys().map(String::as_str).collect();
    let expected = [
        "cpus_allowed",
        "create_serialize",
        "log_avg_msec",
        "rate",
        "refill_buffers",
        "scramble_buffers",
        "write_lat_log",
        "zero_buffers",
        "zonemode",
    ];
    assert_eq!(idle, expected);
    assert!(error("[x]\nflow=2\n").contains("takes 0 only"));
}

#[test]
fn what_is_written_out_is_read_back_the_same() {
    let text = "[global]\nbs=8k\nverify=md5\n[a]\nrw=write\n[global]\nbs=4k\n[b]\nstonewall\nrw=randread:8\n";
    let file = JobFile::parse("x.fio", text).expect("two jobs");
    let again = JobFile::parse("again.fio", &file.to_own_text()).expect("what was written out");
    assert_eq!(again.jobs, file.jobs);
}
