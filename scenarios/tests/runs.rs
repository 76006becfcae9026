//! Plans carried out on a fake testbed: what holds, what does not, and how that is reported.

mod excused;
mod fake;

use std::io::Cursor;

use fake::{Fake, Oracle, Quirk};
use scenarios::parse;
use scenarios::plan::Plan;
use scenarios::report::{Report, RunHeader, Verdict, case_json, progress_line, render};
use scenarios::resolve::{Options, resolve};
use scenarios::run::{CheckOutcome, CheckResult, Judge, Progress, RunOutcome, StepResult, run};
use scenarios::shipped::PLANS;
use scenarios::trace::{Header, Player, Recorder, TRACE_VERSION, judge_trace};
use scenarios::{CheckId, Observation, Seen, Testbed, TestbedError};

/// Counts ends of fios, and finds fault with those that have failed if it is told to.
#[derive(Default)]
struct Counting {
    seen: u64,
    fios: u64,
}

impl Judge for Counting {
    fn begin_case(&mut self) {
        self.fios = 0;
    }

    fn see(&mut self, seen: &Seen) {
        self.seen += 1;
        self.fios += u64::from(matches!(seen.what, Observation::FioEnded { .. }));
    }

    fn end_case(&mut self) -> Vec<CheckResult> {
        vec![CheckResult {
            id: CheckId::Fio,
            outcome: CheckOutcome::Held,
            observations: self.fios,
        }]
    }
}

const SMALL: &str = r#"
plan "small" {
    about "a plan for tests"
    controllers 2 line=19
    disks 4 from="any" line=19
    job "default_integrity" line=10
    vm 1 controllers="1 2"
    prerequisites {
        attach disk=1 controller=1 implied="needed later"
        boot vm=1 line=24
    }
    case "1" "attach" {
        attach disk=2 controller=1 line=27
        fio "all" expect="pass" line=28
    }
    case "2" "detach, attach and reboot" {
        fio "all" expect="gone" line=52 {
            after "3s" implied="under I/O"
            detach disk=1 line=53
            alive line=54
        }
        gone disk=1 line=55
        failed fio="all" disk=1 line=56
        passed fio="all" implied="the other one"
        attach disk=1 controller=1 line=59
        kept disk=1 implied="data survive"
        reboot vm=1 line=83
        present line=85
    }
}
"#;

fn small() -> Plan {
    parse("small.kdl", SMALL).unwrap_or_else(|error| panic!("{error}"))
}

fn header(plan: &Plan) -> RunHeader {
    RunHeader {
        plan: plan.name.clone(),
        plan_argument: plan.name.clone(),
        seed: 7,
        behaviour: "head".into(),
        volume: "quick".into(),
        repeat_options: " --io-count quick".into(),
    }
}

/// Carries out a plan; the text of its progress, and what came of it.
fn carry_out(plan: &Plan, testbed: &mut dyn Testbed) -> Result<(String, RunOutcome), TestbedError> {
    let script = resolve(plan, 7, &Options::default()).unwrap();
    let mut text = String::new();
    let mut tell = |progress: &Progress<'_>| text.push_str(&progress_line(&plan.name, progress));
    let outcome = run(&script, testbed, &mut Counting::default(), &mut tell)?;
    Ok((text, outcome))
}

fn reported(quirks: &[Quirk]) -> (String, Report) {
    let plan = small();
    let (mut text, outcome) = carry_out(&plan, &mut Fake::new(quirks)).unwrap();
    let report = Report::new(header(&plan), outcome);
    text.push_str(&render(std::slice::from_ref(&report)));
    (text, report)
}

#[test]
fn a_plan_that_holds() {
    let (text, report) = reported(&[]);
    assert_eq!(report.verdict(), Verdict::Passed);
    insta::assert_snapshot!(text);
}

#[test]
fn a_step_that_does_not_hold_says_what_was_expected_and_seen() {
    let (text, report) = reported(&[Quirk::FioNotices(false), Quirk::NoReboot]);
    assert_eq!(report.verdict(), Verdict::Failed);
    let last = text.lines().last().unwrap();
    assert_eq!(last, "plugfest run small/2 --seed 7 --io-count quick");
    insta::assert_snapshot!(text);
}

