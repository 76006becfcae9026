//! The driver over ends that only note what they are asked.

use std::time::Duration;

use super::*;
use crate::names::TargetId;
use crate::testbed::{Action, Performed};

const VM: VmId = VmId(1);
const CONTROLLER: ControllerId = ControllerId(1);
const DISK: DiskId = DiskId(1);
const EVERY: Duration = Duration::from_millis(50);

/// Disks that are there, and that nobody can take away.
struct Fixed;

impl Disks for Fixed {
    fn prepare(&mut self, disks: &[(DiskId, DiskKind)]) -> Result<Vec<Call>, TestbedError> {
        let tops = disks
            .iter()
            .filter_map(|(disk, kind)| self.top(*disk, *kind));
        Ok(tops.collect())
    }

    fn base(&self, disk: DiskId) -> String {
        format!("Disk{}", disk.0)
    }

    fn null(&self, disk: DiskId) -> String {
        format!("Null{}", disk.0)
    }

    fn insert_base(&self, disk: DiskId) -> Result<Vec<Call>, NotHere> {
        Err(NotHere(format!("{disk} was never away")))
    }

    fn remove_base(&self, disk: DiskId) -> Result<Call, NotHere> {
        Err(NotHere(format!("{disk} was there before")))
    }
}

struct Notes {
    now: Time,
    sent: Vec<String>,
    asked: Vec<Ask>,
    seen: Vec<Observation>,
}

impl Ends for Notes {
    fn now(&self) -> Time {
        self.now
    }

    fn see(&mut self, what: Observation) {
        self.seen.push(what);
    }

    fn disks(&self) -> &dyn Disks {
        &Fixed
    }

    fn begin(
        &mut self,
        disks: &[(DiskId, DiskKind)],
        _: &[ControllerId],
    ) -> Result<Vec<Call>, TestbedError> {
        Fixed.prepare(disks)
    }

    fn send(&mut self, text: String) -> Result<(), TestbedError> {
        self.sent.push(text);
        Ok(())
    }

    fn target_died(&self) -> bool {
        false
    }

    fn boot(&mut self, _: VmId, _: &[ControllerId], _: Boots, _: &Serials) -> Result<(), Refusal> {
        Ok(())
    }

    fn ask(&mut self, _: VmId, ask: Ask) -> Result<(), Refusal> {
        self.asked.push(ask);
        Ok(())
    }

    fn start_fio(&mut self, _: FioId, _: &str, _: DisksByVm) -> Result<(), Refusal> {
        Ok(())
    }

    fn wait_job_clock(
        &mut self,
        _: Ticket,
        _: FioId,
        _: Duration,
        running: &[VmId],
    ) -> Result<usize, Refusal> {
        Ok(running.len())
    }
}

/// A driver, and a target with a disk of this kind and a controller that a VM has.
fn started(kind: DiskKind) -> Driver<Notes> {
    let limits = Limits {
        alive: Duration::from_secs(1),
        settle: Duration::from_secs(2),
        ask_every: Some(EVERY),
    };
    let ends = Notes {
        now: Time::ZERO,
        sent: Vec::new(),
        asked: Vec::new(),
        seen: Vec::new(),
    };
    let mut driver = Driver::new(ends, limits);
    let start = Action::StartTarget {
        controllers: vec![CONTROLLER],
        disks: vec![DISK],
        kinds: vec![(DISK, kind)],
    };
    ask(&mut driver, &start);
    let controllers = vec![CONTROLLER];
    ask(
        &mut driver,
        &Action::BootVm {
            vm: VM,
            controllers,
        },
    );
    driver
}

fn ask(driver: &mut Driver<Notes>, action: &Action) -> Ticket {
    match driver.perform(action) {
        Ok(Performed::Asked(ticket)) => ticket,
        other => panic!("{action:?}: {other:?}"),
    }
}

fn read(driver: &mut Driver<Notes>, text: &str) {
    driver.read(text.as_bytes()).expect("they are answers");
}

