//! Repros as older versions wrote them: JSON, either a generated scenario or the steps of a plan.
//!
//! ```text
//! {"plugfest_repro":2,"crc32":"9ae0daaf","body":{…}}
//! ```
//!
//! They are only read. The sum is the IEEE CRC-32 of the body as JSON without white space.

use std::collections::BTreeMap;
use std::time::Duration;

use scenarios::generate::{Scene, step};
use scenarios::plan::{
    Expects, Finding, JobText, Plan, PlanVm, Recorded, Role, Source, Step, Wait,
};
use scenarios::resolve::script;
use scenarios::script::{self as new, Branch, Expect, Job, Script, VmDisks};
use scenarios::{Action, ControllerId, DiskId, DiskKind, Ending, FioId, Place, TargetId, VmId};
use serde::Deserialize;
use serde_json::Value;

use crate::options::{Schedule, Volume};
use crate::run_error::RunError;

/// The only version of them that is read.
const VERSION: u64 = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    findings: Vec<Finding>,
    #[serde(alias = "deviations")]
    bugs: Vec<String>,
    seed: u64,
    what: What,
    choices: String,
    ending: Ending,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Story(Story),
    Plan(Box<PlanSteps>),
}

#[derive(Deserialize)]
struct Story {
    controllers: Vec<ControllerId>,
    disks: Vec<(DiskId, DiskKind)>,
    vms: Vec<StoryVm>,
    beats: Vec<Beat>,
}

#[derive(Deserialize)]
struct StoryVm {
    vm: VmId,
    controllers: Vec<ControllerId>,
    firmware_only: bool,
    awaited: bool,
}

#[derive(Deserialize)]
struct Beat {
    /// Nanoseconds.
    after: u64,
    awaited: bool,
    does: Action,
}

#[derive(Deserialize)]
struct PlanSteps {
    steps: Concrete,
    vms: Vec<(VmId, Vec<ControllerId>)>,
    volume: Option<(u64, u32)>,
    jobs: BTreeMap<String, (String, String)>,
}

#[derive(Deserialize)]
struct Concrete {
    plan: String,
    prerequisites: Vec<OldStep>,
    cases: Vec<OldCase>,
}

#[derive(Deserialize)]
struct OldCase {
    id: String,
    title: String,
    judged: bool,
    steps: Vec<OldStep>,
}

#[derive(Deserialize)]
struct OldStep {
    source: Source,
    text: String,
    does: Does,
}

#[derive(Deserialize)]
struct Lane {
    name: String,
    steps: Vec<OldStep>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Does {
    Prepare {
        action: Action,
    },
    Boot {
        actions: Vec<Action>,
        disks: Vec<VmDisks>,
    },
    Attach {
        action: Action,
        slot: TargetId,
        seen_by: Option<VmId>,
        disk: DiskId,
        place: Place,
    },
    Detach {
        action: Action,
        under: Vec<FioId>,
    },
    Remove {
        actions: Vec<Action>,
        under: Vec<FioId>,
    },
    Ask {
        actions: Vec<Action>,
    },
    StartFio {
        action: Action,
    },
    AwaitFio {
        fio: FioId,
        label: String,
        jobs: Vec<Job>,
    },
    WaitClock {
        action: Action,
    },
    Jobs {
        fio: FioId,
        jobs: Vec<Job>,
    },
    Reboot {
        actions: Vec<Action>,
        disks: Vec<VmDisks>,
    },
    Alive,
    Disks {
        disks: Vec<VmDisks>,
    },
    Kept {
        action: Action,
        fio: FioId,
        job: Job,
    },
    Settle,
    Together {
        lanes: Vec<Lane>,
    },
}

/// Reads a file's text.
///
/// # Errors
///
/// It is no repro, another version, cut off, or changed since it was written; with the place.
pub(crate) fn parse(text: &str) -> Result<(Script, Recorded), RunError> {
    let wrong = |what: String| RunError::Input(what);
    let file: Value = serde_json::from_str(text).map_err(|error| {
        let what = if error.is_eof() {
            "it is cut off: "
        } else {
            ""
        };
        wrong(format!("no repro: {what}{error}"))
    })?;
    if !text.ends_with('\n') {
        let what = "no repro: it is cut off: its last line has no end";
        return Err(wrong(what.to_owned()));
    }
    match file.get("plugfest_repro").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) if other > 0 => {
            return Err(wrong(format!(
                "schema {other} is not read by this program, which reads {VERSION} in JSON: the failure has to be found again, by `plugfest fuzz` with its seed"
            )));
        }
        _ => {
            let what = format!("no repro: expected \"plugfest_repro\": {VERSION} at its top");
            return Err(wrong(what));
        }
    }
    let keys = file.as_object().into_iter().flat_map(|file| file.keys());
    let strange = |key: &&String| !["plugfest_repro", "crc32", "body"].contains(&key.as_str());
    if let Some(key) = keys.into_iter().find(strange) {
        return Err(wrong(format!(
            "no repro: {key:?} at its top\n  = expected plugfest_repro, crc32 and body alone"
        )));
    }
    let body = file.get("body").cloned().unwrap_or_default();
    let crc32 = format!("{:08x}", crc32fast::hash(body.to_string().as_bytes()));
    let written = file.get("crc32").and_then(Value::as_str).unwrap_or("none");
    if written != crc32 {
        return Err(wrong(format!(
            "changed since it was written: its crc32 says {written}, its body has {crc32}"
        )));
    }
    let body: Body =
        serde_json::from_value(body).map_err(|error| wrong(format!("body: {error}")))?;
    body.repro()
}