#[test]
fn what_says_nothing_is_inconclusive() {
    let (text, report) = reported(&[Quirk::FioEndsEarly, Quirk::NeverQuiet]);
    assert_eq!(report.verdict(), Verdict::Inconclusive);
    insta::assert_snapshot!(text);
}

#[test]
fn a_case_as_json() {
    let (_, report) = reported(&[Quirk::FioNotices(false), Quirk::NoReboot]);
    let cases: Vec<String> = report
        .rows
        .iter()
        .map(|row| serde_json::to_string_pretty(&case_json(&report, row)).unwrap())
        .collect();
    insta::assert_snapshot!(cases.join("\n"));
}

/// What a quirk is caught by: the verdict, and the first step that did not hold.
fn caught(quirks: &[Quirk]) -> String {
    let (_, report) = reported(quirks);
    let steps = report.rows.iter().flat_map(|row| &row.steps);
    let wrong = steps.filter_map(|step| match &step.result {
        StepResult::Held { .. } => None,
        StepResult::Violated { expected, seen } => Some(format!(
            "{}\n  expected {expected}\n  seen {seen}",
            step.text
        )),
        StepResult::Skipped { reason } => Some(format!("{}\n  skipped: {reason}", step.text)),
        StepResult::Inconclusive { reason } => {
            Some(format!("{}\n  says nothing: {reason}", step.text))
        }
    });
    let first = wrong.into_iter().next().unwrap_or_default();
    format!("{quirks:?}: {}: {first}", report.verdict().word())
}

#[test]
fn every_quirk_is_caught() {
    let quirks = [
        Quirk::WrongDiskGoes,
        Quirk::DiskStays,
        Quirk::FioNotices(false),
        Quirk::FioEndsEarly,
        Quirk::BlockMissing,
        Quirk::VerifiesNothing,
        Quirk::NoReboot,
        Quirk::RebootIsFaked,
        Quirk::AttachRefused,
        Quirk::AttachUnanswered,
        Quirk::TargetCrashes,
        Quirk::NeverQuiet,
        Quirk::Breaks,
        Quirk::NoPerIo,
    ];
    let caught: Vec<String> = quirks.iter().map(|quirk| caught(&[*quirk])).collect();
    assert!(!caught.iter().any(|text| text.contains("passed:")));
    insta::assert_snapshot!(caught.join("\n"));
}

#[test]
fn a_case_that_had_ended_keeps_its_verdict_when_the_testbed_is_lost() {
    let (text, report) = reported(&[Quirk::Breaks]);
    let verdicts: Vec<_> = report.rows.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Inconclusive], "{text}");
    assert_eq!(report.verdict(), Verdict::Inconclusive);
}

#[test]
fn a_case_that_did_not_begin_says_so() {
    let (text, report) = reported(&[Quirk::BreaksSoon]);
    assert!(
        text.contains("\n0 of 2 cases passed, 1 inconclusive, 1 did not begin\n"),
        "{text}"
    );
    let row = case_json(&report, &report.rows[1]);
    assert_eq!(row["verdict"], "inconclusive");
    assert_eq!(row["reason"], "it did not begin");
    assert_eq!(
        case_json(&report, &report.rows[0])["reason"],
        serde_json::Value::Null
    );
}

#[test]
fn a_detach_that_comes_too_late_for_a_guest_says_nothing() {
    let (text, report) = reported(&[Quirk::ClockMissed, Quirk::FioNotices(false)]);
    assert_eq!(report.verdict(), Verdict::Inconclusive, "{text}");
    assert!(
        text.contains("never came to that time: it had ended in VM 1"),
        "{text}"
    );
}

#[test]
fn a_fio_that_ends_while_a_detach_is_under_way_says_nothing_where_nobody_knows_what_was_first() {
    let (text, report) = reported(&[Quirk::FioEndsWithDetach]);
    assert_eq!(report.verdict(), Verdict::Inconclusive, "{text}");
    assert!(
        text.contains("fio had ended by the time of the detach"),
        "{text}"
    );
    // What the detach does not explain stays wrong.
    let (text, report) = reported(&[Quirk::FioEndsWithDetach, Quirk::BlockMissing]);
    let first = report.rows.iter().flat_map(|row| &row.steps);
    let fio = first
        .filter(|step| step.text.starts_with("fio "))
        .find(|step| !matches!(step.result, StepResult::Held { .. }));
    let wrong = fio.is_some_and(|step| matches!(step.result, StepResult::Violated { .. }));
    assert!(wrong, "{text}");
    let (text, report) = reported(&[Quirk::FioEndsWithDetach, Quirk::ShowsInside]);
    assert_eq!(report.verdict(), Verdict::Failed, "{text}");
}

