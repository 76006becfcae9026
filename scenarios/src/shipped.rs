//! The plans and jobs that ship with the program.
//!
//! Compiled in, so that `plugfest run` needs no file. A plan of the user's own is a path.

/// A text that ships with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// What `plugfest run` and plans call it.
    pub name: &'static str,
    /// Its file in the source.
    pub file: &'static str,
    /// The text.
    pub text: &'static str,
}

/// The plans, in the order of `plugfest list`.
pub const PLANS: &[Shipped] = &[
    Shipped {
        name: "hotattach",
        file: "scenarios/plans/hotattach.kdl",
        text: include_str!("../plans/hotattach.kdl"),
    },
    Shipped {
        name: "hotdetach",
        file: "scenarios/plans/hotdetach.kdl",
        text: include_str!("../plans/hotdetach.kdl"),
    },
    Shipped {
        name: "hotplug",
        file: "scenarios/plans/hotplug.kdl",
        text: include_str!("../plans/hotplug.kdl"),
    },
    Shipped {
        name: "hotremove",
        file: "scenarios/plans/hotremove.kdl",
        text: include_str!("../plans/hotremove.kdl"),
    },
];

/// The plans of `plugfest run` without a plan: the documented test plan, nine cases.
pub const DOCUMENTED: &[&str] = &["hotattach", "hotdetach"];

/// The fio jobs.
pub const JOBS: &[Shipped] = &[
    Shipped {
        name: "default_integrity",
        file: "scenarios/jobs/default_integrity.fio",
        text: include_str!("../jobs/default_integrity.fio"),
    },
    Shipped {
        name: crate::plan::READ_BACK_JOB,
        file: "scenarios/jobs/read_back.fio",
        text: include_str!("../jobs/read_back.fio"),
    },
    Shipped {
        name: crate::generate::VERIFY_JOB,
        file: "scenarios/jobs/generated.fio",
        text: include_str!("../jobs/generated.fio"),
    },
    Shipped {
        name: crate::generate::WRITE_JOB,
        file: "scenarios/jobs/generated_writes.fio",
        text: include_str!("../jobs/generated_writes.fio"),
    },
];

/// What plans and repros of earlier versions call some of the jobs, and what those are called now.
pub const FORMER_JOBS: &[(&str, &str)] = &[
    ("story", crate::generate::VERIFY_JOB),
    ("story_writes", crate::generate::WRITE_JOB),
];

/// The job that ships under this name, or did.
#[must_use]
pub fn job(name: &str) -> Option<&'static Shipped> {
    let former = FORMER_JOBS.iter().find(|(former, _)| *former == name);
    let name = former.map_or(name, |(_, now)| now);
    JOBS.iter().find(|job| job.name == name)
}

/// The test plan that the plans encode: `line=27` is its line 27.
pub const TEST_PLAN: &str = include_str!("../plans/test_plan.md");
