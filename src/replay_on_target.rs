//! A repro on a target that runs: its order is imposed, again and again.
//!
//! The means are those that a real target gives: requests held in a `bdev_error`, an action that waits for an
//! answer or for requests to be in flight, and one that does not wait.

use std::fmt;
use std::time::Duration;

use real::rpc::client::RpcClient;
use real::testbed::{Closing, RealTestbed};
use scenarios::plan::{Expects, Finding, Wait};
use scenarios::script::Step;
use scenarios::testbed::Testbed;
use scenarios::{Action, CheckId, Script};
use sim::Bugs;

use crate::interrupt::{asked, interrupt};
use crate::on_sockets;
use crate::options::{RunOptions, SpdkOptions, TargetKind, volume};
use crate::ordered::{Ordered, Point};
use crate::repro::{Repro, findings};
use crate::run_error::RunError;
use crate::scenario::judged;
use crate::testbed as make;

/// Between two looks whether a target that has died was started again.
const LOOK: Duration = Duration::from_millis(100);
/// So many looks: twenty seconds.
const LOOKS_MAX: u32 = 200;
/// A target that lives answers within this.
const PATIENCE: Duration = Duration::from_secs(2);

/// A repro, ready to be imposed on targets.
pub struct OnTarget<'a> {
    repro: &'a Repro,
    bugs: Bugs,
    points: Vec<Point>,
}

/// What came of one time.
#[derive(Clone, Debug)]
pub struct Once {
    /// What the checks said.
    pub findings: Vec<Finding>,
    /// Order points that were enforced, of how many.
    pub enforced: (usize, usize),
    /// The first of the others.
    pub missed: Option<String>,
    /// Whether a check was broken that the repro broke.
    pub shown: bool,
}

impl fmt::Display for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, all) = self.enforced;
        write!(f, "{kept} of {all} order points enforced")?;
        if let Some(missed) = &self.missed {
            write!(f, " (not: {missed})")?;
        }
        write!(f, "; ")?;
        match self.findings.first() {
            Some(finding) => write!(f, "{}: {}", finding.check, finding.seen),
            None => write!(f, "no check was broken"),
        }
    }
}

impl<'a> OnTarget<'a> {
    /// Replays `repro` in the simulator, and notes its order.
    ///
    /// # Errors
    ///
    /// As [`Repro::replay`], and if nothing that it broke could be seen on sockets.
    pub fn new(repro: &'a Repro) -> Result<Self, RunError> {
        let bugs = repro.bugs()?;
        let mut sim = repro.setting(repro.strategy()?)?.simulator(&repro.script);
        let mut ordered = Ordered::new(&mut sim, &[]);
        carry_out(&repro.script, bugs, &mut ordered)?;
        let points = ordered.into_points();
        Ok(Self {
            repro,
            bugs,
            points,
        })
    }

    /// Does it once on the target at `spdk`, for whose coming back it waits.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or the testbed is lost.
    pub fn once(&self, spdk: &SpdkOptions) -> Result<Once, RunError> {
        let recorded = &self.repro.recorded;
        let mut options = RunOptions {
            seed: recorded.seed,
            target: TargetKind::Spdk(spdk.clone()),
            ..RunOptions::default()
        };
        options.jobs.extend(recorded.jobs.clone());
        let volume = volume(recorded)?.of_a_job();
        let mut script = self.repro.script.clone();
        let bare = |case: &&mut scenarios::script::Case| case.expects == Expects::Nothing;
        let cases = script.cases.iter_mut().filter(bare);
        for step in cases.flat_map(|case| &mut case.steps).filter(is_ordered) {
            // The order says what to wait for.
            (step.after, step.wait) = (Duration::ZERO, Wait::Nothing);
        }
        let mut testbed = came_back(&options, volume)?;
        let mut ordered = Ordered::new(&mut testbed, &self.points);
        let findings = carry_out(&script, self.bugs, &mut ordered)?;
        let points = ordered.into_points();
        let missed: Vec<String> = self
            .points
            .iter()
            .enumerate()
            .filter_map(|(n, then)| then.missed_by(points.get(n)))
            .collect();
        let broken: Vec<CheckId> = recorded.findings.iter().map(|f| f.check).collect();
        let shown = findings.iter().any(|found| broken.contains(&found.check));
        Ok(Once {
            findings,
            enforced: (self.points.len() - missed.len(), self.points.len()),
            missed: missed.into_iter().next(),
            shown,
        })
    }
}

/// The testbed, once its target listens: another process starts, and says so to nobody.
fn came_back(
    options: &RunOptions,
    volume: Option<fio_model::Volume>,
) -> Result<RealTestbed, RunError> {
    let mut interrupt = interrupt();
    for _ in 1..LOOKS_MAX {
        if asked() {
            break;
        }
        if answers(options) {
            match on_sockets::testbed(options, volume, Closing::IsDeath) {
                Err(error) if error.passes() => {}
                made => return made,
            }
        }
        let paused = interrupt.pause(LOOK);
        paused.map_err(|error| RunError::NoTestbed(error.to_string()))?;
    }
    on_sockets::testbed(options, volume, Closing::IsDeath)
}

/// Whether the target answers. One that dies may take connections for a while.
fn answers(options: &RunOptions) -> bool {
    let TargetKind::Spdk(spdk) = &options.target else {
        return true;
    };
    let client = RpcClient::connect(&spdk.rpc_socket, PATIENCE);
    client.is_ok_and(|mut client| client.call("vhost_get_controllers", None).is_ok())
}

/// Whether the order of a step is imposed: boots and the rest at the end are awaited as ever.
fn is_ordered(step: &&mut Step) -> bool {
    !matches!(step.does[..], [Action::BootVm { .. } | Action::Settle])
}

/// Carries `script` out on `testbed`: what was broken.
fn carry_out(
    script: &Script,
    bugs: Bugs,
    testbed: &mut dyn Testbed,
) -> Result<Vec<Finding>, RunError> {
    let mut judge = make::judge(testbed.evidence(), script.vms.clone(), bugs);
    let report = judged(script, testbed, &mut judge)?;
    Ok(findings(report.rows.iter().flat_map(|row| &row.checks)))
}
