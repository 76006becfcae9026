//! KDL text to [`Plan`]: the nodes around the steps.
//!
//! ```text
//! plan NAME { about TEXT; controllers N; disks N from=nvme|any; disk N kind=null|…; job NAME;
//!             vm N controllers="1 2" …; prerequisites { steps }; case ID TITLE { steps } …; recorded { … } }
//! ```
//!
//! Steps stand in `parse_step`. Whether a plan that reads well asks for the impossible (a disk attached
//! twice, a slot that is taken), [`resolve`](crate::resolve()) knows.

use kdl::{KdlDocument, KdlNode};

use super::error::{PlanError, Text, one_of};
use super::node::Node;
use super::parse_step::Steps;
use super::recorded::Recorded;
use super::{Case, DiskSource, Expects, Plan, PlanVm, Position, Role, Source, Step};
use crate::names::{ControllerId, DiskId, VmId};
use crate::testbed::DiskKind;

/// Controllers, disks and VMs that a plan may have: what fits an ID, and stays readable.
const CONTROLLERS_MAX: u8 = 32;
const DISKS_MAX: u8 = 128;
const VMS_MAX: u8 = 16;

/// Blocks in blocks: a plan, its case, and fios and lanes in each other.
const DEPTH_MAX: usize = 64;

/// The nodes that a plan may have.
const NODES: &[&str] = &[
    "about",
    "controllers",
    "disks",
    "disk",
    "job",
    "vm",
    "prerequisites",
    "case",
    "recorded",
];

/// Reads a plan; `file` is its name in errors.
///
/// # Errors
///
/// The text is not KDL, or no plan.
pub fn parse(file: &str, text: &str) -> Result<Plan, PlanError> {
    let mut text = Text {
        file,
        text,
        sourced: None,
    };
    let document = document(&text)?;
    let sourced = document.nodes().iter().find_map(sourced);
    let spans = sourced.map(|node| node.span());
    text.sourced = spans.map(|span| text.position(span.offset(), span.len()).line);
    let text = &text;
    let (node, rest) = match document.nodes() {
        [] => {
            let nowhere = text.position(0, 0);
            return Err(text.error(
                nowhere,
                "the file has no plan",
                "expected plan \"name\" { … }",
            ));
        }
        [node, rest @ ..] => (node, rest),
    };
    if node.name().value() != "plan" {
        let node = Node::new(text, node);
        return Err(node.error(
            format!("`{}` stands outside of a plan", node.name()),
            "expected plan \"name\" { … } around it",
        ));
    }
    if let Some(second) = rest.first() {
        return Err(Node::new(text, second).error("a file has one plan", "remove the others"));
    }
    plan(text, node)
}

/// What a text says in KDL, if it is not nested too deep.
pub(crate) fn document(text: &Text<'_>) -> Result<KdlDocument, PlanError> {
    if let Some(at) = too_deep(text.text) {
        let at = text.position(at, 1);
        let what = format!("blocks or comments are nested more than {DEPTH_MAX} deep");
        return Err(text.error(at, what, "expected a plan, which needs five"));
    }
    KdlDocument::parse_v2(text.text).map_err(|error| syntax(text, &error))
}

/// Where the text is nested too deep for a parser that calls itself; what looks like a block in a text or a
/// comment counts too.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (step, deeper) = match rest {
            [b'/', b'*', ..] => (2, true),
            [b'{', ..] => (1, true),
            [b'*', b'/', ..] => (2, false),
            [b'}', ..] => (1, false),
            _ => {
                at += 1;
                continue;
            }
        };
        depth = if deeper {
            depth + 1
        } else {
            depth.saturating_sub(1)
        };
        if depth > DEPTH_MAX {
            return Some(at);
        }
        at += step;
    }
    None
}

/// What KDL's own parser complains about, as one of our errors.
fn syntax(text: &Text<'_>, error: &kdl::KdlError) -> PlanError {
    let Some(first) = error.diagnostics.first() else {
        let nowhere = text.position(0, 0);
        return text.error(nowhere, "this is not KDL", "");
    };
    let message = first.message.as_deref().unwrap_or("this is not KDL");
    text.error(
        text.position(first.span.offset(), first.span.len()),
        message.to_lowercase(),
        first
            .help
            .as_deref()
            .unwrap_or("see https://kdl.dev for the syntax"),
    )
}

