//! A [`Plan`] as the text that [`parse`](super::parse()) reads.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::node::shown_span;
use super::{
    Base, Case, Clock, DiskSource, Expects, FioExpect, Plan, Role, Selector, SlotBy, Source, Step,
    StepKind, Wait, spaced,
};
use crate::names::{ControllerId, Place};
use crate::testbed::{Action, DiskKind};

/// A text in quotes, as KDL has it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// `1`, or `"1 2"`.
fn ids(ids: impl IntoIterator<Item = u8>) -> String {
    let ids: Vec<u8> = ids.into_iter().collect();
    match ids.as_slice() {
        [one] => one.to_string(),
        _ => quoted(&spaced(ids.into_iter())),
    }
}

/// `8` for 1 to 8, or `"1 3"`.
fn count(ids: impl Iterator<Item = u8> + Clone) -> String {
    let many = ids.clone().count();
    if ids.clone().map(usize::from).eq(1..=many) {
        many.to_string()
    } else {
        quoted(&spaced(ids))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan {} {{", quoted(&self.name))?;
        writeln!(f, "    about {}", quoted(&self.about))?;
        let controllers = count(self.controllers.iter().map(|id| id.0));
        let source = why(&self.controllers_source);
        writeln!(f, "    controllers {controllers}{source}")?;
        let from = match self.disks_from {
            DiskSource::Nvme => "nvme",
            DiskSource::Any => "any",
        };
        let disks = count(self.disks.iter().map(|id| id.0));
        let source = why(&self.disks_source);
        writeln!(f, "    disks {disks} from=\"{from}\"{source}")?;
        for (disk, kind) in &self.kinds {
            writeln!(f, "    disk {} kind=\"{}\"", disk.0, DiskKind::word(*kind))?;
        }
        let source = why(&self.job_source);
        writeln!(f, "    job {}{source}", quoted(&self.job))?;
        for vm in &self.vms {
            let controllers = ids(vm.controllers.iter().map(|id| id.0));
            writeln!(f, "    vm {} controllers={controllers}", vm.vm.0)?;
        }
        if !self.prerequisites.is_empty() {
            f.write_str("    prerequisites {\n")?;
            steps(f, 2, &self.prerequisites)?;
            f.write_str("    }\n")?;
        }
        self.cases.iter().try_for_each(|case| case_block(f, case))?;
        if let Some(recorded) = &self.recorded {
            recorded.fmt(f)?;
        }
        f.write_str("}\n")
    }
}

fn case_block(f: &mut fmt::Formatter<'_>, case: &Case) -> fmt::Result {
    write!(f, "    case {} {}", quoted(&case.id), quoted(&case.title))?;
    match case.expects {
        Expects::Steps => {}
        Expects::Nothing => f.write_str(" expect=\"nothing\"")?,
    }
    match case.role {
        Role::Judged => {}
        Role::SetUp => f.write_str(" setup=#true")?,
    }
    f.write_str(" {\n")?;
    steps(f, 2, &case.steps)?;
    f.write_str("    }\n")
}

fn steps(f: &mut fmt::Formatter<'_>, depth: usize, steps: &[Step]) -> fmt::Result {
    steps.iter().try_for_each(|step| step_node(f, depth, step))
}

fn step_node(f: &mut fmt::Formatter<'_>, depth: usize, step: &Step) -> fmt::Result {
    let margin = "    ".repeat(depth);
    write!(f, "{margin}{}", head(&step.kind))?;
    if step.after > Duration::ZERO {
        write!(f, " after=\"{}\"", shown_span(step.after))?;
    }
    match step.wait {
        Wait::Answer => {}
        Wait::Nothing => f.write_str(" wait=#false")?,
    }
    if let Some(message) = &step.refused {
        write!(f, " refused={}", quoted(message))?;
    }
    f.write_str(&why(&step.source))?;
    match &step.kind {
        StepKind::Fio { body, .. } | StepKind::Repeat { steps: body, .. } if !body.is_empty() => {
            f.write_str(" {\n")?;
            steps(f, depth + 1, body)?;
            writeln!(f, "{margin}}}")
        }
        StepKind::Parallel { branches } => {
            f.write_str(" {\n")?;
            for branch in branches {
                writeln!(f, "{margin}    branch {} {{", quoted(&branch.name))?;
                steps(f, depth + 2, &branch.steps)?;
                writeln!(f, "{margin}    }}")?;
            }
            writeln!(f, "{margin}}}")
        }
        StepKind::Fio { .. }
        | StepKind::Repeat { .. }
        | StepKind::Attach { .. }
        | StepKind::Detach { .. }
        | StepKind::Act(_)
        | StepKind::After { .. }
        | StepKind::Gone { .. }
        | StepKind::Present { .. }
        | StepKind::Failed { .. }
        | StepKind::Passed { .. }
        | StepKind::Kept { .. } => f.write_char('\n'),
    }
}

/// A step's node without what all steps may have.
fn head(kind: &StepKind) -> String {
    match kind {
        StepKind::Attach {
            disk,
            controller,
            by,
        } => {
            let target = match by {
                SlotBy::Drawn => "",
                SlotBy::Number => " target=\"lowest\"",
            };
            format!("attach disk={} controller={}{target}", disk.0, controller.0)
        }
        StepKind::Detach { disk } => format!("detach disk={}", disk.0),
        StepKind::Act(all) => acts(all),
        StepKind::Fio {
            label,
            on,
            job,
            expect,
            body: _,
        } => {
            let expect = match expect {
                FioExpect::Pass => "pass",
                FioExpect::Fail => "fail",
                FioExpect::Gone => "gone",
            };
            let (label, job) = (quoted(label), quoted(job));
            format!(
                "fio {label} on=\"{}\" job={job} expect=\"{expect}\"",
                selector(on)
            )
        }
        StepKind::After { at, of } => {
            let at = match at {
                Clock::AtLeast(at) => format!("\"{}\"", shown_span(*at)),
                Clock::Exactly(at) => format!("exactly=\"{}\"", shown_span(*at)),
            };
            let of = of.as_ref().map(|of| format!(" of={}", quoted(of)));
            format!("after {at}{}", of.unwrap_or_default())
        }
        StepKind::Gone { disk } => format!("gone disk={}", disk.0),
        StepKind::Present { vms: None } => "present".to_owned(),
        StepKind::Present { vms: Some(vms) } => {
            format!("present vm={}", ids(vms.iter().map(|vm| vm.0)))
        }
        StepKind::Failed { fio, disk } => {
            let disk = disk.map(|disk| format!(" disk={}", disk.0));
            format!("failed fio={}{}", quoted(fio), disk.unwrap_or_default())
        }
        StepKind::Passed { fio } => format!("passed fio={}", quoted(fio)),
        StepKind::Kept { disk } => format!("kept disk={}", disk.0),
        StepKind::Parallel { .. } => "parallel".to_owned(),
        StepKind::Repeat { times, .. } => format!("repeat {times}"),
    }
}

/// Actions of one step: they differ in the one thing of which a step may name several.
fn acts(all: &[Action]) -> String {
    let words: Vec<Words> = all.iter().map(words).collect();
    let Some(Words { verb, each, rest }) = words.first() else {
        return String::new();
    };
    let each = each.map(|(key, _)| {
        let all = words.iter().filter_map(|words| words.each);
        format!(" {key}={}", ids(all.map(|(_, id)| id)))
    });
    format!("{verb}{}{rest}", each.unwrap_or_default())
}

/// An action, as a plan says it.
struct Words {
    verb: &'static str,
    /// What a step may name several of, and which it is.
    each: Option<(&'static str, u8)>,
    rest: String,
}

fn words(action: &Action) -> Words {
    let (verb, each, rest) = match action {
        // The head of a plan says it.
        Action::StartTarget { .. } => ("controllers", None, String::new()),
        Action::BootVm { vm, .. } => ("boot", Some(("vm", vm.0)), String::new()),
        Action::BootFirmware { vm, .. } => {
            ("boot", Some(("vm", vm.0)), " firmware=#true".to_owned())
        }
        Action::Attach {
            disk,
            controller,
            target,
        } => {
            let target = target.map_or("\"any\"".to_owned(), |target| target.0.to_string());
            let rest = format!(" disk={}{} target={target}", disk.0, on(*controller));
            ("attach", None, rest)
        }
        Action::Detach { place } => ("detach", None, at(*place)),
        Action::StartFio { fio, job, on } => {
            let places: Vec<String> = on
                .iter()
                .map(|(disk, place)| format!("disk {} at {place}", disk.0))
                .collect();
            let (places, job) = (quoted(&places.join(" ")), quoted(job));
            ("fio", None, format!(" {} on={places} job={job}", fio.0))
        }
        Action::WaitJobClock { fio, at } => {
            let at = shown_span(*at);
            ("after", None, format!(" \"{at}\" of={}", fio.0))
        }
        Action::RebootVm { vm } => ("reboot", Some(("vm", vm.0)), String::new()),
        Action::PauseVm { vm } => ("pause", Some(("vm", vm.0)), String::new()),
        Action::ContinueVm { vm } => ("continue", Some(("vm", vm.0)), String::new()),
        Action::KillVm { vm } => ("kill", Some(("vm", vm.0)), String::new()),
        Action::AddMemory { vm } => ("add-memory", Some(("vm", vm.0)), String::new()),
        Action::Reconnect { vm, controller } => ("reconnect", Some(("vm", vm.0)), on(*controller)),
        Action::Manage { place, function } => {
            let rest = format!(" \"{}\"{}", function.word(), at(*place));
            ("tmf", None, rest)
        }
        Action::Remove { disk } => ("remove", Some(("disk", disk.0)), String::new()),
        Action::Insert { disk } => ("insert", Some(("disk", disk.0)), String::new()),
        Action::Resize { disk, mib } => ("resize", Some(("disk", disk.0)), format!(" mib={mib}")),
        Action::Hold { disk, requests } => (
            "hold",
            Some(("disk", disk.0)),
            format!(" requests={requests}"),
        ),
        Action::Fail { disk, requests } => (
            "fail",
            Some(("disk", disk.0)),
            format!(" requests={requests}"),
        ),
        Action::Delay { disk, micros } => {
            let by = shown_span(Duration::from_micros(u64::from(*micros)));
            ("delay", Some(("disk", disk.0)), format!(" by=\"{by}\""))
        }
        Action::Release { disk } => ("release", Some(("disk", disk.0)), String::new()),
        Action::CreateController { controller } => ("create", None, on(*controller)),
        Action::DeleteController { controller } => ("delete", None, on(*controller)),
        Action::SaveConfig => ("save-config", None, String::new()),
        Action::ListDisks { vm } => ("list", Some(("vm", vm.0)), String::new()),
        Action::CheckAlive => ("alive", None, String::new()),
        Action::Settle => ("settle", None, String::new()),
    };
    Words { verb, each, rest }
}

fn on(controller: ControllerId) -> String {
    format!(" controller={}", controller.0)
}

fn at(place: Place) -> String {
    format!("{} target={}", on(place.controller), place.target.0)
}

fn selector(on: &Selector) -> String {
    let mut text = match &on.base {
        Base::Attached => "attached".to_owned(),
        Base::Disks(ids) => format!("disk {}", spaced(ids.iter().map(|id| id.0))),
        Base::Vms(ids) => format!("vm {}", spaced(ids.iter().map(|id| id.0))),
        Base::Controllers(ids) => format!("controller {}", spaced(ids.iter().map(|id| id.0))),
    };
    if !on.but.is_empty() {
        text += &format!(" but disk {}", spaced(on.but.iter().map(|id| id.0)));
    }
    text
}

/// Why a line is in the plan, with a space before it.
fn why(source: &Source) -> String {
    match source {
        Source::Lines(lines) => {
            let lines: Vec<String> = lines.iter().map(u32::to_string).collect();
            format!(" line={}", quoted(&lines.join(" ")))
        }
        Source::Implied(why) => format!(" implied={}", quoted(why)),
        Source::Itself => String::new(),
    }
}