#[test]
fn data_is_read_back_where_only_fios_report_is_seen() {
    let shown = [Quirk::NoPerIo, Quirk::ChecksReads];
    let (text, report) = reported(&shown);
    assert_eq!(report.verdict(), Verdict::Passed, "{text}");
    let [no_io, checks] = shown;
    for oracle in [Oracle::Fio, Oracle::Strict] {
        let caught = caught(&[no_io, checks, Quirk::Loses(oracle)]);
        let kept =
            "failed: disk 1 kept its data\n  expected its blocks are there as they were written";
        assert!(caught.contains(kept), "{caught}");
    }
}

/// A plan of one VM, one controller and two disks, whose one case has these steps.
fn short_plan(steps: &str) -> Plan {
    let text = format!(
        r#"plan "short" {{
            about "a plan for tests"
            controllers 1
            disks 2 from="any"
            job "default_integrity"
            vm 1 controllers="1"
            prerequisites {{
                attach disk=1 controller=1
                attach disk=2 controller=1
                boot vm=1
            }}
            case "1" "as it says" {{ {steps} }}
        }}"#
    );
    parse("short.kdl", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// What comes of such a plan.
fn came_of(steps: &str, quirks: &[Quirk]) -> (String, Report) {
    let plan = short_plan(steps);
    let (mut text, outcome) = carry_out(&plan, &mut Fake::new(quirks)).unwrap();
    let report = Report::new(header(&plan), outcome);
    text.push_str(&render(std::slice::from_ref(&report)));
    (text, report)
}

#[test]
fn only_a_disk_that_was_written_to_keeps_its_data() {
    for quirks in [&[][..], &[Quirk::NoPerIo, Quirk::ChecksReads]] {
        for (disk, verdict, words) in [
            (1, Verdict::Passed, "64 "),
            (2, Verdict::Inconclusive, "nothing was written to disk 2"),
        ] {
            let steps = format!(
                r#"fio "one" on="disk 1" expect="pass"
                kept disk={disk}"#
            );
            let plan = short_plan(&steps);
            let (mut text, outcome) = carry_out(&plan, &mut Fake::new(quirks)).unwrap();
            let report = Report::new(header(&plan), outcome);
            text += &render(std::slice::from_ref(&report));
            assert_eq!(report.verdict(), verdict, "{text}");
            let kept = text.lines().find(|line| line.contains("kept its data"));
            assert!(kept.is_some_and(|line| line.contains(words)), "{text}");
        }
    }
}

#[test]
fn a_case_whose_fios_verified_nothing_says_nothing() {
    let detached = r#"fio "all" on="disk 1" expect="gone" { after "3s"; detach disk=1; }"#;
    let plan = short_plan(detached);
    let idle = [Quirk::VerifiesNothing];
    let (_, outcome) = carry_out(&plan, &mut Fake::new(&idle)).unwrap();
    let report = Report::new(header(&plan), outcome);
    assert_eq!(report.verdict(), Verdict::Inconclusive);
    let reason = "its fios verified no block";
    assert!(
        case_json(&report, &report.rows[0])["reason"]
            .as_str()
            .unwrap()
            .contains(reason)
    );
    assert!(render(&[report]).contains(reason));
    // Where a disk has to pass, its volume is missing.
    let passing = short_plan(&detached.replace("disk 1", "attached"));
    let (_, outcome) = carry_out(&passing, &mut Fake::new(&idle)).unwrap();
    let verdict = Report::new(header(&passing), outcome).verdict();
    assert_eq!(verdict, Verdict::Failed);
    let (text, outcome) = carry_out(&plan, &mut Fake::new(&[])).unwrap();
    assert_eq!(
        Report::new(header(&plan), outcome).verdict(),
        Verdict::Passed,
        "{text}"
    );
}

#[test]
fn cases_before_the_one_asked_for_are_set_up_only() {
    let plan = small();
    let only = Options {
        only: Some("2".into()),
    };
    let script = resolve(&plan, 7, &only).unwrap();
    let mut text = String::new();
    let mut tell = |progress: &Progress<'_>| text.push_str(&progress_line("small", progress));
    // The block that is missing fails both cases, but only one of them is judged.
    let mut fake = Fake::new(&[Quirk::BlockMissing]);
    let outcome = run(&script, &mut fake, &mut Counting::default(), &mut tell).unwrap();
    assert!(
        text.contains("small/1  attach (set-up, not judged)"),
        "{text}"
    );
    let report = Report::new(header(&plan), outcome);
    assert_eq!(report.rows.len(), 1);
    assert_eq!(report.rows[0].case, "2");
    assert_eq!(
        report.repeat().unwrap(),
        "plugfest run small/2 --seed 7 --io-count quick"
    );
}

#[test]
fn a_run_that_checked_nothing_fails() {
    let plan = small();
    let (_, mut outcome) = carry_out(&plan, &mut Fake::new(&[])).unwrap();
    for case in &mut outcome.cases {
        case.steps.clear();
        case.checks.clear();
    }
    let report = Report::new(header(&plan), outcome.clone());
    assert_eq!(report.verdict(), Verdict::Failed);
    assert!(render(&[report]).contains("no step and no check has looked at anything"));
    outcome.cases.clear();
    assert_eq!(
        Report::new(header(&plan), outcome).verdict(),
        Verdict::Failed
    );
}

#[test]
fn the_shipped_plans_hold_on_a_testbed_that_does_what_it_is_asked() {
    for shipped in PLANS {
        let plan = parse(shipped.file, shipped.text).unwrap();
        let (text, outcome) = carry_out(&plan, &mut Fake::new(&[])).unwrap();
        let report = Report::new(header(&plan), outcome);
        assert_eq!(report.verdict(), Verdict::Passed, "{text}");
        assert_eq!(report.rows.len(), plan.cases.len());
    }
}

#[test]
fn a_saved_trace_is_judged_as_the_run_was() {
    for quirks in [
        &[][..],
        &[Quirk::FioNotices(false)],
        &[Quirk::AttachUnanswered],
    ] {
        let plan = small();
        let header = Header {
            plugfest_trace: TRACE_VERSION,
            plan: plan.name.clone(),
            only: None,
            seed: 7,
            behaviour: "head".into(),
            evidence: Fake::new(quirks).evidence(),
        };
        let mut file = Vec::new();
        let mut fake = Fake::new(quirks);
        let mut recorder = Recorder::new(&mut fake, &mut file, &header).unwrap();
        let (_, live) = carry_out(&plan, &mut recorder).unwrap();
        let mut player = Player::new(Cursor::new(&file)).unwrap();
        assert_eq!(player.header(), &header);
        let again = judge_trace(&mut player, &plan, &mut Counting::default()).unwrap();
        assert_eq!(live, again);
    }
}

#[test]
fn a_trace_of_something_else_is_refused() {
    let errors = ["", "x\n", "{\"plugfest_trace\":9,\"plan\":\"p\",\"only\":null,\"seed\":1,\"behaviour\":\"\",\"evidence\":0}\n"]
        .map(|text| Player::new(Cursor::new(text)).err().unwrap().to_string());
    assert_eq!(
        errors,
        [
            "trace: the file is empty",
            "trace: line 1 is no header: expected value at line 1 column 1",
            "trace: version 9, expected 1",
        ]
    );
}

#[test]
fn a_sink_that_cannot_be_written_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no space left"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let header = Header {
        plugfest_trace: TRACE_VERSION,
        plan: "small".into(),
        only: None,
        seed: 7,
        behaviour: "head".into(),
        evidence: scenarios::Evidence::empty(),
    };
    let (mut fake, mut full) = (Fake::new(&[]), Full);
    let error = Recorder::new(&mut fake, &mut full, &header).err().unwrap();
    assert_eq!(error.to_string(), "cannot write the trace: no space left");
}
