//! Does over what was done in a recording: a scenario's steps on a model guest and the recorder's target,
//! in virtual time.
//!
//! # Divergence from the recorder
//!
//! * A guest that was powered off reboots here: what it sends to its device is the same.
//! * A command of the shell takes 20 ms, a READ or WRITE 0.3 ms, other SCSI commands what the seed says.

use std::collections::VecDeque;
use std::time::Duration;

use scenarios::Time;

use super::console::{Printed, Said};
use super::iot::IotRun;
use super::scenario::{HoldOpen, Say, Scenario, Step};
use linux::testing::log::{Line, What};
use linux::testing::scsi::{Answer, Reaction, Says, Slot};
use linux::testing::{DiskNo, Recorder, ScriptedBackEnd};
use wire::message::GuestAct;

/// What a command of the shell takes.
const COMMAND: Duration = Duration::from_millis(20);
/// From another command to its answer, one after the other with the seeds.
const OTHERS_US: [u64; 8] = [300, 20, 5, 8, 60, 3, 12, 1000];
/// From a READ or WRITE to its answer.
const LATENCY: Duration = Duration::from_micros(300);
/// Targets with a disk when the guest is started.
const TARGETS: [u8; 3] = [0, 2, 7];
/// Blocks of each disk.
const BLOCKS: u64 = 32768;
/// Nothing that the guest does by itself takes longer: a boot, a shutdown.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers of one kind that a target is told to give, one after the other.
const TIMES_MAX: u32 = 10_000;
/// No scenario takes longer.
const WHOLE: Duration = Duration::from_secs(3600);

/// What came of it.
#[derive(Debug, Default)]
pub struct Played {
    /// The target's log.
    pub log: Vec<Line>,
    /// What the guest printed.
    pub printed: Vec<Printed>,
    /// Between two counts of READs and WRITEs.
    pub windows: Vec<Window>,
    /// Steps that could not be carried out.
    pub undone: Vec<String>,
}

/// What happened between two counts of READs and WRITEs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// How many were counted.
    pub counted: u32,
    /// Of these, what the guest wrote to speak to its target.
    pub controls: u32,
    /// READ(6)s and WRITE(6)s, which are not counted.
    pub short: u32,
    /// `iot`s that ended before it and in it.
    pub iots: (usize, usize),
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The scenario was carried out so often, with a reboot in between.
    pub runs: usize,
    /// The guest goes down by itself, in the end.
    pub goes_down: bool,
    /// It comes up again.
    pub boots: bool,
}

/// Why a scenario was not carried out to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    #[error("the guest does not come up")]
    StaysDown,
    #[error("the guest does not go down")]
    StaysUp,
    #[error("the scenario does not end")]
    Endless,
}

enum Waits {
    Until(Time),
    Iot(usize),
    Children,
}

struct Task {
    steps: VecDeque<Step>,
    waits: Waits,
    parent: Option<usize>,
    /// A disk that it holds open while it sleeps.
    open: Option<DiskNo>,
    over: bool,
}

/// Carries the steps out with a seed.
///
/// # Errors
///
/// The guest does not come up, or a step does not end.
pub fn play(scenario: &Scenario, ending: Ending, seed: u64) -> Result<Played, PlayError> {
    let mut back_end = ScriptedBackEnd::new(seed, |_| {});
    back_end.recorder = Some(Recorder::default());
    back_end.latency = Duration::from_micros(OTHERS_US[(seed % 8) as usize]);
    back_end.io_latency = LATENCY;
    back_end.blocks = BLOCKS;
    back_end.slots = TARGETS.map(|target| (target, Slot::Present)).into();
    let mut player = Player {
        back_end,
        tasks: Vec::new(),
        iots: Vec::new(),
        controls: 0,
        over: 0,
        before: 0,
        played: Played::default(),
    };
    for _ in 0..ending.runs {
        player.boot()?;
        player.scenario(&scenario.steps)?;
    }
    if ending.goes_down {
        player.go_down(ending.boots)?;
    }
    let mut played = player.played;
    played.log = player
        .back_end
        .recorder
        .take()
        .map_or_else(Vec::new, |recorder| recorder.log);
    Ok(played)
}

struct Player {
    back_end: ScriptedBackEnd,
    tasks: Vec<Task>,
    iots: Vec<IotRun>,
    /// Writes that spoke to the target since the last count.
    controls: u32,
    /// `iot`s that ended, and how many before the last count.
    over: usize,
    before: usize,
    played: Played,
}

impl Player {
    fn ready(&self) -> u32 {
        self.back_end
            .recorder
            .as_ref()
            .map_or(0, |recorder| recorder.ready)
    }

