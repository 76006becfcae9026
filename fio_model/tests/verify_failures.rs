//! A verify read that fails: nothing was read, or the wrong thing was.
//!
//! fio says EILSEQ to both. The strict oracle objects only to data that were moved and are wrong.

use fio_model::{Completion, Device, DigestCache, Errno, FioThread, JobFile, JobResult, Next, Op};

const SIZE: u64 = 64 << 10;

/// Writes and verifies a disk; each verify read moves `bytes` of zeroes.
fn run(bytes: u32) -> JobResult {
    let text = "[x]\nfilename=/dev/x\nioengine=libaio\niodepth=1\nrw=write\nbs=4k\nverify=crc32c\n";
    let file = JobFile::parse("x.fio", text).expect("a job of the model");
    let device = Device {
        name: "/dev/x".into(),
        size_bytes: SIZE,
    };
    let mut fio = FioThread::start(&file.jobs[0], 1, &device, None).expect("it starts");
    let mut digests = DigestCache::new();
    let mut in_flight = Vec::new();
    loop {
        match fio.next(0) {
            Next::Submit => {
                let batch = fio.batch().to_vec();
                for request in &batch {
                    let mut buffer = vec![0; request.len as usize];
                    fio.prepare(request, 0, &mut buffer, &mut digests);
                }
                in_flight.extend(batch);
            }
            Next::Reap { .. } => {
                let request = in_flight.remove(0);
                let bytes = match request.op {
                    Op::Write => request.len,
                    Op::Read => bytes,
                };
                let content = vec![0; request.len as usize];
                let done = Completion::Done { bytes };
                fio.complete(request.unit, done, &content, &mut digests);
            }
            Next::Reopen => fio.reopened(Ok(())),
            Next::Ended => return fio.result().clone(),
        }
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
