//! What other jobs than the documented one leave on the medium: the model's bytes are real fio's.

use std::fs;
use std::path::Path;

use crate::fio::{blank, model_fio, model_fio_beside, place, real_fio};
use fio_model::VerifyState;

/// Bytes of the image.
const SIZE: usize = 4 << 20;
/// Every job's own name, and what it says beside `filename`.
const JOBS: &[(&str, &str)] = &[
    ("write", "rw=write\nbs=4k\nverify=crc32c"),
    ("rw_mixed", "rw=rw\nrwmixread=30\nbs=4k\nverify=crc32c"),
    (
        "randrw_mixed",
        "rw=randrw\nrwmixwrite=60\nbs=4k\niodepth=8\nverify=xxhash",
    ),
    (
        "bsrange",
        "rw=randwrite\nbsrange=4k-32k\niodepth=8\nverify=crc32c",
    ),
    (
        "two_sizes",
        "rw=randwrite\nbs=16k\nverify=md5\nverify_interval=4k",
    ),
    (
        "interval_512",
        "rw=write\nbs=64k\nverify=crc64\nverify_interval=512",
    ),
    (
        "norandommap",
        "rw=randwrite\nbs=4k\nnorandommap=1\nverify=crc16",
    ),
    (
        "norandommap_backlog",
        "rw=randrw\nbs=4k\nnorandommap=1\nverify=md5\nverify_backlog=64",
    ),
    ("two_block_sizes", "rw=randwrite\nbs=4k,64k\nverify=md5"),
    ("unverified", "rw=randrw\nbs=4k\nverify=md5\ndo_verify=0"),
    ("loops", "rw=randwrite\nbs=8k\nloops=3\nverify=sha1"),
    (
        "backlog",
        "rw=randwrite\nbs=4k\niodepth=16\nverify=crc7\nverify_backlog=64\nverify_backlog_batch=16",
    ),
    (
        "offset",
        "rw=randwrite\nbs=4k\noffset=1m\nsize=2m\nverify=crc32",
    ),
    ("sha256", "rw=randwrite\nbs=4k\nverify=sha256"),
    ("sha512", "rw=randwrite\nbs=4k\nverify=sha512"),
    ("sha3-224", "rw=randwrite\nbs=4k\nverify=sha3-224"),
    ("sha3-256", "rw=randwrite\nbs=4k\nverify=sha3-256"),
    ("sha3-384", "rw=randwrite\nbs=4k\nverify=sha3-384"),
    ("sha3-512", "rw=randwrite\nbs=4k\nverify=sha3-512"),
    (
        "odd_lengths",
        "rw=randwrite\nbsrange=1k-9k\nbs_unaligned=0\nverify=sha256",
    ),
    (
        "odd_intervals",
        "rw=randwrite\nbs=6k\nverify_interval=1536\nverify=sha512",
    ),
    (
        "header_inside",
        "rw=randwrite\nbs=4k\nverify=crc32c\nverify_offset=1024",
    ),
    (
        "headers_inside",
        "rw=write\nbs=16k\nverify=md5\nverify_interval=2k\nverify_offset=512",
    ),
    (
        "bssplit",
        "rw=randwrite\nbssplit=4k/20:8k/50:32k/30\nverify=crc32c",
    ),
    (
        "bssplit_rest",
        "rw=randrw\nbssplit=4k/60:16k:8k,4k/50:64k\nverify=crc32c\niodepth=4",
    ),
    (
        "io_size_less",
        "rw=randwrite\nbs=4k\nio_size=1m\nverify=crc32c",
    ),
    (
        "io_size_more",
        "rw=randwrite\nbs=4k\nsize=1m\nio_size=5m\nverify=crc32c",
    ),
    ("meta", "rw=randwrite\nbs=4k\nverify=meta"),
    (
        "pattern",
        "rw=randwrite\nbs=4k\nverify=pattern\nverify_pattern=0xdeadbeef",
    ),
    (
        "pattern_offset",
        "rw=randwrite\nbsrange=4k-32k\nverify=pattern\nverify_pattern=\"ab\"%o-12",
    ),
    (
        "pattern_header",
        "rw=randwrite\nbs=4k\nverify_pattern=0x12345\niodepth=8",
    ),
    (
        "pattern_header_inside",
        "rw=write\nbs=8k\nverify_pattern=\"fio\"0xff%o\nverify_offset=1024\nloops=2",
    ),
    (
        "pattern_md5",
        "rw=randwrite\nbs=4k\nverify=md5\nverify_pattern=%o305419896\nverify_interval=512",
    ),
    (
        "pattern_meta",
        "rw=randrw\nbs=4k\nverify=meta\nverify_pattern=%o\"meta\"\nverify_backlog=32",
    ),
    (
        "seeded",
        "rw=randwrite\nbs=4k\nrandseed=7\nverify=crc32c-intel",
    ),
];

