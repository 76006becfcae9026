//! Jobs with several files: the model visits them as real fio does, and writes the same to each.

use std::fs;

use crate::fio::{blank, model_fio, place, real_fio};

/// Files of each job, and bytes of each file.
const FILES: usize = 4;
const SIZE: usize = 1 << 20;
/// Every job's own name, and what it says beside its files.
#[rustfmt::skip]
const JOBS: &[(&str, &str)] = &[
    ("write", "rw=write\nbs=4k\nverify=md5\nloops=2"),
    ("write_deep", "rw=write\nbs=16k\nverify=crc32c\niodepth=8\nsize=2m"),
    ("randwrite", "rw=randwrite\nbs=4k\nverify=crc32c\niodepth=4"),
    ("randwrite_backlog", "rw=randwrite\nbs=4k\nverify=md5\nverify_backlog=16"),
    ("mixed", "rw=randrw\nbs=8k\nverify=crc32c\nverify_backlog=32"),
    ("again", "rw=randwrite\nbs=4k\nnorandommap\nverify=crc32c"),
    ("uneven", "rw=write\nbs=4k\nsize=130k\nverify=crc32c"),
    ("in_fours", "rw=randwrite\nbs=4k\nfile_service_type=roundrobin:4\nverify=crc32c"),
    ("to_the_end", "rw=randwrite\nbs=4k\nfile_service_type=sequential\nverify=crc32c"),
    ("drawn", "rw=randwrite\nbs=4k\nfile_service_type=random\nverify=crc32c"),
    ("drawn_in_twos", "rw=write\nbs=4k\nfile_service_type=random:2\nverify=crc32c"),
    ("lengths", "rw=randwrite\nbsrange=4k-32k\nverify=crc32c\niodepth=4"),
];

/// Blanks what headers say of their place: the model's is that on the disk.
fn blank_places(image: &mut [u8]) {
    for block in image.chunks_mut(512) {
        if block.starts_with(&[0xca, 0xac]) {
            block[16..24].fill(0);
        }
    }
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn fio_writes_to_several_files_what_the_model_writes_to_parts_of_a_disk() {
    let mut wrong = Vec::new();
    for (name, more) in JOBS {
        for named in [true, false] {
            let (directory, image) = place(&format!("files-{name}-{named}"));
            let path = |file: usize| match named {
                true => directory.join(format!("f{file}")),
                false => directory.join(format!("image.0.{file}")),
            };
            let files: Vec<_> = (0..FILES).map(path).collect();
            for file in &files {
                fs::write(file, vec![0; SIZE]).expect("an empty file");
            }
            let paths: Vec<_> = files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            let given = match named {
                true => format!("filename={}", paths.join(":")),
                false => format!("directory={}\nnrfiles={FILES}", directory.display()),
            };
            let size = if more.contains("size=") {
                ""
            } else {
                "size=4m\n"
            };
            let text = format!(
                "[global]\nioengine=libaio\nverify_state_save=0\n[image]\n{given}\n{size}{more}\n"
            );
            let output = real_fio(&directory, &text);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut models = vec![0; FILES * SIZE];
            let result = model_fio(&text, &image, &mut models);
            if output.status.success() != result.passed() {
                wrong.push(format!(
                    "{name}: fio: {said}; the model: {:?}",
                    result.messages
                ));
                continue;
            }
            let (reads, writes) = (result.counts.reads, result.counts.writes);
            let issued = format!("issued rwts: total={reads},{writes},");
            if !said.contains(&issued) {
                let fios = said.lines().find(|line| line.contains("issued rwts"));
                wrong.push(format!("{name}: not {issued} but {fios:?}"));
            }
            let mut fios: Vec<u8> = Vec::new();
            for file in &files {
                fios.extend(fs::read(file).expect("fio's file"));
            }
            for image in [&mut fios, &mut models] {
                assert!(blank(image) > 0, "{name}: no header");
                blank_places(image);
            }
            if let Some(at) = fios.iter().zip(&models).position(|(a, b)| a != b) {
                wrong.push(format!("{name}, named {named}: byte {at} differs"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
