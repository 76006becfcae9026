//! One step under way: asks what is to be asked, and looks whether its condition is met.

mod disks;
mod kept;

use std::time::Duration;

use super::jobs::compare;
use super::{FioRun, Runner, StepResult, limits, seconds};
use crate::names::{DiskId, FioId, Place, Ticket, VmId};
use crate::observation::FioJobEnd;
use crate::plan::Wait;
use crate::script::{Expect, Job, Step, VmDisks};
use crate::testbed::{Action, Evidence, Performed, TestbedError};
use crate::time::Time;

/// What fio reports of blocks that it finds wrong: EILSEQ.
const MISCOMPARED: u16 = 84;
/// EINVAL: fio itself or the guest's kernel refuses what is asked. No SCSI status becomes it
/// (`blk_errors` and `scsi_result_to_blk_status`).
const INVALID: u16 = 22;
const NO_MEMORY: u16 = 12;
/// EOPNOTSUPP.
const NO_TRIMS: u16 = 95;

/// A step that has begun, or is about to.
pub(super) struct UnderWay {
    pub(super) began: Time,
    limit: Duration,
    deadline: Time,
    wake: Time,
    tickets: Option<Vec<Ticket>>,
    /// Boots, lists or signs of life that there were before asking.
    before: Vec<(VmId, u32)>,
    mark: u32,
    /// When the guests' disks are looked at again, once they were asked for.
    next_look: Option<Time>,
    /// Guests may not hear it, and are asked again then.
    asks_again: bool,
}

/// Whether a step has ended.
pub(super) enum Poll {
    Wait,
    Done(StepResult),
}

type Polled = Result<Poll, TestbedError>;

impl UnderWay {
    /// One that begins `after` now.
    pub(super) fn new(now: Time, after: Duration) -> Self {
        let began = now + after;
        Self {
            began,
            limit: Duration::ZERO,
            deadline: Time::NEVER,
            wake: began,
            tickets: None,
            before: Vec::new(),
            mark: 0,
            next_look: None,
            asks_again: false,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.tickets.is_some() || self.next_look.is_some()
    }

    /// When to look again even if nothing is seen.
    pub(super) fn wake(&self) -> Time {
        self.wake
    }

    /// From now on it may take `limit`.
    fn within(&mut self, now: Time, limit: Duration) {
        self.limit = limit;
        self.deadline = now + limit;
        self.wake = self.deadline;
    }
}

fn held(seen: impl Into<String>) -> Polled {
    Ok(Poll::Done(StepResult::Held { seen: seen.into() }))
}

fn violated(expected: impl Into<String>, seen: impl Into<String>) -> Polled {
    Ok(Poll::Done(StepResult::Violated {
        expected: expected.into(),
        seen: seen.into(),
    }))
}

fn skipped(reason: impl Into<String>) -> Polled {
    Ok(Poll::Done(StepResult::Skipped {
        reason: reason.into(),
    }))
}

/// What is expected of actions that go well.
fn success(does: &[Action]) -> &'static str {
    match does {
        [Action::StartTarget { .. }] => "the target runs",
        [Action::Detach { .. }] => "an answer: true",
        _ => "answers without an error",
    }
}

/// How long somebody who expects nothing waits for an action.
fn limit_of(action: &Action) -> Duration {
    if matches!(action, Action::BootVm { .. }) {
        return limits::BOOT;
    }
    // A testbed has a limit of its own, in which everything comes to rest or never will.
    if matches!(action, Action::Settle) {
        return Duration::MAX;
    }
    limits::ANSWER
}

/// A testbed that did not come to rest within its own limit shows nothing.
fn no_rest(left: &[String]) -> Polled {
    let reason = format!("no rest before the testbed's limit: {}", left.join(", "));
    Ok(Poll::Done(StepResult::Inconclusive { reason }))
}

