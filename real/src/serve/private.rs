//! The methods that SPDK does not have: the target's threads are paused and resumed, as a debugger would.
//!
//! Whoever re-imposes an order needs them. Such a request is one write, by itself; the target never sees it.

use serde_json::{Value, json};
use sim::spdk::Thread;

/// In the first bytes of every such request.
const MARK: &[u8] = b"\"plugfest_";

/// Which of the target's threads stand still. JSON-RPC requests are received all the same, and lie unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paused {
    app: bool,
    controllers: bool,
}

impl Paused {
    /// Whether a thread stands still.
    #[must_use]
    pub const fn holds(self, thread: Thread) -> bool {
        match thread {
            Thread::App => self.app,
            Thread::Controller => self.controllers,
            Thread::Messages | Thread::Devices => false,
        }
    }

    /// Carries out a request, if it is one of these: its answer.
    ///
    /// `plugfest_pause` with a `thread` of "app" or "controllers", or of all without one;
    /// `plugfest_resume` without parameters.
    pub fn ask(&mut self, bytes: &[u8]) -> Option<String> {
        if !bytes.windows(MARK.len()).any(|window| window == MARK) {
            return None;
        }
        let request: Value = serde_json::from_slice(bytes).ok()?;
        let thread = &request["params"]["thread"];
        let done = match (request["method"].as_str()?, thread.as_str()) {
            ("plugfest_pause", None) if thread.is_null() => {
                (self.app, self.controllers) = (true, true);
                true
            }
            ("plugfest_pause", Some("app")) => {
                self.app = true;
                true
            }
            ("plugfest_pause", Some("controllers")) => {
                self.controllers = true;
                true
            }
            ("plugfest_resume", None) if request.get("params").is_none() => {
                *self = Self::default();
                true
            }
            ("plugfest_pause" | "plugfest_resume", _) => false,
            _ => return None,
        };
        let mut answer = json!({"jsonrpc": "2.0", "id": request["id"]});
        if done {
            answer["result"] = true.into();
        } else {
            answer["error"] = json!({"code": -32602, "message": "Invalid parameters"});
        }
        Some(answer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_methods_are_answered_and_only_with_their_parameters() {
        let mut paused = Paused::default();
        for other in [
            r#"{"method":"vhost_get_controllers","id":1}"#,
            r#"{"method":"bdev_get_bdevs","params":{"name":"plugfest_pause"},"id":1}"#,
            r#"{"method":"plugfest_"#,
        ] {
            assert_eq!(paused.ask(other.as_bytes()), None, "{other}");
        }
        let said = paused.ask(br#"{"method":"plugfest_pause","params":{"thread":"dpdk"},"id":7}"#);
        assert!(said.is_some_and(|said| said.contains("Invalid parameters")));
        assert_eq!(paused, Paused::default());
        let said = paused.ask(br#"{"method":"plugfest_pause","params":{"thread":"app"},"id":8}"#);
        assert_eq!(
            said.as_deref(),
            Some(r#"{"jsonrpc":"2.0","id":8,"result":true}"#)
        );
        assert!(paused.holds(Thread::App) && !paused.holds(Thread::Controller));
        paused.ask(br#"{"method":"plugfest_pause","id":9}"#);
        assert!(paused.holds(Thread::Controller) && !paused.holds(Thread::Messages));
        paused.ask(br#"{"method":"plugfest_resume","id":10}"#);
        assert_eq!(paused, Paused::default());
    }
}
