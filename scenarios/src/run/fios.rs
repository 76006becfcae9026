//! The fios of a run, as steps judge them: how each ended, which were never started, and for which a removal came
//! too late.
//!
//! Knows no testbed; how a job has to end is the script's.

use std::collections::BTreeMap;

use super::jobs::compare;
use super::{FioRun, StepResult};
use crate::names::FioId;
use crate::observation::FioJobEnd;
use crate::script::{Doubts, Job};
use crate::testbed::Action;

/// What fio reports of blocks that it finds wrong: EILSEQ.
const MISCOMPARED: u16 = 84;
/// EINVAL: fio itself or the guest's kernel refuses what is asked. No SCSI status becomes it
/// (`blk_errors` and `scsi_result_to_blk_status`).
const INVALID: u16 = 22;
/// ENOMEM.
const NO_MEMORY: u16 = 12;
/// EOPNOTSUPP.
const NO_TRIMS: u16 = 95;

/// Exit status and jobs of the fios that have ended.
type Ended = BTreeMap<FioId, (u8, Vec<FioJobEnd>)>;

/// What is known of the fios beside their ends.
pub(super) struct Fios<'a> {
    /// What some may fail with though the disk is right.
    doubts: BTreeMap<FioId, &'a Doubts>,
    /// Those that ended in the case at hand.
    ended: Vec<FioRun>,
    /// Those that were never started, and why.
    not_started: Vec<(FioId, String)>,
    /// Those that may have ended before a disk was removed under them.
    late: Vec<FioId>,
}

impl<'a> Fios<'a> {
    pub(super) fn new(doubts: BTreeMap<FioId, &'a Doubts>) -> Self {
        Self {
            doubts,
            ended: Vec::new(),
            not_started: Vec::new(),
            late: Vec::new(),
        }
    }

    pub(super) fn end(&mut self, fio: FioRun) {
        self.ended.push(fio);
    }

    /// Those that ended in this case; the next one begins with none.
    pub(super) fn take_ended(&mut self) -> Vec<FioRun> {
        std::mem::take(&mut self.ended)
    }

    /// The fios among these actions could not be started.
    pub(super) fn could_not_start(&mut self, does: &[Action], reason: &str) {
        let fios = does.iter().filter_map(Action::fio);
        self.not_started
            .extend(fios.map(|fio| (fio, reason.to_owned())));
    }

    /// Why a fio was never started, if it was not.
    pub(super) fn not_started(&self, fio: FioId) -> Option<String> {
        let mut not_started = self.not_started.iter();
        let (_, reason) = not_started.find(|(id, _)| *id == fio)?;
        Some(format!("fio was not started: {reason}"))
    }

    /// What was to meet these fios may have come after their end.
    pub(super) fn come_late<'f>(&mut self, fios: impl IntoIterator<Item = &'f FioId>) {
        self.late.extend(fios);
    }

    /// How the jobs of a fio, of which fio gave this exit status and these ends, compare with how they had to end;
    /// `all` are the fios that have ended.
    pub(super) fn compared(
        &self,
        fio: FioId,
        jobs: &[Job],
        (exit, ended): (u8, &[FioJobEnd]),
        all: &Ended,
    ) -> StepResult {
        let doubt = |end: &FioJobEnd| self.doubt(fio, end, all);
        let result = compare(jobs, ended, self.late.contains(&fio), &doubt);
        // fio's exit status is the number of failed jobs: 0 beside a failed job would hide it.
        let failed = ended.iter().any(|end| end.error != 0 || end.hung);
        match result {
            StepResult::Held { .. } if failed != (exit != 0) => StepResult::Violated {
                expected: "exit status 0 if and only if every job has error 0".into(),
                seen: format!("exit status {exit}"),
            },
            result @ (StepResult::Held { .. }
            | StepResult::Violated { .. }
            | StepResult::Skipped { .. }
            | StepResult::Inconclusive { .. }) => result,
        }
    }

    /// Why a job of `fio` may have ended so on a disk that does nothing wrong, if it may.
    fn doubt(&self, fio: FioId, end: &FioJobEnd, all: &Ended) -> Option<&str> {
        if end.hung || !end.strict.is_empty() {
            return None;
        }
        let doubts = self.doubts.get(&fio)?;
        let why = match end.error {
            NO_TRIMS => return Some("the disk does not know UNMAP"),
            NO_MEMORY => return Some("the guest has no memory for its buffers"),
            INVALID => &doubts.refused,
            MISCOMPARED if doubts.spoils.is_none() => {
                let others = all.iter().filter(|(id, _)| **id != fio);
                let mut ends = others.flat_map(|(_, (_, ends))| ends);
                if ends.any(|other| other.disk == end.disk && other.written > 0) {
                    return None;
                }
                &doubts.unwritten
            }
            MISCOMPARED => &doubts.spoils,
            _ => return None,
        };
        why.as_deref()
    }
}
