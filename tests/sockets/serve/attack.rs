//! Hostile front-ends at one controller, while the driver of another verifies what it writes and is told.
//!
//! Knows what a target owes to those who mean no harm, and what it may keep of those who do: nothing.

use serde_json::json;

use super::driver::{Driver, READ_10, TEST_UNIT_READY};
use super::hostile::Hostile;
use super::rig::{Held, Process};

/// Connections until the target has what it needs to serve them.
const WARM: u64 = 100;
/// Memory that it may have more at the end: an allocator keeps some of what it gets back.
const GROWTH_KIB: u64 = 16 << 10;
/// Blocks of the good driver's disk.
const BLOCKS: usize = 8;
/// Connections between two disks that come to the good driver, and go.
const PLUG_PERIOD: u64 = 64;
/// As many sessions of hostile front-ends may still be ending.
const SESSIONS_MAX: usize = 50;

/// What the target logs of attacks that get far: a request of a ring, an inflight buffer, a memory table.
const SERVED: [&str; 3] = [
    "invalid request at index",
    "SET_INFLIGHT_FD",
    "SET_MEM_TABLE",
];
/// So many connections are an attack however soon the target hangs up.
const ENOUGH: u64 = 1_000;
/// Of fewer, so many times as many may be needed.
const MORE: u64 = 20;

/// Whether what was sent is an attack. How far each connection gets depends on how soon the target hangs up.
fn is_attack(hostile: &Hostile, connections: u64, process: &Process) -> bool {
    let log = process.log();
    hostile.messages > 10 * connections
        && hostile.cut > 0
        && hostile.never_sent().is_empty()
        && SERVED.iter().all(|served| log.contains(served))
}

/// Lets so many hostile front-ends at one controller, and more until the attack is one.
pub fn attack(connections: u64) {
    let mut process = Process::start(&["--target-behaviour", "intended"]);
    process.disk("vhost.0", "Malloc0");
    process.disk("vhost.1", "Malloc1");
    let more = json!({"name": "Malloc2", "num_blocks": 8192, "block_size": 512});
    process.call("bdev_malloc_create", more);
    let mut good = Good::start(&process);
    let mut hostile = Hostile::new(1);
    let mut before = None;
    let most = if connections < ENOUGH {
        MORE * connections
    } else {
        connections
    };
    let mut connection = 0;
    while connection < connections || !is_attack(&hostile, connections, &process) {
        assert!(connection < most, "{hostile}: {}", process.log());
        hostile.attack(&process.socket("vhost.0"));
        good.verifies(connection);
        if connection % PLUG_PERIOD == 0 {
            good.is_told(&mut process);
        }
        if connection % 8 == 0 {
            process.wait("sessions end", |process| process.sessions(0) < SESSIONS_MAX);
        }
        if connection == WARM {
            hostile.leave();
            process.wait("sessions end", |process| process.sessions(0) == 0);
            before = Some(process.held());
        }
        connection += 1;
    }
    hostile.leave();
    process.wait("sessions end", |process| process.sessions(0) == 0);
    let before = before.expect("more than enough to be warm");
    keeps_nothing(&mut process, &before);
    println!(
        "{connection} connections: {before}, then {}",
        process.held()
    );
    println!("{hostile}");
    assert!(hostile.hung_up < connection, "{hostile}");
    // What was attacked serves whoever comes next.
    let mut driver = Driver::start(&process.socket("vhost.0"));
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    process.signal("-TERM");
    assert_eq!(process.end(), (Some(0), None));
}

/// Descriptors, mappings of front-ends' memory, threads and memory are those of before.
fn keeps_nothing(process: &mut Process, before: &Held) {
    process.wait("what was held is let go", |process| {
        let now = process.held();
        now.descriptors <= before.descriptors
            && now.mappings <= before.mappings
            && now.threads <= before.threads
    });
    let now = process.held();
    let grown = now.resident_kib.saturating_sub(before.resident_kib);
    assert!(grown < GROWTH_KIB, "{before}, then {now}");
}

/// The driver of another controller.
struct Good {
    driver: Driver,
    written: [u8; BLOCKS],
}

impl Good {
    fn start(process: &Process) -> Self {
        let driver = Driver::start(&process.socket("vhost.1"));
        let written = [0; BLOCKS];
        Self { driver, written }
    }

    /// Writes a block, and reads all of them.
    fn verifies(&mut self, connection: u64) {
        let lba = (connection % BLOCKS as u64) as u8;
        let byte = (connection % 251) as u8;
        let wrote = self.driver.write(0, lba, &[byte; 512]);
        let said = (wrote.response, wrote.status);
        assert_eq!(said, (0, 0), "a write after {connection}");
        self.written[usize::from(lba)] = byte;
        let read = self.driver.command(0, READ_10, BLOCKS * 512);
        let said = (read.response, read.status);
        assert_eq!(said, (0, 0), "a read after {connection}");
        let expected = self.written.map(|byte| [byte; 512]).concat();
        assert!(read.data == expected, "other data after {connection}");
    }

    /// A disk comes, serves and goes, with an event each.
    fn is_told(&mut self, process: &mut Process) {
        let slot = json!({"ctrlr": "vhost.1", "scsi_target_num": 1});
        let mut attach = slot.clone();
        attach["bdev_name"] = json!("Malloc2");
        process.call("vhost_scsi_controller_add_target", attach);
        assert_eq!(self.driver.event(), (1, 1), "a target to be looked at");
        let ready = self.driver.command(1, TEST_UNIT_READY, 0);
        assert_eq!((ready.response, ready.status), (0, 0));
        process.call("vhost_scsi_controller_remove_target", slot);
        assert_eq!(self.driver.event(), (1, 2), "a target that is gone");
    }
}
