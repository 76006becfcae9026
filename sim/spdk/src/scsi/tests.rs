//! Recorded commands against the model, and what no recording has.

use super::*;
use wire::scsi::status;

const RECORDED: &str = include_str!("recorded.txt");
const HEAD: Bugs = Bugs::INTENDED.with(Bug::ResidUnderflow);

/// IEEE CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            crc >> 1 ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1))
        })
    })
}

/// A LUN on a disk in memory.
struct Disk {
    name: String,
    product: String,
    block_size: u32,
    bytes: Vec<u8>,
    reservation: Reservation,
}

impl Disk {
    fn new(name: &str, product: &str, block_size: u32, blocks: u64) -> Self {
        Self {
            name: name.to_owned(),
            product: product.to_owned(),
            block_size,
            bytes: vec![0; block_size as usize * blocks as usize],
            reservation: Reservation::default(),
        }
    }

    fn lun(&mut self) -> LunView<'_> {
        LunView {
            bdev_name: &self.name,
            product: &self.product,
            block_size: self.block_size,
            num_blocks: self.bytes.len() as u64 / u64::from(self.block_size),
            physical_block_size: self.block_size,
            unmap: true,
            write_cache: true,
            target: "Target 0",
            port: "vhost",
            reservation: &mut self.reservation,
        }
    }

    /// Carries `io` out on `data`, the data descriptors.
    fn io(&mut self, io: &BlockIo, data: &mut [u8]) -> BdevStatus {
        let size = self.block_size as usize;
        let at = |lba: u64| lba as usize * size;
        match io {
            BlockIo::Read { lba, blocks } => {
                let len = *blocks as usize * size;
                data[..len].copy_from_slice(&self.bytes[at(*lba)..][..len]);
            }
            BlockIo::Write { lba, blocks } => {
                let len = *blocks as usize * size;
                self.bytes[at(*lba)..][..len].copy_from_slice(&data[..len]);
            }
            BlockIo::Flush { .. } => {}
            BlockIo::Unmap(list) => {
                for (lba, blocks) in &list.ranges {
                    self.bytes[at(*lba)..][..*blocks as usize * size].fill(0);
                }
            }
            BlockIo::WriteSame { lba, blocks } => {
                for block in 0..u64::from(*blocks) {
                    self.bytes[at(lba + block)..][..size].copy_from_slice(data);
                }
            }
            BlockIo::CompareAndWrite { lba } => {
                let (compare, write) = data.split_at(size);
                if self.bytes[at(*lba)..][..size] != *compare {
                    return BdevStatus::Miscompare;
                }
                self.bytes[at(*lba)..][..size].copy_from_slice(write);
            }
        }
        BdevStatus::Success
    }

    /// A command from beginning to end; `data` is what the guest's buffer holds.
    fn run(&mut self, command: &Command, data: &mut [u8], bugs: Bugs) -> Outcome {
        let mut data_in = Vec::new();
        let lun = &mut self.lun();
        let mut step = start(command, None, lun, &mut data_in, bugs);
        if step == Step::NeedData {
            step = start(command, Some(data), lun, &mut data_in, bugs);
        }
        assert!(data_in.len() <= command.transfer_len as usize);
        match step {
            Step::Done(outcome) => {
                if command.direction == Direction::FromDev {
                    data[..data_in.len()].copy_from_slice(&data_in);
                }
                outcome
            }
            Step::Io(io) => {
                let status = self.io(&io, data);
                finished(&io, command.transfer_len, status)
            }
            Step::NeedData => panic!("data was given"),
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        panic!("{text} is odd");
    };
    let digit = |b: u8| char::from(b).to_digit(16).expect("a hex digit") as u8;
    pairs
        .iter()
        .map(|[a, b]| digit(*a) << 4 | digit(*b))
        .collect()
}

fn cdb(text: &str) -> [u8; CDB_SIZE] {
    let mut cdb = [0; CDB_SIZE];
    let bytes = hex(text);
    cdb[..bytes.len()].copy_from_slice(&bytes);
    cdb
}

/// The buffer and its direction, from the recording's notation.
fn buffer(text: &str) -> (Vec<u8>, Direction) {
    let len = |text: &str| text.parse::<usize>().expect("a length");
    if let Some(out) = text.strip_prefix("out:") {
        let bytes = match (out.split_once('='), out.split_once(':')) {
            (Some((n, bytes)), _) => {
                let mut bytes = hex(bytes);
                bytes.resize(len(n), 0);
                bytes
            }
            (None, Some((n, fill))) => vec![fill.parse().expect("a byte"); len(n)],
            (None, None) => panic!("{text} has no data"),
        };
        return (bytes, Direction::ToDev);
    }
    let bytes = text.strip_prefix("in:").map_or(0, len);
    (vec![0; bytes], Direction::FromDev)
}

