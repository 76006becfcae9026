//! What a job has to verify of its volume: what it writes there, and that once; and a job that falls short
//! of it is seen to.

use fio_model::{
    Completion, Device, DigestCache, FioThread, JobFile, JobResult, Next, Op, Progress, Volume,
};

const BLOCKS: u64 = 256;
const SIZE: u64 = 2 << 20;
const VOLUME: Volume = Volume {
    blocks: BLOCKS,
    scale: 1,
};

/// Runs a job over its volume on a disk that works, and ends it early after `reads` reads. A volume makes one
/// pass of it: one with `loops` has a size instead.
fn run_until(more: &str, reads: u64) -> (Progress, JobResult) {
    let text = format!("[x]\nfilename=/dev/x\nioengine=libaio\niodepth=8\nbs=4k\n{more}\n");
    let file = JobFile::parse("x.fio", &text).expect("a job of the model");
    let device = Device {
        name: "/dev/x".into(),
        size_bytes: SIZE,
    };
    let volume = Some(VOLUME).filter(|_| !more.contains("loops="));
    let mut fio = FioThread::start(&file.jobs[0], 1, &device, volume).expect("it starts");
    let mut digests = DigestCache::new();
    let mut in_flight = std::collections::VecDeque::new();
    let mut disk = vec![0; SIZE as usize];
    loop {
        if fio.result().counts.reads >= reads {
            fio.terminate();
        }
        match fio.next(0) {
            Next::Submit => {
                for request in fio.batch().to_vec() {
                    let mut buffer = vec![0; fio.buffer_len() as usize];
                    fio.prepare(&request, 0, &mut buffer, &mut digests);
                    in_flight.push_back((request, buffer));
                }
            }
            Next::Reap { .. } => {
                let (request, buffer) = in_flight.pop_front().expect("something is in flight");
                let at = request.offset as usize..request.offset as usize + request.len as usize;
                if request.op == Op::Write {
                    disk[at.clone()].copy_from_slice(&buffer[..request.len as usize]);
                }
                let done = Completion::Done { bytes: request.len };
                fio.complete(request.unit, done, &disk[at], &mut digests);
            }
            Next::Reopen => fio.reopened(Ok(())),
            Next::Ended => return (fio.progress(), fio.result().clone()),
        }
    }
}

/// Jobs, and whether all that is asked for is written.
const JOBS: [(&str, bool); 17] = [
    ("rw=write\nverify=md5", true),
    (
        "rw=randwrite\nverify=md5\nverify_backlog=64\nverify_backlog_batch=16",
        true,
    ),
    ("rw=randwrite\nnorandommap\nverify=crc32c", true),
    (
        "rw=randwrite\nnorandommap\nbsrange=4k-32k\nverify=crc32c",
        true,
    ),
    ("rw=randrw\nverify=md5", false),
    (
        "rw=randrw\nrwmixread=80\nverify=md5\nverify_backlog=32",
        false,
    ),
    (
        "rw=randrw\nnorandommap\nverify=md5\nverify_backlog=32",
        false,
    ),
    ("rw=rw\nverify=crc32c", false),
    ("rw=randwrite\nbs=4k,64k\nverify=md5", false),
    ("rw=randwrite\nio_size=512k\nverify=md5", false),
    ("rw=write\nloops=3\nsize=1m\nverify=md5", true),
    (
        "rw=randrw\nrwmixread=80\nloops=3\nsize=1m\nverify=md5",
        false,
    ),
    (
        "rw=randrw\nloops=3\nsize=1m\nverify=md5\nverify_backlog=32",
        true,
    ),
    (
        "rw=randwrite\nnorandommap\nloops=3\nsize=1m\nverify=md5",
        true,
    ),
    (
        "rw=randwrite\nnorandommap\nloops=3\nsize=1m\nverify=md5\nverify_backlog=32",
        true,
    ),
    (
        "rw=randrw\nnorandommap\nloops=3\nsize=1m\nverify=md5\nverify_backlog=32",
        true,
    ),
    (
        "rw=randwrite\nbsrange=4k-32k\nloops=3\nsize=1m\nverify=crc32c",
        true,
    ),
];

#[test]
fn a_job_has_to_verify_what_it_writes_and_does() {
    for (more, all) in JOBS {
        let (end, result) = run_until(more, u64::MAX);
        assert!(result.strictly_passed(), "{more}: {:?}", result.messages);
        assert_eq!(end.verified, end.volume, "{more}");
        assert!(
            end.volume > 0 && end.volume <= end.written,
            "{more}: {end:?}"
        );
        assert_eq!(all, end.written >= BLOCKS, "{more}: {end:?}");
    }
}

/// A fio that stops before it has verified everything, without an error.
#[test]
fn a_fio_that_verifies_less_falls_short_of_what_it_has_to() {
    for (more, _) in JOBS {
        // With more in flight, all that is left may be under way.
        let more = &format!("{more}\niodepth=1");
        let (whole, all) = run_until(more, u64::MAX);
        for reads in [0, 1, all.counts.reads / 2, all.counts.reads - 1] {
            let (end, result) = run_until(more, reads);
            assert!(result.passed(), "{more}: {:?}", result.messages);
            assert!(end.verified < whole.verified, "{more}, {reads}: {end:?}");
            assert!(end.verified < end.volume, "{more}, {reads}: {end:?}");
        }
    }
}

/// A job with a run time may end in any pass but the first.
#[test]
fn a_run_time_ends_a_job_after_any_whole_pass() {
    let job = "rw=randwrite\nloops=3\nsize=1m\nruntime=10\nverify=md5\niodepth=1";
    for (reads, volume) in [(10, 1), (BLOCKS + 10, 1), (2 * BLOCKS + 10, 2)] {
        let (end, result) = run_until(job, reads);
        assert!(result.passed(), "{:?}", result.messages);
        assert_eq!((end.verified, end.volume), (reads, volume * BLOCKS));
    }
    let (end, _) = run_until(job, u64::MAX);
    assert_eq!((end.verified, end.volume), (3 * BLOCKS, 3 * BLOCKS));
}

#[test]
fn a_job_that_verifies_nothing_has_nothing_to_verify() {
    for more in [
        "rw=randwrite",
        "rw=randread",
        "rw=randwrite\nverify=md5\ndo_verify=0",
    ] {
        let (end, result) = run_until(more, u64::MAX);
        assert!(result.passed(), "{more}");
        assert_eq!((end.volume, end.verified), (0, 0), "{more}");
    }
}
