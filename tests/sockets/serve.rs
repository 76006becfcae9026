//! `plugfest serve` from outside: real sockets, real descriptors, shared memory.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "another thread or process answers, by the clock"
)]

mod attack;
mod driver;
mod hostile;
mod record;
mod rig;

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use real::rpc::client::{RpcClient, RpcError};
use real::vhost_user::frontend::FrontEndError;
use serde_json::{Value, json};
use sim::wire::message::{EVENTQ, REQUESTQ, VhostUser, VhostUserReply};
use sim::{Bug, Bugs};

use attack::attack;
use driver::{Driver, READ_10, TEST_UNIT_READY};
use rig::{PATIENCE, Process, Rig};

#[test]
fn a_front_end_reads_what_the_target_has_and_is_told_of_what_comes_and_goes() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::start(&rig.socket("vhost.0"));
    let answer = driver.command(0, READ_10, 4096);
    assert_eq!((answer.response, answer.status), (0, 0), "{answer:?}");
    assert!(
        answer.data.iter().all(|byte| *byte == 0),
        "a new disk is zeroes"
    );

    let wrote = driver.write(0, 7, &[0xa5; 512]);
    assert_eq!((wrote.response, wrote.status), (0, 0), "{wrote:?}");
    let answer = driver.command(0, READ_10, 4096);
    assert_eq!(answer.data[7 * 512..8 * 512], [0xa5; 512]);
    assert_eq!(answer.data[..7 * 512], [0; 7 * 512]);

    rig.malloc("Malloc1");
    rig.attach("vhost.0", 1, "Malloc1");
    assert_eq!(driver.event(), (1, 1), "target 1 is to be looked at");
    assert_eq!(driver.command(1, TEST_UNIT_READY, 0).response, 0);
    rig.detach("vhost.0", 1);
    assert_eq!(driver.event(), (1, 2), "target 1 is gone");
    let answer = driver.command(1, TEST_UNIT_READY, 0);
    assert_eq!(
        (answer.response, answer.status),
        (0, 2),
        "a slot that was used: no such LUN"
    );
    assert_eq!(
        driver.command(5, TEST_UNIT_READY, 0).response,
        3,
        "one that was not"
    );
    rig.stop();
}

#[test]
fn rpc_clients_see_controllers_and_sessions_as_spdk_shows_them() {
    let mut rig = Rig::start(Bugs::head());
    let call = |rig: &mut Rig, method: &str, params| rig.rpc.call(method, params);
    let nvme = json!({"name": "Nvme0", "trtype": "PCIe", "traddr": "0000:01:00.0"});
    let made = call(&mut rig, "bdev_nvme_attach_controller", Some(nvme)).expect("attached");
    assert_eq!(made, json!(["Nvme0n1"]));
    assert!(!rig.socket("vhost.0").exists());
    rig.controller("vhost.0", &[]);
    assert!(rig.socket("vhost.0").exists());
    rig.attach("vhost.0", 2, "Nvme0n1");
    let driver = Driver::start(&rig.socket("vhost.0"));
    let shown = rig.until("a started session", |shown| {
        shown[0]["sessions"][0]["started"] == json!(true)
    });
    assert_eq!(shown[0]["socket"], json!(rig.socket("vhost.0")));
    assert_eq!(shown[0]["sessions"][0]["max_queues"], json!(3));
    assert_eq!(
        shown[0]["backend_specific"]["scsi"][0]["luns"][0]["bdev_name"],
        json!("Nvme0n1")
    );
    let again = call(
        &mut rig,
        "vhost_create_scsi_controller",
        Some(json!({"ctrlr": "vhost.0"})),
    );
    assert!(
        matches!(&again, Err(RpcError::Refused { code: -32602, message }) if message == "File exists"),
        "{again:?}"
    );
    drop(driver);
    let delete = json!({"ctrlr": "vhost.0"});
    call(&mut rig, "vhost_delete_controller", Some(delete)).expect("deleted");
    rig.wait("the socket goes", |rig| !rig.socket("vhost.0").exists());
    rig.stop();
}

