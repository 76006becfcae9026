//! A verify read that fails: nothing was read, or the wrong thing was; and a job that goes on after errors.
//!
//! fio says EILSEQ to both. The strict oracle objects only to data that were moved and are wrong.

use fio_model::{
    Completion, Device, DigestCache, Errno, FioThread, JobFile, JobResult, Next, Op, Request,
    client_exit_status, exit_status,
};

const SIZE: u64 = 64 << 10;

/// Writes and verifies a disk; each verify read moves `bytes` of zeroes.
fn run(bytes: u32) -> JobResult {
    run_with("", |request| Completion::Done {
        bytes: match request.op {
            Op::Write | Op::Trim => request.len,
            Op::Read => bytes,
        },
    })
}

/// Writes and verifies a disk of zeroes that keeps what `answer` says was moved.
fn run_with(more: &str, mut answer: impl FnMut(&Request) -> Completion) -> JobResult {
    let text = format!(
        "[x]\nfilename=/dev/x\nioengine=libaio\niodepth=1\nrw=write\nbs=4k\nverify=crc32c\n{more}\n"
    );
    let file = JobFile::parse("x.fio", &text).expect("a job of the model");
    let device = Device {
        name: "/dev/x".into(),
        size_bytes: SIZE,
    };
    let mut fio = FioThread::start(&file.jobs[0], 1, &device, None).expect("it starts");
    let mut digests = DigestCache::new();
    let mut in_flight = Vec::new();
    let mut disk = vec![0; SIZE as usize];
    loop {
        match fio.next(0) {
            Next::Submit => {
                for request in fio.batch().to_vec() {
                    let mut buffer = vec![0; request.len as usize];
                    fio.prepare(&request, 0, &mut buffer, &mut digests);
                    in_flight.push((request, buffer));
                }
            }
            Next::Reap { .. } => {
                let (request, buffer) = in_flight.remove(0);
                let done = answer(&request);
                let at = request.offset as usize..request.offset as usize + request.len as usize;
                let is_kept = more.contains("continue") && matches!(done, Completion::Done { .. });
                if is_kept && request.op == Op::Write {
                    disk[at.clone()].copy_from_slice(&buffer);
                }
                fio.complete(request.unit, done, &disk[at], &mut digests);
            }
            Next::Reopen => fio.reopened(Ok(())),
            Next::Ended => return fio.result().clone(),
        }
    }
}

/// The request at the third block that goes in this direction fails.
fn third_fails(op: Op, errno: Errno) -> impl FnMut(&Request) -> Completion {
    move |request| {
        if request.op == op && request.offset == 2 * 4096 {
            Completion::Failed { errno }
        } else {
            Completion::Done { bytes: request.len }
        }
    }
}

#[test]
fn a_job_goes_on_after_the_errors_that_it_is_told_to() {
    let blocks = SIZE / 4096;
    for (option, op) in [("write", Op::Write), ("io", Op::Read), ("all", Op::Write)] {
        let more = format!("continue_on_error={option}");
        let result = run_with(&more, third_fails(op, Errno::EIO));
        assert!(result.strictly_passed(), "{option}: {:?}", result.messages);
        assert_eq!(result.counts.verified, blocks - 1, "{option}");
        assert_eq!((result.continued, result.counts.failed), (1, 1), "{option}");
        assert_eq!(result.reported_error(), Errno::EIO);
        assert_eq!(result.to_string(), "x: (groupid=0, jobs=1): err= 5 ()");
        assert_eq!(
            result.messages.len(),
            0,
            "fio says nothing until its summary"
        );
        let line = "errors    : total=1, first_error=5/<Input/output error>";
        assert_eq!(result.continued_line().as_deref(), Some(line));
        assert_eq!(exit_status(std::slice::from_ref(&result)), Some(0));
        assert_eq!(client_exit_status(&[result]), Some(0));
    }
}

#[test]
fn other_errors_end_the_job_all_the_same() {
    for (option, op, errno) in [
        ("read", Op::Write, Errno::EIO),
        ("verify", Op::Write, Errno::EIO),
        ("write", Op::Read, Errno::EIO),
        ("all", Op::Write, Errno(19)),
    ] {
        let more = format!("continue_on_error={option}");
        let result = run_with(&more, third_fails(op, errno));
        assert_eq!(result.error, errno, "{option}");
        assert_eq!(result.continued, 0, "{option}");
        assert_eq!(exit_status(&[result]), Some(1));
    }
}

#[test]
fn wrong_data_are_objected_to() {
    let result = run(4096);
    assert_eq!(result.error, Errno::EILSEQ);
    assert!(result.strict_count > 0);
}

#[test]
fn nothing_read_is_no_wrong_data() {
    let result = run(0);
    assert_ne!(result.error, Errno(0));
    assert_eq!(result.strict_count, 0);
}

#[test]
fn a_header_that_is_wrong_is_no_blocks_identity() {
    let text = "[x]\nfilename=/dev/x\nioengine=libaio\nrw=write\nbs=4k\nverify=crc32c\n";
    let file = JobFile::parse("x.fio", text).expect("a job of the model");
    let device = Device {
        name: "/dev/x".into(),
        size_bytes: 4096,
    };
    // Magic, verify type, length: fields of which a fingerprint does not tell; then one of which it does. The
    // verify type is one that fio does not look at, and neither is the time.
    for (flipped, passes) in [
        (0, false),
        (4, false),
        (16, false),
        (4000, false),
        (2, false),
        (4096, true),
    ] {
        let mut fio = FioThread::start(&file.jobs[0], 1, &device, None).expect("it starts");
        let mut digests = DigestCache::new();
        let mut disk = vec![0; 4096];
        let (mut wrote, mut read) = (None, None);
        loop {
            match fio.next(0) {
                Next::Submit => {
                    let request = fio.batch()[0];
                    let print = fio.prepare(&request, 0, &mut disk, &mut digests);
                    wrote = wrote.or(Some(print));
                    if request.op == Op::Read
                        && let Some(byte) = disk.get_mut(flipped)
                    {
                        *byte ^= 1;
                    }
                    let done = Completion::Done { bytes: 4096 };
                    read = fio.complete(request.unit, done, &disk, &mut digests);
                }
                Next::Reap { .. } => unreachable!("it was completed at once"),
                Next::Reopen => fio.reopened(Ok(())),
                Next::Ended => break,
            }
        }
        let result = fio.result();
        assert_eq!(result.error.is_ok(), passes, "{flipped}");
        assert_eq!(read, wrote.filter(|_| passes), "{flipped}");
        assert_eq!(
            result.strict_count > 0,
            flipped < 40,
            "{flipped}: {:?}",
            result.strict_violations
        );
    }
}