    fn boot(&mut self) -> Result<(), PlayError> {
        let before = self.ready();
        self.back_end.act(GuestAct::Boot);
        let limit = self.back_end.now + PATIENCE;
        while self.ready() == before {
            if !self.back_end.step(limit) {
                return Err(PlayError::StaysDown);
            }
        }
        Ok(())
    }

    /// The guest goes down, up to the last message about it.
    fn go_down(&mut self, boots: bool) -> Result<(), PlayError> {
        if boots {
            return self.boot();
        }
        let is_last = |line: &Line| matches!(&line.what, What::Message(text) if text.starts_with("GET_VRING_BASE 3"));
        let from = self
            .back_end
            .recorder
            .as_ref()
            .map_or(0, |recorder| recorder.log.len());
        self.back_end.act(GuestAct::Boot);
        let limit = self.back_end.now + PATIENCE;
        loop {
            let recorder = self.back_end.recorder.as_ref().expect("it records");
            if recorder.log[from..].iter().any(is_last) {
                return Ok(());
            }
            if !self.back_end.step(limit) {
                return Err(PlayError::StaysUp);
            }
        }
    }

    fn scenario(&mut self, steps: &[Step]) -> Result<(), PlayError> {
        // What the recorder's own script says before it.
        self.say(Say {
            words: "scenario".to_owned(),
            disks: true,
        });
        let waits = Waits::Until(self.back_end.now);
        let steps = steps.iter().cloned().collect();
        self.tasks = vec![Task {
            steps,
            waits,
            parent: None,
            open: None,
            over: false,
        }];
        self.iots.clear();
        let limit = self.back_end.now + WHOLE;
        loop {
            while let Some(task) = (0..self.tasks.len()).find(|task| self.can_go(*task)) {
                self.go(task);
            }
            if self.tasks.iter().all(|task| task.over) {
                return Ok(());
            }
            let times = self.tasks.iter().filter_map(|task| match task.waits {
                Waits::Until(at) if !task.over => Some(at),
                _ => None,
            });
            let wakes = self.iots.iter().filter_map(IotRun::wakes);
            let next = times.chain(wakes).min().unwrap_or(limit);
            if self.back_end.now >= limit {
                return Err(PlayError::Endless);
            }
            self.run_until(next);
        }
    }

    /// Lets time pass up to `next`, or the next end of a request.
    fn run_until(&mut self, next: Time) {
        let mut finished = self.back_end.take_finished();
        while finished.is_empty() {
            if !self.back_end.step(next) {
                self.back_end.now = self.back_end.now.max(next);
                break;
            }
            finished = self.back_end.take_finished();
        }
        for finished in finished {
            let run = (finished.tag >> 32) as usize;
            if let Some(run) = self.iots.get_mut(run) {
                run.finished(&finished, self.back_end.now);
            }
        }
        for run in &mut self.iots {
            if let Some(over) = run.go(&mut self.back_end) {
                self.played.printed.push(Printed::Iot(over));
                self.over += 1;
            }
        }
    }

    fn can_go(&self, task: usize) -> bool {
        let is_child = |other: &Task| other.parent == Some(task);
        !self.tasks[task].over
            && match self.tasks[task].waits {
                Waits::Until(at) => at <= self.back_end.now,
                Waits::Iot(run) => self.iots[run].is_over(),
                Waits::Children => self.tasks.iter().filter(|t| is_child(t)).all(|t| t.over),
            }
    }

    fn go(&mut self, task: usize) {
        let now = self.back_end.now;
        if let Some(disk) = self.tasks[task].open.take() {
            self.back_end.close(disk);
        }
        let step = self.tasks[task].steps.pop_front();
        let mut waits = Waits::Until(now + COMMAND);
        match step {
            None => self.tasks[task].over = true,
            Some(Step::Control(words)) => self.control(&words),
            Some(Step::Sleep(time)) => waits = Waits::Until(now + time),
            Some(Step::Say(say)) => self.say(say),
            Some(Step::Wait) => waits = Waits::Children,
            Some(Step::Background(steps)) => {
                let steps = steps.into();
                let waits = Waits::Until(now);
                self.tasks.push(Task {
                    steps,
                    waits,
                    parent: Some(task),
                    open: None,
                    over: false,
                });
            }
            Some(Step::Iot(step)) => {
                let run = self.iots.len();
                if step.buffered {
                    self.played
                        .undone
                        .push("iot through the page cache".to_owned());
                }
                self.iots.push(IotRun::new(run, &step, &mut self.back_end));
                if let Some(over) = self.iots[run].go(&mut self.back_end) {
                    self.played.printed.push(Printed::Iot(over));
                    self.over += 1;
                }
                waits = Waits::Iot(run);
            }
            Some(Step::HoldOpen(HoldOpen { target, time })) => {
                if let Some(disk) = self.back_end.disk_at(target) {
                    self.back_end.open(disk);
                    self.tasks[task].open = Some(disk);
                }
                waits = Waits::Until(now + time);
            }
            Some(Step::Delete(target)) => {
                if let Some(disk) = self.back_end.disk_at(target) {
                    self.back_end.delete_by_hand(disk);
                }
            }
            Some(Step::Scan(target)) => self.back_end.scan_by_hand(target),
            Some(Step::Unknown(words)) => self.played.undone.push(words),
        }
        self.tasks[task].waits = waits;
    }

