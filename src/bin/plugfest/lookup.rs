//! From `PLAN[/CASE]` to a plan, and from `--job FILE` to a job.

use std::path::Path;

use plugfest::{GuestKind, JobText, Plan, RunOptions, TargetKind, parse};
use scenarios::plan::{Case, Role, nearest};
use scenarios::shipped::{DOCUMENTED, PLANS};

use crate::input::read_text;
use crate::output::{Stop, tell};

/// A plan to carry out, or one case of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What names it on a command line.
    pub argument: String,
    /// The plan.
    pub plan: Plan,
    /// The one case to judge.
    pub only: Option<String>,
    /// What the plan's file records, or what is usual.
    pub options: RunOptions,
}

/// What the arguments name; the documented plan if there are none.
pub fn targets(arguments: &[String]) -> Result<Vec<Target>, Stop> {
    if arguments.is_empty() {
        return DOCUMENTED.iter().map(|name| target(name)).collect();
    }
    let mut targets: Vec<Target> = Vec::new();
    for argument in arguments {
        let target = target(argument)?;
        if let Some(other) = targets.iter().find(|other| target.overlaps(other)) {
            let (this, other) = (target.shown(), other.shown());
            return Err(Stop::Error(if this == other {
                format!("{this} is named twice\n  = expected each plan or case once")
            } else {
                format!("{other} and {this} share a case\n  = expected each plan or case once")
            }));
        }
        targets.push(target);
    }
    Ok(targets)
}

impl Target {
    /// Whether it came from a file of the user's.
    pub fn is_file(&self) -> bool {
        is_path(&self.argument)
    }

    /// How many of its cases are to be judged.
    pub fn cases(&self) -> usize {
        let judged = |case: &&Case| case.role == Role::Judged;
        match &self.only {
            Some(_) => 1,
            None => self.plan.cases.iter().filter(judged).count(),
        }
    }

    /// Takes this target and these guests; says what of its file they cannot be given.
    pub fn take_ends(&mut self, target: &TargetKind, guests: &GuestKind) {
        let usual = RunOptions::default();
        let own = std::mem::replace(&mut self.options, usual);
        let (options, lost) = own.with_ends(target.clone(), guests.clone());
        self.options = options;
        if !lost.is_empty() {
            let file = &self.argument;
            tell(&format!(
                "note: {file} records {}: this target and these guests go without\n",
                lost.join(", ")
            ));
        }
    }

    /// The seed that is given, or its own.
    pub fn seed(&self, given: Option<u64>) -> u64 {
        given.unwrap_or(self.options.seed)
    }

    /// Whether a case belongs to both.
    fn overlaps(&self, other: &Self) -> bool {
        let apart = |(a, b): (&String, &String)| a != b;
        self.plan == other.plan
            && !self
                .only
                .as_ref()
                .zip(other.only.as_ref())
                .is_some_and(apart)
    }

    /// As it was named.
    fn shown(&self) -> String {
        match &self.only {
            Some(case) => format!("{}/{case}", self.argument),
            None => self.argument.clone(),
        }
    }
}

fn target(argument: &str) -> Result<Target, Stop> {
    let (name, case) = split(argument);
    let plan = if is_path(name) {
        let text = read_text(Path::new(name), "a plan")
            .map_err(|error| Stop::Error(format!("cannot read {name}: {error}")))?;
        parse(name, &text).map_err(Stop::error)?
    } else {
        shipped(name, argument)?
    };
    if let Some(case) = case
        && !plan.cases.iter().any(|known| known.id == case)
    {
        let known: Vec<&str> = plan.cases.iter().map(|case| case.id.as_str()).collect();
        return Err(Stop::Error(format!(
            "plan {name} has no case {case:?}\n  = expected one of its cases: {}",
            known.join(", ")
        )));
    }
    // Whoever pastes the command that repeats it means no option.
    let dash = if name.starts_with('-') { "./" } else { "" };
    let at = plan.recorded.as_ref().map(|recorded| recorded.at);
    let at = at.unwrap_or_default();
    let wrong = |error| Stop::Error(format!("{name}:{}:{}: {error}", at.line, at.column));
    let options = RunOptions::of_plan(&plan).map_err(wrong)?;
    Ok(Target {
        argument: format!("{dash}{name}"),
        options,
        plan,
        only: case.map(str::to_owned),
    })
}

/// The plan that ships as `name`, which is all of `argument` or what stands before the case.
fn shipped(name: &str, argument: &str) -> Result<Plan, Stop> {
    let names: Vec<&str> = PLANS.iter().map(|plan| plan.name).collect();
    if let Some(plan) = PLANS.iter().find(|plan| plan.name == name) {
        return parse(plan.file, plan.text).map_err(Stop::error);
    }
    let path = Path::new(argument);
    let wrong = if path.is_dir() {
        format!("{argument} is a directory, not a plan")
    } else if path.exists() {
        format!("{argument} is not a plan: its name does not end in .kdl")
    } else if argument.starts_with(['.', '/', '~']) {
        format!("there is no file {argument}")
    } else {
        format!("there is no plan {name:?}")
    };
    let near = nearest(name, &names);
    let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(Stop::Error(format!(
        "{wrong}\n  = expected one of {}, or a path that ends in .kdl{near}",
        names.join(", ")
    )))
}

fn is_path(name: &str) -> bool {
    name.ends_with(".kdl")
}

/// "hotattach/3" and "dir/mine.kdl/3" end in a case; "dir/mine.kdl" does not.
fn split(argument: &str) -> (&str, Option<&str>) {
    if is_path(argument) {
        return (argument, None);
    }
    match argument.rsplit_once('/') {
        Some((name, case)) => (name, Some(case)),
        None => (argument, None),
    }
}

/// The text of a job file, with what it includes and what it takes from the environment in it.
pub fn job(path: &Path) -> Result<JobText, Stop> {
    let file = path.display().to_string();
    let text = read_text(path, "a fio job file")
        .map_err(|error| Stop::Error(format!("cannot read {file}: {error}")))?;
    let text = fio_model::expand(&file, &text, &Here).map_err(|e| Stop::Error(e.to_string()))?;
    Ok(JobText { file, text })
}

/// Where this process runs.
struct Here;

impl fio_model::Surroundings for Here {
    #[expect(
        clippy::disallowed_methods,
        reason = "fio puts variables of the environment into a job file, which is told whole"
    )]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Option<String> {
        read_text(Path::new(path), "a fio job file").ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_cases_from_directories() {
        assert_eq!(split("hotattach"), ("hotattach", None));
        assert_eq!(split("hotattach/3"), ("hotattach", Some("3")));
        assert_eq!(split("a/b.kdl"), ("a/b.kdl", None));
        assert_eq!(split("a/b.kdl/4-literal"), ("a/b.kdl", Some("4-literal")));
    }
}