#[test]
fn requests_that_come_in_pieces_and_together_are_answered() {
    let rig = Rig::start(Bugs::INTENDED);
    let mut stream = UnixStream::connect(rig.rpc_path()).expect("it listens");
    let text =
        br#"{"jsonrpc":"2.0","id":1,"method":"spdk_get_version"}{"jsonrpc":"2.0","id":2,"met"#;
    stream.write_all(text).expect("sent");
    let heard = stream.try_clone().expect("a socket");
    let mut answers = serde_json::Deserializer::from_reader(heard).into_iter::<Value>();
    let mut next = || answers.next().expect("an answer").expect("JSON");
    assert_eq!(next()["id"], json!(1));
    // What it has answered, it has read, and the piece with it.
    stream.write_all(br#"hod":"none"}"#).expect("sent");
    assert_eq!(next()["error"]["message"], json!("Method not found"));
    rig.stop();
}

#[test]
fn get_vring_base_waits_for_what_is_in_flight() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.malloc("Malloc0");
    let base = json!({"base_name": "Malloc0"});
    rig.rpc.call("bdev_error_create", Some(base)).expect("made");
    rig.controller("vhost.0", &[]);
    rig.attach("vhost.0", 0, "EE_Malloc0");
    let hold = json!({"name": "EE_Malloc0", "io_type": "all", "error_type": "pending", "num": 1});
    let held = rig.rpc.call("bdev_error_inject_error", Some(hold));
    held.expect("the next request is held");
    let mut driver = Driver::start(&rig.socket("vhost.0"));
    let posted = driver.post(0, READ_10, 512);
    let in_flight = |shown: &Value| shown[0]["sessions"][0]["inflight_task_cnt"] == json!(1);
    rig.until("the target has it in its hands", in_flight);
    assert!(driver.take(posted).is_none(), "the read is held");
    let released = AtomicBool::new(false);
    let base = std::thread::scope(|scope| {
        let (rpc, released) = (&mut rig.rpc, &released);
        scope.spawn(move || {
            // The target has many a turn to answer the front-end in.
            for _ in 0..20 {
                let shown = rpc.call("vhost_get_controllers", None);
                assert!(in_flight(&shown.expect("an answer")));
            }
            released.store(true, Ordering::SeqCst);
            let name = json!({"name": "EE_Malloc0"});
            let resumed = rpc.call("bdev_error_resume_pending", Some(name));
            resumed.expect("the read goes on");
        });
        driver.ask(VhostUser::GetVringBase { vring: REQUESTQ })
    });
    assert!(
        matches!(base, VhostUserReply::VringBase { base: 1, .. }),
        "{base:?}"
    );
    assert!(released.load(Ordering::SeqCst), "it drained nothing");
    let answer = driver.take(posted).expect("drained, and so answered");
    assert_eq!((answer.response, answer.status), (0, 0));
    driver.set_up();
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    rig.stop();
}

#[test]
fn a_killed_front_end_leaves_a_controller_that_another_can_use() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    for _ in 0..3 {
        let mut driver = Driver::start(&rig.socket("vhost.0"));
        driver.post(0, READ_10, 4096);
        drop(driver);
    }
    let mut driver = Driver::start(&rig.socket("vhost.0"));
    assert_eq!(driver.command(0, READ_10, 4096).status, 0);
    let shown = rig.until("one session", |shown| {
        shown[0]["sessions"]
            .as_array()
            .is_some_and(|sessions| sessions.len() == 1)
    });
    assert_eq!(shown[0]["sessions"][0]["started"], json!(true));
    rig.stop();
}

#[test]
fn device_status_is_kept_and_a_no_is_an_answer() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::start(&rig.socket("vhost.0"));
    assert!(matches!(
        driver.ask(VhostUser::SetStatus(0xf)),
        VhostUserReply::Ack { ok: true }
    ));
    assert!(matches!(
        driver.ask(VhostUser::GetStatus),
        VhostUserReply::Status(0xf)
    ));
    let vring = REQUESTQ;
    let wrong = VhostUser::SetVringNum { vring, size: 100 };
    assert!(matches!(
        driver.ask(wrong.clone()),
        VhostUserReply::Ack { ok: false }
    ));
    assert_eq!(driver.command(0, READ_10, 512).status, 0, "it goes on");
    // Without the wish for an answer, no is the end.
    driver.front_end.send(wrong, false).expect("sent");
    let ended = driver.front_end.send(VhostUser::GetFeatures, false);
    assert!(matches!(ended, Err(FrontEndError::Closed)), "{ended:?}");
    rig.stop();
}

#[test]
fn what_a_dead_target_had_in_flight_is_served_by_the_next() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::connect(&rig.socket("vhost.0"));
    let buffer = driver.inflight();
    driver.begin();
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    let ended = driver.front_end.stream().shutdown(Shutdown::Both);
    ended.expect("an open socket");
    rig.until("no session", |shown| shown[0]["sessions"] == json!([]));
    // As if a target had taken this one and died.
    let posted = driver.publish(0, READ_10, 512);
    driver.was_taken(&buffer, posted);
    driver.front_end = Driver::greet(&rig.socket("vhost.0"));
    driver.hand_over(buffer);
    driver.set_up();
    let answer = driver.wait(posted);
    assert_eq!((answer.response, answer.status), (0, 0));
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    rig.stop();
}

