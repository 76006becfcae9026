//! The text of a job file: what it includes, what it takes from the environment, its sections and lines.
//!
//! Knows nothing of what options mean. As fio 3.33's `init.c` (`__parse_jobs_ini`) and `parse.c` read it.

use std::borrow::Cow;

use crate::job_error::{JobError, JobErrorKind, JobErrors};

/// How deep files may include each other (fio's limit).
const DEPTH_MAX: u32 = 16;
/// Bytes of a page of the guests' memory: `$pagesize`.
const PAGE: &str = "4096";

/// Where a job file is read: what stands beside it.
pub trait Surroundings {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a file.
    fn file(&self, path: &str) -> Option<String>;
}

/// A job file that stands for itself: `include` is replaced by what it names, `${NAME}` by its value, and
/// `$pagesize` by 4096.
///
/// Lines keep their numbers: in front of those of another file stands a marker such as C's preprocessor
/// leaves, `# 1 "common.fio"`, which fio takes for a comment.
///
/// # Errors
///
/// A file that is not there, one that has sections, or files that include each other without end.
pub fn expand(file: &str, text: &str, around: &impl Surroundings) -> Result<String, JobErrors> {
    let mut expanded = String::new();
    let mut found = Vec::new();
    include(file, text, around, 0, &mut expanded, &mut found);
    JobErrors::check(found)?;
    Ok(expanded)
}

fn include(
    file: &str,
    text: &str,
    around: &impl Surroundings,
    depth: u32,
    into: &mut String,
    found: &mut Vec<JobError>,
) {
    for (number, line) in (1..).zip(text.lines()) {
        let body = body(line);
        let mut syntax = |expected| {
            let (found_text, column) = (body.to_owned(), 1);
            let kind = JobErrorKind::Syntax {
                found: found_text,
                expected,
            };
            let file = file.to_owned();
            found.push(JobError {
                file,
                line: number,
                column,
                kind,
            });
        };
        if depth > 0 && body.starts_with('[') {
            syntax("no section in a file that is included");
            continue;
        }
        let Some(path) = body.strip_prefix("include ") else {
            *into += &substitute(line, around);
            into.push('\n');
            continue;
        };
        let path = path.trim();
        let beside = file
            .rfind('/')
            .map(|end| format!("{}{path}", &file[..=end]));
        let mut paths = std::iter::once(path.to_owned()).chain(beside);
        let inner = paths.find_map(|path| Some((around.file(&path)?, path)));
        match inner {
            None => syntax("a file that can be read behind \"include\""),
            Some(_) if depth == DEPTH_MAX => {
                syntax("no more than 16 files that include each other")
            }
            Some((inner, path)) => {
                *into += &format!("# 1 \"{path}\"\n");
                include(&path, &inner, around, depth + 1, into, found);
                *into += &format!("# {} \"{file}\"\n", number + 1);
            }
        }
    }
}

/// A line without its comment, which may begin anywhere, and without the blanks around it.
fn body(line: &str) -> &str {
    line.split([';', '#']).next().unwrap_or_default().trim()
}

/// `${NAME}` is the variable's value, nothing if there is none; what is not closed stays.
fn substitute<'a>(line: &'a str, around: &impl Surroundings) -> Cow<'a, str> {
    if !body(line).contains('$') {
        return Cow::Borrowed(line);
    }
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, behind)) = behind.split_once('}') else {
            break;
        };
        text += before;
        text += &around.variable(name).unwrap_or_default();
        rest = behind;
    }
    text += rest;
    Cow::Owned(text.replace("$pagesize", PAGE))
}

/// A line that sets something.
#[derive(Clone, Debug)]
pub(crate) struct Setting<'a> {
    pub place: Place<'a>,
    pub name: &'a str,
    pub value: Option<&'a str>,
}

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub file: &'a str,
    pub line: u32,
    pub column: u32,
}

impl Place<'_> {
    pub fn error(self, kind: JobErrorKind) -> JobError {
        JobError {
            file: self.file.to_owned(),
            line: self.line,
            column: self.column,
            kind,
        }
    }
}

/// A section as it stands in the file.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    pub name: &'a str,
    pub place: Place<'a>,
    pub settings: Vec<Setting<'a>>,
}

