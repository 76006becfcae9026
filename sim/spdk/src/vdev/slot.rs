//! The state of a target slot: one table for the controller's view, one for a session's.
//!
//! Knows states and causes only; who causes what stands in `controller` and `session`. The tables
//! are those of the fact sheet, §1.2 and §1.9.

use scenarios::SlotState;

use SlotState::{Adding, Empty, Present, Removed, Removing};

/// Why a slot moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Controller: add_target was accepted.
    AttachBegan,
    /// Controller: the SCSI device could not be made (`spdk_scsi_dev_construct` failed).
    ConstructFailed,
    /// Controller: every session was told, or there was nobody to tell.
    AttachDone,
    /// Controller: remove_target or a hot-remove was accepted.
    RemoveBegan,
    /// Controller: the sessions have let go.
    RemoveDone,
    /// Session: it was told of a new target.
    Told,
    /// Session: no io channel for the new target.
    NoChannel,
    /// Session: it picked the target up as it started.
    PickedUp,
    /// Session: it copied ADDING from its controller as it started (B03a).
    Copied,
    /// Session: it was told of the removal.
    RemoveTold,
    /// Session: the LUN was idle at the management poller's tick.
    Drained,
    Stopped,
}

/// Where `cause` takes a slot, and whether the table allows it from `from`.
///
/// A move that the table forbids is made all the same, as a release build of SPDK makes it.
pub fn transition(from: SlotState, cause: Cause) -> (SlotState, bool) {
    match cause {
        Cause::AttachBegan => (Adding, from == Empty),
        Cause::ConstructFailed => (Empty, from == Adding),
        Cause::AttachDone => (Present, from == Adding),
        Cause::RemoveBegan => (Removing, from == Present),
        Cause::RemoveDone => (Empty, from == Removing),
        Cause::Told => (Present, matches!(from, Empty | Removed)),
        Cause::NoChannel => (Empty, matches!(from, Empty | Removed)),
        Cause::PickedUp => (Present, from == Empty),
        Cause::Copied => (Adding, false),
        Cause::RemoveTold => (Removing, from == Present),
        Cause::Drained => (Removed, from == Removing),
        Cause::Stopped => (Empty, from != Adding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_goes_once_round_the_table() {
        let mut state = Empty;
        for cause in [
            Cause::AttachBegan,
            Cause::AttachDone,
            Cause::RemoveBegan,
            Cause::RemoveDone,
        ] {
            let (to, allowed) = transition(state, cause);
            assert!(allowed, "{state:?} {cause:?}");
            state = to;
        }
        assert_eq!(state, Empty);
    }

    #[test]
    fn a_remove_while_adding_is_not_in_the_table() {
        assert_eq!(transition(Adding, Cause::RemoveBegan), (Removing, false));
    }

    #[test]
    fn a_tombstone_gives_way_to_a_new_target() {
        assert_eq!(transition(Removed, Cause::Told), (Present, true));
    }
}