impl Runner<'_> {
    pub(super) fn poll(&mut self, step: &Step, under_way: &mut UnderWay) -> Polled {
        let does = &step.does;
        match &step.expect {
            Expect::Nothing => self.asked(under_way, does, step.wait),
            Expect::Success { under } => {
                let begins = !under_way.has_begun();
                let polled = self.answered(under_way, does, success(does), None);
                self.note_late(begins, &polled, under);
                polled
            }
            Expect::Refused(message) => self.refused(under_way, does, message),
            Expect::Attached {
                disk,
                place,
                seen_by,
            } => {
                let slot = place.target;
                match self.answered(under_way, does, &format!("an answer: {slot}"), Some(slot.0))? {
                    Poll::Done(StepResult::Held { .. }) if !seen_by.is_empty() => {
                        self.appeared(under_way, seen_by, *disk, *place)
                    }
                    other => Ok(other),
                }
            }
            Expect::GoesOn(vms) => match self.answered(under_way, does, success(does), None)? {
                Poll::Done(StepResult::Held { .. }) => {
                    under_way.asks_again = true;
                    self.look(under_way, vms, "a list of disks", |_, _| true)
                }
                other => Ok(other),
            },
            Expect::Booted(disks) => self.booted(under_way, does, disks),
            Expect::Fio { fio, label, jobs } => self.fio_ended(under_way, *fio, label, jobs),
            Expect::Clock(fio) => self.clock(under_way, does, *fio),
            Expect::Jobs { fio, jobs } => self.jobs(*fio, jobs),
            Expect::Alive => self.alive(under_way, does),
            Expect::Disks(disks) => self.disks(under_way, disks),
            Expect::Kept { fio, job } => self.kept(under_way, does, *fio, job),
            Expect::Rest => self.settle(under_way, does),
        }
    }

    /// Asks, and waits for what comes of it if somebody waits; whatever it is.
    fn asked(&mut self, under_way: &mut UnderWay, does: &[Action], wait: Wait) -> Polled {
        let limit = does.iter().map(limit_of).max().unwrap_or_default();
        if !under_way.has_begun()
            && let Some(bare) = &mut self.bare
        {
            let fios = does.iter().filter_map(Action::fio);
            for fio in fios {
                bare.started.push(fio);
                bare.untouched.start(fio);
            }
        }
        let begins = !under_way.has_begun();
        if let Some(reason) = self.ask(under_way, does, limit)? {
            let fios = does.iter().filter_map(Action::fio);
            self.not_run.extend(fios.map(|fio| (fio, reason.clone())));
            return skipped(reason);
        }
        let tickets = under_way.tickets.as_deref().unwrap_or_default();
        match wait {
            Wait::Nothing => return held(""),
            Wait::Answer if begins => {
                // A firmware says nothing.
                let answers =
                    |(_, action): &(Ticket, Action)| !matches!(action, Action::BootFirmware { .. });
                let asked = tickets.iter().copied().zip(does.iter().cloned());
                self.known.awaited.extend(asked.filter(answers));
            }
            Wait::Answer => {}
        }
        let open = |(ticket, _): &(Ticket, Action)| tickets.contains(ticket);
        let is_open = self.known.awaited.iter().any(open);
        if is_open && self.now() < under_way.deadline {
            return Ok(Poll::Wait);
        }
        self.known.awaited.retain(|one| !open(one));
        if let ([Action::Settle], (_, false, left)) = (does, &self.known.quiet) {
            return no_rest(left);
        }
        held(if is_open { "no answer" } else { "" })
    }

    /// That every one of `does` is refused with `message`.
    fn refused(&mut self, under_way: &mut UnderWay, does: &[Action], message: &str) -> Polled {
        let expected = format!("an error: {message}");
        if let Some(reason) = self.ask(under_way, does, limits::ANSWER)? {
            return skipped(reason);
        }
        for ticket in under_way.tickets.iter().flatten() {
            match self.known.answers.get(ticket) {
                None => return self.wait(under_way, &expected, || "no answer".into()),
                Some(Ok(got)) => return violated(expected, format!("an answer: {got}")),
                Some(Err(text)) if text != message => {
                    return violated(expected, format!("an error: {text}"));
                }
                Some(Err(_)) => {}
            }
        }
        held("")
    }

    /// Notes which of the fios that a removal was to meet had ended: before it began, or, where the target
    /// cannot be looked into and nobody knows what was first, before it was answered.
    fn note_late(&mut self, begins: bool, polled: &Polled, under: &[FioId]) {
        let ends = matches!(polled, Ok(Poll::Done(_)));
        let is_known = self.testbed.evidence().contains(Evidence::TARGET_INSIDE);
        if begins || (ends && !is_known) {
            let ended = under.iter().filter(|fio| self.known.fios.contains_key(fio));
            self.late.extend(ended);
        }
    }

    /// Asks for `actions` if that was not done yet; a reason if the testbed cannot do one.
    fn ask(
        &mut self,
        under_way: &mut UnderWay,
        actions: &[Action],
        limit: Duration,
    ) -> Result<Option<String>, TestbedError> {
        if under_way.tickets.is_some() {
            return Ok(None);
        }
        let mut tickets = Vec::new();
        for action in actions {
            match self.testbed.perform(action)? {
                Performed::Asked(ticket) => tickets.push(ticket),
                Performed::NotHere(reason) => return Ok(Some(reason)),
            }
        }
        self.came_up = true;
        under_way.tickets = Some(tickets);
        under_way.within(self.now(), limit);
        Ok(None)
    }

    /// Waits on, or, at the limit, says what was expected and what is to be seen instead.
    fn wait(&self, under_way: &UnderWay, expected: &str, seen: impl FnOnce() -> String) -> Polled {
        if self.now() < under_way.deadline {
            return Ok(Poll::Wait);
        }
        let limit = seconds(under_way.limit);
        violated(format!("{expected} within {limit}"), seen())
    }

    /// That every one of `does` is answered, with `value` if there is one.
    fn answered(
        &mut self,
        under_way: &mut UnderWay,
        does: &[Action],
        expected: &str,
        value: Option<u8>,
    ) -> Polled {
        if let Some(reason) = self.ask(under_way, does, limits::ANSWER)? {
            return skipped(reason);
        }
        let tickets = under_way.tickets.iter().flatten();
        let answers: Vec<_> = tickets.map(|of| self.known.answers.get(of)).collect();
        if let Some(Err(text)) = answers.iter().flatten().find(|answer| answer.is_err()) {
            return violated(expected, format!("an error: {text}"));
        }
        if answers.iter().any(Option::is_none) {
            return self.wait(under_way, expected, || "no answer".into());
        }
        let other = |got: &&u8| value.is_some_and(|value| value != **got);
        let mut values = answers.iter().flatten().filter_map(|got| got.as_ref().ok());
        match values.find(other) {
            Some(got) => violated(expected, format!("an answer: {got}")),
            None => held(""),
        }
    }

    fn booted(&mut self, under_way: &mut UnderWay, does: &[Action], disks: &[VmDisks]) -> Polled {
        if !under_way.has_begun() {
            let boots = |vm: VmId| self.known.boots.get(&vm).copied().unwrap_or(0);
            under_way.before = disks.iter().map(|vm| (vm.vm, boots(vm.vm))).collect();
        }
        if let Some(reason) = self.ask(under_way, does, limits::BOOT)? {
            return skipped(reason);
        }
        if under_way.next_look.is_none() {
            for (vm, before) in under_way.before.clone() {
                let boot = self.known.boots.get(&vm).copied().unwrap_or(0);
                let expected = format!("{vm} ready with boot {}", before + 1);
                if boot <= before {
                    return self.wait(under_way, &expected, || format!("still boot {boot}"));
                }
                if boot > before + 1 {
                    let again = matches!(does, [Action::RebootVm { .. }, ..]);
                    let by = if again { "reboot" } else { "boot" };
                    return violated(expected, format!("boot {boot}, after one {by}"));
                }
            }
        }
        self.disks(under_way, disks)
    }

    fn appeared(
        &mut self,
        under_way: &mut UnderWay,
        vms: &[VmId],
        disk: DiskId,
        place: Place,
    ) -> Polled {
        let shown: Vec<String> = vms.iter().map(ToString::to_string).collect();
        let expected = format!("{disk} at {place} in {}", shown.join(" and "));
        self.look(under_way, vms, &expected, |_, has| {
            has.get(&place) == Some(&Some(disk))
        })
    }

    /// Why `fio` was never started, if it was not.
    fn not_run(&self, fio: FioId) -> Option<String> {
        let (_, reason) = self.not_run.iter().find(|(id, _)| *id == fio)?;
        Some(format!("fio was not started: {reason}"))
    }

    fn fio_ended(
        &mut self,
        under_way: &mut UnderWay,
        fio: FioId,
        label: &str,
        jobs: &[Job],
    ) -> Polled {
        if let Some(reason) = self.not_run(fio) {
            return skipped(reason);
        }
        self.ask(under_way, &[], limits::FIO)?;
        let Some((exit, ended)) = self.known.fios.get(&fio) else {
            return self.wait(under_way, "fio ends", || "fio still runs".into());
        };
        self.fios.push(FioRun {
            fio,
            label: label.to_owned(),
            exit: *exit,
            reads_back: false,
            jobs: ended.clone(),
        });
        Ok(Poll::Done(self.compared(fio, jobs)))
    }

    /// Why a job of `fio` may have ended so on a disk that does nothing wrong, if it may.
    fn doubt(&self, fio: FioId, end: &FioJobEnd) -> Option<&str> {
        if end.hung || !end.strict.is_empty() {
            return None;
        }
        let doubts = self.doubts.get(&fio)?;
        let why = match end.error {
            NO_TRIMS => return Some("the disk does not know UNMAP"),
            NO_MEMORY => return Some("the guest has no memory for its buffers"),
            INVALID => &doubts.refused,
            MISCOMPARED if doubts.spoils.is_none() => {
                let others = self.known.fios.iter().filter(|(id, _)| **id != fio);
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

    fn compared(&self, fio: FioId, jobs: &[Job]) -> StepResult {
        let Some((exit, ended)) = self.known.fios.get(&fio) else {
            return StepResult::Inconclusive {
                reason: "the fio has not ended".into(),
            };
        };
        let doubt = |end: &FioJobEnd| self.doubt(fio, end);
        let result = compare(jobs, ended, self.late.contains(&fio), &doubt);
        // fio's exit status is the number of failed jobs: 0 beside a failed job would hide it.
        let failed = ended.iter().any(|end| end.error != 0 || end.hung);
        match result {
            StepResult::Held { .. } if failed != (*exit != 0) => StepResult::Violated {
                expected: "exit status 0 if and only if every job has error 0".into(),
                seen: format!("exit status {exit}"),
            },
            result => result,
        }
    }

    fn jobs(&self, fio: FioId, jobs: &[Job]) -> Polled {
        match self.not_run(fio) {
            Some(reason) => skipped(reason),
            None => Ok(Poll::Done(self.compared(fio, jobs))),
        }
    }

    fn clock(&mut self, under_way: &mut UnderWay, does: &[Action], fio: FioId) -> Polled {
        if let Some(reason) = self.not_run(fio) {
            return skipped(reason);
        }
        if let Some(reason) = self.ask(under_way, does, limits::FIO)? {
            return skipped(reason);
        }
        let inconclusive = |reason| Ok(Poll::Done(StepResult::Inconclusive { reason }));
        let ticket = under_way.tickets.iter().flatten().next();
        match ticket.and_then(|ticket| self.known.answers.get(ticket)) {
            None => self.wait(under_way, "fio's clock comes to that time", || {
                "no answer".into()
            }),
            Some(Err(text)) => {
                // Some of its jobs had ended, so what comes next may come too late for them.
                let reason = format!("fio's clock never came to that time: {text}");
                self.late.push(fio);
                inconclusive(reason)
            }
            // What comes next was to happen during that fio.
            Some(Ok(_)) if self.known.fios.contains_key(&fio) => {
                inconclusive("fio had ended before that".to_owned())
            }
            Some(Ok(_)) => held(""),
        }
    }

    fn alive(&mut self, under_way: &mut UnderWay, does: &[Action]) -> Polled {
        let expected = "everybody answers";
        if !under_way.has_begun() {
            under_way.mark = self.known.alive.0;
        }
        if let Some(reason) = self.ask(under_way, does, limits::ALIVE)? {
            return skipped(reason);
        }
        let (signs, silent) = &self.known.alive;
        if *signs == under_way.mark {
            return self.wait(under_way, expected, || "nobody answers".into());
        }
        let crashed = self.known.crashed.iter();
        let mut wrong: Vec<String> = crashed
            .map(|(who, how)| format!("{who} crashed: {how}"))
            .collect();
        wrong.extend(silent.iter().map(|who| format!("{who} does not answer")));
        if wrong.is_empty() {
            return held("");
        }
        violated(expected, wrong.join("; "))
    }

    fn settle(&mut self, under_way: &mut UnderWay, does: &[Action]) -> Polled {
        if !under_way.has_begun() {
            under_way.mark = self.known.quiet.0;
        }
        if let Some(reason) = self.ask(under_way, does, limits::SETTLE)? {
            return skipped(reason);
        }
        let (rests, settled, left) = &self.known.quiet;
        if *rests == under_way.mark {
            return self.wait(under_way, "everything comes to rest", || "no rest".into());
        }
        if !settled {
            return no_rest(left);
        }
        let crashed = self.known.crashed.iter();
        let mut wrong: Vec<String> = crashed
            .map(|(who, how)| format!("{who} crashed: {how}"))
            .collect();
        wrong.extend(left.iter().cloned());
        if wrong.is_empty() {
            return held("");
        }
        violated(
            "nothing is left pending, and nobody crashed",
            wrong.join(", "),
        )
    }
}