impl Section<'_> {
    /// fio compares the first six letters only.
    pub fn is_global(&self) -> bool {
        self.name.starts_with("global")
    }
}

/// Splits a file into sections and settings, as far as it has any.
pub(crate) fn split<'a>(
    file: &'a str,
    text: &'a str,
    found: &mut Vec<JobError>,
) -> Vec<Section<'a>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut here = Place {
        file,
        line: 0,
        column: 1,
    };
    for raw in text.lines() {
        here.line += 1;
        if let Some((line, file)) = marker(raw) {
            here = Place {
                file,
                line: line - 1,
                column: 1,
            };
            continue;
        }
        let start = body(raw);
        here.column = (raw.len() - raw.trim_start().len()) as u32 + 1;
        if start.is_empty() {
            continue;
        }
        let mut syntax = |expected| {
            let found_text = start.to_owned();
            found.push(here.error(JobErrorKind::Syntax {
                found: found_text,
                expected,
            }));
        };
        if let Some(rest) = start.strip_prefix('[') {
            match rest.split_once(']') {
                Some((name, _)) if !name.is_empty() => sections.push(Section {
                    name,
                    place: here,
                    settings: Vec::new(),
                }),
                _ => {
                    syntax("a section such as [global] or [job0]");
                    // What follows belongs to it, and is no error more.
                    sections.push(Section {
                        name: "?",
                        place: here,
                        settings: Vec::new(),
                    });
                }
            }
            continue;
        }
        let (name, value) = match start.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value)),
            None => (start, None),
        };
        match sections.last_mut() {
            None => syntax("a section before the first option"),
            Some(_) if name.is_empty() => syntax("an option"),
            Some(_) if name.starts_with("include ") => {
                syntax("an option; a file is included where a job file is read from a disk");
            }
            Some(section) => section.settings.push(Setting {
                place: here,
                name,
                value,
            }),
        }
    }
    sections
}

/// The line and the file that a marker such as `# 1 "common.fio"` says come next.
fn marker(line: &str) -> Option<(u32, &str)> {
    let (number, file) = line.strip_prefix("# ")?.split_once(" \"")?;
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    Some((number, file.strip_suffix('"')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Beside;

    impl Surroundings for Beside {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "SIZE").then(|| "8m".to_owned())
        }

        fn file(&self, path: &str) -> Option<String> {
            let text = match path {
                "jobs/common.fio" => "bs=8k\ninclude deeper.fio\nverify=${NONE}md5\n",
                "jobs/deeper.fio" => "size=${SIZE}\n",
                "round.fio" => "include round.fio\n",
                "section.fio" => "bs=4k\n[x]\n",
                _ => return None,
            };
            Some(text.to_owned())
        }
    }

    #[test]
    fn what_is_included_stands_in_its_place_and_keeps_its_lines() {
        let text = "[a]\ninclude common.fio\nrw=write # ${SIZE}\nbs=${SIZE\n";
        let text = expand("jobs/a.fio", text, &Beside).expect("all files are there");
        let mut found = Vec::new();
        let sections = split("jobs/a.fio", &text, &mut found);
        assert!(found.is_empty());
        let settings = sections[0].settings.iter();
        let settings: Vec<_> = settings
            .map(|it| {
                (
                    it.place.file,
                    it.place.line,
                    it.name,
                    it.value.unwrap_or_default(),
                )
            })
            .collect();
        let expected = [
            ("jobs/common.fio", 1, "bs", "8k"),
            ("jobs/deeper.fio", 1, "size", "8m"),
            ("jobs/common.fio", 3, "verify", "md5"),
            ("jobs/a.fio", 3, "rw", "write"),
            ("jobs/a.fio", 4, "bs", "${SIZE"),
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_cannot_be_included_is_said() {
        for (text, place, words) in [
            ("[a]\ninclude nothing.fio\n", "a.fio:2: ", "can be read"),
            ("[a]\ninclude round.fio\n", "round.fio:1: ", "16 files"),
            (
                "[a]\ninclude section.fio\n",
                "section.fio:2: ",
                "no section",
            ),
        ] {
            let said = expand("a.fio", text, &Beside).expect_err(text).to_string();
            assert!(said.starts_with(place) && said.contains(words), "{said}");
        }
    }
}
