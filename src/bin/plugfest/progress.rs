//! How far a campaign is: a bar where people look on, ten lines where a file or a CI system does.
//!
//! On standard error, so that standard output stays the report.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::tell;

/// Lines where nobody looks on.
const LINES: u64 = 10;

/// How far a campaign is.
pub struct Progress {
    bar: Option<ProgressBar>,
    all: u64,
    /// What there are so many of.
    what: &'static str,
    done: u64,
}

impl Progress {
    /// Nothing of `all` is done.
    pub fn new(all: u64, what: &'static str) -> Self {
        let template = format!("{{bar:30}} {{pos}}/{{len}} {what}, {{msg}} ({{eta}} left)");
        let style = ProgressStyle::with_template(&template);
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(all);
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self {
            bar,
            all,
            what,
            done: 0,
        }
    }

    /// One more is done; `so_far` is said of all of them.
    pub fn step(&mut self, so_far: impl FnOnce() -> String) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.set_message(so_far());
            bar.set_position(self.done);
        } else if self.all >= LINES && self.is_tenth() {
            let (done, all, what) = (self.done, self.all, self.what);
            tell(&format!("{done} of {all} {what}, {}\n", so_far()));
        }
    }

    /// Whether the last one ended a tenth.
    fn is_tenth(&self) -> bool {
        let tenths = |done| u128::from(done) * u128::from(LINES) / u128::from(self.all);
        tenths(self.done) > tenths(self.done - 1)
    }

    /// Nothing more comes.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