/// What a plan node has said so far.
#[derive(Default)]
struct Parts {
    about: Option<String>,
    controllers: Option<(Vec<ControllerId>, Source)>,
    disks: Option<(Vec<DiskId>, DiskSource, Source)>,
    kinds: Vec<(DiskId, DiskKind)>,
    job: Option<(String, Source, Position)>,
    vms: Vec<PlanVm>,
    prerequisites: Option<Vec<Step>>,
    cases: Vec<Case>,
    recorded: Option<Recorded>,
}

/// The first of a node and those in it that says where it comes from.
fn sourced(node: &KdlNode) -> Option<&KdlNode> {
    let children = node.children().map_or(&[][..], KdlDocument::nodes);
    let says = node.get("line").is_some() || node.get("implied").is_some();
    says.then_some(node)
        .or_else(|| children.iter().find_map(sourced))
}

fn plan(text: &Text<'_>, node: &KdlNode) -> Result<Plan, PlanError> {
    let mut header = Node::new(text, node);
    let name = header.text_argument("a name")?;
    header.finish()?;
    header.with_body()?;
    let mut parts = Parts::default();
    for child in header.children() {
        parts.read(Node::new(text, child))?;
    }
    let (controllers, controllers_source) = parts
        .controllers
        .ok_or_else(|| header.missing_node("controllers", "controllers 8 line=19"))?;
    let (disks, disks_from, disks_source) = parts
        .disks
        .ok_or_else(|| header.missing_node("disks", "disks 16 from=\"nvme\" line=19"))?;
    let (job, job_source, job_at) = parts
        .job
        .ok_or_else(|| header.missing_node("job", "job \"default_integrity\" line=10"))?;
    if parts.cases.is_empty() {
        return Err(header.missing_node("case", "case \"1\" \"what it does\" { … }"));
    }
    Ok(Plan {
        name,
        about: parts
            .about
            .ok_or_else(|| header.missing_node("about", "about \"what the plan shows\""))?,
        controllers,
        controllers_source,
        disks,
        disks_from,
        kinds: parts.kinds,
        disks_source,
        job,
        job_source,
        job_at,
        vms: parts.vms,
        prerequisites: parts.prerequisites.unwrap_or_default(),
        cases: parts.cases,
        recorded: parts.recorded,
    })
}

