//! The registry of bugs: named ways in which the model target is wrong.
//!
//! Live bugs of SPDK head (S…, N…), historical ones (B…) and a few of other back-ends (X…), each
//! switchable alone at run time. `intended` is none of them; `head` is what SPDK 3230130e6a does,
//! release build. Switched off, a bug costs one predictable branch. Sources: SPDK's history and
//! recordings of a real one.
//!
//! Not here, because no recording shows them: S4 (needs a bdev_io pool that runs dry), S11 (reads
//! what nobody can see), S16 (a race inside what is one turn here), S17 (coalescing delays no call
//! here).

/// A set of bugs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs(u128);

macro_rules! bugs {
    ($($(#[$doc:meta])* $variant:ident $id:literal $name:literal $head:literal;)*) => {
        /// One way to be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug { $($(#[$doc])* $variant,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its number in the catalogue: "B05", "S2".
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// Its name: "keep_tombstone_on_stop".
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The one with this name or number.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                let mut all = Self::ALL.iter().copied();
                all.find(|bug| bug.name() == word || bug.id() == word)
            }

            /// Whether SPDK 3230130e6a does this.
            #[must_use]
            pub const fn in_head(self) -> bool {
                match self { $(Self::$variant => $head,)* }
            }
        }
    };
}

bugs! {
    /// The completion of process_removed does not check that the slot is REMOVING (bf77d4b774).
    StaleFinish "B01" "stale_finish" false;
    /// A remove is accepted while the slot is ADDING (1188bdd70d).
    RemoveWhileAdding "B02" "remove_while_adding" false;
    /// A session that starts copies ADDING from its controller (e1c0c4c785).
    InheritAdding "B03a" "inherit_adding" false;
    /// A session is given a target that it has already (e1c0c4c785).
    DoubleSessionAdd "B03b" "double_session_add" false;
    /// A session that starts picks up a target that is being removed (2fcc09ec34).
    StartTakesRemoving "B04" "start_takes_removing" false;
    /// A stop leaves REMOVED tombstones behind (0389c9f9e0).
    KeepTombstoneOnStop "B05" "keep_tombstone_on_stop" false;
    /// A stop clears REMOVING slots without finishing the removal (3fd405c54a).
    StopForgetsRemoving "B06" "stop_forgets_removing" false;
    /// A target is given to sessions that do not run (e051a5366e, 4a51888953).
    HotplugIntoStopped "B08" "hotplug_into_stopped" false;
    /// A visit is about the slot behind the one that was meant (0a992c64c7).
    ForeachWrongCtx "B10" "foreach_wrong_ctx" false;
    /// A LUN is closed on the controller's thread, not on the one that opened it (3fb1a9565e).
    CloseOnVdevThread "B11" "close_on_vdev_thread" false;
    /// A target marked for removal takes new I/O (c31fb325a7).
    RemovingAcceptsIo "B12" "removing_accepts_io" false;
    /// A deleted controller is freed while its targets are being removed (d81721df65).
    FreeBeforeRefsZero "B15" "free_before_refs_zero" false;
    /// A stop waits for stuck I/O for ever, and all other machines' messages with it (ba32ee2b29).
    StopNeverTimesOut "B20" "stop_never_times_out" false;
    /// An event is sent without a look at whether there is an event queue (47cf47e482).
    EventqUnchecked "B22" "eventq_unchecked" false;
    /// Management work runs only with a control and an event queue (002cfe9d3f).
    MgmtNeedsCtrlq "B23" "mgmt_needs_ctrlq" false;
    /// An attach does not look at the type of its controller (b2c86b35db).
    NoTypeCheck "B24" "no_type_check" false;
    /// A refused request keeps its task (88f6b9a66e).
    LeakTaskOnReject "B25" "leak_task_on_reject" false;
    /// A stop with a removal under way takes its controller's lock twice (b5107b32ec).
    ForeachUnderLock "B26" "foreach_under_lock" false;
    /// A new memory table comes into force under running pollers (8ef5cfc6a2).
    MemtableNoStop "B33" "memtable_no_stop" false;
    /// A poller goes on with the call descriptor that was replaced (626ceb20fe).
    StaleCallfd "B34" "stale_callfd" false;
    /// A LUN reset is answered before all I/O of the LUN has ended (ce8de311a4).
    ResetPartial "B38" "reset_partial" false;
    /// No call for what was used before a restart (551b0e9128, dbe47004e5).
    NoIrqOnRestart "B42a" "no_irq_on_restart" false;
    /// A call that the driver did not want is forgotten (dbe47004e5).
    SuppressedIrqForgotten "B42b" "suppressed_irq_forgotten" false;
    /// A completely full available ring is seen as empty (808a2b05c2).
    FullRingIsEmpty "B45" "full_ring_is_empty" false;
    /// Descriptors of length 0 do not count towards the limit of a chain (d555e54681).
    ZeroLenNotCounted "B46" "zero_len_not_counted" false;
    /// A read is used with length 0 (9605a2eace).
    UsedLenZeroOnRead "B49" "used_len_zero_on_read" false;
    /// A command for a LUN that is not there dereferences NULL (bc70a4d63f).
    NullLunUnchecked "B50" "null_lun_unchecked" false;
    /// A hot-remove with no io channel never runs (fc03485b9d).
    HotremoveNeedsChannel "B54" "hotremove_needs_channel" false;
    /// A LUN leaves its device before its io channels are freed (497997bc60).
    UnlinkLunFirst "B58" "unlink_lun_first" false;
    /// The controller is not told of a hot-remove with no io channel (19182431c8).
    SkipHotremoveCb "B59" "skip_hotremove_cb" false;
    /// The first session that lets go frees the io channel of all (d3828a23ec).
    ChannelNotRefcounted "B60" "channel_not_refcounted" false;
    /// GOOD is set at submission (bcfd6d0fb4).
    StatusGoodEarly "B62" "status_good_early" false;
    /// A reset completes tasks that the bdev will complete again (f8dcdfa99e).
    ResetCompletesInflight "B64" "reset_completes_inflight" false;
    /// The parts of a split do not follow their base (8c3fadc282).
    SplitIgnoresBaseRemoval "B75" "split_ignores_base_removal" false;
    /// The first session that drained completes the removal.
    EarlyFinish "S1" "early_finish" true;
    /// LUN RESET with no LUN dereferences NULL.
    TmfNullLun "S2" "tmf_null_lun" true;
    /// A badly addressed TMF uses the device that its head served before.
    TmfStaleDev "S3" "tmf_stale_dev" true;
    /// A bdev hot-remove while the slot is ADDING is lost.
    HotremoveLostInAdding "S5" "hotremove_lost_in_adding" true;
    /// New I/O is admitted while a reset waits.
    ResetStarves "S6" "reset_starves" true;
    /// A malformed request is used with length 0, its response untouched.
    RejectUntouched "S7" "reject_untouched" true;
    /// SET_VRING_KICK on a live queue zeroes it.
    DuplicateKick "S8" "duplicate_kick" true;
    /// A configuration dump with a LUN in hot-remove crashes.
    SaveConfigNullLun "S9" "save_config_null_lun" true;
    /// A split count above the number of blocks divides by zero.
    SplitDivByZero "S10" "split_div_by_zero" true;
    /// A self-loop with LOG_ALL spins for ever.
    LogLoop "S12" "log_loop" true;
    /// A stop that times out leaves a zombie.
    StopTimeoutZombie "S13" "stop_timeout_zombie" true;
    /// A deferred unregister that finds the controller busy is dropped.
    UnregisterDropped "S14" "unregister_dropped" true;
    /// The start RPC on a blk controller crashes.
    StartOnBlk "S15" "start_on_blk" true;
    /// Data-in longer than the buffer: nothing is copied and resid underflows.
    ResidUnderflow "S18" "resid_underflow" true;
    /// Deleting a controller with a connected session never answers.
    DeleteSpins "S19" "delete_spins" true;
    /// A front-end that goes with I/O stuck leaks its session, whose memory is unmapped.
    LeakedSession "N1" "leaked_session" true;
    /// After a stop time-out an old completion lands in the new ring.
    StaleCompletion "N2" "stale_completion" true;
    /// Deleting the last controller stalls the app thread.
    DeleteStalls "N3" "delete_stalls" true;
    /// Control and event calls are lost when NO_INTERRUPT was set at the tick.
    MgmtCallLost "N4" "mgmt_call_lost" true;
    /// A controller that is deleted and lingers (S14) tells its sessions of no new target.
    LingererSilent "N5" "lingerer_silent" true;
    /// An over-long controller name is cut.
    NameTruncated "N6" "name_truncated" true;
    /// A failed split leaves its configuration behind.
    FailedSplitStays "N7" "failed_split_stays" true;
    /// Events are dropped without EVENTS_MISSED when no buffer is posted.
    EventsMissedUnsaid "EV" "events_missed_unsaid" true;
    /// An event is sent to a driver that did not negotiate HOTPLUG (no bug of SPDK's: trips G7).
    HotplugUnnegotiated "X1" "hotplug_unnegotiated" false;
    /// A RESCAN is sent before its target is in the slot (the order that 75b0fe5a2 of
    /// cloud-hypervisor corrects).
    EventBeforeState "X2" "event_before_state" false;
    /// A read goes to the disk of the read before it (6f19d0071 of cloud-hypervisor).
    SharedCursor "X3" "shared_cursor" false;
    /// An RPC is answered twice (no bug of SPDK's: trips I5).
    AnsweredTwice "X4" "answered_twice" false;
}

