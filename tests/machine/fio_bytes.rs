//! The model against real fio 3.33: the same bytes on the medium, each accepts the other's, and both
//! reject a flipped byte with the same words.

use std::fs;
use std::path::Path;

use crate::fio::{model_fio, place, real_fio};
use fio_model::crc32c;

/// Bytes of the image: 16384 blocks.
const SIZE: u64 = 64 << 20;
const BLOCK: usize = 4096;
/// Where a header holds its time, which is fio's clock's, and the CRC that covers it.
const TIME: std::ops::Range<usize> = 24..32;
const CRC: std::ops::Range<usize> = 36..40;

/// The documented job on `file`, with its run time replaced by two passes and `more`.
fn job_text(file: &Path, more: &str) -> String {
    let documented = scenarios::shipped::JOBS
        .iter()
        .find(|job| job.name == "default_integrity");
    let text = documented.expect("the documented job ships").text;
    let timed = |line: &&str| line.starts_with("time_based") || line.starts_with("runtime");
    let kept: Vec<&str> = text.lines().filter(|line| !timed(line)).collect();
    assert_eq!(
        text.lines().count(),
        kept.len() + 2,
        "both options are there"
    );
    format!(
        "{}\n[image]\nfilename={}\nsize=64m\n{more}\n",
        kept.join("\n"),
        file.display()
    )
}

/// The image that two passes of the model write.
fn models_image(file: &Path) -> Vec<u8> {
    let mut image = vec![0; SIZE as usize];
    let result = model_fio(&job_text(file, "loops=2"), file, &mut image);
    assert!(result.strictly_passed(), "{:?}", result.messages);
    assert_eq!(result.counts.writes, 2 * SIZE / BLOCK as u64);
    assert_eq!(result.counts.verified, 2 * SIZE / BLOCK as u64);
    image
}

/// The image that two passes of real fio write.
fn fios_image(directory: &Path, file: &Path) -> Vec<u8> {
    image_of(directory, file, &job_text(file, "loops=2"))
}

/// The image that a job of real fio leaves.
fn image_of(directory: &Path, file: &Path, job: &str) -> Vec<u8> {
    let output = real_fio(directory, job);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(file).expect("fio's image")
}

fn check_headers(image: &[u8]) {
    for (n, block) in image.chunks(BLOCK).enumerate() {
        let crc = u32::from_le_bytes(block[CRC].try_into().expect("four bytes"));
        assert_eq!(crc, crc32c(&block[..CRC.start]), "header CRC of block {n}");
    }
}

/// The image that two passes of real fio write, whose requests complete in the order of their submission, as
/// the model's do.
///
/// fio draws a payload's seed for each write and another for each read that verifies one, from one generator.
/// Which of them comes next depends on whether the oldest write has completed, so on a disk that is busy the
/// draws go to other blocks. Through the page cache, each request of libaio completes while it is submitted.
fn fios_image_in_order(directory: &Path, file: &Path) -> Vec<u8> {
    let text = job_text(file, "loops=2");
    let cached = text.replace("\ndirect=1\n", "\ndirect=0\n");
    assert_ne!(cached, text, "the documented job goes past the page cache");
    image_of(directory, file, &cached)
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn the_documented_image_is_fios_byte_for_byte() {
    let (directory, file) = place("bytes");
    let mut fios = fios_image_in_order(&directory, &file);
    let mut models = models_image(&file);
    assert_eq!(fios.len(), models.len());
    for image in [&mut fios, &mut models] {
        check_headers(image);
        for block in image.chunks_mut(BLOCK) {
            block[TIME].fill(0);
            block[CRC].fill(0);
        }
    }
    let differ = fios
        .chunks(BLOCK)
        .zip(models.chunks(BLOCK))
        .position(|(a, b)| a != b);
    assert_eq!(differ, None, "the first block that differs");
}

/// The job that only reads and checks an image.
fn reading(file: &Path) -> String {
    job_text(file, "").replace("rw=randwrite", "rw=randread")
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn each_accepts_the_others_image() {
    let (directory, file) = place("accepts");
    fs::write(&file, models_image(&file)).expect("the model's image");
    let output = real_fio(&directory, &reading(&file));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut fios = fios_image(&directory, &file);
    let result = model_fio(&reading(&file), &file, &mut fios);
    assert!(result.passed(), "{:?}", result.messages);
    assert_eq!(result.counts.verified, SIZE / BLOCK as u64);
}

/// The lines about a failed verification, without what fio prints beside them.
fn verify_lines(text: &str) -> Vec<String> {
    let ours = |line: &&str| line.contains("verify: ") || line.contains(" CRC: ");
    text.lines().filter(ours).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn a_flipped_byte_is_rejected_by_both_with_the_same_message() {
    let (directory, file) = place("flipped");
    let whole = models_image(&file);
    // In block 7: magic, length, offset, header CRC, digest, payload.
    for byte in [0, 5, 17, 37, 50, 4000] {
        let mut image = whole.clone();
        image[7 * BLOCK + byte] ^= 2;
        fs::write(&file, &image).expect("the flipped image");
        let output = real_fio(&directory, &reading(&file));
        assert_eq!(output.status.code(), Some(1), "byte {byte}");
        let fios = verify_lines(&String::from_utf8_lossy(&output.stderr));
        let result = model_fio(&reading(&file), &file, &mut image);
        assert_eq!(result.error.0, 84, "byte {byte}");
        let models = verify_lines(&result.messages.join("\n"));
        assert!(!fios.is_empty(), "byte {byte}");
        assert_eq!(models, fios, "byte {byte}");
    }
}
