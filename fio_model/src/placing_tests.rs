//! Job files on disks.

use super::*;

fn disks(number: usize) -> Vec<GivenDisk> {
    let disk = |n: usize| GivenDisk {
        label: format!("disk{n}"),
        node: format!("/dev/sd{n}"),
    };
    (1..=number).map(disk).collect()
}

fn file(text: &str) -> JobFile {
    JobFile::parse("x.fio", text).expect("a job file")
}

/// Name, disk and wave of each thread.
fn placed(text: &str, number: usize) -> Vec<(String, usize, u32)> {
    let placed = file(text).place(&disks(number)).into_iter();
    placed.map(|it| (it.job.name, it.disk, it.after)).collect()
}

fn row(name: &str, disk: usize, after: u32) -> (String, usize, u32) {
    (name.to_owned(), disk, after)
}

#[test]
fn a_template_is_a_section_a_disk_and_its_stonewall_waits_for_nothing() {
    let rows = placed("[global]\nbs=4k\nstonewall\nnumjobs=2\n", 2);
    let expected = [
        row("disk1", 0, 0),
        row("disk1", 0, 0),
        row("disk2", 1, 0),
        row("disk2", 1, 0),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn each_section_works_on_each_disk_and_a_stonewall_waits_for_all_before() {
    let text = "[a]\nrw=write\n[b]\nstonewall\nrw=read\n";
    let expected = [
        row("a-disk1", 0, 0),
        row("a-disk2", 1, 0),
        row("b-disk1", 0, 1),
        row("b-disk2", 1, 1),
    ];
    assert_eq!(placed(text, 2), expected);
}

#[test]
fn one_name_stands_for_every_disk_and_several_for_the_disks_in_order() {
    let text = "[global]\ndirectory=/mnt\n[a]\nfilename=x\n[b]\nfilename=y\n[c]\nfilename=x\n[d]\n";
    let expected = [
        row("a-disk1", 0, 0),
        row("b-disk2", 1, 0),
        row("c-disk1", 0, 0),
        row("d-disk1", 0, 0),
        row("d-disk2", 1, 0),
    ];
    assert_eq!(placed(text, 2), expected);
    let said = file(text).remarks();
    assert!(said.contains(&"/mnt/x, /mnt/y are the disks of a fio, in order".to_owned()));
    let text = "[a]\nfilename=/dev/sda\n";
    assert_eq!(
        placed(text, 2),
        [row("a-disk1", 0, 0), row("a-disk2", 1, 0)]
    );
}

#[test]
fn more_names_than_disks_share_them_in_parts() {
    let text = "[a]\nfilename=x\n[b]\nfilename=y\n[c]\nfilename=z\n";
    let file = file(text);
    let parts: Vec<_> = file
        .place(&disks(2))
        .iter()
        .map(|it| (it.disk, it.job.parts[0]))
        .collect();
    let part = |index, of| Part { index, of };
    assert_eq!(parts, [(0, part(0, 2)), (1, part(0, 1)), (0, part(1, 2))]);
    assert_eq!(part(1, 3).bytes(10 << 20), (3 << 20, 6 << 20));
}

#[test]
fn the_files_of_a_job_are_parts_of_each_disk() {
    let text = "[a]\nfilename=x:y\\:z\n[b]\nfilename=y\\:z\n[c]\nnrfiles=3\n";
    let file = file(text);
    assert_eq!(file.jobs[0].file_names(), ["x", "y:z"]);
    let parts: Vec<_> = file
        .place(&disks(2))
        .into_iter()
        .map(|it| (it.job.name, it.disk, it.job.parts))
        .collect();
    let halves = Part::all(2);
    let expected = [
        ("a-disk1".to_owned(), 0, halves.clone()),
        ("a-disk2".to_owned(), 1, halves.clone()),
        ("b-disk1".to_owned(), 0, halves[1..].to_vec()),
        ("b-disk2".to_owned(), 1, halves[1..].to_vec()),
        ("c-disk1".to_owned(), 0, Part::all(3)),
        ("c-disk2".to_owned(), 1, Part::all(3)),
    ];
    assert_eq!(parts, expected);
    let said = file.remarks();
    for line in [
        "x, y:z are equal parts of each disk of a fio",
        "several files of a job are equal parts of each of its disks",
    ] {
        assert!(said.contains(&line.to_owned()), "{said:?}");
    }
}

#[test]
fn sections_that_run_at_once_on_the_same_blocks_can_spoil_themselves() {
    let globals = "[global]\nverify=md5\n";
    for (sections, spoils) in [
        ("[a]\nrw=write\n[b]\nrw=write\n", true),
        ("[a]\nrw=write\n[b]\nrw=read\n", true),
        ("[a]\nrw=write\n[b]\nstonewall\nrw=write\n", false),
        ("[a]\nrw=write\nsize=8m\n[b]\nrw=write\noffset=8m\n", false),
        (
            "[a]\nrw=write\nfilename=x\n[b]\nrw=write\nfilename=y\n",
            false,
        ),
        ("[a]\nrw=trim\n[b]\nrw=write\n", true),
        ("[a]\nrw=trim\n[b]\nrw=trim\n", false),
        ("[a]\nrw=randtrimwrite\nsize=1m\noffset=1m\n", true),
        ("[a]\nrw=read\n[b]\nrw=read\n", false),
        ("[a]\nrw=write\nnumjobs=2\n", true),
        (
            "[a]\nrw=write\nnumjobs=2\nsize=1m\noffset_increment=1m\n",
            false,
        ),
    ] {
        let file = file(&format!("{globals}{sections}"));
        assert_eq!(file.can_spoil_itself().is_some(), spoils, "{sections}");
    }
}

#[test]
fn what_to_know_of_a_file_is_a_line_each() {
    let text = "[a]\nfilename=x\nnice=1\nfsync=1\ndirect=1\ntime_based\nmem=mmap\n";
    let expected = [
        "a: time_based requires a runtime/timeout setting",
        "x is each disk of a fio",
        "without effect, as about the machine that fio runs on: mem, nice",
        "without effect, as about the page cache, which the model has not: fsync",
    ];
    assert_eq!(file(text).remarks(), expected);
    let said = file("[global]\nbs=4k\n").remarks();
    assert_eq!(
        said,
        ["buffered I/O goes to the disk at once: there is no page cache"]
    );
}

#[test]
fn a_section_that_reaches_no_disk_is_left_out_and_counts_for_numbers_and_walls() {
    let text = "[global]\ndirect=1\n[defrag]\nioengine=e4defrag\ndonorname=d\nfilename=x\nnumjobs=2\n\
        [a]\nfilename=y\nrw=write\n[punch]\nstonewall\nioengine=falloc\nrw=write\nbs=1\nverify=md5\n\
        [b]\nfilename=y\nrw=read\n";
    let file = file(text);
    let threads = file.place(&disks(2)).into_iter();
    let threads: Vec<_> = threads
        .map(|it| (it.job.name, it.thread_number, it.after, it.section))
        .collect();
    let row = |name: &str, number, after, section| (name.to_owned(), number, after, section);
    let expected = [
        row("a-disk1", 3, 0, 1),
        row("a-disk2", 4, 0, 2),
        row("b-disk1", 6, 1, 4),
        row("b-disk2", 7, 1, 5),
    ];
    assert_eq!(threads, expected);
    let said = file.remarks();
    let idle = "left out, as its engine does nothing on a disk: [defrag], [punch]";
    assert!(said.contains(&idle.to_owned()), "{said:?}");
    assert!(
        said.contains(&"y is each disk of a fio".to_owned()),
        "{said:?}"
    );
}