    fn say(
        &mut self,
        Say {
            words,
            disks: lists,
        }: Say,
    ) {
        let disks = self.back_end.all_disks().filter(|disk| disk.is_there());
        let disks = disks.map(|disk| (disk.target(), "running".to_owned(), disk.capacity() / 512));
        let disks = if lists {
            disks.collect()
        } else {
            Default::default()
        };
        self.played
            .printed
            .push(Printed::Said(Said { words, disks }));
    }

    /// What the guest writes to its last disk, to speak to the target.
    fn control(&mut self, words: &[String]) {
        self.controls += 1;
        if let Some(recorder) = &mut self.back_end.recorder {
            recorder.reads_writes += 1;
        }
        for word in words {
            self.back_end.note(|| What::Control(word.clone()));
            let parts: Vec<&str> = word.split(' ').collect();
            if self.told(&parts).is_none() {
                self.played.undone.push(format!("ctl {word}"));
            }
        }
    }

    fn told(&mut self, parts: &[&str]) -> Option<()> {
        match *parts {
            ["attach", target] => {
                let target = target.parse().ok()?;
                self.back_end.slots.insert(target, Slot::Present);
                self.back_end.event(1, [1, target, 0, 0], 1);
            }
            ["detach", target] => {
                let target = target.parse().ok()?;
                self.back_end.slots.insert(target, Slot::Removed);
                self.back_end.event(1, [1, target, 0, 0], 2);
            }
            ["set", target, state] => {
                let slot = match state {
                    "present" => Slot::Present,
                    "removing" | "removed" => Slot::Removed,
                    "empty" => Slot::Absent,
                    _ => return None,
                };
                self.back_end.slots.insert(target.parse().ok()?, slot);
            }
            ["event", event, a, b, c, reason] => {
                let lun = [1, byte(a)?, byte(b)?, byte(c)?];
                self.back_end.event(number(event)?, lun, number(reason)?);
            }
            ["rw", target, ref how @ ..] => {
                let reactions = reactions(how)?;
                self.back_end
                    .reactions
                    .insert(target.parse().ok()?, reactions);
            }
            ["release"] => {
                while let Some(chain) = self.back_end.held.pop_front() {
                    let at = self.back_end.now + LATENCY;
                    self.back_end.due.push_back((at, chain, Answer::good()));
                }
            }
            ["stat"] => self.count(),
            ["mark"] | ["verbose", _] => {}
            _ => return None,
        }
        Some(())
    }

    fn count(&mut self) {
        let recorder = self.back_end.recorder.as_mut().expect("it records");
        let counted = std::mem::take(&mut recorder.reads_writes);
        let short = std::mem::take(&mut recorder.short);
        let iots = (self.before, self.over);
        let controls = std::mem::take(&mut self.controls);
        self.played.windows.push(Window {
            counted,
            controls,
            short,
            iots,
        });
        self.before = self.over;
        self.back_end.note(|| What::ReadsWrites(counted));
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn byte(text: &str) -> Option<u8> {
    number(text)?.try_into().ok()
}

/// What becomes of READs and WRITEs.
fn reactions(how: &[&str]) -> Option<VecDeque<Reaction>> {
    let always = |says: Says| Some([Reaction::Says(says)].into());
    let for_some = |says: Says, times: u32| {
        let times = (times <= TIMES_MAX).then_some(times as usize)?;
        let mut reactions: VecDeque<_> = vec![Reaction::Says(says); times].into();
        reactions.push_back(Reaction::Normal);
        Some(reactions)
    };
    match *how {
        ["normal"] => Some([Reaction::Normal].into()),
        ["hold"] => Some([Reaction::Hold].into()),
        ["resp", response] => always(Says::response(byte(response)?)),
        ["responce", response, times] => for_some(Says::response(byte(response)?), number(times)?),
        ["status", status] => always(Says::status(byte(status)?)),
        ["sense", key, asc, ascq] => always(Says::check(byte(key)?, byte(asc)?, byte(ascq)?)),
        ["senseonce", key, asc, ascq, times] => {
            let says = Says::check(byte(key)?, byte(asc)?, byte(ascq)?);
            for_some(says, number(times)?)
        }
        _ => None,
    }
}