impl Parts {
    fn read(&mut self, mut node: Node<'_>) -> Result<(), PlanError> {
        match node.name() {
            "about" => {
                node.childless()?;
                let about = node.text_argument("a text")?;
                once(&node, &mut self.about, about)?;
            }
            "controllers" => {
                node.childless()?;
                let ids = node.ids_argument(CONTROLLERS_MAX)?;
                let ids = ids.into_iter().map(ControllerId).collect();
                let source = node.source()?;
                once(&node, &mut self.controllers, (ids, source))?;
            }
            "disks" => {
                node.childless()?;
                let ids = node.ids_argument(DISKS_MAX)?;
                let ids = ids.into_iter().map(DiskId).collect();
                let from = node
                    .read("from", r#""nvme" or "any""#, |text| match text {
                        "nvme" => Some(DiskSource::Nvme),
                        "any" => Some(DiskSource::Any),
                        _ => None,
                    })?
                    .ok_or_else(|| node.missing("from", r#""nvme" or "any""#))?;
                let source = node.source()?;
                once(&node, &mut self.disks, (ids, from, source))?;
            }
            "job" => {
                node.childless()?;
                let job = node.text_argument("the name of a job")?;
                let source = node.source()?;
                let at = node.at();
                once(&node, &mut self.job, (job, source, at))?;
            }
            "disk" => self.kind(&mut node)?,
            "vm" => self.vm(&mut node)?,
            "recorded" => {
                let recorded = Recorded::read(&mut node)?;
                once(&node, &mut self.recorded, recorded)?;
            }
            "prerequisites" => {
                node.with_body()?;
                let steps = self.steps(&node, Expects::Steps)?.block(&node)?;
                once(&node, &mut self.prerequisites, steps)?;
            }
            "case" => self.case(&mut node)?,
            name => {
                return Err(node.error(format!("a plan has no `{name}`"), one_of(name, NODES)));
            }
        }
        node.finish()
    }

    /// What a disk is, if it is no NVMe namespace.
    fn kind(&mut self, node: &mut Node<'_>) -> Result<(), PlanError> {
        node.childless()?;
        let Some((disks, ..)) = &self.disks else {
            return Err(node.error("`disk` before `disks`", "say first how many there are"));
        };
        let disk = DiskId(node.number_argument("its number", 1, DISKS_MAX)?);
        if !disks.contains(&disk) || self.kinds.iter().any(|(of, _)| *of == disk) {
            return Err(node.error(
                format!("the plan has no {disk}, or has said what it is"),
                "expected each disk of `disks` once at most",
            ));
        }
        let expected = r#""nvme", "faulty" (can hold and fail requests), "delayed" (can be slow) or "null" (keeps no data, can be resized)"#;
        let kind = node.read("kind", expected, DiskKind::named)?;
        let kind = kind.ok_or_else(|| node.missing("kind", expected))?;
        self.kinds.push((disk, kind));
        Ok(())
    }

    fn vm(&mut self, node: &mut Node<'_>) -> Result<(), PlanError> {
        node.childless()?;
        let known = self.controllers_before(node)?;
        let vm = VmId(node.number_argument("its number", 1, VMS_MAX)?);
        let controllers = node.required_numbers("controllers", CONTROLLERS_MAX)?;
        let controllers: Vec<ControllerId> = controllers.into_iter().map(ControllerId).collect();
        if self.vms.iter().any(|other| other.vm == vm) {
            return Err(node.error(format!("{vm} is there already"), "give it another number"));
        }
        if let Some(none) = controllers.iter().find(|id| !known.contains(id)) {
            let last = known.iter().map(|id| id.0).max().unwrap_or(0);
            return Err(node.error(
                format!("the plan has no {none}"),
                format!("expected controllers from 1 to {last}"),
            ));
        }
        self.vms.push(PlanVm { vm, controllers });
        Ok(())
    }

    fn case(&mut self, node: &mut Node<'_>) -> Result<(), PlanError> {
        let id = node.text_argument("an ID")?;
        let title = node.text_argument("a title")?;
        node.with_body()?;
        let fits = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !fits {
            return Err(node.error(
                format!("{id:?} cannot be the ID of a case"),
                "expected letters, digits and -, as in \"4-literal\"",
            ));
        }
        if self.cases.iter().any(|case| case.id == id) {
            return Err(node.error(
                format!("case {id:?} is there already"),
                "give it another ID",
            ));
        }
        let expects = node.read("expect", r#""nothing", or no `expect`"#, |text| {
            (text == "nothing").then_some(Expects::Nothing)
        })?;
        let role = match node.truth("setup")? {
            Some(true) => Role::SetUp,
            Some(false) | None => Role::Judged,
        };
        let expects = expects.unwrap_or_default();
        let steps = self.steps(node, expects)?.block(node)?;
        self.cases.push(Case {
            id,
            title,
            role,
            expects,
            steps,
        });
        Ok(())
    }

    /// Reads steps: what they may name is known by now.
    fn steps(&self, node: &Node<'_>, expects: Expects) -> Result<Steps<'_>, PlanError> {
        let Some((disks, ..)) = &self.disks else {
            return Err(node.error("steps before `disks`", "say first how many disks there are"));
        };
        let Some((job, _, _)) = &self.job else {
            return Err(node.error("steps before `job`", "say first which job fio runs"));
        };
        Ok(Steps {
            controllers: self.controllers_before(node)?,
            disks,
            vms: &self.vms,
            job,
            expects,
        })
    }

    fn controllers_before(&self, node: &Node<'_>) -> Result<&[ControllerId], PlanError> {
        match &self.controllers {
            Some((ids, _)) => Ok(ids),
            None => Err(node.error(
                format!("`{}` before `controllers`", node.name()),
                "say first how many controllers there are",
            )),
        }
    }
}

/// Keeps `value` if it is the first.
fn once<T>(node: &Node<'_>, slot: &mut Option<T>, value: T) -> Result<(), PlanError> {
    if slot.is_some() {
        return Err(node.error(format!("`{}` is there already", node.name()), "keep one"));
    }
    *slot = Some(value);
    Ok(())
}

impl Node<'_> {
    fn missing_node(&self, name: &str, example: &str) -> PlanError {
        self.error(
            format!("the plan does not say `{name}`"),
            format!("expected, for instance, {example}"),
        )
    }
}