#[test]
fn the_first_error_of_several_calls_answers_the_action() {
    let mut driver = started(DiskKind::Faulty);
    assert_eq!(
        driver.ends.sent,
        [
            r#"{"jsonrpc":"2.0","id":1,"method":"bdev_error_create","params":{"base_name":"Disk1"}}"#,
            r#"{"jsonrpc":"2.0","id":2,"method":"vhost_create_scsi_controller","params":{"ctrlr":"vhost.1"}}"#,
        ]
    );
    let error = r#"{"id":1,"error":{"code":-19,"message":"No such device"}}"#;
    read(&mut driver, error);
    assert_eq!(driver.ends.seen, [], "the last call is open");
    read(&mut driver, r#"{"id":2,"result":true}"#);
    let (ticket, result) = (Ticket(1), Err("No such device".to_owned()));
    assert_eq!(driver.ends.seen, [Observation::Answered { ticket, result }]);
}

#[test]
fn a_slot_that_is_none_and_a_detach_that_is_not_done_are_errors() {
    let mut driver = started(DiskKind::Nvme);
    let target = TargetId(0);
    let attach = Action::Attach {
        disk: DISK,
        controller: CONTROLLER,
        target: Some(target),
    };
    let place = Place {
        controller: CONTROLLER,
        target,
    };
    ask(&mut driver, &attach);
    ask(&mut driver, &Action::Detach { place });
    read(
        &mut driver,
        r#"{"id":2,"result":true}{"id":3,"result":false}"#,
    );
    let results = driver.ends.seen.iter().map(|seen| match seen {
        Observation::Answered { result, .. } => result.clone(),
        other => panic!("{other:?}"),
    });
    let expected = ["true in place of a slot", "false in place of true"];
    assert_eq!(
        results.collect::<Vec<_>>(),
        expected.map(|text| Err(text.to_owned()))
    );
}

#[test]
fn what_cannot_be_done_here_says_why() {
    let mut driver = started(DiskKind::Nvme);
    let removed = driver.perform(&Action::Remove { disk: DISK });
    let why = "disk 1 was there before".to_owned();
    assert_eq!(removed, Ok(Performed::NotHere(why)));
    let mut driver = started(DiskKind::Delayed);
    ask(&mut driver, &Action::Remove { disk: DISK });
    let last = driver.ends.sent.last().expect("something was sent");
    assert!(
        last.contains(r#""bdev_delay_delete","params":{"name":"Delayed_Disk1"}"#),
        "{last}"
    );
}

#[test]
fn a_testbed_that_sees_nothing_asks_what_is_in_flight_until_nothing_is() {
    let mut driver = started(DiskKind::Nvme);
    ask(&mut driver, &Action::Settle);
    driver.pass().expect("it holds");
    assert_eq!(driver.ends.sent.len(), 1, "a call of an action is open");
    read(&mut driver, r#"{"id":1,"result":true}"#);
    for tasks in [1, 0] {
        driver.ends.now = driver.due().expect("something is due");
        driver.pass().expect("it holds");
        let id = driver.ends.sent.len();
        let session = format!(r#"{{"name":"s","inflight_task_cnt":{tasks}}}"#);
        let answer = format!(r#"{{"id":{id},"result":[{{"sessions":[{session}]}}]}}"#);
        read(&mut driver, &answer);
    }
    assert_eq!(driver.ends.sent.len(), 3, "{:?}", driver.ends.sent);
    let (settled, left) = (true, Vec::new());
    assert_eq!(
        driver.ends.seen.last(),
        Some(&Observation::Quiet { settled, left })
    );
    assert_eq!(driver.due(), None);
}

#[test]
fn what_never_comes_to_rest_says_what_is_left() {
    let mut driver = started(DiskKind::Nvme);
    ask(&mut driver, &Action::Settle);
    driver.pass().expect("it holds");
    driver.ends.now = driver.settles_by().expect("somebody waits");
    driver.pass().expect("it holds");
    let (settled, left) = (false, vec!["RPCs without an answer: 1".to_owned()]);
    assert_eq!(driver.ends.seen, [Observation::Quiet { settled, left }]);
}

#[test]
fn who_gives_no_sign_of_life_is_named() {
    let mut driver = started(DiskKind::Nvme);
    ask(&mut driver, &Action::CheckAlive);
    assert_eq!(driver.ends.asked, [Ask::Ping]);
    read(&mut driver, r#"{"id":2,"result":[]}"#);
    assert_eq!(driver.signs_of_life(), None);
    driver.at_rest();
    let silent = vec!["VM 1".to_owned()];
    assert_eq!(driver.signs_of_life(), Some(Observation::Alive { silent }));
    ask(&mut driver, &Action::CheckAlive);
    driver.lives(VM);
    read(&mut driver, r#"{"id":3,"result":[]}"#);
    let silent = Vec::new();
    assert_eq!(driver.signs_of_life(), Some(Observation::Alive { silent }));
}

#[test]
fn a_bdev_is_known_by_its_name_if_it_keeps_data() {
    for (kind, bdev, keeps) in [
        (DiskKind::Delayed, "Delayed_Disk1", Some(DISK)),
        (DiskKind::Faulty, "EE_Disk1", Some(DISK)),
        (DiskKind::Null, "Null1", None),
    ] {
        let mut driver = started(kind);
        let mut attached = Observation::Attached {
            place: Place {
                controller: CONTROLLER,
                target: TargetId(0),
            },
            device: 0,
            bdev: bdev.to_owned(),
            disk: None,
        };
        assert_eq!(driver.complete(None, &mut attached), Share::Whole);
        let known = matches!(attached, Observation::Attached { disk, .. } if disk == keeps);
        assert!(known, "{kind:?}: {attached:?}");
    }
}