impl Body {
    fn repro(self) -> Result<(Script, Recorded), RunError> {
        let mut recorded = Recorded {
            seed: self.seed,
            schedule: Schedule::Random.word().to_owned(),
            io_count: Volume::Full.word().to_owned(),
            bugs: self.bugs,
            findings: self.findings,
            ending: Some(self.ending),
            choices: self.choices,
            ..Recorded::default()
        };
        let script = match self.what {
            What::Story(story) => script(&story.plan())?,
            What::Plan(plan) => {
                let volume = match plan.volume {
                    None => Volume::Full,
                    Some((_, 1)) => Volume::Default,
                    Some(_) => Volume::Quick,
                };
                recorded.io_count = volume.word().to_owned();
                let jobs = plan.jobs.into_iter();
                recorded.jobs = jobs
                    .map(|(name, (file, text))| (name, JobText { file, text }))
                    .collect();
                plan.steps.script(plan.vms)
            }
        };
        Ok((script, recorded))
    }
}

impl Story {
    fn plan(self) -> Plan {
        let wait = |awaited| if awaited { Wait::Answer } else { Wait::Nothing };
        let boots = self.vms.iter().map(|of| {
            let (vm, controllers) = (of.vm, of.controllers.clone());
            let action = if of.firmware_only {
                Action::BootFirmware { vm, controllers }
            } else {
                Action::BootVm { vm, controllers }
            };
            Step {
                wait: wait(of.awaited && !of.firmware_only),
                ..step(action)
            }
        });
        let beats = self.beats.into_iter().map(|beat| Step {
            after: Duration::from_nanos(beat.after),
            wait: wait(beat.awaited),
            ..step(beat.does)
        });
        let steps = boots.chain(beats).collect();
        let vms = self.vms.iter().map(|of| PlanVm {
            vm: of.vm,
            controllers: of.controllers.clone(),
        });
        let scene = Scene {
            controllers: self.controllers,
            disks: self.disks,
            vms: vms.collect(),
            steps,
        };
        scene.into()
    }
}

impl Concrete {
    fn script(self, vms: Vec<(VmId, Vec<ControllerId>)>) -> Script {
        let case = |case: OldCase| new::Case {
            id: case.id,
            title: case.title,
            role: if case.judged {
                Role::Judged
            } else {
                Role::SetUp
            },
            expects: Expects::Steps,
            steps: steps(case.steps),
        };
        Script {
            plan: self.plan,
            vms,
            prerequisites: steps(self.prerequisites),
            cases: self.cases.into_iter().map(case).collect(),
            doubts: BTreeMap::new(),
        }
    }
}

fn steps(old: Vec<OldStep>) -> Vec<new::Step> {
    old.into_iter().map(renewed).collect()
}

fn renewed(old: OldStep) -> new::Step {
    let mut step = new::Step {
        source: old.source,
        text: old.text,
        after: Duration::ZERO,
        does: Vec::new(),
        wait: Wait::Answer,
        expect: Expect::Nothing,
        branches: Vec::new(),
    };
    let under_none = || Expect::Success { under: Vec::new() };
    (step.does, step.expect) = match old.does {
        Does::Prepare { action } => (vec![action], under_none()),
        Does::Boot { actions, disks } | Does::Reboot { actions, disks } => {
            (actions, Expect::Booted(disks))
        }
        Does::Attach {
            action,
            slot,
            seen_by,
            disk,
            place,
        } => {
            let expect = Expect::Attached {
                disk,
                place: Place {
                    target: slot,
                    ..place
                },
                seen_by: seen_by.into_iter().collect(),
            };
            (vec![action], expect)
        }
        Does::Detach { action, under } => (vec![action], Expect::Success { under }),
        Does::Remove { actions, under } => (actions, Expect::Success { under }),
        Does::Ask { actions } => (actions, under_none()),
        Does::StartFio { action } => {
            step.wait = Wait::Nothing;
            (vec![action], Expect::Nothing)
        }
        Does::AwaitFio { fio, label, jobs } => (Vec::new(), Expect::Fio { fio, label, jobs }),
        Does::WaitClock { action } => {
            let mut fio = FioId(0);
            if let Action::WaitJobClock { fio: of, .. } = &action {
                fio = *of;
            }
            (vec![action], Expect::Clock(fio))
        }
        Does::Jobs { fio, jobs } => (Vec::new(), Expect::Jobs { fio, jobs }),
        Does::Alive => (vec![Action::CheckAlive], Expect::Alive),
        Does::Disks { disks } => (Vec::new(), Expect::Disks(disks)),
        Does::Kept { action, fio, job } => (vec![action], Expect::Kept { fio, job }),
        Does::Settle => (vec![Action::Settle], Expect::Rest),
        Does::Together { lanes } => {
            let branches = lanes.into_iter().map(|lane| Branch {
                name: lane.name,
                steps: steps(lane.steps),
            });
            step.branches = branches.collect();
            (Vec::new(), Expect::Nothing)
        }
    };
    step
}
