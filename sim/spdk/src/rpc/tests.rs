//! Recorded requests against the model, whole and byte by byte, and hostile bytes.

use serde_json::{Value, json};

use super::*;
use wire::message::{ClientId, FromTarget};
use wire::{Rng, Stream};

const RECORDED: &str = include_str!("recorded.txt");
const CLIENT: ClientId = ClientId(3);

/// What was sent to [`CLIENT`], and whether its connection ended.
fn sent(server: &mut RpcServer) -> (String, bool) {
    let mut out = Vec::new();
    server.flush(&mut out);
    let (mut text, mut closed) = (String::new(), false);
    for message in out {
        match message {
            FromTarget::Rpc { client, bytes } if client == CLIENT => {
                text.push_str(std::str::from_utf8(&bytes).expect("text"));
            }
            FromTarget::RpcClosed { client } if client == CLIENT => closed = true,
            other => panic!("{other:?}"),
        }
    }
    (text, closed)
}

/// Everything that `text` asks, when it comes in pieces of `piece` bytes.
fn take(server: &mut RpcServer, text: &str, piece: usize) -> Vec<(CallId, Method)> {
    let mut calls = Vec::new();
    for bytes in text.as_bytes().chunks(piece) {
        server.input(CLIENT, bytes);
        calls.extend(std::iter::from_fn(|| server.next_call()));
    }
    calls
}

/// The answer to `text`, where every call is answered `true` at once.
fn answer(text: &str, piece: usize) -> (String, bool) {
    let mut server = RpcServer::new(true);
    for (call, _) in take(&mut server, text, piece) {
        server.answer(call, Ok(json!(true)));
    }
    assert_eq!(server.open_calls(), 0);
    sent(&mut server)
}

#[test]
fn every_recorded_request_is_taken_or_refused_as_recorded() {
    let (mut taken, mut refused) = (0, 0);
    for line in RECORDED.lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let mut request: Value = serde_json::from_str(fields[1]).expect("JSON");
        request["jsonrpc"] = json!("2.0");
        request["id"] = json!(7);
        let expected = match fields[..] {
            ["taken", _] => {
                taken += 1;
                json!({"jsonrpc": "2.0", "id": 7, "result": true})
            }
            ["refused", _, error] => {
                refused += 1;
                let error: Value = serde_json::from_str(error).expect("JSON");
                json!({"jsonrpc": "2.0", "id": 7, "error": error})
            }
            _ => panic!("{line}"),
        };
        for piece in [1, usize::MAX] {
            let (text, closed) = answer(&request.to_string(), piece);
            assert!(!closed);
            let answered: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(answered, expected, "{line}");
        }
    }
    assert!(taken > 80 && refused > 40, "{taken} and {refused}");
}

