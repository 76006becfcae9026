//! Carries out a story on a testbed, and hands everything that is seen to the judge.
//!
//! Waits have limits, and what has not come by then is left for the checks to say. At the end faults
//! are taken back, so that whatever stays undone is the target's doing.

use std::collections::BTreeSet;

use super::untouched::Untouched;
use super::{Story, StoryVm};
use crate::names::{DiskId, FioId, Ticket, VmId};
use crate::observation::{Observation, Seen};
use crate::run::{CheckResult, Judge, limits};
use crate::testbed::{Action, Ending, Performed, Testbed, TestbedError};
use crate::time::Time;

/// A story that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryOutcome {
    /// What the checks said.
    pub checks: Vec<CheckResult>,
    /// Beats that this testbed cannot do.
    pub skipped: usize,
    /// Blocks that fio found right.
    pub verified: u64,
    /// Hashes and counts.
    pub ending: Ending,
}

/// Carries out `story`.
///
/// # Errors
///
/// The testbed did not come up, or was lost.
pub fn run(
    story: &Story,
    testbed: &mut dyn Testbed,
    judge: &mut dyn Judge,
) -> Result<StoryOutcome, TestbedError> {
    judge.begin_case();
    let mut teller = Teller {
        clock: testbed.now(),
        testbed,
        judge,
        batch: Vec::new(),
        holding: BTreeSet::new(),
        delayed: BTreeSet::new(),
        paused: BTreeSet::new(),
        verified: 0,
        skipped: 0,
        untouched: Untouched::default(),
    };
    teller.set_the_scene(story)?;
    for beat in &story.beats {
        let at = teller.clock + beat.gap();
        teller.until(at, |_| false)?;
        teller.untouched.act(story, &beat.does);
        teller.act(&beat.does, beat.awaited)?;
    }
    teller.end()?;
    let mut checks = teller.judge.end_case();
    checks.extend(teller.untouched.result());
    Ok(StoryOutcome {
        checks,
        skipped: teller.skipped,
        verified: teller.verified,
        ending: teller.testbed.ending(),
    })
}

struct Teller<'a> {
    testbed: &'a mut dyn Testbed,
    judge: &'a mut dyn Judge,
    /// No earlier than the testbed's time: moves on when nothing can happen any more.
    clock: Time,
    batch: Vec<Seen>,
    /// Disks that hold or fail requests.
    holding: BTreeSet<DiskId>,
    delayed: BTreeSet<DiskId>,
    paused: BTreeSet<VmId>,
    verified: u64,
    skipped: usize,
    untouched: Untouched,
}

/// Whether `seen` is what an action with `ticket` comes to.
#[must_use]
pub fn is_answer(seen: &Observation, action: &Action, ticket: Ticket) -> bool {
    match (action, seen) {
        (Action::StartFio { fio, .. }, Observation::FioEnded { fio: ended, .. }) => fio == ended,
        (Action::RebootVm { vm }, Observation::VmReady { vm: ready, .. }) => vm == ready,
        (
            Action::Reconnect { vm, controller },
            Observation::Connected {
                vm: of,
                controller: to,
                ..
            },
        ) => (vm, controller) == (of, to),
        (Action::Reconnect { .. }, Observation::Answered { ticket: of, result }) => {
            *of == ticket && result.is_err()
        }
        (_, Observation::Answered { ticket: of, .. }) => *of == ticket,
        _ => false,
    }
}

