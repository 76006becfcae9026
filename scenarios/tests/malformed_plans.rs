//! Plan files that are wrong: each gives one error that says where, what, and what was expected.

use scenarios::parse;

/// The lines of a plan that is right, around the steps of its one case.
fn with_steps(steps: &str) -> String {
    format!(
        r#"plan "p" {{
    about "a plan"
    controllers 2 line=19
    disks 4 from="nvme" line=19
    job "default_integrity" line=10
    vm 1 controllers="1 2"
    case "1" "a case" {{
        boot vm=1 line=24
        attach disk=1 controller=1 line=27
{steps}
    }}
}}
"#
    )
}

/// The errors of several texts, each under its heading.
fn errors(texts: &[(&str, String)]) -> String {
    let one = |(heading, text): &(&str, String)| {
        let error = parse("p.kdl", text).expect_err(heading);
        format!("{heading}:\n{error}\n")
    };
    texts.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_frame_is_right() {
    parse("p.kdl", &with_steps("        alive line=28")).unwrap();
}

#[test]
fn text_that_is_no_plan() {
    let texts = [
        ("nothing", String::new()),
        ("unclosed brace", "plan \"p\" {\n    about \"x\"\n".into()),
        ("no number", "plan \"p\" {\n    controllers 8x line=1\n}\n".into()),
        ("no plan", "about \"x\"\n".into()),
        ("no name", "plan {\n    about \"x\"\n}\n".into()),
        ("two plans", with_steps("alive line=28") + "plan \"q\" {}\n"),
        ("unknown node", "plan \"p\" {\n    disk 16 from=\"nvme\" line=19\n}\n".into()),
        ("steps too early", "plan \"p\" {\n    case \"1\" \"t\" { alive line=1; }\n}\n".into()),
        ("no cases", "plan \"p\" {\n    controllers 1 line=1\n    disks 1 from=\"any\" line=1\n    job \"j\" line=1\n}\n".into()),
        ("too many controllers", "plan \"p\" {\n    controllers 999 line=19\n}\n".into()),
        ("twice", "plan \"p\" {\n    about \"x\"\n    about \"y\"\n}\n".into()),
        ("no such controller", "plan \"p\" {\n    controllers 2 line=1\n    vm 1 controllers=\"1 3\"\n}\n".into()),
    ];
    insta::assert_snapshot!(errors(&texts));
}

#[test]
fn what_no_parser_should_see_is_one_short_error() {
    let deep = "{ a ".repeat(20_000);
    let comment = "/*".repeat(50_000);
    let long = format!("plan \"{}\" {{}}", "x".repeat(1_000_000));
    for (text, what) in [
        (format!("plan \"p\" {deep}"), "nested more than 64 deep"),
        (comment, "nested more than 64 deep"),
        (long, "`plan` is empty"),
    ] {
        let error = parse("p.kdl", &text).unwrap_err().to_string();
        assert!(error.starts_with("p.kdl:1:"), "{error}");
        assert!(error.contains(what) && error.len() < 400, "{error}");
    }
}

#[test]
fn words_that_are_wrong() {
    let steps = [
        (
            "typo in a step",
            "        atach disk=2 controller=1 line=32",
        ),
        ("unknown step", "        frobnicate line=32"),
        (
            "typo in a name",
            "        attach disc=2 controller=1 line=32",
        ),
        ("missing name", "        attach disk=2 line=32"),
        (
            "a value too many",
            "        attach 2 controller=1 disk=2 line=32",
        ),
        (
            "given twice",
            "        attach disk=2 disk=3 controller=1 line=32",
        ),
        ("no such disk", "        attach disk=5 controller=1 line=32"),
        (
            "a disk that is no number",
            "        attach disk=\"two\" controller=1 line=32",
        ),
        (
            "no such slot",
            "        attach disk=2 controller=1 target=8 line=32",
        ),
        ("no such VM", "        reboot vm=\"1 2\" line=44"),
        ("neither line nor implied", "        alive"),
        (
            "both line and implied",
            "        alive line=54 implied=\"why not\"",
        ),
        ("an empty reason", "        alive implied=\" \""),
        ("line 0", "        alive line=0"),
        (
            "unknown selector",
            "        fio \"x\" on=\"disks 1\" expect=\"pass\" line=28",
        ),
        (
            "a selector's disk",
            "        fio \"x\" on=\"all but disk 9\" expect=\"pass\" line=28",
        ),
        (
            "unknown expectation",
            "        fio \"x\" expect=\"passes\" line=28",
        ),
        ("no expectation", "        fio \"x\" line=28"),
        (
            "a time without a unit",
            "        fio \"x\" expect=\"pass\" line=28 {\n            after 3 line=31\n        }",
        ),
        (
            "a time that is too long",
            "        fio \"x\" expect=\"pass\" line=28 {\n            after \"2h\" line=31\n        }",
        ),
        (
            "a body that does not belong",
            "        alive line=54 { alive line=54; }",
        ),
        ("detach of nothing", "        detach controller=1 line=53"),
        (
            "a lane alone",
            "        together line=1 {\n            lane \"a\" { alive line=54; }\n        }",
        ),
    ];
    let texts = steps.map(|(heading, steps)| (heading, with_steps(steps)));
    insta::assert_snapshot!(errors(&texts));
}

#[test]
fn things_that_are_impossible() {
    let steps = [
        (
            "attached already",
            "        attach disk=1 controller=2 line=32",
        ),
        (
            "slot taken",
            "        attach disk=2 controller=1 target=0 line=32",
        ),
        ("not attached", "        detach disk=2 line=53"),
        ("empty slot", "        detach controller=1 target=3 line=53"),
        (
            "fio on no disk",
            "        fio \"x\" on=\"controller 2\" expect=\"pass\" line=28",
        ),
        (
            "fio on a disk that is not there",
            "        fio \"x\" on=\"disk 2\" expect=\"pass\" line=28",
        ),
        (
            "nothing is detached",
            "        fio \"x\" expect=\"gone\" line=28",
        ),
        ("after outside of a fio", "        after \"3s\" line=31"),
        (
            "label twice",
            "        fio \"x\" expect=\"pass\" line=28 {\n            fio \"x\" expect=\"pass\" line=28\n        }",
        ),
        ("gone but attached", "        gone disk=1 line=55"),
        ("gone but never there", "        gone disk=2 line=55"),
        ("boots twice", "        boot vm=1 line=24"),
        ("unknown fio", "        failed fio=\"y\" line=56"),
        (
            "lanes that share a VM",
            "        together line=1 {\n            lane \"a\" { attach disk=2 controller=1 line=27; }\n            lane \"b\" { attach disk=3 controller=2 line=27; }\n        }",
        ),
        (
            "a lane with everybody's disks",
            "        together line=1 {\n            lane \"a\" { fio \"x\" expect=\"pass\" line=27; }\n            lane \"b\" { alive line=27; }\n        }",
        ),
    ];
    let texts = steps.map(|(heading, steps)| (heading, with_steps(steps)));
    insta::assert_snapshot!(errors(&texts));
}

#[test]
fn verbs_that_are_wrong() {
    let steps = [
        ("no such function", "tmf \"reset\" controller=1 target=0"),
        ("no such target", "tmf \"lun-reset\" controller=1 target=16"),
        ("no size", "resize disk=1"),
        ("a size that is too large", "resize disk=1 mib=9999999"),
        ("no time", "delay disk=1 by=300"),
        ("half a microsecond", "delay disk=1 by=\"500ns\""),
        ("not of that kind", "resize disk=1 mib=256"),
        (
            "a slot by another word",
            "attach disk=2 controller=1 target=\"first\"",
        ),
        ("continues what goes on", "continue vm=1"),
        ("a paused VM", "pause vm=1 line=1\n        reboot vm=1"),
        ("creates what is there", "create controller=1"),
        ("refuses a look", "gone disk=1 refused=\"File exists\""),
        ("nobody waits for a look", "present wait=#false"),
        ("waits for a number", "alive wait=0"),
        ("no time before a step", "alive after=\"soon\""),
        ("repeats nothing", "repeat 3"),
        (
            "a time before what is repeated",
            "repeat 3 after=\"9s\" line=1 { alive line=1; }",
        ),
        (
            "repeats without waiting",
            "repeat 3 wait=#false line=1 { alive line=1; }",
        ),
        (
            "refuses what is repeated",
            "repeat 3 refused=\"no\" line=1 { alive line=1; }",
        ),
        (
            "branches that nobody waits for",
            "parallel wait=#false line=1 {\n            branch \"a\" { alive line=1; }\n            branch \"b\" { alive line=1; }\n        }",
        ),
        (
            "refuses, and nobody waits",
            "detach controller=1 target=3 refused=\"No such device\" wait=#false",
        ),
        (
            "branches in branches",
            "parallel line=1 {\n            branch \"a\" { parallel line=1 { branch \"c\" { alive line=1; }; branch \"d\" { alive line=1; }; }; }\n            branch \"b\" { alive line=1; }\n        }",
        ),
    ];
    let texts = steps.map(|(heading, steps)| {
        let sourced = if steps.ends_with('}') { "" } else { " line=1" };
        (heading, with_steps(&format!("        {steps}{sourced}")))
    });
    insta::assert_snapshot!(errors(&texts));
}

/// A plan whose one case expects nothing, with `more` behind that.
fn bare(steps: &str, more: &str) -> String {
    format!(
        r#"plan "p" {{
    about "a plan"
    controllers 1
    disks 2 from="nvme"
    job "generated"
    vm 1 controllers=1
    case "1" "a case" expect="nothing" {{
        {steps}
    }}
    {more}
}}
"#
    )
}

