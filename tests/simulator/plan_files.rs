//! A generated scenario is a plan file: written, read and run, it is the same run; and so is one made by hand.

use std::collections::BTreeSet;

use plugfest::{Plan, Property, RunOptions, Schedule, Verdict, parse, run};
use scenarios::Action;
use scenarios::plan::StepKind;
use scenarios::run::StepResult;

/// Seeds of each schedule.
const SEEDS: u64 = 200;

/// What a generated scenario may ask for; `None`: it never does.
fn drawn(action: &Action) -> Option<&'static str> {
    match action {
        Action::BootVm { .. } => Some("boot"),
        Action::BootFirmware { .. } => Some("boot a firmware"),
        Action::Attach { .. } => Some("attach"),
        Action::Detach { .. } => Some("detach"),
        Action::StartFio { .. } => Some("fio"),
        Action::RebootVm { .. } => Some("reboot"),
        Action::PauseVm { .. } => Some("pause"),
        Action::ContinueVm { .. } => Some("continue"),
        Action::KillVm { .. } => Some("kill"),
        Action::AddMemory { .. } => Some("add-memory"),
        Action::Reconnect { .. } => Some("reconnect"),
        Action::Manage { .. } => Some("tmf"),
        Action::Remove { .. } => Some("remove"),
        Action::Insert { .. } => Some("insert"),
        Action::Resize { .. } => Some("resize"),
        Action::Hold { .. } => Some("hold"),
        Action::Fail { .. } => Some("fail"),
        Action::Delay { .. } => Some("delay"),
        Action::Release { .. } => Some("release"),
        Action::CreateController { .. } => Some("create"),
        Action::DeleteController { .. } => Some("delete"),
        Action::SaveConfig => Some("save-config"),
        // The head of a plan, and what waits or asks.
        Action::StartTarget { .. }
        | Action::WaitJobClock { .. }
        | Action::ListDisks { .. }
        | Action::CheckAlive
        | Action::Settle => None,
    }
}

/// How many kinds of action [`drawn`] names.
const DRAWN: usize = 22;

fn asked(plan: &Plan, kinds: &mut BTreeSet<&'static str>) {
    for step in plan.cases.iter().flat_map(|case| &case.steps) {
        let StepKind::Act(actions) = &step.kind else {
            panic!("{plan}");
        };
        kinds.extend(actions.iter().filter_map(drawn));
    }
}

