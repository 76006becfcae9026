//! What a fio of a model guest leaves for a later one: `verify_state_save` and `verify_state_load`.

use plugfest::{JobText, RunOptions, Verdict, Volume, parse, render, run};

const GLOBALS: &str =
    "[global]\ndirect=1\nioengine=libaio\nthread\nbs=4k\niodepth=16\nverify=md5\n";

/// Carries out a case of these steps with the jobs `writes` and `reads`, which loads a state.
fn carry_out(steps: &str) -> (Verdict, String) {
    let text = format!(
        r#"plan "state" {{
            about "A fio reads what another one wrote."
            controllers 1
            disks 1 from="any"
            job "writes"
            vm 1 controllers="1"
            prerequisites {{
                boot vm=1
                attach disk=1 controller=1
            }}
            case "1" "as it says" {{ {steps} }}
        }}"#
    );
    let plan = parse("state.kdl", &text).expect("it is a plan");
    let mut options = RunOptions {
        volume: Volume::Quick,
        ..RunOptions::default()
    };
    for (name, more) in [
        ("writes", "rw=randwrite\n"),
        ("unsaved", "rw=randwrite\nverify_state_save=0\n"),
        ("reads", "rw=randread\nverify_state_load=1\n"),
    ] {
        let file = format!("{name}.fio");
        let text = format!("{GLOBALS}{more}");
        options.jobs.insert(name.into(), JobText { file, text });
    }
    let report = run(&plan, &options).expect("it can be carried out");
    (report.verdict(), render(&[report]))
}

#[test]
fn a_later_fio_finds_the_state_even_after_a_reboot() {
    let (verdict, text) = carry_out(
        r#"fio "w" expect="pass"
        reboot vm=1
        fio "r" job="reads" expect="pass""#,
    );
    assert_eq!(verdict, Verdict::Passed, "{text}");
    assert!(text.contains("\"r\": 1=256"), "{text}");
}

#[test]
fn without_a_state_it_does_not_begin() {
    for first in ["", r#"fio "w" job="unsaved" expect="pass"; "#] {
        let (verdict, text) = carry_out(&format!(r#"{first}fio "r" job="reads" expect="pass""#));
        assert_eq!(verdict, Verdict::Inconclusive, "{text}");
        assert!(text.contains("\"r\": 1=0!"), "{text}");
    }
}