/// One line of the recording: what it says, and what the model does, in the same notation.
fn replay(line: &str, disk: &mut Disk) -> (String, String) {
    let (sent, answer) = line.split_once(" > ").expect("an answer");
    let [lun, cdb_text, data, pieces] = sent.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    let (mut data, direction) = buffer(data);
    let command = Command {
        cdb: &cdb(cdb_text),
        direction,
        transfer_len: data.len() as u32,
        iov_count: pieces.parse().expect("a count"),
    };
    let outcome = if lun == "0" {
        disk.run(&command, &mut data, HEAD)
    } else {
        let mut data_in = Vec::new();
        let outcome = null_lun(&command, &mut data_in, HEAD);
        data[..data_in.len()].copy_from_slice(&data_in);
        outcome
    };
    let sense = match outcome.sense {
        Some(Sense(key, asc, ascq)) => format!("{key:x}/{asc:02x}/{ascq:02x}"),
        None => "-".to_owned(),
    };
    let crc = match (direction, data.as_slice()) {
        (Direction::ToDev, _) | (_, []) => "-".to_owned(),
        (_, data) => format!("{:08x}", crc32(data)),
    };
    let resid = outcome.resid(command.transfer_len);
    let did = format!("{} {sense} {resid} {crc}", outcome.status);
    (answer.to_owned(), did)
}

#[test]
fn every_recorded_command_is_answered_as_recorded() {
    let mut disk = Disk::new("", "", 512, 1);
    let (mut case, mut commands) = ("", 0);
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        if let Some(setup) = line.strip_prefix("@ ") {
            let [name, bdev, product, size, blocks] = setup.split(", ").collect::<Vec<_>>()[..]
            else {
                panic!("{line}");
            };
            let number = |text: &str| text.parse().expect("a number");
            disk = Disk::new(bdev, product, number(size) as u32, number(blocks));
            case = name;
            continue;
        }
        let (recorded, did) = replay(line, &mut disk);
        assert_eq!(did, recorded, "{case}: {line}");
        commands += 1;
    }
    assert!(commands > 150, "only {commands} commands");
}

/// Runs `cdb_text` on a 512 × 8192 disk, intended.
fn run(cdb_text: &str, data: &mut [u8], direction: Direction, pieces: usize) -> Outcome {
    let command = Command {
        cdb: &cdb(cdb_text),
        direction,
        transfer_len: data.len() as u32,
        iov_count: pieces,
    };
    let mut disk = Disk::new("Malloc0", "Malloc disk", 512, 8192);
    disk.run(&command, data, Bugs::INTENDED)
}

#[test]
fn a_short_buffer_gets_what_fits_where_resid_does_not_underflow() {
    let mut data = [0xee; 36];
    let outcome = run("120000006000", &mut data, Direction::FromDev, 1);
    assert_eq!(outcome, Outcome::good(36));
    assert_eq!(&data[8..13], b"INTEL");
    let command = Command {
        cdb: &cdb("120000000500"),
        direction: Direction::FromDev,
        transfer_len: 5,
        iov_count: 1,
    };
    let mut data_in = Vec::new();
    let intended = null_lun(&command, &mut data_in, Bugs::INTENDED);
    assert_eq!((intended.resid(5), data_in.len()), (0, 5));
    let head = null_lun(&command, &mut data_in, HEAD);
    assert_eq!(head.resid(5), 5u32.wrapping_sub(36));
}

#[test]
fn compare_and_write_takes_one_block_in_one_piece() {
    let mut both = [0; 1024];
    both[512..].fill(7);
    let caw = "89000000000000000005000000010000";
    assert_eq!(
        run(caw, &mut both, Direction::ToDev, 1),
        Outcome::good(1024)
    );
    let invalid = Outcome::check(Sense::INVALID_FIELD);
    assert_eq!(run(caw, &mut both, Direction::ToDev, 2), invalid);
    let fua = "89080000000000000005000000010000";
    assert_eq!(run(fua, &mut both, Direction::ToDev, 1), invalid);
    both.fill(1);
    let outcome = run(caw, &mut both, Direction::ToDev, 1);
    assert_eq!(outcome.sense, Some(Sense::MISCOMPARE));
}

