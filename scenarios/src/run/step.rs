//! One step under way: asks what is to be asked, and looks whether its condition is met.

mod disks;
mod kept;

use std::time::Duration;

use super::under_way::UnderWay;
use super::{FioRun, Runner, StepResult, limits, seconds};
use crate::names::{DiskId, FioId, Place, Ticket, VmId};
use crate::plan::Wait;
use crate::script::{Expect, Job, Step, VmDisks};
use crate::testbed::{Action, Evidence, Performed, TestbedError};

/// Whether a step has ended.
pub(super) enum Poll {
    Wait,
    Done(StepResult),
}

type Polled = Result<Poll, TestbedError>;

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

fn inconclusive(reason: impl Into<String>) -> Polled {
    Ok(Poll::Done(StepResult::Inconclusive {
        reason: reason.into(),
    }))
}

/// What is expected of actions that go well.
fn success(does: &[Action]) -> String {
    let of_one = |action: &Action| match action {
        Action::StartTarget { .. } => "the target runs",
        Action::Detach { .. } => "an answer: true",
        Action::BootVm { .. }
        | Action::BootFirmware { .. }
        | Action::Attach { .. }
        | Action::StartFio { .. }
        | Action::WaitJobClock { .. }
        | Action::RebootVm { .. }
        | Action::PauseVm { .. }
        | Action::ContinueVm { .. }
        | Action::KillVm { .. }
        | Action::AddMemory { .. }
        | Action::Reconnect { .. }
        | Action::Manage { .. }
        | Action::Remove { .. }
        | Action::Insert { .. }
        | Action::Resize { .. }
        | Action::Hold { .. }
        | Action::Fail { .. }
        | Action::Delay { .. }
        | Action::Release { .. }
        | Action::CreateController { .. }
        | Action::DeleteController { .. }
        | Action::SaveConfig
        | Action::ListDisks { .. }
        | Action::CheckAlive
        | Action::Settle => "answers without an error",
    };
    let words = match does {
        [one] => of_one(one),
        [] | [_, _, ..] => "answers without an error",
    };
    words.into()
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
    inconclusive(format!(
        "no rest before the testbed's limit: {}",
        left.join(", ")
    ))
}

