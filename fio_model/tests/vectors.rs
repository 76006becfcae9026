//! Bytes and numbers of real fio runs: what the model makes must be the same, to the bit.
//!
//! `fio-vectors.json` was written by runs of fio 3.33.

use fio_model::{
    Device, DigestCache, FioThread, JobFile, Next, Op, SeedTable, Stamp, Taus88, VerifyType, fill,
    stamp,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

const SEED: u64 = 0x1122_3344_5566_7788;

fn vectors() -> Value {
    serde_json::from_str(include_str!("fio-vectors.json")).expect("the vectors are JSON")
}

fn numbers(value: &Value) -> Vec<u64> {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty());
    let number = |value: &Value| match value {
        Value::String(hex) => u64::from_str_radix(hex.trim_start_matches("0x"), 16).expect("hex"),
        other => other.as_u64().expect("a number"),
    };
    list.iter().map(number).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn seeds_are_fios() {
    let vectors = vectors();
    for thread in 1..=2 {
        let expected = numbers(&vectors[format!("rand_seeds_thread{thread}")]);
        assert_eq!(SeedTable::new(0x89, thread).as_slice(), expected);
    }
}

#[test]
fn draws_are_fios() {
    let vectors = vectors();
    let mut taus = Taus88::new(1);
    for expected in numbers(&vectors["taus88_seed1_first8"]) {
        assert_eq!(u64::from(taus.draw()), expected);
    }
    let mut payload = Taus88::new(SeedTable::new(0x89, 1).verify());
    for expected in numbers(&vectors["verify_seeds_thread1_first4"]) {
        assert_eq!(payload.draw_seed(), expected);
    }
}

#[test]
fn payload_is_fios() {
    let vectors = vectors();
    for (len, key) in [
        (64, "payload_seed_1122334455667788_len64"),
        (77, "payload_len77"),
    ] {
        let mut bytes = vec![0; len];
        fill(SEED, &mut bytes);
        assert_eq!(hex::encode(&bytes), vectors[key].as_str().expect("hex"));
    }
    let mut bytes = vec![0; 4096];
    fill(SEED, &mut bytes);
    assert_eq!(
        sha256(&bytes),
        vectors["payload_len4096_sha256"].as_str().expect("hex")
    );
}

/// The block of the vectors: offset 0x2000, time 1.000000002, thread 1, write 3.
fn block(verify: VerifyType, len: usize, interval: u32) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let (offset, now_ns, thread, numberio) = (0x2000, 1_000_000_002, 1, 3);
    let stamped = Stamp {
        verify,
        interval,
        header_at: 0,
        seed: SEED,
        pattern: None,
        offset,
        now_ns,
        thread,
        numberio,
    };
    stamp(&stamped, &mut bytes, &mut DigestCache::new());
    bytes
}

#[test]
fn blocks_of_every_type_are_fios() {
    let vectors = vectors();
    let names = [
        "md5", "crc32c", "crc32", "crc16", "crc7", "crc64", "xxhash", "sha1", "meta",
    ];
    for name in names {
        let bytes = block(
            VerifyType::named(name).expect("a type of the model"),
            4096,
            4096,
        );
        let start = vectors[format!("block_{name}_first184")]
            .as_str()
            .expect("hex");
        assert_eq!(hex::encode(&bytes[..184]), start, "{name}");
        let whole = vectors[format!("block_{name}_sha256")]
            .as_str()
            .expect("hex");
        assert_eq!(sha256(&bytes), whole, "{name}");
    }
    let two = block(VerifyType::Md5, 8192, 4096);
    assert_eq!(
        sha256(&two),
        vectors["block_md5_8k_interval4k_sha256"]
            .as_str()
            .expect("hex")
    );
}

/// The first requests of a job on a disk of `size` bytes, each completed as soon as submitted.
fn first_requests(options: &str, thread: u32, size: u64, count: usize) -> Vec<(Op, u64, u32)> {
    let text = format!("[x]\nfilename=/dev/x\nioengine=libaio\niodepth=1\n{options}\n");
    let file = JobFile::parse("x.fio", &text).expect("a job of the model");
    let device = Device {
        name: "/dev/x".into(),
        size_bytes: size,
    };
    let mut fio = FioThread::start(&file.jobs[0], thread, &device, None).expect("it starts");
    let mut digests = DigestCache::new();
    let mut requests = Vec::new();
    let mut in_flight = Vec::new();
    while requests.len() < count {
        match fio.next(0) {
            Next::Submit => {
                for request in fio.batch() {
                    requests.push((request.op, request.offset, request.len));
                    in_flight.push(*request);
                }
            }
            Next::Reap { .. } => {
                let request = in_flight.remove(0);
                let done = fio_model::Completion::Done { bytes: request.len };
                let content = vec![0; request.len as usize];
                fio.complete(request.unit, done, &content, &mut digests);
            }
            Next::Reopen => fio.reopened(Ok(())),
            Next::Ended => panic!("the job ended after {} requests", requests.len()),
        }
    }
    requests
}

#[test]
fn offsets_are_fios() {
    let vectors = vectors();
    for (thread, key) in [
        (1, "randwrite_4k_64MiB_thread1_first16_blocks"),
        (2, "randwrite_4k_64MiB_thread2_first8_blocks"),
    ] {
        let expected = numbers(&vectors[key]);
        let options = "rw=randwrite\nbs=4k\nsize=64m";
        let requests = first_requests(options, thread, 64 << 20, expected.len());
        let blocks: Vec<u64> = requests
            .iter()
            .map(|(_, offset, _)| offset / 4096)
            .collect();
        assert_eq!(blocks, expected);
    }
}

#[test]
fn lengths_of_a_range_are_fios() {
    let vectors = vectors();
    let expected = vectors["randwrite_bsrange_4k-512k_64MiB_first8(off,len)"].as_array();
    let expected: Vec<Vec<u64>> = expected.expect("a list").iter().map(numbers).collect();
    // The run was one with verification, in which writes use the seed of reads.
    let options = "rw=randwrite\nbsrange=4k-512k\nsize=64m\nverify=md5";
    let requests = first_requests(options, 1, 64 << 20, expected.len());
    let extents = requests
        .iter()
        .map(|(_, offset, len)| vec![*offset, u64::from(*len)]);
    assert_eq!(extents.collect::<Vec<_>>(), expected);
}

#[test]
fn directions_of_a_mix_are_fios() {
    let vectors = vectors();
    let expected = vectors["randrw_mix50_4MiB_first16"]
        .as_array()
        .expect("a list");
    let requests = first_requests("rw=randrw\nbs=4k\nsize=4m", 1, 4 << 20, expected.len());
    for ((op, offset, _), expected) in requests.iter().zip(expected) {
        let letter = if *op == Op::Read { "R" } else { "W" };
        assert_eq!(
            (letter, *offset),
            (expected[0].as_str().unwrap(), expected[1].as_u64().unwrap())
        );
    }
}
