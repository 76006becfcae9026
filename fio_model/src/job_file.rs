//! A fio job file: sections, inherited defaults; back to text for a real guest.
//!
//! Read as fio 3.33 reads it, and stricter: what the model cannot carry out is an error. Knows
//! nothing of how lines are split (`source`), of what options mean (`options`) and of which disks there
//! are (`placing`).

use std::collections::BTreeMap;

use crate::job::Job;
use crate::job_check;
use crate::job_error::{JobError, JobErrorKind, JobErrors};
use crate::known_options::{self, NEUTRAL, NEWER, NoEffect, UNMODELLED};
use crate::options::{self, Draft, Refusal, setters};
use crate::source::{Place, Section, Setting, split};

/// A job file, read.
#[derive(Clone, Debug)]
pub struct JobFile {
    /// Name of the file, as given.
    pub name: String,
    /// The sections other than `[global]`, in order.
    pub jobs: Vec<Job>,
    /// What fio remarks on, and what it skips without a word.
    pub warnings: Vec<String>,
    /// The options that have no effect here, with why.
    pub without_effect: BTreeMap<String, NoEffect>,
    template: Job,
    globals: Settings,
    /// Of each of `jobs`, what was set for it, in [global] or by itself.
    own: Vec<Settings>,
}

/// Options as they are set last, in that order.
type Settings = Vec<(String, Option<String>)>;

/// What earlier `[global]` sections have left: a draft, where each option was set, and how it is written.
#[derive(Clone, Debug, Default)]
struct Defaults<'a> {
    draft: Draft,
    places: BTreeMap<&'static str, Place<'a>>,
    settings: Settings,
}

impl JobFile {
    /// Reads `text`; `file_name` is only for messages. What [`expand`](crate::expand) replaces must have been.
    ///
    /// # Errors
    ///
    /// All that fio or the model would not take, in the order of the file.
    pub fn parse(file_name: &str, text: &str) -> Result<JobFile, JobErrors> {
        let mut found = Vec::new();
        let sections = split(file_name, text, &mut found);
        let mut file = JobFile {
            name: file_name.to_owned(),
            jobs: Vec::new(),
            warnings: Vec::new(),
            without_effect: BTreeMap::new(),
            template: Job::default(),
            globals: Vec::new(),
            own: Vec::new(),
        };
        let mut defaults = Defaults::default();
        let mut idle = None;
        for section in &sections {
            let mut current = defaults.clone();
            file.apply(section, &mut current, &mut found);
            if section.is_global() {
                defaults = current;
                continue;
            }
            let mut job = current.draft.finish();
            if job.name.is_empty() {
                job.name = section.name.to_owned();
            }
            file.check(&current, section.place, &mut job, &mut found);
            idle = current.places.get("ioengine").copied().or(idle);
            file.jobs.push(job);
            file.own.push(current.settings);
        }
        file.template = defaults.draft.finish();
        if file.jobs.is_empty() {
            let here = Place {
                file: file_name,
                line: 1,
                column: 1,
            };
            let mut template = file.template.clone();
            file.check(&defaults, here, &mut template, &mut found);
            file.template = template;
            idle = defaults.places.get("ioengine").copied();
        }
        if let Some(place) = idle.filter(|_| file.working().next().is_none()) {
            found.push(place.error(JobErrorKind::Unsupported {
                option: "ioengine".to_owned(),
                value: None,
                expected: "would do nothing: none of its sections does I/O on a disk".to_owned(),
            }));
        }
        file.globals = defaults.settings;
        JobErrors::check(found)?;
        Ok(file)
    }

    /// What `[global]` gives a section that says nothing itself.
    pub fn template(&self) -> &Job {
        &self.template
    }

    /// The jobs that do I/O on disks; of a file without sections of its own, the template.
    pub fn working(&self) -> impl Iterator<Item = &Job> {
        let only = self.jobs.is_empty().then_some(&self.template);
        let all = only.into_iter().chain(&self.jobs);
        all.filter(|job| job.reaches_disks())
    }

