//! The table: which bug which check catches, and in which directed test.

use scenarios::check::CheckId;
use scenarios::run::CheckResult;
use wire::{Bug, Bugs};

use super::harness::Harness;
use super::{hotplug, rings, rpcs};

/// A bug, the check that catches it, and the directed test in which it does.
pub struct Row {
    /// The check.
    pub check: CheckId,
    /// The bug.
    pub bug: Bug,
    /// What it needs to show: in force with it and without it.
    pub base: Bugs,
    /// What happens.
    pub test: fn(&mut Harness),
}

const fn row(check: CheckId, bug: Bug, test: fn(&mut Harness)) -> Row {
    let base = Bugs::INTENDED;
    on(base, check, bug, test)
}

const fn on(base: Bugs, check: CheckId, bug: Bug, test: fn(&mut Harness)) -> Row {
    Row {
        check,
        bug,
        base,
        test,
    }
}

const ZOMBIE: Bugs = Bugs::INTENDED.with(Bug::StopTimeoutZombie);
const LINGERER: Bugs = Bugs::INTENDED.with(Bug::UnregisterDropped);

/// The table.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // Slots and their sessions.
    row(CheckId::I18, Bug::StaleFinish, hotplug::attach_between_two_completions),
    row(CheckId::I18, Bug::RemoveWhileAdding, hotplug::remove_at_once),
    row(CheckId::I18, Bug::InheritAdding, hotplug::attach_as_a_session_starts),
    row(CheckId::I18, Bug::DoubleSessionAdd, hotplug::attach_as_a_session_starts),
    row(CheckId::I8, Bug::StartTakesRemoving, hotplug::boot_while_removing),
    row(CheckId::I9, Bug::KeepTombstoneOnStop, hotplug::use_what_was_detached),
    row(CheckId::I10, Bug::KeepTombstoneOnStop, hotplug::reboot_after_detach),
    row(CheckId::V1, Bug::StopForgetsRemoving, hotplug::kill_while_removing),
    row(CheckId::I18, Bug::HotplugIntoStopped, hotplug::attach_to_a_paused_guest),
    row(CheckId::V3, Bug::ForeachWrongCtx, hotplug::attach_to_a_running_guest),
    row(CheckId::G8, Bug::EventBeforeState, hotplug::attach_to_a_running_guest),
    row(CheckId::I5, Bug::AnsweredTwice, hotplug::attach_to_a_running_guest),
    row(CheckId::V1, Bug::RemovingAcceptsIo, hotplug::load_on_a_disk_being_removed),
    row(CheckId::I11, Bug::NullLunUnchecked, hotplug::load_on_a_disk_being_removed),
    row(CheckId::V1, Bug::MgmtNeedsCtrlq, hotplug::detach_under_firmware),
    row(CheckId::I13, Bug::ForeachUnderLock, hotplug::kill_while_removing),
    row(CheckId::I6, Bug::EarlyFinish, hotplug::detach_from_two_sessions),
    row(CheckId::I4, Bug::ChannelNotRefcounted, hotplug::detach_from_two_sessions),
    row(CheckId::I7, Bug::EventsMissedUnsaid, hotplug::burst_of_changes),
    // Bdevs that go.
    row(CheckId::I4, Bug::CloseOnVdevThread, hotplug::delete_a_bdev_in_use),
    row(CheckId::I5, Bug::UnlinkLunFirst, hotplug::delete_a_bdev_in_use),
    row(CheckId::I14, Bug::HotremoveLostInAdding, hotplug::delete_bdev_at_once),
    row(CheckId::I5, Bug::HotremoveNeedsChannel, hotplug::delete_a_bdev_of_nobody),
    row(CheckId::V3, Bug::SkipHotremoveCb, hotplug::delete_a_bdev_of_nobody),
    row(CheckId::I5, Bug::SplitIgnoresBaseRemoval, rpcs::delete_a_base_in_use),
    // Data.
    row(CheckId::G5, Bug::StatusGoodEarly, hotplug::failing_writes),
    row(CheckId::I2, Bug::StatusGoodEarly, hotplug::failing_overwrites),
    row(CheckId::G6, Bug::SharedCursor, hotplug::read_two_disks_at_once),
    // Stops.
    row(CheckId::G4, Bug::LeakedSession, hotplug::kill_with_held_writes),
    row(CheckId::I14, Bug::StopTimeoutZombie, hotplug::reboot_with_held_writes),
    row(CheckId::G3, Bug::StopTimeoutZombie, hotplug::reboot_with_held_writes),
    on(ZOMBIE, CheckId::G1, Bug::StaleCompletion, hotplug::reboot_with_held_writes),
    row(CheckId::V4, Bug::StopNeverTimesOut, hotplug::reboot_with_held_writes),
    // Rings.
    row(CheckId::V2, Bug::FullRingIsEmpty, hotplug::fill_the_ring),
    row(CheckId::I17, Bug::UsedLenZeroOnRead, rings::read_a_disk),
    row(CheckId::I17, Bug::ResidUnderflow, rings::short_inquiry),
    row(CheckId::G2, Bug::RejectUntouched, rings::unmapped_payload),
    row(CheckId::I14, Bug::LeakTaskOnReject, rings::unmapped_payload),
    row(CheckId::I15, Bug::ZeroLenNotCounted, rings::endless_empty_chain),
    row(CheckId::I15, Bug::LogLoop, rings::endless_chain_while_logging),
    row(CheckId::G4, Bug::MemtableNoStop, rings::memory_again),
    row(CheckId::I11, Bug::DuplicateKick, rings::new_kick_descriptors),
    row(CheckId::I12, Bug::StaleCallfd, rings::new_call_descriptors),
    row(CheckId::I12, Bug::SuppressedIrqForgotten, rings::calls_unwanted_for_a_while),
    row(CheckId::I12, Bug::NoIrqOnRestart, rings::calls_wanted_after_a_pause),
    row(CheckId::I12, Bug::MgmtCallLost, rings::event_calls_unwanted),
    row(CheckId::I11, Bug::EventqUnchecked, rings::attach_under_a_firmware_without_event_queue),
    row(CheckId::G7, Bug::HotplugUnnegotiated, rings::attach_without_hotplug),
    // Task management.
    row(CheckId::I1, Bug::ResetCompletesInflight, rings::resets_under_load),
    row(CheckId::G1, Bug::ResetCompletesInflight, rings::resets_under_load),
    row(CheckId::I11, Bug::ResetPartial, rings::resets_under_load),
    row(CheckId::I11, Bug::ResetStarves, rings::resets_under_load),
    row(CheckId::I11, Bug::TmfNullLun, rings::reset_while_removing),
    row(CheckId::I11, Bug::TmfStaleDev, rings::manage_nobody),
    // RPCs.
    row(CheckId::I14, Bug::DeleteSpins, hotplug::delete_a_controller_in_use),
    row(CheckId::I3, Bug::FreeBeforeRefsZero, rpcs::delete_the_last_controller),
    row(CheckId::I13, Bug::DeleteStalls, rpcs::delete_the_last_controller),
    row(CheckId::I16, Bug::UnregisterDropped, rpcs::connect_while_deleting),
    on(LINGERER, CheckId::I8, Bug::LingererSilent, rpcs::attach_to_what_lingers),
    row(CheckId::I11, Bug::NoTypeCheck, rpcs::attach_to_a_blk_controller),
    row(CheckId::I11, Bug::StartOnBlk, rpcs::start_a_blk_controller),
    row(CheckId::I11, Bug::SaveConfigNullLun, rpcs::save_config_while_removing),
    row(CheckId::I11, Bug::SplitDivByZero, rpcs::split_into_too_many),
    row(CheckId::I14, Bug::FailedSplitStays, rpcs::split_into_too_much),
    row(CheckId::I14, Bug::NameTruncated, rpcs::a_long_name),
];

/// What the checks in `only` say of a directed test.
pub fn results(
    bugs: Bugs,
    seed: u64,
    only: &[CheckId],
    test: fn(&mut Harness),
) -> Vec<CheckResult> {
    let mut harness = Harness::new(bugs, seed, only);
    test(&mut harness);
    harness.results()
}