#[test]
fn rubbish_ends_its_own_connection_and_no_other() {
    let mut process = Process::start(&["--target-behaviour", "intended"]);
    process.disk("vhost.0", "Malloc0");
    let mut driver = Driver::start(&process.socket("vhost.0"));
    let before = process.descriptors();
    for round in 0..100u8 {
        let mut stream = UnixStream::connect(process.socket("vhost.0")).expect("it listens");
        // A header that says 200 bytes of some request, and fewer that follow; or less than a header.
        let header = [round % 48, 0, 0, 0, 1, 0, 0, 0, 200, 0, 0, 0];
        // The target may have hung up already.
        let _ = stream.write_all(&header[..12 - usize::from(round % 3)]);
        let _ = stream.write_all(&[round; 100]);
        let mut text = UnixStream::connect(process.rpc_path()).expect("it listens");
        let _ = text.write_all(&[b'{', round, b'"', 0xff]);
        if round % 10 == 0 {
            assert_eq!(driver.command(0, READ_10, 512).status, 0);
        }
    }
    process.wait("nothing leaks", |process| process.descriptors() <= before);
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    process.signal("-INT");
    assert_eq!(process.end(), (Some(0), None));
    assert!(process.log().contains("vhost.0: closed: "), "it says why");
}

#[test]
fn hostile_front_ends_do_no_harm() {
    attack(150);
}

#[test]
#[ignore = "needs half a minute"]
fn three_thousand_hostile_front_ends_do_no_harm() {
    attack(3_000);
}

#[test]
#[ignore = "needs a quarter of an hour"]
fn a_hundred_thousand_hostile_front_ends_do_no_harm() {
    attack(100_000);
}

#[test]
fn memory_that_is_shorter_than_it_says_is_refused() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::connect(&rig.socket("vhost.0"));
    let table = driver.longer_than_its_file();
    assert!(matches!(
        driver.ask(table),
        VhostUserReply::Ack { ok: false }
    ));
    rig.stop();
}

#[test]
fn a_live_process_is_not_robbed_of_its_socket_and_a_stale_one_is_replaced() {
    let rig = Rig::start(Bugs::INTENDED);
    let second = rig.second();
    let error = second.expect_err("it is in use").to_string();
    assert!(
        error.ends_with("rpc.sock: another process listens there"),
        "{error}"
    );
    rig.stop();

    let dir = rig::dir("stale");
    for name in ["rpc.sock", "vhost.0"] {
        drop(UnixListener::bind(dir.join(name)).expect("bound, and left behind"));
    }
    let mut rig = Rig::start_in(dir, Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::start(&rig.socket("vhost.0"));
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    rig.stop();
}

#[test]
fn idle_it_sleeps_and_a_kick_wakes_it() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::start(&rig.socket("vhost.0"));
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    // What the last answers have set off comes to rest.
    let mut looks = 0;
    rig.wait("it sleeps, and goes on sleeping", |_| {
        looks = if driver.wants_kicks() { looks + 1 } else { 0 };
        looks == 60
    });
    let posted = driver.publish(0, READ_10, 512);
    std::thread::sleep(Duration::from_millis(20));
    assert!(driver.take(posted).is_none(), "nobody has kicked");
    driver.front_end.kick(REQUESTQ).expect("kicked");
    assert_eq!(driver.wait(posted).status, 0);
    assert!(driver.was_called(), "the driver is called");
    driver
        .front_end
        .kick(EVENTQ)
        .expect("a kick for nothing does no harm");
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    rig.stop();
}

#[test]
fn sigterm_removes_the_sockets_and_a_modelled_crash_ends_the_process() {
    let mut process = Process::start(&["--target-behaviour", "head"]);
    process.call("vhost_create_scsi_controller", json!({"ctrlr": "vhost.0"}));
    assert_eq!(
        process.line(),
        format!("vhost.0 listens at {}", process.socket("vhost.0").display())
    );
    let busy = process.beside();
    assert_eq!(busy.0, Some(2), "{}", busy.1);
    assert!(
        busy.1.contains("another process listens there"),
        "{}",
        busy.1
    );
    process.signal("-TERM");
    assert_eq!(process.end(), (Some(0), None));
    assert!(process.files().is_empty(), "{:?}", process.files());

    let mut process = Process::start(&["--target-behaviour", "intended", "--bug", "tmf_null_lun"]);
    process.disk("vhost.0", "Malloc0");
    let mut driver = Driver::start(&process.socket("vhost.0"));
    driver.reset_lun(0, 1);
    assert_eq!(process.end(), (None, Some(11)), "SIGSEGV");
}

