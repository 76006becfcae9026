//! `plugfest replay FILE`: a recorded failure, once more.

use std::path::Path;

use plugfest::command::{OnTarget, Repro, asked, finding_lines};
use plugfest::{RunError, SpdkOptions, TargetKind};
use scenarios::plan::Expects;

use crate::cli::ReplayArguments;
use crate::input::read_text;
use crate::output::{Stop, print, tell};
use crate::preset::target_words;

/// It is the same run, and nothing is violated.
const EXIT_HELD: u8 = 0;
/// It is the same run, and something is violated.
const EXIT_FAILED: u8 = 1;
/// It is not the same run: this build does otherwise than the one that wrote the file.
const EXIT_INCONCLUSIVE: u8 = 3;

/// Replays the file, and says whether it went as it did.
pub fn run(arguments: &ReplayArguments) -> Result<u8, Stop> {
    let repro = read(&arguments.file)?;
    let file = arguments.file.display();
    match arguments.target.kind()? {
        TargetKind::Spdk(spdk) => return on_target(arguments, &repro, &spdk),
        TargetKind::Linked(_) => {
            let strange = "replay --target linked is not built yet";
            return Err(Stop::Error(strange.to_owned()));
        }
        TargetKind::Model if arguments.times.is_some() => {
            let strange = "--times means something with --target spdk only";
            return Err(Stop::Error(strange.to_owned()));
        }
        TargetKind::Model => {}
    }
    let wrong = |error| Stop::Error(format!("{file}: {error}"));
    let again = repro.replay().map_err(wrong)?;
    print(&format!("{file}: {}\n", summary(&repro).map_err(wrong)?))?;
    print(&steps(&repro))?;
    print(&finding_lines(&again.findings))?;
    let now = again.ending;
    let then = repro.recorded.ending.unwrap_or(now);
    if now.trace_hash != then.trace_hash {
        let where_ = match again.diverged {
            Some(turn) => format!("after turn {turn} the recorded actor could not go"),
            None => format!("{} turns in place of {}", now.turns, then.turns),
        };
        print(&format!(
            "not the same run: trace hash {:016x}, recorded {:016x}; {where_}\n",
            now.trace_hash, then.trace_hash
        ))?;
        return Ok(EXIT_INCONCLUSIVE);
    }
    print(&format!(
        "the same run: trace hash {:016x}, {} turns\n",
        now.trace_hash, now.turns
    ))?;
    Ok(if again.findings.is_empty() {
        EXIT_HELD
    } else {
        EXIT_FAILED
    })
}

/// Imposes the order of `repro` on a target that runs, and says how often that showed it.
fn on_target(arguments: &ReplayArguments, repro: &Repro, spdk: &SpdkOptions) -> Result<u8, Stop> {
    let file = arguments.file.display();
    let wrong = |error| Stop::Error(format!("{file}: {error}"));
    print(&format!("{file}: {}\n", summary(repro).map_err(wrong)?))?;
    print(&steps(repro))?;
    let on_target = OnTarget::new(repro).map_err(wrong)?;
    let times = arguments.times.unwrap_or(1);
    let (mut shown, mut enforced) = (0, 0);
    let mut done = 0;
    while done < times && !asked() {
        let once = match on_target.once(spdk) {
            Ok(once) => once,
            Err(_) if asked() => break,
            // Mostly it is the failure itself that has ended the target: what was seen is told.
            Err(error) if done > 0 => {
                tell(&format!(
                    "plugfest: {file}: {error}\n  = start the target again each time that it has died: it is waited for\n"
                ));
                break;
            }
            Err(error) => return Err(wrong(error)),
        };
        done += 1;
        shown += u32::from(once.shown);
        enforced += u32::from(once.enforced.0 == once.enforced.1);
        print(&format!("{done}. {once}\n"))?;
    }
    print(&format!(
        "shown {shown} of {done} times; its whole order was enforced {enforced} times\n"
    ))?;
    Ok(if shown > 0 {
        EXIT_FAILED
    } else if enforced == times {
        EXIT_HELD
    } else {
        EXIT_INCONCLUSIVE
    })
}

fn read(path: &Path) -> Result<Repro, Stop> {
    let wrong = |error: String| Stop::Error(format!("{}: {error}", path.display()));
    let text = read_text(path, "what `fuzz` or `run --repro` wrote").map_err(wrong)?;
    Repro::parse(&path.display().to_string(), &text).map_err(Stop::error)
}

/// Whether it was generated: the checks alone judge it.
fn is_generated(repro: &Repro) -> bool {
    let mut cases = repro.script.cases.iter();
    cases.all(|case| case.expects == Expects::Nothing)
}

/// The steps of a generated scenario, a line each; those of a plan can be read there.
fn steps(repro: &Repro) -> String {
    if is_generated(repro) {
        return repro.script.lines();
    }
    String::new()
}

/// What is replayed, in a line.
fn summary(repro: &Repro) -> Result<String, RunError> {
    let cases = &repro.script.cases;
    let what = if is_generated(repro) {
        let steps = repro.script.own_steps().count();
        format!("a scenario of {steps} steps")
    } else {
        format!("plan {}, {} cases", repro.script.plan, cases.len())
    };
    let wrong = target_words(repro.bugs()?);
    Ok(format!("{what}, seed {}, {wrong}", repro.recorded.seed))
}
