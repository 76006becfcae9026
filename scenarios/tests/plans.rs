//! The shipped plans: that they read, and that no line of the test plan is forgotten.

use std::collections::BTreeSet;

use scenarios::parse;
use scenarios::plan::{Plan, Role, Source, Step, StepKind};
use scenarios::resolve::{Options, draw, resolve, script};
use scenarios::shipped::{DOCUMENTED, JOBS, PLANS, TEST_PLAN};

/// Numbered lines of the document that ask for nothing: where upstream keeps its scripts.
const PROSE: &[u32] = &[15];

fn shipped() -> Vec<Plan> {
    PLANS
        .iter()
        .map(|plan| parse(plan.file, plan.text).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

/// The numbers of lines such as "3. Run fio".
fn numbered() -> BTreeSet<u32> {
    let is_numbered = |line: &str| {
        let digits = line.chars().take_while(char::is_ascii_digit).count();
        digits > 0 && line[digits..].starts_with(". ")
    };
    let lines = (1..).zip(TEST_PLAN.lines());
    lines
        .filter(|(_, line)| is_numbered(line))
        .map(|(number, _)| number)
        .collect()
}

fn gather(steps: &[Step], lines: &mut BTreeSet<u32>) {
    for step in steps {
        if let Source::Lines(of) = &step.source {
            lines.extend(of);
        }
        match &step.kind {
            StepKind::Fio { body, .. } => gather(body, lines),
            StepKind::Parallel { branches } => {
                branches.iter().for_each(|of| gather(&of.steps, lines));
            }
            StepKind::Repeat { steps, .. } => gather(steps, lines),
            _ => {}
        }
    }
}

fn lines_of(plan: &Plan) -> BTreeSet<u32> {
    let mut lines = BTreeSet::new();
    for source in [
        &plan.controllers_source,
        &plan.disks_source,
        &plan.job_source,
    ] {
        if let Source::Lines(of) = source {
            lines.extend(of);
        }
    }
    gather(&plan.prerequisites, &mut lines);
    plan.cases
        .iter()
        .for_each(|case| gather(&case.steps, &mut lines));
    lines
}

#[test]
fn every_numbered_line_of_the_test_plan_has_a_step() {
    let documented = shipped()
        .into_iter()
        .filter(|plan| DOCUMENTED.contains(&plan.name.as_str()));
    let covered: BTreeSet<u32> = documented.flat_map(|plan| lines_of(&plan)).collect();
    let mut wanted = numbered();
    assert_eq!(
        wanted.len(),
        3 + 2 + 1 + (2 + 3 + 3 + 5) + 1 + (5 + 6 + 6 + 12)
    );
    PROSE.iter().for_each(|line| assert!(wanted.remove(line)));
    let forgotten: Vec<_> = wanted.difference(&covered).collect();
    assert!(forgotten.is_empty(), "lines without a step: {forgotten:?}");
}

#[test]
fn every_line_that_a_step_names_says_something() {
    let lines: Vec<&str> = TEST_PLAN.lines().collect();
    for plan in shipped() {
        for line in lines_of(&plan) {
            let text = lines.get(line as usize - 1).copied().unwrap_or_default();
            let says = !text.trim().is_empty() && !text.starts_with('#');
            assert!(says, "{}: line {line} is {text:?}", plan.name);
        }
    }
}

#[test]
fn the_documented_plan_has_nine_cases() {
    let names: Vec<String> = shipped()
        .iter()
        .filter(|plan| DOCUMENTED.contains(&plan.name.as_str()))
        .flat_map(|plan| {
            plan.cases
                .iter()
                .map(|case| format!("{}/{}", plan.name, case.id))
        })
        .collect();
    assert_eq!(
        names,
        [
            "hotattach/1",
            "hotattach/2",
            "hotattach/3",
            "hotattach/4",
            "hotdetach/1",
            "hotdetach/2",
            "hotdetach/3",
            "hotdetach/4",
            "hotdetach/4-literal",
        ]
    );
}

#[test]
fn a_file_is_named_like_its_plan() {
    for (shipped, plan) in PLANS.iter().zip(shipped()) {
        assert_eq!(shipped.name, plan.name);
        assert!(shipped.file.ends_with(&format!("/{}.kdl", shipped.name)));
        assert!(JOBS.iter().any(|job| job.name == plan.job));
    }
}

#[test]
fn a_seed_fixes_the_stimulus_and_seeds_differ() {
    for plan in shipped() {
        let options = Options::default();
        let one = resolve(&plan, 1, &options).unwrap();
        assert_eq!(one, resolve(&plan, 1, &options).unwrap());
        let other = resolve(&plan, 2, &options).unwrap();
        assert_ne!(one.cases, other.cases, "{}", plan.name);
    }
}

#[test]
fn one_case_alone_is_asked_for_as_in_the_whole_plan() {
    for plan in shipped() {
        let all = resolve(&plan, 5, &Options::default()).unwrap();
        for (at, case) in plan.cases.iter().enumerate() {
            let only = Options {
                only: Some(case.id.clone()),
            };
            let one = resolve(&plan, 5, &only).unwrap();
            assert_eq!(one.cases.len(), at + 1);
            assert_eq!(
                one.cases
                    .iter()
                    .filter(|case| case.role == Role::Judged)
                    .count(),
                1
            );
            for (one, all) in one.cases.iter().zip(&all.cases) {
                assert_eq!(one.steps, all.steps);
            }
        }
    }
}

#[test]
fn a_case_that_is_not_there_is_refused() {
    let plan = &shipped()[0];
    let only = Options {
        only: Some("9".into()),
    };
    let error = resolve(plan, 0, &only).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plan \"hotattach\" has no case \"9\"; it has 1, 2, 3, 4"
    );
}

/// The example in the README, and the sentence behind it that says what a plan must have.
fn readme() -> (&'static str, &'static str) {
    let readme = include_str!("../../docs/plans.md");
    let (_, rest) = readme.split_once("```kdl\n").unwrap();
    let (example, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once("Mandatory are: ").unwrap();
    (example, rest.split_once(';').unwrap().0)
}

#[test]
fn the_example_in_the_readme_is_a_plan() {
    let (example, _) = readme();
    parse("docs/plans.md", example).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_readme_says_what_a_plan_must_have() {
    let (example, mandatory) = readme();
    for node in ["about", "controllers", "disks", "job"] {
        let line = |line: &&str| line.trim_start().starts_with(&format!("{node} "));
        assert_eq!(example.lines().filter(line).count(), 1, "{node}");
        let without: Vec<&str> = example.lines().filter(|text| !line(text)).collect();
        assert!(parse("without.kdl", &without.join("\n")).is_err(), "{node}");
        assert!(mandatory.contains(&format!("`{node}`")), "{node}");
    }
    let least = "plan \"p\" {\nabout \"x\"\ncontrollers 1\ndisks 1 from=\"any\"\njob \"j\"\ncase \"1\" \"y\" { alive; }\n}";
    parse("least.kdl", least).unwrap_or_else(|error| panic!("{error}"));
    for (title, all) in [
        (" \"Attach under I/O\"", "which has an ID and a title"),
        (" \"mine\"", "the plan's name"),
    ] {
        assert!(example.contains(title));
        let without = example.replace(title, "");
        assert!(parse("without.kdl", &without).is_err(), "{title}");
        assert!(mandatory.contains(all), "{mandatory}");
    }
}

/// What is left to chance is drawn first: what is written down then is carried out alike, whatever the seed.
#[test]
fn a_plan_as_drawn_is_read_again_as_the_same_script() {
    for plan in shipped() {
        for seed in 0..20 {
            let drawn = draw(&plan, seed, &Options::default()).unwrap();
            let text = drawn.to_string();
            let read = parse("drawn.kdl", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let wanted = resolve(&plan, seed, &Options::default()).unwrap();
            assert_eq!(script(&read).unwrap(), wanted, "{text}");
            assert_eq!(
                resolve(&read, seed + 1, &Options::default()).unwrap(),
                wanted
            );
        }
    }
}