#[test]
fn clients_beyond_spdks_limit_wait_for_the_others_to_leave() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.rpc.call("spdk_get_version", None).expect("an answer");
    let others: Vec<RpcClient> = (0..63).map(|_| rig.impatient(PATIENCE)).collect();
    let mut late = rig.impatient(PATIENCE);
    late.send("spdk_get_version", None)
        .expect("it is in the backlog");
    std::thread::sleep(Duration::from_millis(20));
    rig.rpc.call("spdk_get_version", None).expect("an answer");
    let mut early = rig.impatient(Duration::from_millis(30));
    early
        .call("spdk_get_version", None)
        .expect_err("there is no room");
    drop(others);
    let (_, version) = late.receive().expect("an answer");
    assert!(version.is_ok(), "{version:?}");
    rig.stop();
}

#[test]
fn a_paused_target_reads_nothing_and_then_everything_at_once() {
    let mut rig = Rig::start(Bugs::INTENDED);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::start(&rig.socket("vhost.0"));
    assert_eq!(driver.command(0, READ_10, 512).status, 0);
    let mut debugger = rig.impatient(PATIENCE);
    let mut pause = |method, params| debugger.call(method, params).expect("an answer");
    assert_eq!(pause("plugfest_pause", None), json!(true));
    let detach = json!({"ctrlr": "vhost.0", "scsi_target_num": 0});
    let name = "vhost_scsi_controller_remove_target";
    let first = rig.rpc.send(name, Some(detach.clone())).expect("sent");
    let second = rig.rpc.send(name, Some(detach)).expect("sent");
    let posted = driver.post(0, READ_10, 512);
    std::thread::sleep(Duration::from_millis(30));
    assert!(driver.take(posted).is_none(), "it stands still");
    assert_eq!(pause("plugfest_resume", None), json!(true));
    // Both were read in one poll: the second finds the first at work.
    let (id, said) = rig.rpc.receive().expect("an answer");
    assert_eq!(id, second);
    assert!(
        matches!(said, Err(RpcError::Refused { message, .. }) if message == "Device or resource busy")
    );
    let (id, said) = rig.rpc.receive().expect("an answer");
    assert_eq!((id, said.expect("detached")), (first, json!(true)));
    assert_eq!(driver.wait(posted).response, 0);
    rig.stop();
}

#[test]
fn a_target_that_hangs_answers_nobody_and_can_be_stopped() {
    let bugs = Bugs::INTENDED.with(Bug::LogLoop);
    let mut rig = Rig::start(bugs);
    rig.controller("vhost.0", &["Malloc0"]);
    let mut driver = Driver::start_with(&rig.socket("vhost.0"), driver::LOG_ALL);
    driver.loop_forever();
    let mut rpc = rig.impatient(Duration::from_millis(50));
    rig.wait("it hangs", |_| rpc.call("spdk_get_version", None).is_err());
    rig.stop();
}

/// What `serve` writes has time, level and target, and the log's RPCs decide how much of it there is.
#[test]
fn the_log_follows_its_flags_and_levels() {
    let mut process = Process::start(&[]);
    process.disk("vhost.0", "Malloc0");
    process.call("log_set_flag", json!({"flag": "vhost"}));
    process.disk("vhost.1", "Malloc1");
    process.call("log_set_level", json!({"level": "ERROR"}));
    process.call("log_set_print_level", json!({"level": "ERROR"}));
    process.disk("vhost.2", "Malloc2");
    process.signal("-INT");
    assert_eq!(process.end(), (Some(0), None));
    let log = process.log();
    let added: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("added SCSI target"))
        .collect();
    let [line] = added[..] else {
        panic!("{log}");
    };
    let words: Vec<&str> = line.split_whitespace().take(3).collect();
    assert!(
        words[0].starts_with("20") && words[0].ends_with('Z'),
        "{line}"
    );
    assert_eq!(words[1..], ["INFO", "spdk:"], "{line}");
    assert!(
        line.ends_with("vhost.1: added SCSI target 0 using bdev 'Malloc1'"),
        "{line}"
    );
}
