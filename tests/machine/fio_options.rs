//! Options of all kinds: what the model leaves on the medium is what real fio leaves there, and both end alike.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fio::{blank, model_fio, model_fio_failing, place, real_fio};
use fio_model::Errno;

/// Bytes of the image.
const SIZE: usize = 4 << 20;
/// Every job's own name, and what it says beside `filename`.
#[rustfmt::skip]
const JOBS: &[(&str, &str)] = &[
    ("pace", "rw=randwrite\nbs=4k\nverify=md5\nrate=900m\nthinktime=1\nthinktime_blocks=64"),
    ("synced", "rw=randwrite\nbs=4k\niodepth=8\nfsync=16\nfdatasync=10\nend_fsync=1\nverify=crc32c"),
    ("closed", "rw=write\nbs=4k\nfsync_on_close=1\ninvalidate=0\nsync=1\nverify=crc32c\nloops=2"),
    ("laid_out", "rw=randwrite\nbs=4k\nfallocate=none\noverwrite=1\ncreate_serialize=0\nverify=md5"),
    ("machine", "rw=randwrite\nbs=4k\nnice=1\nmem=mmap\niomem_align=4k\nverify=md5"),
    ("content", "rw=randwrite\nbs=4k\nzero_buffers\nscramble_buffers=1\nbuffer_compress_percentage=0\ndedupe_percentage=30\nverify=md5"),
    ("logged", "rw=randwrite\nbs=4k\nwrite_lat_log=l\nlog_avg_msec=10\nper_job_logs=0\nverify=md5"),
    ("dumped", "rw=randwrite\nbs=4k\nverify=md5\nverify_dump=1\nverify_fatal=1\nerror_dump=1"),
    ("checked_beside", "rw=randwrite\nbs=4k\niodepth=8\nverify=md5\nverify_async=2"),
    ("checked_beside_backlog", "rw=randwrite\nbs=4k\nverify=md5\nverify_async=2\nverify_backlog=16"),
    ("unsorted", "rw=randwrite\nbs=4k\nnorandommap\nverifysort=0\nverify=crc32c"),
    ("filesize", "rw=randwrite\nbs=4k\nfilesize=4m\nsize=1m\nverify=crc32c"),
    ("filesize_backlog", "rw=randwrite\nbs=4k\nfilesize=4m\nsize=1m\nverify=crc32c\nverify_backlog=32"),
    ("filesize_alone", "rw=write\nbs=64k\nfilesize=2m\nsize=0\nverify=crc32c"),
    ("aligned", "rw=randwrite\nbs=16k\nba=4k\nverify=crc32c"),
    ("aligned_deep", "rw=randwrite\nbsrange=8k-32k\nblockalign=2k\niodepth=4\nverify=md5"),
    ("aligned_in_order", "rw=write\nbs=16k\nba=4k\nverify=crc32c"),
    ("offset_percent", "rw=randwrite\nbs=4k\noffset=33%\nsize=20%\nverify=crc32c"),
    ("offset_aligned", "rw=randwrite\nbs=4k\noffset=33%\noffset_align=64k\nsize=1m\nverify=crc32c"),
    ("offset_increment", "rw=randwrite\nbs=4k\noffset=4k\noffset_increment=1m\nsize=1m\nverify=crc32c"),
    ("zipf", "rw=randwrite\nbs=4k\nrandom_distribution=zipf:1.2\nverify=crc32c"),
    ("zipf_less", "rw=randwrite\nbs=4k\nrandom_distribution=zipf:0.4:0.3\nverify=crc32c\niodepth=8"),
    ("zipf_seeded", "rw=randrw\nbs=4k\nrandom_distribution=zipf\nrandseed=3\nverify=md5\nverify_backlog=64"),
    ("pareto", "rw=randwrite\nbs=4k\nrandom_distribution=pareto:0.3\nverify=crc32c"),
    ("pareto_centre", "rw=randwrite\nbs=8k\nrandom_distribution=pareto:0.9:0.1\nverify=crc32c\nloops=2"),
    ("normal", "rw=randwrite\nbs=4k\nrandom_distribution=normal:10\nverify=crc32c"),
    ("normal_narrow", "rw=randwrite\nbs=4k\nrandom_distribution=normal\nverify=crc32c"),
    ("normal_centre", "rw=randwrite\nbs=4k\nrandom_distribution=normal:30:0.8\nverify=crc32c\nloops=2"),
    ("lfsr", "rw=randwrite\nbs=4k\nrandom_generator=lfsr\nverify=crc32c"),
    ("lfsr_loops", "rw=randwrite\nbs=8k\nrandom_generator=lfsr\nloops=3\nverify=crc32c\nverify_backlog=32"),
    ("lfsr_seeded", "rw=randwrite\nbs=4k\nsize=3m\nrandom_generator=lfsr\nrandseed=77\nverify=md5\nnorandommap"),
    ("every_eighth", "rw=randwrite:8\nbs=4k\nverify=crc32c"),
    ("every_third_again", "rw=randwrite:3\nrw_sequencer=identical\nbs=4k\nnorandommap\nverify=crc32c"),
    ("every_fourth_mixed", "rw=randrw:4\nbs=4k\nverify=crc32c"),
    ("holes", "rw=write:4k\nbs=4k\nsize=2m\nverify=crc32c"),
    ("holes_odd", "rw=write:12k\nbs=8k\nsize=1m\noffset=1m\nverify=crc32c"),
    ("by_order", "rw=randwrite:4\nbs=4k,16k\nbs_is_seq_rand=1\nnorandommap\nverify=crc32c"),
    ("drawn_again", "rw=randwrite\nbs=4k\nexperimental_verify=1\nverify=crc32c"),
    ("drawn_again_in_order", "rw=write\nbs=4k\nexperimental_verify=1\nverify=md5\nloops=2"),
    ("drawn_again_mixed", "rw=randrw\nbs=4k\nexperimental_verify=1\nverify=crc32c"),
    ("drawn_again_deep", "rw=randwrite\nbs=4k\niodepth=8\nexperimental_verify=1\nverify=crc32c"),
    ("serialized", "rw=randwrite\nbs=4k\nsize=1m\nio_size=4m\nnorandommap\niodepth=32\nserialize_overlap=1\nverify=crc32c"),
    ("serialized_zipf", "rw=randwrite\nbs=4k\nrandom_distribution=zipf:1.2\niodepth=16\nserialize_overlap=1\nverify=md5\nverify_backlog=64"),
    ("serialized_map", "rw=randwrite\nbs=4k\niodepth=16\nserialize_overlap=1\nverify=md5"),
    ("enough", "rw=randwrite\nbs=4k\nnumber_ios=100\nverify=crc32c"),
    ("enough_backlog", "rw=randwrite\nbs=4k\nnumber_ios=300\niodepth=4\nverify=crc32c\nverify_backlog=16"),
    ("enough_loops", "rw=randwrite\nbs=4k\nnumber_ios=100\nloops=2\nverify=crc32c"),
    ("io_size_without_map", "rw=randwrite\nbs=4k\nnorandommap\nsize=2m\nio_size=6m\nverify=crc32c"),
    ("io_size_less_without_map", "rw=randwrite\nbs=4k\nnorandommap\nio_size=1m\nverify=crc32c"),
    ("io_size_without_map_backlog", "rw=randwrite\nbs=4k\nnorandommap\nsize=1m\nio_size=3m\nverify=crc32c\nverify_backlog=16"),
    ("posixaio", "rw=randwrite\nbs=4k\nioengine=posixaio\nverify=crc32c"),
    ("io_uring", "rw=randwrite\nbs=4k\nioengine=io_uring\niodepth=4\nverify=crc32c"),
    ("pvsync2", "rw=randwrite\nbs=4k\nioengine=pvsync2\nverify=crc32c"),
    ("vsync", "rw=write\nbs=4k\nioengine=vsync\nverify=crc32c"),
    ("mmap", "rw=randwrite\nbs=4k\nioengine=mmap\nverify=crc32c"),
    ("beyond_its_size", "rw=write\nbs=4k,12k\nsize=2m\nverify=crc32c\nverify_interval=4k"),
    ("beyond_its_size_drawn", "rw=randwrite\nbs=4k,64k\nsize=1028k\nverify=crc32c"),
    ("splice", "rw=randwrite\nbs=4k\nioengine=splice\nverify=crc32c"),
    ("splice_mixed", "rw=randrw\nbsrange=16k-256k\nioengine=splice\nend_fsync=1\nverify=crc32"),
    ("aio", "rw=randwrite\nbs=4k\nioengine=aio\niodepth=4\nverify=crc32c"),
    ("psync_backlog", "rw=readwrite\nbs=4k\nioengine=psync\nverify=crc32c\nverify_backlog=1"),
    ("sync_backlog", "rw=randwrite\nbs=4k\nioengine=sync\nverify=crc32c\nverify_backlog=32\nloops=2"),
    ("sync_io_size", "rw=randwrite\nbs=4k\nioengine=sync\nsize=1m\nio_size=3m\nverify=crc32c\nverify_backlog=8"),
    ("pattern_unused", "rw=randwrite\nbs=4k\nverify=md5\nverify_pattern=0xab\nverify_async=1\ndo_verify=0"),
    ("ignoring", "rw=randwrite\nbs=4k\nverify=md5\nignore_error=EIO,ENOSPC:EIO\ncontinue_on_error=all"),
    ("spelled_out", "readwrite=randwrite\nblocksize=4k\nzonemode=none\nverify=md5\nunlink=0\nnrfiles=1\nramp_time=0s"),
    ("exits", "rw=randwrite\nbs=4k\nexitall\nexitall_on_error=1\nnew_group\nstonewall\nverify=md5"),
];