impl Teller<'_> {
    fn set_the_scene(&mut self, story: &Story) -> Result<(), TestbedError> {
        let start = Action::StartTarget {
            controllers: story.controllers.clone(),
            disks: story.disks.iter().map(|(disk, _)| *disk).collect(),
            kinds: story.disks.clone(),
        };
        let Performed::Asked(ticket) = self.testbed.perform(&start)? else {
            return Err(TestbedError("this testbed cannot start a target".into()));
        };
        let mut failed = Some("the target did not start".to_owned());
        self.until(self.clock + limits::ANSWER, |seen| match seen {
            Observation::Answered { ticket: of, result } if *of == ticket => {
                failed = result.clone().err();
                true
            }
            _ => false,
        })?;
        if let Some(why) = failed {
            return Err(TestbedError(why));
        }
        for vm in &story.vms {
            self.switch_on(vm)?;
        }
        Ok(())
    }

    fn switch_on(&mut self, story: &StoryVm) -> Result<(), TestbedError> {
        let (vm, controllers) = (story.vm, story.controllers.clone());
        let boot = if story.firmware_only {
            Action::BootFirmware { vm, controllers }
        } else {
            Action::BootVm { vm, controllers }
        };
        if let Performed::NotHere(why) = self.testbed.perform(&boot)? {
            return Err(TestbedError(why));
        }
        if story.awaited && !story.firmware_only {
            let ready = |seen: &Observation| matches!(seen, Observation::VmReady { vm: of, .. } if *of == vm);
            self.until(self.clock + limits::BOOT, ready)?;
        }
        Ok(())
    }

    fn act(&mut self, action: &Action, awaited: bool) -> Result<(), TestbedError> {
        match action {
            Action::Hold { disk, .. } | Action::Fail { disk, .. } => {
                self.holding.insert(*disk);
            }
            Action::Release { disk } => {
                self.holding.remove(disk);
            }
            Action::Delay { disk, .. } => {
                self.delayed.insert(*disk);
            }
            Action::PauseVm { vm } => {
                self.paused.insert(*vm);
            }
            Action::ContinueVm { vm } | Action::KillVm { vm } => {
                self.paused.remove(vm);
            }
            _ => {}
        }
        match self.testbed.perform(action)? {
            Performed::NotHere(_) => self.skipped += 1,
            Performed::Asked(ticket) if awaited => {
                let limit = self.clock + limits::ANSWER;
                self.until(limit, |seen| is_answer(seen, action, ticket))?;
            }
            Performed::Asked(_) => {}
        }
        Ok(())
    }

    /// Takes faults back, and lets everything come to rest.
    fn end(&mut self) -> Result<(), TestbedError> {
        for disk in std::mem::take(&mut self.holding) {
            self.act(&Action::Release { disk }, true)?;
        }
        for disk in std::mem::take(&mut self.delayed) {
            self.act(&Action::Delay { disk, micros: 0 }, true)?;
        }
        for vm in std::mem::take(&mut self.paused) {
            self.act(&Action::ContinueVm { vm }, true)?;
        }
        self.testbed.perform(&Action::Settle)?;
        let quiet = |seen: &Observation| matches!(seen, Observation::Quiet { .. });
        if !self.until(Time::NEVER, quiet)? {
            return Err(TestbedError("the testbed does not come to rest".into()));
        }
        Ok(())
    }

    /// Lets time pass until `limit`, or until something is seen that `is` looks for; whether it was.
    fn until(
        &mut self,
        limit: Time,
        mut is: impl FnMut(&Observation) -> bool,
    ) -> Result<bool, TestbedError> {
        while self.clock < limit {
            self.batch.clear();
            let observed = self.testbed.observe(limit, &mut self.batch);
            let mut found = false;
            for seen in &self.batch {
                self.judge.see(seen);
                self.untouched.see(seen);
                found |= is(&seen.what);
                if let Observation::FioEnded { jobs, .. } = &seen.what {
                    self.verified += jobs.iter().map(|job| job.verified).sum::<u64>();
                }
            }
            observed?;
            // Nothing seen: it is the limit, or nothing can happen before it.
            let now = if self.batch.is_empty() {
                limit
            } else {
                self.testbed.now()
            };
            self.clock = self.clock.max(now);
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Numbers fios as a story's generator starts them.
#[derive(Debug, Default)]
pub(super) struct Fios(u16);

impl Fios {
    pub(super) fn next(&mut self) -> FioId {
        self.0 += 1;
        FioId(self.0 - 1)
    }
}
