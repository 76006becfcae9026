//! The player against a peer of a hundred lines: the rules of waiting, looking and naming.

use std::collections::BTreeMap;
use std::time::Duration;

use scenarios::Time;
use serde_json::Value;
use vm_memory::{Bytes as _, GuestAddress};

use super::conform;
use super::peer::{Peer, PeerError};
use super::report::{Outcome, Report, Verdict};
use wire::component::Memory;
use wire::message::{Crash, FromTarget, ToTarget, VhostUser, VhostUserReply};

/// Answers every message after a millisecond and every RPC after four, and returns every request
/// at once, untouched.
#[derive(Default)]
struct Echo {
    now: Time,
    due: BTreeMap<(Time, u32), FromTarget>,
    count: u32,
    memory: Option<Memory>,
    rings: BTreeMap<u16, (u64, u64, u16)>,
    frozen: Vec<String>,
    goes_on: bool,
    /// Requests that came while it stood still.
    still: Option<u32>,
}

impl Echo {
    fn after(&mut self, ms: u64, message: FromTarget) {
        self.count += 1;
        let at = self.now + Duration::from_millis(ms);
        self.due.insert((at, self.count), message);
    }

    fn rpc(&mut self, client: wire::message::ClientId, request: &Value) {
        let bytes = match request["method"].as_str() {
            Some("never") => return,
            Some("together") => match &mut self.still {
                Some(count) => {
                    *count += 1;
                    let result = *count;
                    format!(r#"{{"id":{},"result":{result}}}"#, request["id"])
                }
                None => format!(r#"{{"id":{},"result":0}}"#, request["id"]),
            },
            Some("die") => {
                let crash = Crash {
                    signal: "SIGSEGV",
                    place: "here",
                };
                return self.after(4, FromTarget::Died(crash));
            }
            Some("socket") => format!(r#"{{"id":{},"result":"/s/x"}}"#, request["id"]),
            _ => format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":true}}"#,
                request["id"]
            ),
        };
        let bytes = bytes.into();
        self.after(4, FromTarget::Rpc { client, bytes });
    }

    fn look(&mut self, vring: u16) {
        let Some((avail, used, done)) = self.rings.get_mut(&vring) else {
            return;
        };
        let memory = self.memory.as_ref().expect("rings come after memory");
        let idx: u16 = memory.read_obj(GuestAddress(*avail + 2)).unwrap();
        while *done != idx {
            let slot = u64::from(*done % 8);
            let head: u16 = memory
                .read_obj(GuestAddress(*avail + 4 + 2 * slot))
                .unwrap();
            let element = u64::from(head) | 108 << 32;
            memory
                .write_obj(element, GuestAddress(*used + 4 + 8 * slot))
                .unwrap();
            *done = done.wrapping_add(1);
        }
        memory.write_obj(*done, GuestAddress(*used + 2)).unwrap();
    }
}

impl Peer for Echo {
    fn now(&self) -> Time {
        self.now
    }

    fn send(&mut self, message: ToTarget) {
        match message {
            ToTarget::Rpc { client, bytes } => {
                self.rpc(client, &serde_json::from_slice(&bytes).unwrap());
            }
            ToTarget::Doorbell { vring, .. } => self.look(vring.0),
            ToTarget::VhostUser { conn, message, .. } => {
                let reply = match message {
                    VhostUser::GetFeatures => VhostUserReply::Features(7),
                    VhostUser::GetProtocolFeatures => VhostUserReply::ProtocolFeatures(8),
                    VhostUser::GetQueueNum => VhostUserReply::QueueNum(9),
                    VhostUser::GetVringBase { vring } => {
                        let base = self.rings.get(&vring.0).map_or(0, |ring| ring.2);
                        VhostUserReply::VringBase { vring, base }
                    }
                    VhostUser::SetMemTable(memory) => {
                        self.memory = Some(memory);
                        VhostUserReply::Ack { ok: true }
                    }
                    VhostUser::SetVringAddr {
                        vring, avail, used, ..
                    } => {
                        self.rings.insert(vring.0, (avail, used, 0));
                        VhostUserReply::Ack { ok: true }
                    }
                    VhostUser::SetVringEnable { on, .. } => VhostUserReply::Ack { ok: on },
                    _ => VhostUserReply::Ack { ok: true },
                };
                self.after(1, FromTarget::Answer { conn, reply });
            }
            _ => {}
        }
    }

    fn run(&mut self, until: Time, said: &mut Vec<FromTarget>) -> Result<(), PeerError> {
        let next = self.due.first_key_value().map(|((at, _), _)| *at);
        self.now = next.filter(|at| *at <= until).unwrap_or(until);
        while let Some(entry) = self.due.first_entry().filter(|e| e.key().0 <= self.now) {
            said.push(entry.remove());
        }
        Ok(())
    }

    fn restart(&mut self, _: Option<&str>) -> Result<(), PeerError> {
        self.due.clear();
        self.rings.clear();
        Ok(())
    }

    fn freeze(&mut self, thread: &str, frozen: bool) -> Result<(), PeerError> {
        if thread != "reactor_1" {
            return Err(PeerError::Thread(thread.to_owned()));
        }
        self.frozen.retain(|known| known != thread);
        if frozen {
            self.frozen.push(thread.to_owned());
        }
        Ok(())
    }

    fn hold(&mut self, still: bool) -> Result<(), PeerError> {
        self.still = still.then_some(0);
        Ok(())
    }

    fn goes_on(&self) -> bool {
        self.goes_on
    }

    fn socket_dir(&self) -> &str {
        "/s"
    }

    fn slots(&self) -> Vec<String> {
        vec!["slot".to_owned()]
    }
}

const FRONT_END: &str = r#"{"name":"f0","ctrlr":"c","request_queues":1,"ring_size":8,"features":["VERSION_1"],"event_buffers":2"#;

fn outcome(front_end: &str, lines: &[&str]) -> Outcome {
    outcome_of(Echo::default(), front_end, lines)
}

fn outcome_of(mut peer: Echo, front_end: &str, lines: &[&str]) -> Outcome {
    let front_ends = if front_end.is_empty() {
        String::new()
    } else {
        format!("{FRONT_END}{front_end}}}")
    };
    let header = format!(
        r#"{{"case":"T-X01-a","about":"b","peer":"p","setup":{{"frontends":[{front_ends}]}},"runs":1,"stable":true}}"#
    );
    let text = format!("{header}\n{}\n", lines.join("\n"));
    conform("x.jsonl", &text, &mut peer).outcome
}

#[track_caller]
fn holds(front_end: &str, lines: &[&str]) {
    let outcome = outcome(front_end, lines);
    assert!(matches!(outcome, Outcome::Held), "{outcome:#?}");
}

#[track_caller]
fn differs(front_end: &str, lines: &[&str]) -> String {
    match outcome(front_end, lines) {
        Outcome::Mismatch(shown) => shown.why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_is_awaited_and_its_absence_noted_after_the_patience() {
    holds(
        "",
        &[
            r#"{"do":{"rpc":{"id":1,"method":"x"}}}"#,
            r#"{"see":{"rpc":{"id":1,"result":true}}}"#,
            r#"{"do":{"rpc":{"id":2,"method":"never","patience_ms":60}}}"#,
            r#"{"see":{"no_answer":{"rpc":2,"within_ms":60}}}"#,
            r#"{"do":{"rpc":{"id":3,"method":"x","patience_ms":1}}}"#,
            r#"{"see":{"no_answer":{"rpc":3,"within_ms":1}}}"#,
            r#"{"see":{"rpc":{"id":3,"result":true}}}"#,
        ],
    );
}

#[test]
fn what_a_peer_that_goes_on_says_late_and_crosswise_is_what_was_recorded() {
    let going = |lines: &[&str]| {
        let peer = Echo {
            goes_on: true,
            ..Echo::default()
        };
        outcome_of(peer, " ", lines)
    };
    // It answers each of the front-end's messages after 1 ms, and the request after 4 ms.
    let stop = r#"{"do":{"stop":{"frontend":"f0","queues":[0,1,2,2,2],"nowait":true}}}"#;
    let ask = r#"{"do":{"rpc":{"id":1,"method":"x","patience_ms":1}}}"#;
    let base = |queue| {
        format!(r#"{{"see":{{"vring_base":{{"frontend":"f0","queue":{queue},"base":0}}}}}}"#)
    };
    let [base0, base1, base2] = [0, 1, 2].map(base);
    let answer = r#"{"see":{"rpc":{"id":1,"result":true}}}"#;
    let bases = [&base0, &base1, &base2, &base2, &base2].map(String::as_str);
    let recorded = [&[stop, ask][..], &bases, &[answer]].concat();
    assert!(
        matches!(going(&recorded), Outcome::Held),
        "{:#?}",
        going(&recorded)
    );
    let why = differs(" ", &recorded);
    assert!(
        why.starts_with("no_answer") || why.contains("got nothing"),
        "{why}"
    );
    let mut wrong = recorded.clone();
    wrong.swap(2, 3);
    assert!(
        matches!(going(&wrong), Outcome::Mismatch(_)),
        "one conversation's order"
    );
    // What does not come is missing, and what was not answered has the patience that it had then.
    let never = r#"{"do":{"rpc":{"id":2,"method":"never","patience_ms":60}}}"#;
    let none = r#"{"see":{"no_answer":{"rpc":2,"within_ms":60}}}"#;
    assert!(matches!(going(&[never, none]), Outcome::Held));
    let never_answers = r#"{"see":{"rpc":{"id":2,"result":true}}}"#;
    assert!(matches!(
        going(&[never, never_answers]),
        Outcome::Mismatch(_)
    ));
}

#[test]
fn stimuli_that_follow_each_other_at_once_come_to_a_peer_that_goes_on_at_once() {
    let lines = |results: [u32; 4]| {
        let asks = [true, true, false, false];
        let mut lines = Vec::new();
        for (id, nowait) in (1..).zip(asks) {
            let nowait = if nowait { r#","nowait":true"# } else { "" };
            lines.push(format!(
                r#"{{"do":{{"rpc":{{"id":{id},"method":"together"{nowait}}}}}}}"#
            ));
            if !nowait.is_empty() {
                continue;
            }
            let answered = if id == 3 { 1..=3 } else { 4..=4 };
            lines.extend(answered.map(|id: usize| {
                format!(
                    r#"{{"see":{{"rpc":{{"id":{id},"result":{}}}}}}}"#,
                    results[id - 1]
                )
            }));
        }
        lines
    };
    let play = |goes_on, results| {
        let peer = Echo {
            goes_on,
            ..Echo::default()
        };
        let lines = lines(results);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        outcome_of(peer, "", &lines)
    };
    let held = play(true, [1, 2, 3, 0]);
    assert!(matches!(held, Outcome::Held), "{held:#?}");
    let held = play(false, [0, 0, 0, 0]);
    assert!(matches!(held, Outcome::Held), "{held:#?}");
}

#[test]
fn without_waiting_answers_fall_into_the_next_step() {
    holds(
        "",
        &[
            r#"{"do":{"rpc":{"id":1,"method":"x","nowait":true}}}"#,
            r#"{"do":{"settle":{"ms":5}}}"#,
            r#"{"see":{"rpc":{"id":1,"result":true}}}"#,
        ],
    );
}

#[test]
fn a_missing_a_surplus_and_a_wrong_observation_are_found() {
    let ask = r#"{"do":{"rpc":{"id":1,"method":"x"}}}"#;
    assert!(differs("", &[ask]).starts_with("not expected"));
    let wrong = r#"{"see":{"rpc":{"id":1,"result":false}}}"#;
    assert_eq!(
        differs("", &[ask, wrong]),
        "rpc.result: expected false, got true"
    );
    let right = r#"{"see":{"rpc":{"id":1,"result":true}}}"#;
    assert!(differs("", &[ask, right, right]).starts_with("missing"));
}

#[test]
fn the_socket_directory_stands_for_itself() {
    holds(
        "",
        &[
            r#"{"do":{"rpc":{"id":1,"method":"socket"}}}"#,
            r#"{"see":{"rpc":{"id":1,"result":"<S>/x"}}}"#,
        ],
    );
}

#[test]
fn a_crash_is_an_observation_and_ends_the_case() {
    holds(
        "",
        &[
            r#"{"do":{"rpc":{"id":1,"method":"die"}}}"#,
            r#"{"see":{"peer_crashed":{"signal":"SIGSEGV"}}}"#,
        ],
    );
}

#[test]
fn a_front_end_connects_starts_and_stops_message_by_message() {
    holds(
        r#","connected":false"#,
        &[
            r#"{"do":{"connect":{"frontend":"f0","patience_ms":2}}}"#,
            r#"{"see":{"no_answer":{"frontend":"f0","message":true,"within_ms":2}}}"#,
            r#"{"see":{"connected":{"frontend":"f0","features":"0x7","protocol_features":"0x8","queue_num":9}}}"#,
            r#"{"do":{"start":{"frontend":"f0","nowait":true}}}"#,
            r#"{"do":{"stop":{"frontend":"f0","queues":[0,2]}}}"#,
            r#"{"see":{"vring_base":{"frontend":"f0","queue":0,"base":0}}}"#,
            r#"{"see":{"vring_base":{"frontend":"f0","queue":2,"base":0}}}"#,
            r#"{"do":{"vring_enable":{"frontend":"f0","queue":2,"on":false}}}"#,
            r#"{"see":{"vhost_user_error":{"frontend":"f0","error":"SET_VRING_ENABLE: BackendInternalError"}}}"#,
        ],
    );
}

#[test]
fn requests_are_named_by_their_tags_first_in_first_out() {
    holds(
        " ",
        &[
            r#"{"do":{"scsi":{"frontend":"f0","queue":2,"tag":7,"lun":"01","cdb":"00"}}}"#,
            r#"{"see":{"used":{"frontend":"f0","queue":2,"tag":7,"used_len":108,"response":"OK","status":0,"sense_len":0,"resid":0}}}"#,
            r#"{"do":{"burst":{"frontend":"f0","queue":2,"tag":8,"count":2,"lun":"01","cdb":"00"}}}"#,
            r#"{"see":{"used":{"frontend":"f0","queue":2,"tag":8,"used_len":108,"response":"OK","status":0,"sense_len":0,"resid":0}}}"#,
            r#"{"see":{"used":{"frontend":"f0","queue":2,"tag":9,"used_len":108,"response":"OK","status":0,"sense_len":0,"resid":0}}}"#,
            r#"{"do":{"chain":{"frontend":"f0","queue":2,"tag":10,"descs":[],"head":3}}}"#,
            r#"{"see":{"used":{"frontend":"f0","queue":2,"tag":10,"used_len":108}}}"#,
            r#"{"do":{"tmf":{"frontend":"f0","type":0,"lun":"01","tag":11}}}"#,
            r#"{"see":{"used":{"frontend":"f0","queue":0,"tag":11,"used_len":108,"resp_untouched":true}}}"#,
            r#"{"do":{"series":{"frontend":"f0","queue":2,"tag":12,"count":20,"lun":"01","cdb":"00"}}}"#,
            r#"{"see":{"series":{"avail_idx":24,"answers":[{"n":20,"see":{"used":{"frontend":"f0","queue":2,"used_len":108,"response":"OK","status":0,"sense_len":0,"resid":0}}}]}}}"#,
            r#"{"do":{"stop":{"frontend":"f0","queues":[2]}}}"#,
            r#"{"see":{"vring_base":{"frontend":"f0","queue":2,"base":24}}}"#,
        ],
    );
}

#[test]
fn event_buffers_come_back_as_they_were_or_by_an_unknown_head() {
    holds(
        " ",
        &[
            r#"{"do":{"post_events":{"frontend":"f0","count":1}}}"#,
            r#"{"see":{"event":{"frontend":"f0","untouched":true,"used_len":108}}}"#,
            r#"{"see":{"event":{"frontend":"f0","untouched":true,"used_len":108}}}"#,
            r#"{"see":{"event":{"frontend":"f0","untouched":true,"used_len":108}}}"#,
            r#"{"do":{"chain":{"frontend":"f0","queue":1,"tag":1,"descs":[{"len":16,"write":true}],"nowait":true}}}"#,
            r#"{"do":{"settle":{"ms":1}}}"#,
            r#"{"see":{"event":{"frontend":"f0","unknown_head":0,"used_len":108}}}"#,
        ],
    );
}

#[test]
fn what_cannot_be_played_is_neither_held_nor_a_mismatch() {
    let cannot = [
        r#"{"do":{"freeze":{"thread":"nobody"}}}"#,
        r#"{"do":{"connect":{"frontend":"f7"}}}"#,
        r#"{"do":{"stop":{"frontend":"f0","queues":[40]}}}"#,
    ];
    for line in cannot {
        let outcome = outcome(" ", &[line]);
        assert!(matches!(outcome, Outcome::Broke(_)), "{outcome:?}");
    }
}

#[test]
fn a_report_shows_stimulus_expectation_and_answer() {
    let lines = [
        r#"{"do":{"rpc":{"id":1,"method":"x"}}}"#,
        r#"{"see":{"rpc":{"id":1,"result":false}}}"#,
    ];
    let header = r#"{"case":"T-X01-a","about":"b","peer":"p","setup":{},"runs":1,"stable":true}"#;
    let text = format!("{header}\n{}\n", lines.join("\n"));
    let report = Report {
        files: vec![conform("x.jsonl", &text, &mut Echo::default())],
        list: &[],
    };
    assert_eq!(report.files[0].verdict(&[]), Verdict::Failed);
    assert!(!report.all_held());
    let text = report.text();
    for part in [
        "x.jsonl:2: rpc.result",
        "stimulus",
        "expected >",
        "slots     slot",
        "X          0   1",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json: Value = serde_json::from_str(report.json().trim()).unwrap();
    assert_eq!(json["verdict"], "mismatch");
    assert_eq!(json["line"], 2);
}
