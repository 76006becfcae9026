//! `plugfest list` and `plugfest doctor`: what there is.

use std::fmt::Write as _;

use real::doctor;
use real::testbed::run_dir;
use scenarios::plan::parse;
use scenarios::shipped::{DOCUMENTED, JOBS, PLANS};
use sim::Bug;

use crate::cli::DoctorArguments;
use crate::output::{Stop, print};

/// Prints the plans, their cases, and the jobs.
pub fn list() -> Result<u8, Stop> {
    let mut text = String::new();
    for shipped in PLANS {
        let plan = parse(shipped.file, shipped.text).map_err(Stop::error)?;
        let documented = DOCUMENTED.contains(&shipped.name);
        let mark = if documented {
            " (part of `plugfest run`)"
        } else {
            ""
        };
        let _ = writeln!(text, "{}{mark}\n  {}", plan.name, plan.about);
        for case in &plan.cases {
            let name = format!("{}/{}", plan.name, case.id);
            let _ = writeln!(text, "    {name:<22} {}", case.title);
        }
        text.push('\n');
    }
    text.push_str("fio jobs:\n");
    for job in JOBS {
        let _ = writeln!(text, "    {:<22} {}", job.name, job.file);
    }
    text.push_str("\nknown bugs, as --bug takes them (head: SPDK 3230130e6a does this):\n");
    for bug in Bug::ALL {
        let head = if bug.in_head() { "  head" } else { "" };
        let (id, name) = (bug.id(), bug.name());
        let _ = writeln!(text, "    {id:<4} {name}{head}");
    }
    print(&text)?;
    Ok(0)
}

/// Prints what runs have left behind that have ended.
fn leftovers() -> Result<u8, Stop> {
    let left = run_dir::leftovers();
    let mut text = String::new();
    for left in &left {
        let _ = writeln!(text, "{left}");
    }
    if left.is_empty() {
        text.push_str("nothing is left\n");
    }
    print(&text)?;
    Ok(u8::from(!left.is_empty()))
}

/// Prints which testbeds can run here, or what killed runs have left behind.
pub fn doctor(arguments: &DoctorArguments) -> Result<u8, Stop> {
    if arguments.leftovers {
        return leftovers();
    }
    print(&doctor::examine(&arguments.rpc_socket).to_string())?;
    Ok(0)
}
