//! The table: which deviation which check catches, and in which episode.

use scenarios::check::CheckId;
use scenarios::run::CheckResult;
use sim::{Deviation, Deviations};

use crate::lab::Lab;
use crate::{episodes, ring_episodes, rpc_episodes};

/// A deviation, the check that catches it, and the episode in which it does.
pub struct Row {
    /// The check.
    pub check: CheckId,
    /// The deviation.
    pub deviation: Deviation,
    /// What it needs to show: in force with it and without it.
    pub base: Deviations,
    /// What happens.
    pub episode: fn(&mut Lab),
}

const fn row(check: CheckId, deviation: Deviation, episode: fn(&mut Lab)) -> Row {
    let base = Deviations::INTENDED;
    on(base, check, deviation, episode)
}

const fn on(base: Deviations, check: CheckId, deviation: Deviation, episode: fn(&mut Lab)) -> Row {
    Row {
        check,
        deviation,
        base,
        episode,
    }
}

const ZOMBIE: Deviations = Deviations::INTENDED.with(Deviation::StopTimeoutZombie);
const LINGERER: Deviations = Deviations::INTENDED.with(Deviation::UnregisterDropped);

/// The table.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // Slots and their sessions.
    row(CheckId::I18, Deviation::StaleFinish, episodes::attach_between_two_completions),
    row(CheckId::I18, Deviation::RemoveWhileAdding, episodes::remove_at_once),
    row(CheckId::I18, Deviation::InheritAdding, episodes::attach_as_a_session_starts),
    row(CheckId::I18, Deviation::DoubleSessionAdd, episodes::attach_as_a_session_starts),
    row(CheckId::I8, Deviation::StartTakesRemoving, episodes::boot_while_removing),
    row(CheckId::I9, Deviation::KeepTombstoneOnStop, episodes::use_what_was_detached),
    row(CheckId::I10, Deviation::KeepTombstoneOnStop, episodes::reboot_after_detach),
    row(CheckId::V1, Deviation::StopForgetsRemoving, episodes::kill_while_removing),
    row(CheckId::I18, Deviation::HotplugIntoStopped, episodes::attach_to_a_paused_guest),
    row(CheckId::V3, Deviation::ForeachWrongCtx, episodes::attach_to_a_running_guest),
    row(CheckId::G8, Deviation::EventBeforeState, episodes::attach_to_a_running_guest),
    row(CheckId::I5, Deviation::AnsweredTwice, episodes::attach_to_a_running_guest),
    row(CheckId::V1, Deviation::RemovingAcceptsIo, episodes::load_on_a_disk_being_removed),
    row(CheckId::I11, Deviation::NullLunUnchecked, episodes::load_on_a_disk_being_removed),
    row(CheckId::V1, Deviation::MgmtNeedsCtrlq, episodes::detach_under_firmware),
    row(CheckId::I13, Deviation::ForeachUnderLock, episodes::kill_while_removing),
    row(CheckId::I6, Deviation::EarlyFinish, episodes::detach_from_two_sessions),
    row(CheckId::I4, Deviation::ChannelNotRefcounted, episodes::detach_from_two_sessions),
    row(CheckId::I7, Deviation::EventsMissedUnsaid, episodes::burst_of_changes),
    // Bdevs that go.
    row(CheckId::I4, Deviation::CloseOnVdevThread, episodes::delete_a_bdev_in_use),
    row(CheckId::I5, Deviation::UnlinkLunFirst, episodes::delete_a_bdev_in_use),
    row(CheckId::I14, Deviation::HotremoveLostInAdding, episodes::delete_bdev_at_once),
    row(CheckId::I5, Deviation::HotremoveNeedsChannel, episodes::delete_a_bdev_of_nobody),
    row(CheckId::V3, Deviation::SkipHotremoveCb, episodes::delete_a_bdev_of_nobody),
    row(CheckId::I5, Deviation::SplitIgnoresBaseRemoval, rpc_episodes::delete_a_base_in_use),
    // Data.
    row(CheckId::G5, Deviation::StatusGoodEarly, episodes::failing_writes),
    row(CheckId::I2, Deviation::StatusGoodEarly, episodes::failing_overwrites),
    row(CheckId::G6, Deviation::SharedCursor, episodes::read_two_disks_at_once),
    // Stops.
    row(CheckId::G4, Deviation::LeakedSession, episodes::kill_with_held_writes),
    row(CheckId::I14, Deviation::StopTimeoutZombie, episodes::reboot_with_held_writes),
    row(CheckId::G3, Deviation::StopTimeoutZombie, episodes::reboot_with_held_writes),
    on(ZOMBIE, CheckId::G1, Deviation::StaleCompletion, episodes::reboot_with_held_writes),
    row(CheckId::V4, Deviation::StopNeverTimesOut, episodes::reboot_with_held_writes),
    // Rings.
    row(CheckId::V2, Deviation::FullRingIsEmpty, episodes::fill_the_ring),
    row(CheckId::I17, Deviation::UsedLenZeroOnRead, ring_episodes::read_a_disk),
    row(CheckId::I17, Deviation::ResidUnderflow, ring_episodes::short_inquiry),
    row(CheckId::G2, Deviation::RejectUntouched, ring_episodes::unmapped_payload),
    row(CheckId::I14, Deviation::LeakTaskOnReject, ring_episodes::unmapped_payload),
    row(CheckId::I15, Deviation::ZeroLenNotCounted, ring_episodes::endless_empty_chain),
    row(CheckId::I15, Deviation::LogLoop, ring_episodes::endless_chain_while_logging),
    row(CheckId::G4, Deviation::MemtableNoStop, ring_episodes::memory_again),
    row(CheckId::I11, Deviation::DuplicateKick, ring_episodes::new_kick_descriptors),
    row(CheckId::I12, Deviation::StaleCallfd, ring_episodes::new_call_descriptors),
    row(CheckId::I12, Deviation::SuppressedIrqForgotten, ring_episodes::calls_unwanted_for_a_while),
    row(CheckId::I12, Deviation::NoIrqOnRestart, ring_episodes::calls_wanted_after_a_pause),
    row(CheckId::I12, Deviation::MgmtCallLost, ring_episodes::event_calls_unwanted),
    row(CheckId::I11, Deviation::EventqUnchecked, ring_episodes::attach_under_a_firmware_without_event_queue),
    row(CheckId::G7, Deviation::HotplugUnnegotiated, ring_episodes::attach_without_hotplug),
    // Task management.
    row(CheckId::I1, Deviation::ResetCompletesInflight, ring_episodes::resets_under_load),
    row(CheckId::G1, Deviation::ResetCompletesInflight, ring_episodes::resets_under_load),
    row(CheckId::I11, Deviation::ResetPartial, ring_episodes::resets_under_load),
    row(CheckId::I11, Deviation::ResetStarves, ring_episodes::resets_under_load),
    row(CheckId::I11, Deviation::TmfNullLun, ring_episodes::reset_while_removing),
    row(CheckId::I11, Deviation::TmfStaleDev, ring_episodes::manage_nobody),
    // RPCs.
    row(CheckId::I14, Deviation::DeleteSpins, episodes::delete_a_controller_in_use),
    row(CheckId::I3, Deviation::FreeBeforeRefsZero, rpc_episodes::delete_the_last_controller),
    row(CheckId::I13, Deviation::DeleteStalls, rpc_episodes::delete_the_last_controller),
    row(CheckId::I16, Deviation::UnregisterDropped, rpc_episodes::connect_while_deleting),
    on(LINGERER, CheckId::I8, Deviation::LingererSilent, rpc_episodes::attach_to_what_lingers),
    row(CheckId::I11, Deviation::NoTypeCheck, rpc_episodes::attach_to_a_blk_controller),
    row(CheckId::I11, Deviation::StartOnBlk, rpc_episodes::start_a_blk_controller),
    row(CheckId::I11, Deviation::SaveConfigNullLun, rpc_episodes::save_config_while_removing),
    row(CheckId::I11, Deviation::SplitDivByZero, rpc_episodes::split_into_too_many),
    row(CheckId::I14, Deviation::FailedSplitStays, rpc_episodes::split_into_too_much),
    row(CheckId::I14, Deviation::NameTruncated, rpc_episodes::a_long_name),
];

/// What the checks in `only` say of an episode.
pub fn results(
    deviations: Deviations,
    seed: u64,
    only: &[CheckId],
    episode: fn(&mut Lab),
) -> Vec<CheckResult> {
    let mut lab = Lab::new(deviations, seed, only);
    episode(&mut lab);
    lab.results()
}