#[test]
fn a_failed_read_counts_as_transferred_and_an_unmap_never() {
    // T-B26.
    let io = BlockIo::Read { lba: 0, blocks: 1 };
    let failed = finished(&io, 512, BdevStatus::Failed);
    assert_eq!((failed.sense, failed.resid(512)), (Some(Sense::ABORTED), 0));
    let refused = finished(&io, 512, BdevStatus::Refused);
    assert_eq!(
        (refused.sense, refused.resid(512)),
        (Some(Sense::NONE), 512)
    );
    let unmap = BlockIo::Unmap(UnmapList {
        ranges: Box::new([(0, 1)]),
        refused: false,
    });
    let failed = finished(&unmap, 24, BdevStatus::Failed);
    assert_eq!((failed.sense, failed.resid(24)), (Some(Sense::NONE), 24));
    let lba = BdevStatus::Nvme { sct: 0, sc: 0x80 };
    assert_eq!(finished(&io, 512, lba).sense, Some(Sense::LBA_OUT_OF_RANGE));
    let aborted = BdevStatus::Nvme { sct: 0, sc: 0x07 };
    assert_eq!(finished(&io, 512, aborted).status, status::TASK_ABORTED);
}

#[test]
fn release_without_a_reservation_is_refused() {
    // T-B21.
    let mut disk = Disk::new("Malloc0", "Malloc disk", 512, 8);
    let mut send = |text: &str| {
        let command = Command {
            cdb: &cdb(text),
            direction: Direction::FromDev,
            transfer_len: 0,
            iov_count: 0,
        };
        disk.run(&command, &mut [], HEAD)
    };
    assert_eq!(send("170000000000"), Outcome::check(Sense::INVALID_FIELD));
    assert_eq!(send("160000000000"), Outcome::good(0));
    assert_eq!(send("570000000000000000"), Outcome::good(0));
    assert_eq!(send("570000000000000000").sense, Some(Sense::INVALID_FIELD));
}

#[test]
fn flush_goes_to_the_end_when_no_length_is_given() {
    let mut disk = Disk::new("Malloc0", "Malloc disk", 512, 64);
    let mut begin = |text: &str| {
        let command = Command {
            cdb: &cdb(text),
            direction: Direction::FromDev,
            transfer_len: 0,
            iov_count: 0,
        };
        start(&command, None, &mut disk.lun(), &mut Vec::new(), HEAD)
    };
    let flush = |lba, blocks| Step::Io(BlockIo::Flush { lba, blocks });
    assert_eq!(begin("35000000001000000000"), flush(16, 48));
    assert_eq!(begin("35000000001000000400"), flush(16, 4));
    let refused = Step::Done(Outcome::check(Sense::NONE));
    assert_eq!(begin("35000000003f00000200"), refused);
    assert_eq!(begin("91000000000000000041000000000000"), refused);
}

/// Any CDB at all, on buffers of any size: no panic, and never more data-in than fits.
#[test]
fn hostile_cdbs_panic_nowhere() {
    let mut rng = wire::Rng::new(11, wire::Stream::Directed);
    let opcodes: Vec<u8> = (0..=255).collect();
    let mut data_in = Vec::new();
    for round in 0..200_000 {
        let mut cdb = [0; CDB_SIZE];
        cdb.fill_with(|| {
            if rng.chance(1, 2) {
                0
            } else {
                rng.bits() as u8
            }
        });
        cdb[0] = opcodes[round % 256];
        let data = vec![rng.bits() as u8; rng.below(5000) as usize];
        let command = Command {
            cdb: &cdb,
            direction: if rng.chance(1, 2) {
                Direction::FromDev
            } else {
                Direction::ToDev
            },
            transfer_len: data.len() as u32,
            iov_count: rng.below(4) as usize,
        };
        let mut reservation = Reservation::default();
        let block_size = [0, 1, 512, 4096, u32::MAX][rng.below(5) as usize];
        let mut lun = LunView {
            bdev_name: "a name that is longer than a serial number may be",
            product: "",
            block_size,
            num_blocks: [0, 1, 100, u64::MAX][rng.below(4) as usize],
            physical_block_size: 4096,
            unmap: rng.chance(1, 2),
            write_cache: false,
            target: "Target 7",
            port: "p",
            reservation: &mut reservation,
        };
        let bugs = if rng.chance(1, 2) {
            HEAD
        } else {
            Bugs::INTENDED
        };
        let mut step = start(&command, None, &mut lun, &mut data_in, bugs);
        if step == Step::NeedData {
            step = start(&command, Some(&data), &mut lun, &mut data_in, bugs);
        }
        assert!(data_in.len() <= data.len());
        match step {
            Step::Io(io) => {
                let outcome = finished(&io, command.transfer_len, BdevStatus::Success);
                assert!(outcome.transferred <= command.transfer_len);
            }
            Step::Done(outcome) => {
                assert!(outcome.status == status::GOOD || data_in.is_empty());
                let fits = outcome.transferred <= command.transfer_len;
                assert!(fits || bugs.has(Bug::ResidUnderflow));
            }
            Step::NeedData => panic!("data was given"),
        }
        let _ = null_lun(&command, &mut data_in, bugs);
        assert!(data_in.len() <= data.len());
    }
}