impl Bugs {
    /// None: what the target should do.
    pub const INTENDED: Self = Self(0);

    /// What SPDK 3230130e6a does, in a release build.
    #[must_use]
    pub fn head() -> Self {
        Bug::ALL
            .iter()
            .filter(|d| d.in_head())
            .fold(Self::INTENDED, |all, d| all.with(*d))
    }

    /// This set and `bug`.
    #[must_use]
    pub const fn with(self, bug: Bug) -> Self {
        Self(self.0 | 1 << bug as u32)
    }

    /// This set without `bug`.
    #[must_use]
    pub const fn without(self, bug: Bug) -> Self {
        Self(self.0 & !(1 << bug as u32))
    }

    /// Those that are in force.
    pub fn iter(self) -> impl Iterator<Item = Bug> {
        let all = Bug::ALL.iter().copied();
        all.filter(move |bug| self.has(*bug))
    }

    /// Whether one of `bugs` is in force.
    #[must_use]
    pub const fn has_any(self, bugs: Self) -> bool {
        self.0 & bugs.0 != 0
    }

    /// Whether `bug` is in force.
    #[must_use]
    pub const fn has(self, bug: Bug) -> bool {
        self.0 >> bug as u32 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_unique() {
        for (n, a) in Bug::ALL.iter().enumerate() {
            for b in &Bug::ALL[n + 1..] {
                assert_ne!(a.id(), b.id());
                assert_ne!(a.name(), b.name());
            }
        }
    }

    #[test]
    fn head_has_the_live_bugs_and_no_historical_one() {
        let head = Bugs::head();
        assert!(head.has(Bug::TmfNullLun));
        assert!(!head.has(Bug::StaleFinish));
        assert!(!head.without(Bug::TmfNullLun).has(Bug::TmfNullLun));
        assert_eq!(Bugs::INTENDED, Bugs::default());
    }
}