    /// A job file for real fio: this file's `[global]` and one section for each name and file.
    pub fn to_text<'a>(&self, sections: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let mut text = String::from("[global]\n");
        write_settings(&self.globals, &mut text);
        for (name, filename) in sections {
            text += &format!("[{name}]\nfilename={filename}\n");
        }
        text
    }

    /// This file again: `[global]`, or its own sections with all that holds for each.
    pub fn to_own_text(&self) -> String {
        if self.jobs.is_empty() {
            return self.to_text([]);
        }
        let mut text = String::new();
        for (job, own) in self.jobs.iter().zip(&self.own) {
            text += &format!("[{}]\n", job.name);
            write_settings(own, &mut text);
        }
        text
    }

    /// Checks that what was set for a section, or the template, goes together; each finding once.
    fn check(
        &mut self,
        defaults: &Defaults<'_>,
        section: Place<'_>,
        job: &mut Job,
        found: &mut Vec<JobError>,
    ) {
        for (option, kind) in job_check::check(job, &mut self.warnings) {
            let place = defaults.places.get(option).copied().unwrap_or(section);
            let error = place.error(kind);
            if !found.contains(&error) {
                found.push(error);
            }
        }
    }

    /// Sets a section's options. As in fio, `kb_base` comes first, wherever it stands, and what lengths mean
    /// (`rw`) before them.
    fn apply<'a>(
        &mut self,
        section: &Section<'a>,
        current: &mut Defaults<'a>,
        found: &mut Vec<JobError>,
    ) {
        let (first, rest): (Vec<_>, Vec<_>) = section
            .settings
            .iter()
            .partition(|setting| setting.name == "kb_base");
        for setting in first.into_iter().chain(rest) {
            let mut ignored = String::new();
            if let Err(kind) = self.set(setting, current, &mut ignored) {
                found.push(setting.place.error(kind));
            }
            if !ignored.is_empty() {
                let (Place { file, line, .. }, name) = (setting.place, setting.name);
                let warning = format!("{file}:{line}: fio ignores \"{ignored}\" behind \"{name}\"");
                self.warnings.push(warning);
            }
        }
    }

    fn set<'a>(
        &mut self,
        setting: &Setting<'a>,
        current: &mut Defaults<'a>,
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
        // The last setting of an option wins, in fio as here.
        current.settings.retain(|kept| kept.0 != option);
        current.settings.push((option.clone(), value.clone()));
        if let Some(why) = NoEffect::of(setting.name) {
            self.without_effect.insert(option, why);
            return Ok(());
        }
        if value.as_ref().is_some_and(|value| value.contains('$')) {
            return unsupported(option, value, "knows no such variable");
        }
        if let Some(setter) = options::find(setting.name) {
            current.places.insert(setter.name, setting.place);
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
        if let Some((_, neutral)) = NEUTRAL.iter().find(|row| row.0 == setting.name) {
            // `0`, `0s` and `0,0` are one.
            let given = setting.value.map_or("1", str::trim);
            let mut parts = given
                .split(',')
                .map(|part| part.trim_end_matches(char::is_alphabetic));
            if given == *neutral || parts.all(|part| part == *neutral) {
                self.without_effect.insert(option, NoEffect::Default);
                return Ok(());
            }
            return unsupported(option, value, &format!("takes {neutral} only"));
        }
        if UNMODELLED.contains(&setting.name) {
            return unsupported(option, value, "does not do it");
        }
        if let Some((_, since)) = NEWER.iter().find(|row| row.0 == setting.name) {
            return Err(JobErrorKind::Newer { option, since });
        }
        let nearest = nearest(&option);
        Err(JobErrorKind::Unknown { option, nearest })
    }
}

/// Appends a line for each option.
fn write_settings(settings: &Settings, text: &mut String) {
    for (name, value) in settings {
        text.push_str(name);
        if let Some(value) = value {
            text.push('=');
            text.push_str(value);
        }
        text.push('\n');
    }
}

/// The known option most like `name`, if any is like it at all: fio's own limit.
fn nearest(name: &str) -> Option<&'static str> {
    let known = setters().flat_map(|setter| [setter.name, setter.alias]);
    let known = known.chain(known_options::names());
    let (distance, option) = known
        .map(|option| (strsim::levenshtein(name, option), option))
        .min_by_key(|row| row.0)?;
    (distance <= name.len().div_ceil(2)).then_some(option)
}

#[cfg(test)]
#[path = "job_file_tests.rs"]
mod tests;