fn job_text(file: &Path, more: &str) -> String {
    let sized = more.lines().any(|line| line.starts_with("size="));
    let size = if sized { "" } else { "size=4m\n" };
    format!(
        "[global]\nioengine=libaio\nthread\nverify_state_save=0\n[image]\nfilename={}\n{size}{more}\n",
        file.display()
    )
}

/// What both say of a byte that is not as it was written: every line about the verification.
fn complaints(text: &str) -> Vec<String> {
    let ours = |line: &&str| {
        ["verify", "pattern", " CRC: "]
            .iter()
            .any(|word| line.contains(word))
    };
    text.lines().filter(ours).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn a_changed_byte_of_a_pattern_is_rejected_with_fios_words() {
    let jobs = JOBS.iter().filter(|(name, _)| name.contains("pattern"));
    for (name, more) in jobs {
        let (directory, file) = place(&format!("changed-{name}"));
        let mut image = vec![0; SIZE];
        let written = model_fio(&job_text(&file, more), &file, &mut image);
        assert!(written.strictly_passed(), "{name}: {:?}", written.messages);
        let more = more.replace("rw=randwrite", "rw=randread");
        let more = more.replace("rw=randrw", "rw=randread");
        let reading = job_text(&file, &more.replace("rw=write", "rw=read"));
        for byte in [0, 3 * 4096 + 2000] {
            image[byte] ^= 5;
            fs::write(&file, &image).expect("the changed image");
            let output = real_fio(&directory, &reading);
            let fios = complaints(&String::from_utf8_lossy(&output.stderr));
            let result = model_fio(&reading, &file, &mut image);
            // Of several intervals in a read, the last one decides.
            let exit = output.status.code();
            assert_eq!(exit == Some(1), result.error.0 == 84, "{name}, byte {byte}");
            assert!(!fios.is_empty(), "{name}, byte {byte}");
            assert_eq!(
                complaints(&result.messages.join("\n")),
                fios,
                "{name}, byte {byte}"
            );
            image[byte] ^= 5;
        }
    }
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn errors_that_do_not_end_a_job_are_counted_as_fio_counts_them() {
    let (directory, file) = place("continue");
    let mut image = vec![0; SIZE];
    let job = job_text(&file, "rw=randwrite\nbs=4k\nverify=md5\niodepth=4");
    assert!(model_fio(&job, &file, &mut image).strictly_passed());
    for block in [5, 77, 900] {
        image[block * 4096 + 1000] ^= 1;
    }
    fs::write(&file, &image).expect("the changed image");
    for (option, exit) in [("verify", 0), ("all", 0), ("io", 1)] {
        let more = format!("continue_on_error={option}\n");
        let reading = job.replace("rw=randwrite", "rw=randread") + &more;
        let output = real_fio(&directory, &reading);
        let said = String::from_utf8_lossy(&output.stdout);
        let result = model_fio(&reading, &file, &mut image);
        assert_eq!(output.status.code(), Some(exit), "{option}: {said}");
        assert_eq!(
            fio_model::exit_status(std::slice::from_ref(&result)),
            Some(exit as u8)
        );
        let head = result.to_string();
        assert!(
            said.lines().any(|line| line.starts_with(&head)),
            "{head}: {said}"
        );
        let counted = said.lines().find(|line| line.contains("errors    : "));
        let wanted = result.continued_line();
        let wanted = wanted.unwrap_or("errors    : total=0, first_error=0/<Success>".into());
        assert_eq!(counted.map(str::trim), Some(wanted.as_str()), "{option}");
        let fios = complaints(&String::from_utf8_lossy(&output.stderr));
        assert_eq!(complaints(&result.messages.join("\n")), fios, "{option}");
    }
}

/// Jobs that leave a state file: ended early, several passes, a synchronous engine, fewer writes than depth.
const LEAVING: [&str; 5] = [
    "rw=randwrite\nbs=4k\niodepth=4\nverify=md5\nio_size=1m",
    "rw=randwrite\nbs=8k\niodepth=16\nverify=crc32c\nloops=2",
    "rw=write\nbs=4k\niodepth=5\nverify=crc64\nio_size=300k",
    "rw=randwrite\nbs=64k\niodepth=32\nverify_pattern=0xab\nio_size=512k",
    "rw=randrw\nbs=4k\niodepth=4\nverify=meta\nverify_backlog=16\nioengine=psync",
];

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn the_state_that_is_left_is_fios_and_is_read_as_fio_reads_it() {
    for (number, more) in LEAVING.iter().enumerate() {
        let (directory, file) = place(&format!("state-{number}"));
        fs::write(&file, vec![0; SIZE]).expect("an empty image");
        let text = job_text(&file, more).replace("verify_state_save=0\n", "");
        let output = real_fio(&directory, &text);
        assert!(output.status.success(), "{more}");
        let mut image = vec![0; SIZE];
        let (_, state) = model_fio_beside(&text, &file, &mut image, None);
        let left = directory.join(VerifyState::file_name("image", 1));
        let fios = fs::read(&left).expect("fio's state file");
        assert_eq!(state.as_deref(), Some(&fios[..]), "{more}");

        let reading =
            ["randwrite", "randrw", "write"]
                .iter()
                .fold(more.to_string(), |text, word| {
                    text.replace(
                        &format!("rw={word}"),
                        if *word == "write" {
                            "rw=read"
                        } else {
                            "rw=randread"
                        },
                    )
                });
        let kept = |line: &&str| !line.starts_with("io_size") && !line.starts_with("loops");
        let reading: Vec<&str> = reading.lines().filter(kept).collect();
        let reading = format!("{}\nverify_state_load=1", reading.join("\n"));
        let text = job_text(&file, &reading);
        let output = real_fio(&directory, &text);
        let said = String::from_utf8_lossy(&output.stdout);
        let (result, _) = model_fio_beside(&text, &file, &mut image, Some(&fios));
        let exit = fio_model::exit_status(std::slice::from_ref(&result));
        assert_eq!(
            output.status.code(),
            exit.map(i32::from),
            "{reading}: {said}"
        );
        let issued = format!("issued rwts: total={},", result.counts.reads);
        assert!(said.contains(&issued), "{reading}: {issued} {said}");
        assert!(result.counts.reads > 0, "{reading}");
    }
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn a_job_that_only_verifies_makes_one_pass() {
    let (directory, file) = place("once");
    let mut image = vec![0; SIZE];
    let job = job_text(&file, "rw=randwrite\nbs=4k\nverify=md5\niodepth=4");
    assert!(model_fio(&job, &file, &mut image).strictly_passed());
    fs::write(&file, &image).expect("the image");
    for more in [
        "loops=3",
        "io_size=9m",
        "io_size=1m",
        "time_based\nruntime=2",
    ] {
        let reading = job.replace("rw=randwrite", "rw=randread") + more + "\n";
        let output = real_fio(&directory, &reading);
        let said = String::from_utf8_lossy(&output.stdout);
        let reads = model_fio(&reading, &file, &mut image).counts.reads;
        let issued = format!("issued rwts: total={reads},");
        assert!(said.contains(&issued), "{more}: {issued} {said}");
    }
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn the_model_writes_what_fio_writes() {
    let mut wrong = Vec::new();
    for (name, more) in JOBS {
        let (directory, file) = place(&format!("job-{name}"));
        fs::write(&file, vec![0; SIZE]).expect("an empty image");
        let text = job_text(&file, more);
        let output = real_fio(&directory, &text);
        if !output.status.success() {
            wrong.push(format!(
                "{name}: fio: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
            continue;
        }
        let mut fios = fs::read(&file).expect("fio's image");
        let mut models = vec![0; SIZE];
        let result = model_fio(&text, &file, &mut models);
        if !result.passed() {
            wrong.push(format!("{name}: the model: {:?}", result.messages));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let (reads, writes) = (result.counts.reads, result.counts.writes);
        let issued = format!("issued rwts: total={reads},{writes},");
        if !said.contains(&issued) {
            wrong.push(format!("{name}: fio does not say {issued}: {said}"));
        }
        if blank(&mut fios) == 0 && !more.contains("pattern") {
            wrong.push(format!("{name}: fio wrote no header"));
        }
        blank(&mut models);
        let differ = fios.iter().zip(&models).position(|(a, b)| a != b);
        if let Some(at) = differ {
            wrong.push(format!(
                "{name}: byte {at} differs: fio {:?}, model {:?}",
                &fios[at / 16 * 16..at / 16 * 16 + 16],
                &models[at / 16 * 16..at / 16 * 16 + 16]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
