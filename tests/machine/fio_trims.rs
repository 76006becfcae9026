//! Trims: what the model leaves on a disk is what real fio leaves on a loop device, and both end alike.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fio::{blank, model_fio, place, real_fio};

/// Bytes of the disk.
const SIZE: usize = 4 << 20;
/// Every job's own name, and what it says beside `filename`.
#[rustfmt::skip]
const JOBS: &[(&str, &str)] = &[
    ("trim", "rw=trim\nbs=64k"),
    ("trim_sync", "rw=trim\nbs=4k\nioengine=psync\nsize=1m\noffset=2m"),
    ("trim_unlike", "rw=trim\nbs=4k,4k,12k\nsize=50%"),
    ("trim_holes", "rw=trim:4k\nbs=4k\nsize=2m"),
    ("trim_holes_more", "rw=trim:4k\nbs=4k\nsize=1m\nio_size=2m"),
    ("randtrim", "rw=randtrim\nbs=4k\nio_size=1m"),
    ("randtrim_again", "rw=randtrim\nbs=4k\nnorandommap\nloops=2\nverify=md5"),
    ("randtrim_lengths", "rw=randtrim\nbsrange=4k-32k\nio_size=1m\nsize=3m"),
    ("randtrim_enough", "rw=randtrim\nbs=8k\nnumber_ios=77"),
    ("trimwrite", "rw=trimwrite\nbs=4k\nverify=crc32c"),
    ("trimwrite_deep", "rw=trimwrite\nbs=16k\niodepth=8\nverify=md5\noffset=1m"),
    ("trimwrite_backlog", "rw=trimwrite\nbs=4k\niodepth=4\nverify=md5\nverify_backlog=16"),
    ("trimwrite_enough", "rw=trimwrite\nbs=4k\nnumber_ios=50\nverify=crc32c"),
    ("randtrimwrite", "rw=randtrimwrite\nbs=4k\nverify=crc32c\nsize=2m"),
    ("randtrimwrite_deep", "rw=randtrimwrite\nbs=4k\niodepth=8\nverify=md5"),
    ("randtrimwrite_lengths", "rw=randtrimwrite\nbssplit=4k/50:16k/50\nverify=crc32c\nloops=2"),
    ("randtrimwrite_again", "rw=randtrimwrite\nbs=4k\nnorandommap\nverify=crc32c"),
    ("randtrimwrite_displaced", "rw=randtrimwrite\nbs=4k\nsize=2m\noffset=1m\niodepth=4\nverify=crc32c"),
    ("randtrimwrite_sync", "rw=randtrimwrite\nbs=4k\nioengine=sync\nverify=md5\nverify_backlog=8"),
];

/// A loop device over a file; it goes with this.
struct Loop(String);

impl Loop {
    fn over(image: &Path) -> Loop {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image)
            .output();
        let output = output.expect("losetup starts");
        assert!(output.status.success(), "needs root and loop devices");
        Loop(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").args(["--detach", &self.0]).status();
        assert!(detached.is_ok_and(|status| status.success()), "{}", self.0);
    }
}

#[test]
#[ignore = "needs fio 3.33, root and loop devices"]
fn fio_trims_what_the_model_trims() {
    let mut wrong = Vec::new();
    for (name, more) in JOBS {
        let (directory, file) = place(&format!("trims-{name}"));
        let before: Vec<u8> = (0..SIZE).map(|at| (at / 512) as u8 | 1).collect();
        fs::write(&file, &before).expect("the image of a disk");
        let disk = Loop::over(&file);
        let text = format!(
            "[global]\nioengine=libaio\nthread\nverify_state_save=0\n[image]\nfilename={}\n{more}\n",
            disk.0
        );
        let output = real_fio(&directory, &text);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        drop(disk);
        let mut models = before.clone();
        let result = model_fio(&text, Path::new("/dev/loop"), &mut models);
        if output.status.success() != result.passed() {
            wrong.push(format!(
                "{name}: fio: {said}; the model: {:?}",
                result.messages
            ));
            continue;
        }
        let counts = &result.counts;
        let (reads, writes, trims) = (counts.reads, counts.writes, counts.trims);
        let issued = format!("issued rwts: total={reads},{writes},{trims},");
        if !said.contains(&issued) {
            let fios = said.lines().find(|line| line.contains("issued rwts"));
            wrong.push(format!("{name}: not {issued} but {fios:?}"));
        }
        let mut fios = fs::read(&file).expect("what fio left");
        if fios == before {
            wrong.push(format!("{name}: fio changed nothing"));
        }
        blank(&mut fios);
        blank(&mut models);
        if let Some(at) = fios.iter().zip(&models).position(|(a, b)| a != b) {
            wrong.push(format!("{name}: byte {at} differs"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
