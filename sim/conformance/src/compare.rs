//! Compares what was seen with what was recorded.
//!
//! Everything is compared: members, order, values. Strings of the recording are patterns:
//! `<uuid>` stands for any UUID, `<S>` for the directory of the peer's sockets.

use serde_json::Value;

/// Bytes of a UUID's text.
const UUID_LEN: usize = 36;

/// Where a list differs from what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first observation that differs.
    pub at: usize,
    /// How.
    pub why: String,
}

/// Compares what was seen after a step with the lists that were recorded for it. The first that
/// fits wins; if none does, says where the first one differs.
///
/// # Errors
///
/// None fits.
pub fn compare_step(
    recorded: &[Vec<Value>],
    seen: &[Value],
    socket_dir: &str,
) -> Result<(), Difference> {
    let mut first = None;
    for list in recorded {
        match compare_list(list, seen, socket_dir) {
            Ok(()) => return Ok(()),
            Err(difference) => {
                first.get_or_insert(difference);
            }
        }
    }
    let mut difference = first.expect("a step has at least the list in the body of its file");
    if recorded.len() > 1 {
        let more = recorded.len() - 1;
        difference.why += &format!(" (nor does it fit the {more} other recorded lists)");
    }
    Err(difference)
}

/// What was seen, in the order of `recorded` as far as conversations are concerned: the front-ends', and that
/// over JSON-RPC. Within each the order stays, and nothing changes places with what came back in a ring.
///
/// No order holds between conversations: a front-end sends its next message when the last was answered, so
/// what the target says next waits for the front-end, and meanwhile it speaks to others.
#[must_use]
pub fn as_recorded(recorded: &[Value], seen: &[Value]) -> Vec<Value> {
    let mut rest = seen.to_vec();
    let mut ordered = Vec::with_capacity(seen.len());
    for next in recorded {
        let said = rest.iter().map_while(conversation);
        let at = conversation(next).and_then(|of| { said }.position(|one| one == of));
        if !rest.is_empty() {
            ordered.push(rest.remove(at.unwrap_or(0)));
        }
    }
    ordered.append(&mut rest);
    ordered
}

/// Whose conversation an observation belongs to: a front-end's name, or nothing for JSON-RPC.
fn conversation(observation: &Value) -> Option<&str> {
    let (kind, said) = observation.as_object()?.iter().next()?;
    match kind.as_str() {
        "connected" | "vring_base" | "vhost_user_error" => said["frontend"].as_str(),
        "rpc" | "rpc_batch" | "rpc_closed" => Some(""),
        _ => None,
    }
}

fn compare_list(list: &[Value], seen: &[Value], socket_dir: &str) -> Result<(), Difference> {
    for (at, (expected, got)) in list.iter().zip(seen).enumerate() {
        if let Some(why) = differs("", expected, got, socket_dir) {
            return Err(Difference { at, why });
        }
    }
    let at = list.len().min(seen.len());
    if let Some(missing) = list.get(at) {
        let why = format!("missing: {}", short(missing));
        return Err(Difference { at, why });
    }
    if let Some(surplus) = seen.get(at) {
        let why = format!("not expected: {}", short(surplus));
        return Err(Difference { at, why });
    }
    Ok(())
}

/// How `got` differs from `expected`, with the path to the difference.
fn differs(path: &str, expected: &Value, got: &Value, socket_dir: &str) -> Option<String> {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            for (name, value) in expected {
                let path = join(path, name);
                // The last answer of a request that was repeated until it succeeded.
                let found = got.get(name).or_else(|| match name.as_str() {
                    "result" => got.get("last_result"),
                    _ => None,
                });
                match found {
                    None => return Some(format!("{path}: expected {}, got nothing", short(value))),
                    Some(got) => {
                        if let Some(why) = differs(&path, value, got, socket_dir) {
                            return Some(why);
                        }
                    }
                }
            }
            let surplus = got.iter().find(|(name, _)| {
                let stands_for = match name.as_str() {
                    "last_result" => "result",
                    other => other,
                };
                !expected.contains_key(*name) && !expected.contains_key(stands_for)
            });
            surplus.map(|(name, value)| {
                format!(
                    "{}: got {}, expected nothing",
                    join(path, name),
                    short(value)
                )
            })
        }
        (Value::Array(expected), Value::Array(got)) => {
            if expected.len() != got.len() {
                return Some(format!(
                    "{path}: expected {} elements, got {}",
                    expected.len(),
                    got.len()
                ));
            }
            (0..expected.len())
                .find_map(|n| differs(&format!("{path}[{n}]"), &expected[n], &got[n], socket_dir))
        }
        (Value::String(pattern), Value::String(text)) if fits(pattern, text, socket_dir) => None,
        (expected, got) if expected == got => None,
        (expected, got) => Some(format!(
            "{path}: expected {}, got {}",
            short(expected),
            short(got)
        )),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Whether a text fits a recorded pattern.
