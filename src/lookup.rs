//! From `PLAN[/CASE]` to a plan, and from `--job FILE` to a job.

use std::fs;
use std::path::Path;

use plugfest::{JobText, Plan, parse};
use scenarios::plan::nearest;
use scenarios::shipped::{DOCUMENTED, PLANS};

use crate::output::Stop;

/// A plan to carry out, or one case of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What names it on a command line.
    pub argument: String,
    /// The plan.
    pub plan: Plan,
    /// The one case to judge.
    pub only: Option<String>,
}

/// What the arguments name; the documented plan if there are none.
pub fn targets(arguments: &[String]) -> Result<Vec<Target>, Stop> {
    if arguments.is_empty() {
        return DOCUMENTED.iter().map(|name| target(name)).collect();
    }
    arguments.iter().map(|argument| target(argument)).collect()
}

fn target(argument: &str) -> Result<Target, Stop> {
    let (name, case) = split(argument);
    let plan = if is_path(name) {
        let path = Path::new(name);
        let text = fs::read_to_string(path)
            .map_err(|error| Stop::Error(format!("cannot read {name}: {error}")))?;
        parse(name, &text).map_err(Stop::error)?
    } else {
        shipped(name)?
    };
    if let Some(case) = case
        && !plan.cases.iter().any(|known| known.id == case)
    {
        let known: Vec<&str> = plan.cases.iter().map(|case| case.id.as_str()).collect();
        return Err(Stop::Error(format!(
            "plan {name} has no case {case:?}\n  = it has {}",
            known.join(", ")
        )));
    }
    Ok(Target {
        argument: name.to_owned(),
        plan,
        only: case.map(str::to_owned),
    })
}

fn shipped(name: &str) -> Result<Plan, Stop> {
    let names: Vec<&str> = PLANS.iter().map(|plan| plan.name).collect();
    let Some(plan) = PLANS.iter().find(|plan| plan.name == name) else {
        let near = nearest(name, &names);
        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        return Err(Stop::Error(format!(
            "there is no plan {name:?}\n  = expected one of {}, or a path that ends in .kdl{near}",
            names.join(", ")
        )));
    };
    parse(plan.file, plan.text).map_err(Stop::error)
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

/// The text of a job file.
pub fn job(path: &Path) -> Result<JobText, Stop> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| Stop::Error(format!("cannot read {file}: {error}")))?;
    Ok(JobText { file, text })
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
