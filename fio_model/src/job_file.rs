//! A fio job file: sections, inherited defaults, comments; back to text for a real guest.
//!
//! Read as fio 3.33 reads it, and stricter: what the model cannot carry out is an error. Knows
//! nothing of what options mean: that is `options`.

use std::collections::BTreeMap;

use crate::job::Job;
use crate::job_check::{self, Found};
use crate::job_error::{JobError, JobErrorKind};
use crate::known_options::{INERT, NEUTRAL, UNMODELLED};
use crate::options::{self, Draft, Refusal, SETTERS};

/// A job file, read.
#[derive(Clone, Debug)]
pub struct JobFile {
    /// Name of the file, as given.
    pub name: String,
    /// The sections other than `[global]`, in order.
    pub jobs: Vec<Job>,
    /// What fio remarks on, and what it skips without a word.
    pub warnings: Vec<String>,
    template: Job,
    globals: Vec<(String, Option<String>)>,
}

/// A line that sets something.
#[derive(Clone, Debug)]
struct Setting<'a> {
    line: u32,
    column: u32,
    name: &'a str,
    value: Option<&'a str>,
}

/// A section as it stands in the file.
#[derive(Clone, Debug)]
struct Section<'a> {
    name: &'a str,
    line: u32,
    settings: Vec<Setting<'a>>,
}

impl Section<'_> {
    /// fio compares the first six letters only.
    fn is_global(&self) -> bool {
        self.name.starts_with("global")
    }
}

/// What earlier `[global]` sections have left: a draft and where each option was set.
#[derive(Clone, Debug, Default)]
struct Defaults {
    draft: Draft,
    lines: BTreeMap<&'static str, (u32, u32)>,
}

impl JobFile {
    /// Reads `text`; `file_name` is only for messages.
    ///
    /// # Errors
    ///
    /// [`JobError`]: the first line that fio or the model would not take, in the order of the file.
    pub fn parse(file_name: &str, text: &str) -> Result<JobFile, JobError> {
        let at = |line, column, kind| JobError {
            file: file_name.to_owned(),
            line,
            column,
            kind,
        };
        let sections = split(text).map_err(|(line, column, kind)| at(line, column, kind))?;
        let mut file = JobFile {
            name: file_name.to_owned(),
            jobs: Vec::new(),
            warnings: Vec::new(),
            template: Job::default(),
            globals: Vec::new(),
        };
        let mut defaults = Defaults::default();
        for section in &sections {
            let mut current = defaults.clone();
            file.apply(section, &mut current)
                .map_err(|(line, column, kind)| at(line, column, kind))?;
            let mut job = current.draft.finish();
            if section.is_global() {
                file.keep_globals(section);
                defaults = current;
                continue;
            }
            if job.name.is_empty() {
                job.name = section.name.to_owned();
            }
            let checked = job_check::check(&current.draft, &mut job, &mut file.warnings);
            checked.map_err(|found| located(&current, section.line, found, at))?;
            file.jobs.push(job);
        }
        file.template = defaults.draft.finish();
        if file.jobs.is_empty() {
            let mut template = file.template.clone();
            let checked = job_check::check(&defaults.draft, &mut template, &mut file.warnings);
            checked.map_err(|found| located(&defaults, 1, found, at))?;
            file.template = template;
        }
        Ok(file)
    }

    /// What `[global]` gives a section that says nothing itself.
    pub fn template(&self) -> &Job {
        &self.template
    }

    /// The job of a section `[section_name]` with `filename=` added at the end of the file: how a
    /// harness adds one section for each disk.
    pub fn job_for(&self, section_name: &str, filename: &str) -> Job {
        let (name, filename) = (section_name.to_owned(), Some(filename.to_owned()));
        Job {
            name,
            filename,
            ..self.template.clone()
        }
    }

