//! Real fio on a job file, and the model on the same text with an image in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fio_model::{
    Completion, Device, DigestCache, Errno, FioThread, Job, JobFile, JobResult, Next, Op, Part,
    Request,
};

fn model_job(text: &str) -> Job {
    let mut jobs = JobFile::parse("image.fio", text)
        .expect("the job is one of the model's")
        .jobs;
    let mut job = jobs.remove(0);
    // The files of a job follow each other on the image.
    let files = (job.file_names().len() as u32).max(job.nrfiles);
    job.parts = Part::all(files);
    job
}

/// Runs real fio on a job, in the directory of the image.
pub fn real_fio(directory: &Path, text: &str) -> Output {
    let job = directory.join("image.fio");
    fs::write(&job, text).expect("a job file");
    let output = Command::new("fio")
        .arg(&job)
        .current_dir(directory)
        .output();
    output.expect("needs fio 3.33: apt-get install fio")
}

/// Runs the model on an image in memory: requests complete in the order of their submission.
pub fn model_fio(text: &str, file: &Path, image: &mut [u8]) -> JobResult {
    model_fio_beside(text, file, image, None).0
}

/// The same, where writes from byte `end` on fail with this error.
pub fn model_fio_failing(
    text: &str,
    file: &Path,
    image: &mut [u8],
    fails: (u64, Errno),
) -> JobResult {
    run_model(text, file, image, None, Some(fails)).0
}

/// The same, beside the state file of an earlier run; and the one that this run leaves.
pub fn model_fio_beside(
    text: &str,
    file: &Path,
    image: &mut [u8],
    state: Option<&[u8]>,
) -> (JobResult, Option<Vec<u8>>) {
    run_model(text, file, image, state, None)
}

fn run_model(
    text: &str,
    file: &Path,
    image: &mut [u8],
    state: Option<&[u8]>,
    fails: Option<(u64, Errno)>,
) -> (JobResult, Option<Vec<u8>>) {
    let device = Device {
        name: file.display().to_string(),
        size_bytes: image.len() as u64,
    };
    let mut fio = FioThread::resume(&model_job(text), 1, &device, None, state).expect("it starts");
    let mut digests = DigestCache::new();
    let mut buffers = vec![vec![0; fio.buffer_len() as usize]; fio.depth() as usize];
    let mut in_flight = std::collections::VecDeque::<Request>::new();
    let mut now_ns = 1_000_000_000;
    loop {
        now_ns += 1_000;
        match fio.next(now_ns) {
            Next::Submit => {
                for request in fio.batch().to_vec() {
                    let buffer = &mut buffers[usize::from(request.unit.0)];
                    fio.prepare(&request, now_ns, buffer, &mut digests);
                    in_flight.push_back(request);
                }
            }
            Next::Reap { .. } => {
                let request = in_flight.pop_front().expect("something is in flight");
                let buffer = &mut buffers[usize::from(request.unit.0)];
                let held = buffer.len().min(request.len as usize);
                let buffer = &mut buffer[..held];
                let at = request.offset as usize..request.offset as usize + request.len as usize;
                let fails =
                    fails.filter(|(end, _)| request.op == Op::Write && request.offset >= *end);
                let mut done = Completion::Done { bytes: request.len };
                match (request.op, fails) {
                    (_, Some((_, errno))) => done = Completion::Failed { errno },
                    (Op::Write, None) => image[at].copy_from_slice(buffer),
                    (Op::Read, None) => buffer.copy_from_slice(&image[at]),
                    (Op::Trim, None) => image[at].fill(0),
                }
                let content = if request.op == Op::Read {
                    &buffer[..]
                } else {
                    &[]
                };
                fio.complete(request.unit, done, content, &mut digests);
            }
            Next::Reopen => fio.reopened(Ok(())),
            Next::Ended => return (fio.result().clone(), fio.verify_state()),
        }
    }
}

/// A fresh directory for a test, with the path of its image.
pub fn place(test: &str) -> (PathBuf, PathBuf) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory for the image");
    (directory.clone(), directory.join("image"))
}

/// Blanks what holds the clock in every header: its time, and the CRC that covers it. Says how many there are.
pub fn blank(image: &mut [u8]) -> usize {
    let mut headers = 0;
    for block in image.chunks_mut(512) {
        if block.starts_with(&[0xca, 0xac]) {
            block[24..32].fill(0);
            block[36..40].fill(0);
            headers += 1;
        }
    }
    headers
}
