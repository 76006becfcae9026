//! The shortcut of the check (regenerate, compare, look the digest up) never changes its verdict.

use super::*;

const OFFSET: u64 = 0x10_000;

fn stamped(verify: VerifyType, seed: u64) -> Vec<u8> {
    let mut block = vec![0; 4096];
    let (interval, now_ns, thread, numberio) = (4096, 5, 1, 7);
    let what = Stamp {
        verify,
        interval,
        header_at: 0,
        seed,
        pattern: None,
        offset: OFFSET,
        now_ns,
        thread,
        numberio,
    };
    stamp(&what, &mut block, &mut DigestCache::new());
    block
}

fn expected(verify: VerifyType) -> Expected<'static> {
    let (seed, numberio, fatal, flags) = (None, None, false, 0x88);
    Expected {
        verify,
        interval: 4096,
        offset: OFFSET,
        seed,
        pattern: None,
        numberio,
        fatal,
        dump: false,
        flags,
    }
}

fn failures(verify: VerifyType, block: &[u8], digests: &mut DigestCache) -> Vec<Cause> {
    let mut causes = Vec::new();
    let good = check(&expected(verify), block, digests, |failure| {
        causes.push(failure.cause)
    });
    assert_eq!(good, causes.is_empty());
    causes
}

/// Whether a block passes, by the digest of what it holds and nothing else.
fn naive(verify: VerifyType, block: &[u8]) -> bool {
    let header = Header::decode(block);
    let start = HEADER_LEN + verify.trailer_len();
    header.magic == MAGIC
        && header.len == 4096
        && header.offset == OFFSET
        && header.crc == crc32c(&block[..36])
        && block[HEADER_LEN..start] == verify.digest(&block[start..])[..start - HEADER_LEN]
}

#[test]
fn the_cached_verdict_is_the_naive_one() {
    let mut digests = DigestCache::with_entries(8);
    let mut draw = 0x9e37_79b9_u64;
    let mut next = || {
        draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (draw >> 33) as usize
    };
    let mut rejected = 0;
    for verify in [VerifyType::Md5, VerifyType::Crc32c, VerifyType::Crc32] {
        for seed in 1..=40 {
            let mut block = stamped(verify, seed);
            assert_eq!(failures(verify, &block, &mut digests), []);
            for _ in 0..6 {
                let at = next() % block.len();
                block[at] ^= 1 << (next() % 8);
                let verdict = failures(verify, &block, &mut digests).is_empty();
                assert_eq!(
                    verdict,
                    naive(verify, &block),
                    "{verify:?} seed {seed} byte {at}"
                );
                rejected += u32::from(!verdict);
                // Another seed's digest, or this one's pristine payload, must not be taken for it.
                block = if next() % 2 == 0 {
                    stamped(verify, seed)
                } else {
                    block
                };
            }
        }
    }
    assert!(rejected > 500, "{rejected} rejections show little");
}

#[test]
fn a_payload_of_another_seed_with_its_own_digest_passes_as_in_fio() {
    // A stale or foreign write to the same place: fio cannot see it.
    let block = stamped(VerifyType::Md5, 99);
    assert_eq!(
        failures(VerifyType::Md5, &block, &mut DigestCache::new()),
        []
    );
}

#[test]
fn checks_come_in_fios_order_with_fios_words() {
    let whole = stamped(VerifyType::Md5, 3);
    let rows: [(usize, &str); 5] = [
        (
            0,
            "verify: bad magic header acc8, wanted acca at file /dev/x offset 65536, length 4096 (requested block: offset=65536, length=4096)",
        ),
        (
            5,
            "verify: bad header length 4608, wanted 4096 at file /dev/x offset 65536, length 4096 (requested block: offset=65536, length=4096)",
        ),
        (
            17,
            "verify: bad header offset 66048, wanted 65536 at file /dev/x offset 65536, length 4096 (requested block: offset=65536, length=4096)",
        ),
        (34, "verify: bad header crc "),
        (
            4000,
            "md5: verify failed at file /dev/x offset 65536, length 4096 (requested block: offset=65536, length=4096, flags=88)\n       Expected CRC: ",
        ),
    ];
    for (byte, words) in rows {
        let mut block = whole.clone();
        block[byte] ^= 2;
        let mut printed = Vec::new();
        let mut digests = DigestCache::new();
        check(
            &expected(VerifyType::Md5),
            &block,
            &mut digests,
            |failure| {
                printed.push(failure.in_file("/dev/x").to_string());
            },
        );
        assert_eq!(printed.len(), 1, "byte {byte}");
        assert!(printed[0].starts_with(words), "byte {byte}: {}", printed[0]);
    }
}

#[test]
fn what_ends_inside_a_group_depends_on_the_write_and_is_not_remembered() {
    for verify in [VerifyType::Crc32c, VerifyType::Md5] {
        let mut digests = DigestCache::new();
        // The first interval of either write begins alike, and ends otherwise.
        for len in [528, 1056] {
            let mut written = vec![0; len];
            let what = Stamp {
                verify,
                interval: 528,
                header_at: 0,
                seed: 9,
                pattern: None,
                offset: OFFSET,
                now_ns: 5,
                thread: 1,
                numberio: 7,
            };
            stamp(&what, &mut written, &mut digests);
            let expected = Expected {
                interval: 528,
                ..expected(verify)
            };
            let good = check(&expected, &written, &mut digests, |failure| {
                panic!("{verify:?} {len}: {failure:?}");
            });
            assert!(good);
        }
    }
}