/// T-A19 and T-A20, and the rules of the same kind that follow from them.
#[test]
fn envelopes_are_answered_as_recorded() {
    let invalid = |id: &str| {
        let error = r#"{"code":-32600,"message":"Invalid request"}"#;
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n")
    };
    let good = |id: &str| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":true}}\n");
    let get = r#""method":"vhost_get_controllers""#;
    for (request, wanted) in [
        (r#"{"jsonrpc":"2.0","id":50}"#.to_owned(), invalid("null")),
        (
            format!(r#"{{"jsonrpc":"1.0","id":51,{get}}}"#),
            invalid("null"),
        ),
        (format!(r#"{{"id":52,{get}}}"#), good("52")),
        (format!(r#"{{"jsonrpc":"2.0",{get}}}"#), good("null")),
        (
            format!(r#"{{"jsonrpc":"2.0","id":53,{get},"params":null}}"#),
            good("53"),
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","id":54,{get},"params":"x"}}"#),
            invalid("54"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":55,"method":7}"#.to_owned(),
            invalid("null"),
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","id":57,{get},"extra":1}}"#),
            invalid("null"),
        ),
        (format!(r#"{{"id":"a\"b",{get}}}"#), good(r#""a\"b""#)),
        (format!(r#"{{"id":1.50,{get}}}"#), good("1.50")),
        (format!(r#"{{"id":[],{get}}}"#), invalid("null")),
        (r#" "text" "#.to_owned(), invalid("null")),
        ("[]".to_owned(), invalid("null")),
    ] {
        for piece in [1, 2, 7, usize::MAX] {
            assert_eq!(
                answer(&request, piece),
                (wanted.clone(), false),
                "{request}"
            );
        }
    }
    let twice = r#"{"id":56,"method":"vhost_scsi_controller_remove_target","params":{"ctrlr":"a","ctrlr":"a","scsi_target_num":0}}"#;
    let wanted = "{\"jsonrpc\":\"2.0\",\"id\":56,\"error\":{\"code\":-32602,\"message\":\"Invalid argument\"}}\n";
    assert_eq!(answer(twice, 1), (wanted.to_owned(), false));
}

#[test]
fn malformed_text_ends_the_connection_without_an_answer() {
    let good = r#"{"id":1,"method":"spdk_get_version"}"#;
    for text in [
        r#"{"jsonrpc": nonsense}"#,
        "}",
        r#"{"id":01}"#,
        r#"{"id":1,}"#,
        r#"["\ud800"]"#,
        &"[".repeat(65),
    ] {
        for piece in [1, usize::MAX] {
            let text = format!("{good}{text}");
            assert_eq!(answer(&text, piece), (String::new(), true), "{text}");
        }
    }
    let long = format!(r#"{{"id":1,"method":"{}"}}"#, "x".repeat(40_000));
    assert_eq!(answer(&long, 1000), (String::new(), true));
}

#[test]
fn several_requests_in_one_read_are_taken_together() {
    let mut server = RpcServer::new(true);
    let text = r#"{"id":1,"method":"scsi_get_devices"}{"id":2,"method":"no"} {"id":3,"method":"framework_wait_init"}{"id""#;
    let calls = take(&mut server, text, usize::MAX);
    let [first, second] = &calls[..] else {
        panic!("{calls:?}");
    };
    assert!(matches!(first.1, Method::ScsiGetDevices(_)));
    assert!(matches!(second.1, Method::FrameworkWaitInit(_)));
    server.answer(second.0, Ok(json!(true)));
    server.answer(first.0, Err(RpcError::vhost(Errno::Busy)));
    let (text, closed) = sent(&mut server);
    let ids: Vec<u64> = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).expect("JSON")["id"].as_u64())
        .map(|id| id.expect("a number"))
        .collect();
    assert_eq!((ids, closed), (vec![2, 3, 1], false));
    assert!(!server.has_work());
}

/// T-A19: one array, when the last of its requests is answered.
#[test]
fn a_batch_is_answered_at_once_latest_first() {
    let mut server = RpcServer::new(true);
    let text = r#"[{"jsonrpc":"2.0","id":58,"method":"bdev_wait_for_examine"},{"jsonrpc":"2.0","id":59,"method":"bdev_wait_for_examine"}]"#;
    let calls = take(&mut server, text, 5);
    assert_eq!(calls.len(), 2);
    server.answer(calls[0].0, Ok(json!(true)));
    assert_eq!(sent(&mut server), (String::new(), false));
    server.answer(calls[1].0, Ok(json!(true)));
    let wanted = "[{\"jsonrpc\":\"2.0\",\"id\":59,\"result\":true},{\"jsonrpc\":\"2.0\",\"id\":58,\"result\":true}]\n";
    assert_eq!(sent(&mut server), (wanted.to_owned(), false));
}

/// T-C40: what was asked goes on, the answer goes nowhere.
#[test]
fn answers_to_a_client_that_is_gone_are_dropped() {
    let mut server = RpcServer::new(true);
    let calls = take(&mut server, r#"{"id":1,"method":"scsi_get_devices"}"#, 9);
    server.closed(CLIENT);
    server.answer(calls[0].0, Ok(json!([])));
    assert_eq!(sent(&mut server), (String::new(), false));
    assert_eq!(server.open_calls(), 0);
}

#[test]
fn a_batch_of_a_client_that_is_gone_leaves_nothing() {
    let mut server = RpcServer::new(true);
    let batch = r#"[{"method":"scsi_get_devices"},{"method":"scsi_get_devices"}]"#;
    server.input(CLIENT, batch.as_bytes());
    let (call, _) = server.next_call().expect("the first of the batch");
    server.closed(CLIENT);
    assert!(server.next_call().is_none());
    server.answer(call, Ok(json!([])));
    assert_eq!(sent(&mut server), (String::new(), false));
}

#[test]
fn methods_have_their_phase() {
    let mut server = RpcServer::new(false);
    let text =
        r#"{"id":1,"method":"vhost_get_controllers"}{"id":2,"method":"framework_start_init"}"#;
    let calls = take(&mut server, text, usize::MAX);
    assert_eq!(calls.len(), 1);
    server.set_initialized(true);
    server.answer(calls[0].0, Ok(json!(true)));
    let (text, _) = sent(&mut server);
    assert!(text.contains("only be called after framework is initialized"));
    let asked = r#"{"id":1,"method":"rpc_get_methods","params":{"current":true}}"#;
    let (text, _) = answer(asked, 1);
    assert!(text.contains("vhost_delete_controller") && !text.contains("framework_start_init"));
}

#[test]
fn a_controller_is_shown_as_recorded() {
    // T-A31 and T-A32.
    let controller = render::Controller {
        ctrlr: "vhost.0",
        cpumask: 2,
        delay_base_us: 0,
        iops_threshold: 60000,
        socket: "<S>/vhost.0",
        sessions: vec![render::Session {
            vid: 0,
            id: 0,
            name: "vhost.0s0",
            started: true,
            max_queues: 3,
            inflight_task_cnt: 1,
        }],
        backend: render::Backend::Scsi(vec![render::Target {
            scsi_dev_num: 3,
            id: 1,
            target_name: "Target 3",
            bdev_name: Some("Malloc1"),
        }]),
    };
    assert_eq!(
        controller.json().to_string(),
        r#"{"ctrlr":"vhost.0","cpumask":"0x2","delay_base_us":0,"iops_threshold":60000,"socket":"<S>/vhost.0","sessions":[{"vid":0,"id":0,"name":"vhost.0s0","started":true,"max_queues":3,"inflight_task_cnt":1}],"backend_specific":{"scsi":[{"scsi_dev_num":3,"id":1,"target_name":"Target 3","luns":[{"id":0,"bdev_name":"Malloc1"}]}]}}"#
    );
    assert_eq!(
        Value::from(controller.config()).to_string(),
        r#"[{"method":"vhost_create_scsi_controller","params":{"ctrlr":"vhost.0","cpumask":"2","delay":true}},{"method":"vhost_scsi_controller_add_target","params":{"ctrlr":"vhost.0","scsi_target_num":3,"bdev_name":"Malloc1"}},{"method":"vhost_start_scsi_controller","params":{"ctrlr":"vhost.0"}}]"#
    );
}

#[test]
fn a_bdev_is_shown_as_recorded() {
    // T-A16.
    let bdev = render::Bdev {
        name: "Laterp1",
        product_name: "Split Disk",
        block_size: 512,
        num_blocks: 2048,
        uuid: "<uuid>",
        claimed: false,
        io_types: &[
            "unmap",
            "flush",
            "reset",
            "write_zeroes",
            "zcopy",
            "compare",
            "abort",
            "copy",
        ],
        driver_specific: json!({"split": {"base_bdev": "Later", "offset_blocks": 2048}}),
    };
    assert_eq!(
        bdev.json().to_string(),
        r#"{"name":"Laterp1","aliases":["<uuid>"],"product_name":"Split Disk","block_size":512,"num_blocks":2048,"preferred_write_alignment":0,"preferred_write_granularity":0,"optimal_write_size":0,"preferred_unmap_alignment":0,"preferred_unmap_granularity":0,"uuid":"<uuid>","numa_id":-1,"assigned_rate_limits":{"rw_ios_per_sec":0,"rw_mbytes_per_sec":0,"r_mbytes_per_sec":0,"w_mbytes_per_sec":0},"claimed":false,"zoned":false,"supported_io_types":{"read":true,"write":true,"unmap":true,"flush":true,"reset":true,"nvme_admin":false,"nvme_io":false,"nvme_io_md":false,"write_zeroes":true,"zcopy":true,"get_zone_info":false,"zone_management":false,"zone_append":false,"compare":true,"compare_and_write":false,"abort":true,"seek_hole":false,"seek_data":false,"copy":true,"nvme_iov_md":false,"nvme_nssr":false,"write_uncorrectable":false},"driver_specific":{"split":{"base_bdev":"Later","offset_blocks":2048}}}"#
    );
}

/// Every method with all its parameters, which the table must have under the names and in the
/// ranges that building uses.
#[test]
fn every_method_can_be_built() {
    for spec in TABLE {
        for full in [false, true] {
            let mut params = serde_json::Map::new();
            for field in spec.fields.iter().filter(|f| full || f.required) {
                params.insert(field.name.to_owned(), field.kind.example());
            }
            let request = json!({"id": 1, "method": spec.name, "params": params});
            let mut request = request.to_string();
            if spec.fields.is_empty() {
                request = json!({"id": 1, "method": spec.name}).to_string();
            }
            let startup = spec.when == Phase::Startup;
            let mut server = RpcServer::new(!startup);
            assert_eq!(take(&mut server, &request, 64).len(), 1, "{request}");
        }
    }
}

/// Recorded requests with bytes changed, dropped and doubled, cut anywhere: no panic, and the
/// server goes on for others.
#[test]
fn hostile_bytes_panic_nowhere() {
    let mut rng = Rng::new(5, Stream::Directed);
    let lines: Vec<&str> = RECORDED.lines().filter(|l| !l.starts_with('#')).collect();
    let mut server = RpcServer::new(true);
    for round in 0..20_000u16 {
        let line = lines[rng.below(lines.len() as u32) as usize];
        let request = line.split('\t').nth(1).expect("a request");
        let mut bytes = request.as_bytes().to_vec();
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u32) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.bits() as u8,
                1 => bytes[at] = b"{}[]\",:\\u0-.e"[rng.below(13) as usize],
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        let client = ClientId(u32::from(round % 8));
        let cut = rng.below(bytes.len() as u32) as usize;
        for part in [&bytes[..cut], &bytes[cut..]] {
            server.input(client, part);
            while let Some((call, _)) = server.next_call() {
                server.answer(call, Ok(json!(true)));
            }
        }
        if rng.chance(1, 4) {
            server.closed(client);
        }
        server.flush(&mut Vec::new());
    }
    assert_eq!(server.open_calls(), 0);
    let other = br#"{"id":1,"method":"scsi_get_devices"}"#;
    server.input(ClientId(9), other);
    assert!(server.next_call().is_some());
}