#[test]
fn cases_that_expect_nothing() {
    let recorded = |what: &str| bare("boot vm=1", &format!("recorded {what}"));
    let texts = [
        ("what expects something", bare("gone disk=1", "")),
        (
            "a slot that is not named",
            bare("attach disk=1 controller=1", ""),
        ),
        ("a refusal", bare("save-config refused=\"no\"", "")),
        (
            "a fio with a label",
            bare("fio \"x\" on=\"disk 1 at 1:0\"", ""),
        ),
        ("a fio that is nowhere", bare("fio 0 on=\"disk 1\"", "")),
        ("a fio on no disk", bare("fio 0 on=\"disk 3 at 1:0\"", "")),
        (
            "a case behind it that expects something",
            bare("boot vm=1", "case \"2\" \"more\" { alive; }"),
        ),
        (
            "a word that is recorded by nobody",
            recorded("schema=3 { sed 1; }"),
        ),
        ("a schema that is not known", recorded("schema=4")),
        ("no check", recorded("schema=3 { finding \"I99\"; }")),
        ("no hash", recorded("schema=3 { ended turns=1; }")),
        (
            "branches in branches",
            bare(
                "parallel {\n            branch \"a\" { repeat 2 { parallel { branch \"c\" { alive; }; branch \"d\" { alive; }; }; }; }\n            branch \"b\" { alive; }\n        }",
                "",
            ),
        ),
    ];
    insta::assert_snapshot!(errors(&texts));
}
