//! The fios of a run, as steps judge them: how each ended, which were never started, and for which a removal came
//! too late.
//!
//! Knows no testbed; how a job has to end is the script's.

use std::collections::BTreeMap;

use super::jobs::compare;
use super::{FioRun, StepResult};
use crate::names::FioId;
use crate::observation::FioJobEnd;
use crate::script::{Job, JobMust};
use crate::testbed::{Action, Evidence};

/// What fio reports of blocks that it finds wrong: EILSEQ.
const MISCOMPARED: u16 = 84;

/// What is known of the fios beside their ends.
pub(super) struct Fios<'a> {
    /// Why some may find blocks wrong though the disk is right.
    doubts: BTreeMap<FioId, &'a str>,
    /// Those that ended in the case at hand.
    ended: Vec<FioRun>,
    /// Those that were never started, and why.
    not_started: Vec<(FioId, String)>,
    /// Those that may have ended before a disk was removed under them.
    late: Vec<FioId>,
}

impl<'a> Fios<'a> {
    pub(super) fn new(doubts: BTreeMap<FioId, &'a str>) -> Self {
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

    /// How the jobs of a fio, of which fio gave this exit status and these ends, compare with how they had to end.
    pub(super) fn compared(
        &self,
        fio: FioId,
        jobs: &[Job],
        (exit, ended): (u8, &[FioJobEnd]),
        evidence: Evidence,
    ) -> StepResult {
        let result = compare(jobs, ended, self.late.contains(&fio));
        // fio's exit status is the number of failed jobs: 0 beside a failed job would hide it.
        let failed = ended.iter().any(|end| end.error != 0 || end.hung);
        match result {
            StepResult::Held { .. } if failed != (exit != 0) => StepResult::Violated {
                expected: "exit status 0 if and only if every job has error 0".into(),
                seen: format!("exit status {exit}"),
            },
            StepResult::Violated { expected, seen } => StepResult::Violated {
                expected,
                seen: match self.doubt(fio, jobs, ended, evidence) {
                    Some(doubt) => format!("{seen}; {doubt}"),
                    None => seen,
                },
            },
            result @ (StepResult::Held { .. }
            | StepResult::Skipped { .. }
            | StepResult::Inconclusive { .. }) => result,
        }
    }

    /// That a fio may have spoilt what it found wrong, and who knows better.
    fn doubt(
        &self,
        fio: FioId,
        jobs: &[Job],
        ended: &[FioJobEnd],
        evidence: Evidence,
    ) -> Option<String> {
        let doubt = self.doubts.get(&fio)?;
        let mut passing = jobs.iter().filter(|job| job.must == JobMust::Pass);
        passing.find(|job| {
            let wrong = |end: &FioJobEnd| end.disk == job.disk && end.error == MISCOMPARED;
            ended.iter().any(wrong)
        })?;
        let mut text = format!("this job can do that by itself ({doubt})");
        if evidence.contains(Evidence::PER_IO) {
            text += ": check I2 says whether data are right";
        }
        Some(text)
    }
}
