//! What a served target writes down of its guests, read back.

use serde_json::json;
use sim::conformance::guest::log::{Line, What, parse};

use super::driver::{Driver, READ_10, TEST_UNIT_READY};
use super::rig::Process;

fn recorded(file: &std::path::Path) -> Vec<Line> {
    let text = std::fs::read_to_string(file).expect("it was recorded");
    parse(&text).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn what_a_target_sees_of_a_guest_is_recorded_as_recordings_of_guests_are() {
    let file = std::env::temp_dir().join(format!("plugfest-record-{}.log", std::process::id()));
    let mut process = Process::start(&["--record", &file.display().to_string()]);
    process.disk("vhost.0", "Malloc0");
    let mut driver = Driver::start(&process.socket("vhost.0"));
    for _ in 0..3 {
        assert_eq!(driver.command(0, READ_10, 4096).status, 0);
    }
    assert_eq!(driver.command(0, TEST_UNIT_READY, 0).response, 0);
    assert_eq!(driver.command(5, TEST_UNIT_READY, 0).response, 3);
    let detach = json!({"ctrlr": "vhost.0", "scsi_target_num": 0});
    process.call("vhost_scsi_controller_remove_target", detach);
    assert_eq!(driver.event(), (0, 2));
    assert_eq!(driver.command(0, TEST_UNIT_READY, 0).status, 2);
    drop(driver);
    process.wait("the session ends", |process| process.sessions(0) == 0);
    process.signal("-TERM");
    assert_eq!(process.end(), (Some(0), None));
    let lines = recorded(&file);
    std::fs::remove_file(&file).expect("it is there");

    assert_eq!(lines[0].what, What::Connected);
    assert!(lines.is_sorted_by_key(|line| line.at));
    let is_message = |start: &'static str| move |line: &Line| matches!(&line.what, What::Message(text) if text.starts_with(start));
    let at = |start| lines.iter().position(is_message(start));
    assert!(at("GET_FEATURES -> 0x") < at("SET_MEM_TABLE"));
    assert!(
        at("SET_VRING_NUM 2 ").is_some() && at("SET_MEM_TABLE") < at("SET_VRING_KICK 2 fd true")
    );
    let commands = lines.iter().filter_map(|line| match &line.what {
        What::Command(command) => Some(command),
        _ => None,
    });
    let commands: Vec<_> = commands
        .map(|c| (c.target, c.cdb[0], c.header, c.answer.as_str()))
        .collect();
    let expected = [
        (0, 0, (51, 108), "GOOD"),
        (5, 0, (51, 108), "BAD_TARGET"),
        (0, 0, (51, 108), "NULL LUN"),
    ];
    assert_eq!(commands, expected);
    let event = lines.iter().find_map(|line| match line.what {
        What::Event(event) => Some(event),
        _ => None,
    });
    let event = event.expect("the event was given");
    assert_eq!((event.event, event.lun, event.reason), (1, [1, 0, 0, 0], 2));
    let buffer = What::Buffer(event.head);
    assert!(
        lines.iter().any(|line| line.what == buffer),
        "it went into a buffer that was seen"
    );
    assert!(lines.iter().any(|line| line.what == What::ReadsWrites(3)));
    assert!(matches!(lines.last().unwrap().what, What::Ended(_)));
}

#[test]
fn a_file_that_cannot_be_made_is_told_before_anything_is_served() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_plugfest"));
    let dir = std::env::temp_dir().join(format!("plugfest-unrecorded-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a directory");
    command
        .arg("serve")
        .arg("--rpc-socket")
        .arg(dir.join("rpc.sock"));
    command
        .arg("--vhost-sockets")
        .arg(&dir)
        .args(["--record", "/nowhere/at/all"]);
    let said = command.output().expect("it runs");
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    std::fs::remove_dir_all(&dir).expect("it is there");
}
