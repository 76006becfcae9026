//! The table: which bug which check catches, and in which episode.

use scenarios::check::CheckId;
use scenarios::run::CheckResult;
use wire::{Bug, Bugs};

use super::lab::Lab;
use super::{episodes, ring_episodes, rpc_episodes};

/// A bug, the check that catches it, and the episode in which it does.
pub struct Row {
    /// The check.
    pub check: CheckId,
    /// The bug.
    pub bug: Bug,
    /// What it needs to show: in force with it and without it.
    pub base: Bugs,
    /// What happens.
    pub episode: fn(&mut Lab),
}

const fn row(check: CheckId, bug: Bug, episode: fn(&mut Lab)) -> Row {
    let base = Bugs::INTENDED;
    on(base, check, bug, episode)
}

const fn on(base: Bugs, check: CheckId, bug: Bug, episode: fn(&mut Lab)) -> Row {
    Row {
        check,
        bug,
        base,
        episode,
    }
}

const ZOMBIE: Bugs = Bugs::INTENDED.with(Bug::StopTimeoutZombie);
const LINGERER: Bugs = Bugs::INTENDED.with(Bug::UnregisterDropped);

/// The table.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // Slots and their sessions.
    row(CheckId::I18, Bug::StaleFinish, episodes::attach_between_two_completions),
    row(CheckId::I18, Bug::RemoveWhileAdding, episodes::remove_at_once),
    row(CheckId::I18, Bug::InheritAdding, episodes::attach_as_a_session_starts),
    row(CheckId::I18, Bug::DoubleSessionAdd, episodes::attach_as_a_session_starts),
    row(CheckId::I8, Bug::StartTakesRemoving, episodes::boot_while_removing),
    row(CheckId::I9, Bug::KeepTombstoneOnStop, episodes::use_what_was_detached),
    row(CheckId::I10, Bug::KeepTombstoneOnStop, episodes::reboot_after_detach),
    row(CheckId::V1, Bug::StopForgetsRemoving, episodes::kill_while_removing),
    row(CheckId::I18, Bug::HotplugIntoStopped, episodes::attach_to_a_paused_guest),
    row(CheckId::V3, Bug::ForeachWrongCtx, episodes::attach_to_a_running_guest),
    row(CheckId::G8, Bug::EventBeforeState, episodes::attach_to_a_running_guest),
    row(CheckId::I5, Bug::AnsweredTwice, episodes::attach_to_a_running_guest),
    row(CheckId::V1, Bug::RemovingAcceptsIo, episodes::load_on_a_disk_being_removed),
    row(CheckId::I11, Bug::NullLunUnchecked, episodes::load_on_a_disk_being_removed),
    row(CheckId::V1, Bug::MgmtNeedsCtrlq, episodes::detach_under_firmware),
    row(CheckId::I13, Bug::ForeachUnderLock, episodes::kill_while_removing),
    row(CheckId::I6, Bug::EarlyFinish, episodes::detach_from_two_sessions),
    row(CheckId::I4, Bug::ChannelNotRefcounted, episodes::detach_from_two_sessions),
    row(CheckId::I7, Bug::EventsMissedUnsaid, episodes::burst_of_changes),
    // Bdevs that go.
    row(CheckId::I4, Bug::CloseOnVdevThread, episodes::delete_a_bdev_in_use),
    row(CheckId::I5, Bug::UnlinkLunFirst, episodes::delete_a_bdev_in_use),
    row(CheckId::I14, Bug::HotremoveLostInAdding, episodes::delete_bdev_at_once),
    row(CheckId::I5, Bug::HotremoveNeedsChannel, episodes::delete_a_bdev_of_nobody),
    row(CheckId::V3, Bug::SkipHotremoveCb, episodes::delete_a_bdev_of_nobody),
    row(CheckId::I5, Bug::SplitIgnoresBaseRemoval, rpc_episodes::delete_a_base_in_use),
    // Data.
    row(CheckId::G5, Bug::StatusGoodEarly, episodes::failing_writes),
    row(CheckId::I2, Bug::StatusGoodEarly, episodes::failing_overwrites),
    row(CheckId::G6, Bug::SharedCursor, episodes::read_two_disks_at_once),
    // Stops.
    row(CheckId::G4, Bug::LeakedSession, episodes::kill_with_held_writes),
    row(CheckId::I14, Bug::StopTimeoutZombie, episodes::reboot_with_held_writes),
    row(CheckId::G3, Bug::StopTimeoutZombie, episodes::reboot_with_held_writes),
    on(ZOMBIE, CheckId::G1, Bug::StaleCompletion, episodes::reboot_with_held_writes),
    row(CheckId::V4, Bug::StopNeverTimesOut, episodes::reboot_with_held_writes),
    // Rings.
    row(CheckId::V2, Bug::FullRingIsEmpty, episodes::fill_the_ring),
    row(CheckId::I17, Bug::UsedLenZeroOnRead, ring_episodes::read_a_disk),
    row(CheckId::I17, Bug::ResidUnderflow, ring_episodes::short_inquiry),
    row(CheckId::G2, Bug::RejectUntouched, ring_episodes::unmapped_payload),
    row(CheckId::I14, Bug::LeakTaskOnReject, ring_episodes::unmapped_payload),
    row(CheckId::I15, Bug::ZeroLenNotCounted, ring_episodes::endless_empty_chain),
    row(CheckId::I15, Bug::LogLoop, ring_episodes::endless_chain_while_logging),
    row(CheckId::G4, Bug::MemtableNoStop, ring_episodes::memory_again),
    row(CheckId::I11, Bug::DuplicateKick, ring_episodes::new_kick_descriptors),
    row(CheckId::I12, Bug::StaleCallfd, ring_episodes::new_call_descriptors),
    row(CheckId::I12, Bug::SuppressedIrqForgotten, ring_episodes::calls_unwanted_for_a_while),
    row(CheckId::I12, Bug::NoIrqOnRestart, ring_episodes::calls_wanted_after_a_pause),
    row(CheckId::I12, Bug::MgmtCallLost, ring_episodes::event_calls_unwanted),
    row(CheckId::I11, Bug::EventqUnchecked, ring_episodes::attach_under_a_firmware_without_event_queue),
    row(CheckId::G7, Bug::HotplugUnnegotiated, ring_episodes::attach_without_hotplug),
    // Task management.
    row(CheckId::I1, Bug::ResetCompletesInflight, ring_episodes::resets_under_load),
    row(CheckId::G1, Bug::ResetCompletesInflight, ring_episodes::resets_under_load),
    row(CheckId::I11, Bug::ResetPartial, ring_episodes::resets_under_load),
    row(CheckId::I11, Bug::ResetStarves, ring_episodes::resets_under_load),
    row(CheckId::I11, Bug::TmfNullLun, ring_episodes::reset_while_removing),
    row(CheckId::I11, Bug::TmfStaleDev, ring_episodes::manage_nobody),
    // RPCs.
    row(CheckId::I14, Bug::DeleteSpins, episodes::delete_a_controller_in_use),
    row(CheckId::I3, Bug::FreeBeforeRefsZero, rpc_episodes::delete_the_last_controller),
    row(CheckId::I13, Bug::DeleteStalls, rpc_episodes::delete_the_last_controller),
    row(CheckId::I16, Bug::UnregisterDropped, rpc_episodes::connect_while_deleting),
    on(LINGERER, CheckId::I8, Bug::LingererSilent, rpc_episodes::attach_to_what_lingers),
    row(CheckId::I11, Bug::NoTypeCheck, rpc_episodes::attach_to_a_blk_controller),
    row(CheckId::I11, Bug::StartOnBlk, rpc_episodes::start_a_blk_controller),
    row(CheckId::I11, Bug::SaveConfigNullLun, rpc_episodes::save_config_while_removing),
    row(CheckId::I11, Bug::SplitDivByZero, rpc_episodes::split_into_too_many),
    row(CheckId::I14, Bug::FailedSplitStays, rpc_episodes::split_into_too_much),
    row(CheckId::I14, Bug::NameTruncated, rpc_episodes::a_long_name),
];

/// What the checks in `only` say of an episode.
pub fn results(bugs: Bugs, seed: u64, only: &[CheckId], episode: fn(&mut Lab)) -> Vec<CheckResult> {
    let mut lab = Lab::new(bugs, seed, only);
    episode(&mut lab);
    lab.results()
}