fn job_text(file: &Path, more: &str) -> String {
    let sized = more.lines().any(|line| line.starts_with("size="));
    let size = if sized { "" } else { "size=4m\n" };
    let path = file.display();
    format!(
        "[global]\nioengine=libaio\nthread\nverify_state_save=0\n[image]\nfilename={path}\n{size}{more}\n"
    )
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn every_option_leaves_what_fio_leaves() {
    let mut wrong = Vec::new();
    for (name, more) in JOBS {
        let (directory, file) = place(&format!("option-{name}"));
        fs::write(&file, vec![0; SIZE]).expect("an empty image");
        let text = job_text(&file, more);
        let output = real_fio(&directory, &text);
        let said = String::from_utf8_lossy(&output.stdout);
        let mut models = vec![0; SIZE];
        let result = model_fio(&text, &file, &mut models);
        if output.status.success() != result.passed() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let errors = errors.lines().next().unwrap_or_default();
            wrong.push(format!(
                "{name}: fio: {errors}; the model: {:?}",
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
        let mut fios = fs::read(&file).expect("fio's image");
        let differ = blank(&mut fios) == 0;
        if differ && !more.contains("pattern") {
            wrong.push(format!("{name}: fio wrote no header"));
        }
        blank(&mut models);
        if let Some(at) = fios.iter().zip(&models).position(|(a, b)| a != b) {
            wrong.push(format!("{name}: byte {at} differs"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The job, only looking at what is there.
fn reading(text: &str) -> String {
    let text = text.replace("rw=randwrite", "rw=randread");
    text.replace("rw=write", "rw=read")
}

/// The lines about the verification, without what fio prints beside them.
fn complaints(text: &str) -> Vec<&str> {
    let words = ["verify", "pattern", " CRC: ", "dumped"];
    let ours = |line: &&str| words.iter().any(|word| line.contains(word));
    text.lines().filter(ours).collect()
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn what_is_only_verified_is_read_as_fio_reads_it() {
    for (number, more) in [
        "rw=randwrite\nbs=4k\nverify=md5",
        "rw=randwrite\nbs=4k\nverify=md5\niodepth=8\nloops=2",
        "rw=write\nbs=16k\nverify=crc32c",
        "rw=randwrite\nbsrange=4k-32k\nverify=crc32c\nio_size=1m",
        "rw=randwrite\nbs=4k\nnorandommap\nverify=crc32c",
        "rw=randwrite\nbs=4k\nverify=crc32c\nverify_backlog=64",
        "rw=randwrite\nbs=4k\nverify=md5\nrandom_generator=lfsr\nverify_async=2",
    ]
    .iter()
    .enumerate()
    {
        let (directory, file) = place(&format!("only-{number}"));
        let mut image = vec![0; SIZE];
        let writing = job_text(&file, more);
        assert!(
            model_fio(&writing, &file, &mut image).strictly_passed(),
            "{more}"
        );
        let text = format!("{writing}verify_only=1\n");
        for flipped in [false, true] {
            if flipped {
                image[77 * 4096 + 1000] ^= 1;
            }
            fs::write(&file, &image).expect("the image");
            let output = real_fio(&directory, &text);
            let said = String::from_utf8_lossy(&output.stdout);
            let before = image.clone();
            let result = model_fio(&text, &file, &mut image);
            assert!(image == before, "{more}: it writes nothing");
            assert_eq!(output.status.success(), result.passed(), "{more}: {said}");
            let issued = format!("issued rwts: total={},", result.counts.reads);
            assert!(said.contains(&issued), "{more}: {issued} {said}");
        }
    }
}

/// Writes to the second half of the image fail with EFBIG: for real fio by its limit on the size of files.
#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn what_is_written_beside_failed_writes_is_verified_as_fio_verifies_it() {
    const END: u64 = SIZE as u64 / 2;
    const EFBIG: Errno = Errno(27);
    for (number, more) in [
        "rw=write\nioengine=psync",
        "rw=randwrite\nioengine=psync",
        "rw=randwrite\nioengine=psync\nverify_backlog=16",
        "rw=randwrite\nioengine=psync\nnorandommap",
        "rw=randwrite\nioengine=libaio\niodepth=8",
        "rw=write\nioengine=libaio\nverify_backlog=64",
    ]
    .iter()
    .enumerate()
    {
        for goes_on in ["continue_on_error=write\nignore_error=,EFBIG", ""] {
            let (directory, file) = place(&format!("beside-{number}-{}", goes_on.len()));
            fs::write(&file, vec![0; SIZE]).expect("an empty image");
            let more = format!("bs=4k\nverify=md5\n{more}\n{goes_on}");
            let text = job_text(&file, &more);
            let job = directory.join("image.fio");
            fs::write(&job, &text).expect("a job file");
            // bash counts in units of 1024 bytes.
            let limited = format!("trap '' XFSZ; ulimit -f {}; exec fio image.fio", END / 1024);
            let output = Command::new("bash")
                .args(["-c", &limited])
                .current_dir(&directory)
                .output()
                .expect("bash starts");
            let said = String::from_utf8_lossy(&output.stdout);
            let mut models = vec![0; SIZE];
            let result = model_fio_failing(&text, &file, &mut models, (END, EFBIG));
            assert_eq!(output.status.success(), result.passed(), "{more}: {said}");
            if !goes_on.is_empty() {
                let (reads, writes) = (result.counts.reads, result.counts.writes);
                let issued = format!("issued rwts: total={reads},");
                assert!(
                    said.contains(&issued),
                    "{more}: not {issued}, {writes}: {said}"
                );
                let counted = said.lines().find(|line| line.contains("errors    : "));
                let counted = counted.map(|line| line.trim().to_owned());
                assert_eq!(counted, result.continued_line(), "{more}");
            }
            let mut fios = fs::read(&file).expect("fio's image");
            blank(&mut fios);
            blank(&mut models);
            let differ = fios.iter().zip(&models).position(|(a, b)| a != b);
            assert_eq!(differ, None, "{more}");
        }
    }
}

#[test]
#[ignore = "needs fio 3.33: apt-get install fio"]
fn what_would_be_dumped_is_named_as_fio_names_it() {
    for (number, more) in [
        "rw=randwrite\nbs=4k\nverify=md5",
        "rw=randwrite\nbs=16k\nverify_interval=4k\nverify=crc32c",
        "rw=write\nbs=4k\nverify=pattern\nverify_pattern=0xab",
        "rw=randwrite\nbs=4k\nverify=meta\nverify_pattern=0xab",
    ]
    .iter()
    .enumerate()
    {
        let (directory, file) = place(&format!("dumped-{number}"));
        let mut image = vec![0; SIZE];
        let more = format!("{more}\nverify_dump=1");
        assert!(model_fio(&job_text(&file, &more), &file, &mut image).strictly_passed());
        for byte in [5 * 4096 + 2, 5 * 4096 + 3000] {
            image[byte] ^= 1;
            fs::write(&file, &image).expect("the image");
            let text = reading(&job_text(&file, &more));
            let output = real_fio(&directory, &text);
            let said = String::from_utf8_lossy(&output.stderr);
            let result = model_fio(&text, &file, &mut image);
            let models = result.messages.join("\n");
            assert_eq!(
                complaints(&models),
                complaints(&said),
                "{more}, byte {byte}"
            );
            assert!(models.contains("dumped as image."), "{more}, byte {byte}");
            image[byte] ^= 1;
        }
    }
}