#[test]
fn a_scenario_that_is_written_and_read_is_the_same_run() {
    let mut kinds = BTreeSet::new();
    for schedule in [Schedule::Timed, Schedule::Random] {
        let property = Property {
            schedule,
            ..Property::default()
        };
        for seed in 0..SEEDS {
            let mut repro = property.scenario(seed).expect("the simulator does it");
            repro.recorded.choices.clear();
            let text = repro.text().expect("it is new");
            let plan = parse("generated.kdl", &text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(plan.to_string(), text);
            asked(&plan, &mut kinds);
            let recorded = plan.recorded.as_ref().expect("it is there");
            let options = RunOptions::recorded(recorded).expect("its words are known");
            let report = run(&plan, &options).expect("it runs");
            assert_eq!(Some(report.ending), recorded.ending, "seed {seed}");
            assert_ne!(report.verdict(), Verdict::Failed, "seed {seed}");
        }
    }
    assert_eq!(kinds.len(), DRAWN, "{kinds:?}");
}

/// A plan around these steps of its one case.
fn plan(steps: &str) -> Plan {
    let text = format!(
        r#"plan "hand" {{
            about "by hand"
            controllers 2
            disks 4 from="any"
            disk 2 kind="null"
            disk 3 kind="faulty"
            disk 4 kind="delayed"
            job "default_integrity"
            vm 1 controllers="1"
            vm 2 controllers="2"
            case "1" "by hand" {{ {steps} }}
        }}"#
    );
    parse("hand.kdl", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// The first step of a plan that does not hold on an intended target: what it does, what was expected, what was
/// seen.
fn first_wrong(steps: &str) -> Option<(String, String, String)> {
    let options = RunOptions {
        behaviour: plugfest::Behaviour::Intended,
        volume: plugfest::Volume::Quick,
        ..RunOptions::default()
    };
    let report = run(&plan(steps), &options).expect("it runs");
    let steps = report.rows.into_iter().flat_map(|row| row.steps);
    let mut wrong = steps.filter_map(|step| match step.result {
        StepResult::Violated { expected, seen } => Some((step.text, expected, seen)),
        StepResult::Held { .. } => None,
        StepResult::Skipped { reason } | StepResult::Inconclusive { reason } => {
            Some((step.text, String::new(), reason))
        }
    });
    wrong.next()
}

#[test]
fn every_verb_holds_on_a_right_target() {
    let all = r#"
        boot vm=1
        alive
        attach disk=1 controller=1 target=0
        attach disk=2 controller=1 target="any"
        attach disk=3 controller=1 target="lowest"
        attach disk=4 controller=1 after="40us"
        present vm=1
        resize disk=2 mib=256
        delay disk=4 by="300us"
        fio "all" on="disk 1 4" expect="pass" {
            after "1s"
            add-memory vm=1
            reconnect vm=1 controller=1
            tmf "lun-reset" controller=1 target=1
            pause vm=1
            continue vm=1 after="3ms"
            alive
        }
        delay disk=4 by="0s"
        hold disk=3 requests=2
        fio "held" on="disk 3" expect="pass" {
            release disk=3 after="5ms"
        }
        fail disk=3 requests=64
        fio "failed" on="disk 3" expect="fail"
        release disk=3
        save-config
        list vm=1
        repeat 2 {
            fio "again" on="disk 1" expect="gone" {
                after "1s"
                detach disk=1
            }
            failed fio="again"
            attach disk=1 controller=1
            kept disk=1
        }
        remove disk=1
        insert disk=1
        kill vm="1"
        boot vm=1
        reboot vm=1
        detach controller=1 target=1
        kill vm=1
        delete controller=2
        create controller=2
        settle
        boot vm=2 firmware=#true
        parallel {
            branch "one" { boot vm=1; }
            branch "two" { attach disk=1 controller=2; }
        }
    "#;
    assert_eq!(first_wrong(all), None);
}

/// What has to be refused is: with the right words, or it is a failure.
#[test]
fn a_refusal_is_expected_by_its_words() {
    let refused = |what: &str| {
        first_wrong(&format!(
            "boot vm=1; attach disk=1 controller=1 target=0; {what}; alive; present"
        ))
    };
    assert_eq!(
        refused("attach disk=2 controller=1 target=0 refused=\"File exists\""),
        None
    );
    assert_eq!(
        refused("detach controller=1 target=3 refused=\"Device or resource busy\""),
        None
    );
    let busy = "refused=\"Device or resource busy\"";
    assert_eq!(refused(&format!("delete controller=1 {busy}")), None);
    let (_, expected, seen) =
        refused("attach disk=2 controller=1 target=0 refused=\"No such device\"")
            .expect("it is wrong");
    assert_eq!(expected, "an error: No such device");
    assert_eq!(seen, "an error: File exists");
    let (_, expected, seen) =
        refused("attach disk=2 controller=1 refused=\"File exists\"").expect("it is wrong");
    assert_eq!(expected, "an error: File exists");
    assert_eq!(seen, "an answer: 1");
}

/// A guest that is paused while its disks change never learns of it: `present` says so.
#[test]
fn a_disk_that_comes_while_its_guest_is_paused_is_not_present() {
    let wrong = first_wrong(
        "boot vm=1; attach disk=1 controller=1; pause vm=1; detach disk=1; attach disk=3 controller=1 target=1; continue vm=1 after=\"1s\"; present",
    );
    let (text, expected, seen) = wrong.expect("it is wrong");
    assert_eq!(text, "all attached disks are in place");
    assert!(expected.contains("disk 3 at 1:1"), "{expected}");
    assert!(seen.contains("disk 1 at 1:0"), "{seen}");
}
