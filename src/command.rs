//! What the `plugfest` command is made of, besides what a `#[test]` needs: repros, replays, generated scenarios
//! one by one, and runs that can be watched and interrupted.
//!
//! It is here for the command, for this project's tests and for its benches: nothing in it is promised to stay.

pub use crate::campaign::{
    CANARY, Campaign, Ended, Event, Found, Origin, Outcome, Shrunk, Tally, View, head_ledger,
};
pub use crate::interrupt::{asked, interrupt, listen};
pub use crate::options::bugs;
pub use crate::property::{FuzzProgress, Tried, finding_lines};
pub use crate::replay_on_target::{OnTarget, Once};
pub use crate::repro::{Replayed, Repro};
pub use crate::run::{Outputs, check, run_with};
pub use crate::scenario::{ScenarioOptions, ScenarioReport, carry_out, carry_out_watched, drawn};
