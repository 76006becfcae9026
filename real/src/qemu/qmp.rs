//! QMP: commands to a QEMU, its answers and events (QEMU's docs/interop/qmp-spec.rst).
//!
//! Written here because it is three kinds of JSON lines, while the crate `qapi` (0.15) brings types for all of
//! QEMU's commands, and fifteen crates that nothing else here needs.
//! Knows no command but the one that begins a session.

use std::io;

use scenarios::Ticket;
use serde_json::{Value, json};

use super::pipe::Pipe;

/// The id of the command that begins a session; its answer is nobody's.
const NEGOTIATION: u64 = 0;

/// What a QEMU says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The greeting, or the answer to `qmp_capabilities`.
    Hello,
    /// The answer to a command: nothing, or the text of the error.
    Answer(u64, Result<(), String>),
    /// An event, by name.
    Event(String),
}

/// Who waits for the answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// An action.
    Action(Ticket),
    /// Whoever wants a sign of life.
    Ping,
}

/// The way to a QEMU.
#[derive(Debug)]
pub struct Qmp {
    pipe: Pipe,
    next: u64,
}

impl Qmp {
    /// Begins a session.
    ///
    /// # Errors
    ///
    /// QEMU has gone.
    pub fn new(pipe: Pipe) -> io::Result<Self> {
        let mut qmp = Self {
            pipe,
            next: NEGOTIATION,
        };
        qmp.send("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Sends a command: its number.
    ///
    /// # Errors
    ///
    /// QEMU has gone.
    pub fn send(&mut self, command: &str, arguments: Value) -> io::Result<u64> {
        let id = self.next;
        self.next += 1;
        let line = json!({"execute": command, "arguments": arguments, "id": id});
        self.pipe.write(&format!("{line}\n"))?;
        Ok(id)
    }
}

/// Reads a line.
///
/// # Errors
///
/// It is not QMP.
pub fn read(line: &str) -> Result<Said, String> {
    let garbled = || format!("not QMP: {line:?}");
    let value: Value = serde_json::from_str(line).map_err(|_| garbled())?;
    if let Some(event) = value["event"].as_str() {
        return Ok(Said::Event(event.to_owned()));
    }
    if value.get("QMP").is_some() {
        return Ok(Said::Hello);
    }
    let id = value["id"].as_u64().ok_or_else(garbled)?;
    if let Some(error) = value.get("error") {
        let text = error["desc"].as_str().unwrap_or("no text").to_owned();
        return Ok(Said::Answer(id, Err(text)));
    }
    value.get("return").ok_or_else(garbled)?;
    Ok(if id == NEGOTIATION {
        Said::Hello
    } else {
        Said::Answer(id, Ok(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_events_and_greetings_are_told_apart() {
        let said = |line| read(line).expect("QMP");
        assert_eq!(
            said(r#"{"QMP": {"version": {}, "capabilities": []}}"#),
            Said::Hello
        );
        assert_eq!(said(r#"{"return": {}, "id": 0}"#), Said::Hello);
        assert_eq!(said(r#"{"return": {}, "id": 3}"#), Said::Answer(3, Ok(())));
        let error = r#"{"id": 4, "error": {"class": "GenericError", "desc": "no"}}"#;
        assert_eq!(said(error), Said::Answer(4, Err("no".into())));
        let event = r#"{"timestamp": {}, "event": "RESET", "data": {"guest": true}}"#;
        assert_eq!(said(event), Said::Event("RESET".into()));
        for line in ["", "{}", "[1]", r#"{"id": 1}"#] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