impl Runner<'_> {
    pub(super) fn poll(&mut self, step: &Step, under_way: &mut UnderWay) -> Polled {
        let does = &step.does;
        match &step.expect {
            Expect::Nothing => self.asked(under_way, does, step.wait),
            Expect::Success { under } => {
                let begins = !under_way.has_begun();
                let polled = match step.wait {
                    Wait::Answer => self.answered(under_way, does, None, || success(does)),
                    Wait::Nothing => self.asked(under_way, does, step.wait),
                };
                self.note_late(begins, &polled, step.wait, under);
                polled
            }
            Expect::Refused(message) => self.refused(under_way, does, message),
            Expect::Attached {
                disk,
                place,
                seen_by,
            } => {
                let slot = place.target;
                let expected = || format!("an answer: {slot}");
                match self.answered(under_way, does, Some(slot.0), expected)? {
                    Poll::Done(StepResult::Held { .. }) if !seen_by.is_empty() => {
                        self.appeared(under_way, seen_by, *disk, *place)
                    }
                    other @ (Poll::Wait | Poll::Done(_)) => Ok(other),
                }
            }
            Expect::GoesOn(vms) => match self.answered(under_way, does, None, || success(does))? {
                Poll::Done(StepResult::Held { .. }) => {
                    under_way.asks_again = true;
                    self.look(under_way, vms, || "a list of disks".into(), |_, _| true)
                }
                other @ (Poll::Wait | Poll::Done(_)) => Ok(other),
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
            self.fios.could_not_start(does, &reason);
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
        let expected = || format!("an error: {message}");
        if let Some(reason) = self.ask(under_way, does, limits::ANSWER)? {
            return skipped(reason);
        }
        for ticket in under_way.tickets.iter().flatten() {
            match self.known.answers.get(ticket) {
                None => return self.wait(under_way, expected, || "no answer".into()),
                Some(Ok(got)) => return violated(expected(), format!("an answer: {got}")),
                Some(Err(text)) if text != message => {
                    return violated(expected(), format!("an error: {text}"));
                }
                Some(Err(_)) => {}
            }
        }
        held("")
    }

    /// Notes which of the fios that a removal was to meet had ended: before it began, or, where the target
    /// cannot be looked into and nobody knows what was first, before it was answered. There, who does not wait
    /// for the answer never knows, of none of them.
    fn note_late(&mut self, begins: bool, polled: &Polled, wait: Wait, under: &[FioId]) {
        let ends = match polled {
            // It was not done.
            Ok(Poll::Done(StepResult::Skipped { .. })) => return,
            Ok(Poll::Done(_)) => true,
            Ok(Poll::Wait) | Err(_) => false,
        };
        let is_known = self.testbed.evidence().contains(Evidence::TARGET_INSIDE);
        match wait {
            Wait::Nothing if !is_known => self.fios.come_late(under),
            Wait::Answer | Wait::Nothing if begins || (ends && !is_known) => {
                let ended = under.iter().filter(|fio| self.known.fios.contains_key(fio));
                self.fios.come_late(ended);
            }
            Wait::Answer | Wait::Nothing => {}
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
    fn wait(
        &self,
        under_way: &UnderWay,
        expected: impl FnOnce() -> String,
        seen: impl FnOnce() -> String,
    ) -> Polled {
        if self.now() < under_way.deadline {
            return Ok(Poll::Wait);
        }
        let limit = seconds(under_way.limit);
        violated(format!("{} within {limit}", expected()), seen())
    }

    /// That every one of `does` is answered, with `value` if there is one.
    fn answered(
        &mut self,
        under_way: &mut UnderWay,
        does: &[Action],
        value: Option<u8>,
        expected: impl FnOnce() -> String,
    ) -> Polled {
        if let Some(reason) = self.ask(under_way, does, limits::ANSWER)? {
            return skipped(reason);
        }
        let tickets = under_way.tickets.iter().flatten();
        let answers: Vec<_> = tickets.map(|of| self.known.answers.get(of)).collect();
        if let Some(Err(text)) = answers.iter().flatten().find(|answer| answer.is_err()) {
            return violated(expected(), format!("an error: {text}"));
        }
        if answers.iter().any(Option::is_none) {
            return self.wait(under_way, expected, || "no answer".into());
        }
        let other = |got: &&u8| value.is_some_and(|value| value != **got);
        let mut values = answers.iter().flatten().filter_map(|got| got.as_ref().ok());
        match values.find(other) {
            Some(got) => violated(expected(), format!("an answer: {got}")),
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
                let expected = || format!("{vm} ready with boot {}", before + 1);
                if boot <= before {
                    return self.wait(under_way, expected, || format!("still boot {boot}"));
                }
                if boot > before + 1 {
                    let again = matches!(does, [Action::RebootVm { .. }, ..]);
                    let by = if again { "reboot" } else { "boot" };
                    return violated(expected(), format!("boot {boot}, after one {by}"));
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
        let expected = || {
            let shown: Vec<String> = vms.iter().map(ToString::to_string).collect();
            format!("{disk} at {place} in {}", shown.join(" and "))
        };
        self.look(under_way, vms, expected, |_, has| {
            has.get(&place) == Some(&Some(disk))
        })
    }

    fn fio_ended(
        &mut self,
        under_way: &mut UnderWay,
        fio: FioId,
        label: &str,
        jobs: &[Job],
    ) -> Polled {
        if let Some(reason) = self.fios.not_started(fio) {
            return skipped(reason);
        }
        self.ask(under_way, &[], limits::FIO)?;
        let Some((exit, ended)) = self.known.fios.get(&fio) else {
            return self.wait(under_way, || "fio ends".into(), || "fio still runs".into());
        };
        self.fios.end(FioRun {
            fio,
            label: label.to_owned(),
            exit: *exit,
            reads_back: false,
            jobs: ended.clone(),
        });
        self.jobs(fio, jobs)
    }

    fn jobs(&self, fio: FioId, jobs: &[Job]) -> Polled {
        if let Some(reason) = self.fios.not_started(fio) {
            return skipped(reason);
        }
        let Some((exit, ended)) = self.known.fios.get(&fio) else {
            return inconclusive("the fio has not ended");
        };
        let all = &self.known.fios;
        let compared = self.fios.compared(fio, jobs, (*exit, ended), all);
        Ok(Poll::Done(compared))
    }

    fn clock(&mut self, under_way: &mut UnderWay, does: &[Action], fio: FioId) -> Polled {
        if let Some(reason) = self.fios.not_started(fio) {
            return skipped(reason);
        }
        if let Some(reason) = self.ask(under_way, does, limits::FIO)? {
            return skipped(reason);
        }
        let ticket = under_way.tickets.iter().flatten().next();
        match ticket.and_then(|ticket| self.known.answers.get(ticket)) {
            None => self.wait(
                under_way,
                || "fio's clock comes to that time".into(),
                || "no answer".into(),
            ),
            Some(Err(text)) => {
                // Some of its jobs had ended, so what comes next may come too late for them.
                let reason = format!("fio's clock never came to that time: {text}");
                self.fios.come_late([&fio]);
                inconclusive(reason)
            }
            // What comes next was to happen during that fio.
            Some(Ok(_)) if self.known.fios.contains_key(&fio) => {
                inconclusive("fio had ended before that")
            }
            Some(Ok(_)) => held(""),
        }
    }

    /// That a disk kept what was written to it.
    fn kept(&mut self, under_way: &mut UnderWay, does: &[Action], fio: FioId, job: &Job) -> Polled {
        let evidence = self.testbed.evidence();
        if !kept::can_be_seen(evidence) {
            return kept::unseen();
        }
        self.known.read_back.entry(fio).or_default();
        if let Some(reason) = self.ask(under_way, does, limits::FIO)? {
            self.known.read_back.remove(&fio);
            return skipped(reason);
        }
        let Some((exit, ended)) = self.known.fios.get(&fio) else {
            return self.wait(under_way, || "fio ends".into(), || "fio still runs".into());
        };
        self.fios.end(FioRun {
            fio,
            label: format!("kept {}", job.disk.0),
            exit: *exit,
            reads_back: true,
            jobs: ended.clone(),
        });
        let end = ended.iter().find(|end| end.disk == job.disk);
        let counted = self.known.read_back.remove(&fio).unwrap_or_default();
        let Some(end) = end.filter(|end| !end.hung) else {
            return violated("its blocks can be read", "fio never ended");
        };
        if !self.known.written.contains(&job.disk) {
            let reason = format!(
                "nothing was written to {}: it has nothing to keep",
                job.disk
            );
            return inconclusive(reason);
        }
        kept::judged(evidence, end, counted)
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
            return self.wait(under_way, || expected.into(), || "nobody answers".into());
        }
        let mut wrong = self.known.crashes();
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
            return self.wait(
                under_way,
                || "everything comes to rest".into(),
                || "no rest".into(),
            );
        }
        if !settled {
            return no_rest(left);
        }
        let mut wrong = self.known.crashes();
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