fn fits(pattern: &str, text: &str, socket_dir: &str) -> bool {
    let Some(mark) = pattern.find('<') else {
        return pattern == text;
    };
    let (before, rest) = pattern.split_at(mark);
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    if let Some(rest) = rest.strip_prefix("<uuid>") {
        return text
            .split_at_checked(UUID_LEN)
            .is_some_and(|(uuid, text)| is_uuid(uuid) && fits(rest, text, socket_dir));
    }
    if let Some(rest) = rest.strip_prefix("<S>") {
        return text
            .strip_prefix(socket_dir)
            .is_some_and(|text| fits(rest, text, socket_dir));
    }
    text.strip_prefix('<')
        .is_some_and(|text| fits(&rest[1..], text, socket_dir))
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_LEN
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A value in one line of bearable length.
#[must_use]
pub fn short(value: &Value) -> String {
    const LONGEST: usize = 400;
    let mut text = value.to_string();
    if text.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why(expected: &Value, got: &Value) -> Option<String> {
        differs("", expected, got, "/s")
    }

    #[test]
    fn patterns_stand_for_uuids_and_the_socket_directory() {
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(why(&json!("<uuid>"), &json!(uuid)), None);
        assert_eq!(why(&json!("<S>/a"), &json!("/s/a")), None);
        assert_eq!(why(&json!("x<y"), &json!("x<y")), None);
        assert_eq!(why(&json!("a <uuid>!"), &json!(format!("a {uuid}!"))), None);
        assert!(why(&json!("<uuid>"), &json!("nonsense")).is_some());
        assert!(why(&json!("<S>/a"), &json!("/t/a")).is_some());
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let expected = json!({"used": {"tag": 1, "luns": [{"id": 0}]}});
        let got = json!({"used": {"tag": 1, "luns": [{"id": 2}]}});
        assert_eq!(
            why(&expected, &got).unwrap(),
            "used.luns[0].id: expected 0, got 2"
        );
        let more = json!({"used": {"tag": 1, "luns": [{"id": 0}], "x": 1}});
        assert_eq!(
            why(&expected, &more).unwrap(),
            "used.x: got 1, expected nothing"
        );
        assert_eq!(
            why(&more, &expected).unwrap(),
            "used.x: expected 1, got nothing"
        );
    }

    #[test]
    fn the_order_between_conversations_is_nobodys_but_no_other_is() {
        let used = |tag: u64| json!({"used": {"frontend": "f0", "tag": tag}});
        let base =
            |name: &str, queue: u16| json!({"vring_base": {"frontend": name, "queue": queue}});
        let rpc = |id: u64| json!({"rpc": {"id": id}});
        let (a0, a1, b) = (base("a", 0), base("a", 1), base("b", 0));
        let recorded = [used(1), a0.clone(), a1.clone(), b.clone(), rpc(1), rpc(2)];
        let fits = |seen: &[Value]| {
            let seen = as_recorded(&recorded, seen);
            compare_step(&[recorded.to_vec()], &seen, "").is_ok()
        };
        assert!(fits(&recorded));
        let late = [used(1), rpc(1), b.clone(), a0.clone(), rpc(2), a1.clone()];
        assert!(fits(&late), "each conversation is in its order");
        let (mut a_turned, mut rpc_turned) = (late.clone(), late.clone());
        a_turned.swap(3, 5);
        rpc_turned.swap(1, 4);
        assert!(!fits(&a_turned), "one front-end's answers changed places");
        assert!(!fits(&rpc_turned), "two RPC answers changed places");
        let mut ring = late.clone();
        ring.swap(0, 1);
        assert!(!fits(&ring), "an answer came before what is in a ring");
        assert!(!fits(&late[..5]), "one is missing");
        let more = [&late[..], &[rpc(2)]].concat();
        assert!(!fits(&more), "one came twice");
    }

    #[test]
    fn order_and_number_matter_and_variants_are_right_too() {
        let (a, b) = (json!({"a": 1}), json!({"b": 1}));
        let body = vec![a.clone(), b.clone()];
        let other = vec![b.clone(), a.clone()];
        assert!(compare_step(std::slice::from_ref(&body), &other, "").is_err());
        assert!(compare_step(&[body.clone(), other.clone()], &other, "").is_ok());
        let missing = compare_step(std::slice::from_ref(&body), &body[..1], "").unwrap_err();
        assert_eq!(missing.at, 1);
        assert!(compare_step(&[body[..1].to_vec()], &body, "").is_err());
    }
}