    /// A job file for real fio: this file's `[global]` and one section for each name and file.
    pub fn to_text<'a>(&self, sections: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let mut text = String::from("[global]\n");
        for (name, value) in &self.globals {
            text += name;
            if let Some(value) = value {
                text += &format!("={value}");
            }
            text.push('\n');
        }
        for (name, filename) in sections {
            text += &format!("[{name}]\nfilename={filename}\n");
        }
        text
    }

    /// The last setting of an option wins, in fio as here.
    fn keep_globals(&mut self, section: &Section<'_>) {
        for setting in &section.settings {
            self.globals.retain(|kept| kept.0 != setting.name);
            self.globals
                .push((setting.name.to_owned(), setting.value.map(str::to_owned)));
        }
    }

    /// Sets a section's options. As in fio, `kb_base` comes first, wherever it stands.
    fn apply<'a>(
        &mut self,
        section: &'a Section<'a>,
        current: &mut Defaults,
    ) -> Result<(), (u32, u32, JobErrorKind)> {
        let (first, rest): (Vec<_>, Vec<_>) = section
            .settings
            .iter()
            .partition(|setting| setting.name == "kb_base");
        for setting in first.into_iter().chain(rest) {
            let mut ignored = String::new();
            self.set(setting, current, &mut ignored)
                .map_err(|kind| (setting.line, setting.column, kind))?;
            if !ignored.is_empty() {
                let (file, line, name) = (&self.name, setting.line, setting.name);
                let warning = format!("{file}:{line}: fio ignores \"{ignored}\" behind \"{name}\"");
                self.warnings.push(warning);
            }
        }
        Ok(())
    }

    fn set(
        &self,
        setting: &Setting<'_>,
        current: &mut Defaults,
        ignored: &mut String,
    ) -> Result<(), JobErrorKind> {
        let (option, value) = (setting.name.to_owned(), setting.value.map(str::to_owned));
        let unsupported = |option, value, expected: &str| {
            Err(JobErrorKind::Unsupported {
                option,
                value,
                expected: expected.to_owned(),
            })
        };
        if value.as_ref().is_some_and(|value| value.contains('$')) {
            return unsupported(option, value, "reads neither environment nor keywords");
        }
        if let Some(setter) = options::find(setting.name) {
            current
                .lines
                .insert(setter.name, (setting.line, setting.column));
            return match setter.set(&mut current.draft, setting.value, ignored) {
                Ok(()) => Ok(()),
                Err(Refusal::Bad(expected)) => Err(JobErrorKind::BadValue {
                    option,
                    value,
                    expected,
                }),
                Err(Refusal::Unsupported(expected)) => unsupported(option, value, expected),
            };
        }
        if INERT.contains(&setting.name) {
            return Ok(());
        }
        if let Some((_, neutral)) = NEUTRAL.iter().find(|row| row.0 == setting.name) {
            if setting.value == Some(neutral) {
                return Ok(());
            }
            return unsupported(option, value, &format!("takes {neutral} only"));
        }
        if UNMODELLED.contains(&setting.name) {
            return unsupported(option, value, "does not do it");
        }
        let nearest = nearest(&option);
        Err(JobErrorKind::Unknown { option, nearest })
    }
}

/// Puts a finding of `job_check` where its option was set, or at the section.
fn located(
    defaults: &Defaults,
    section: u32,
    (option, kind): Found,
    at: impl Fn(u32, u32, JobErrorKind) -> JobError,
) -> JobError {
    let (line, column) = defaults.lines.get(option).copied().unwrap_or((section, 1));
    at(line, column, kind)
}

/// The known option most like `name`, if any is like it at all: fio's own limit.
fn nearest(name: &str) -> Option<&'static str> {
    let known = SETTERS
        .iter()
        .flat_map(|setter| [setter.name, setter.alias]);
    let known = known.chain(NEUTRAL.iter().map(|row| row.0));
    let known = known.chain(INERT.iter().chain(UNMODELLED).copied());
    let (distance, option) = known
        .map(|option| (strsim::levenshtein(name, option), option))
        .min_by_key(|row| row.0)?;
    (distance <= name.len().div_ceil(2)).then_some(option)
}

/// Splits a file into sections and settings.
fn split(text: &str) -> Result<Vec<Section<'_>>, (u32, u32, JobErrorKind)> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (line, raw) in (1..).zip(text.lines()) {
        let body = raw.split([';', '#']).next().unwrap_or_default().trim_end();
        let start = body.trim_start();
        let column = (body.len() - start.len()) as u32 + 1;
        let syntax = |expected| {
            let found = start.to_owned();
            Err((line, column, JobErrorKind::Syntax { found, expected }))
        };
        if start.is_empty() {
            continue;
        }
        if let Some(rest) = start.strip_prefix('[') {
            match rest.split_once(']') {
                Some((name, _)) if !name.is_empty() => {
                    sections.push(Section {
                        name,
                        line,
                        settings: Vec::new(),
                    });
                }
                _ => return syntax("a section such as [global] or [job0]"),
            }
            continue;
        }
        let (name, value) = match start.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value)),
            None => (start, None),
        };
        let Some(section) = sections.last_mut() else {
            return syntax("a section before the first option");
        };
        if name.starts_with("include ") || name.is_empty() {
            return syntax("an option; the model does not include files");
        }
        section.settings.push(Setting {
            line,
            column,
            name,
            value,
        });
    }
    Ok(sections)
}

#[cfg(test)]
#[path = "job_file_tests.rs"]
mod tests;
