//! How far a campaign is: a bar where people look on, ten lines where a file or a CI system does.
//!
//! On standard error, so that standard output stays the report.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use plugfest::command::Tally;

use crate::output::tell;

/// Lines where nobody looks on.
const LINES: u64 = 10;

/// How far a campaign is.
pub struct Progress {
    bar: Option<ProgressBar>,
    all: u64,
    of: Of,
    done: u64,
}

/// What a campaign has so much of.
enum Of {
    /// So many of these.
    Things(&'static str),
    /// Milliseconds.
    Time,
}

impl Progress {
    /// Nothing of `all` is done; what there are so many of.
    pub fn new(all: u64, what: &'static str) -> Self {
        let template = format!("{{bar:30}} {{pos}}/{{len}} {what}, {{msg}} ({{eta}} left)");
        Self::with(all, Of::Things(what), &template)
    }

    /// It goes on for so long.
    pub fn timed(limit: Duration) -> Self {
        let all = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self::with(all, Of::Time, "{bar:30} {elapsed}, {msg} ({eta} left)")
    }

    fn with(all: u64, of: Of, template: &str) -> Self {
        let style = ProgressStyle::with_template(template);
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
            of,
            done: 0,
        }
    }

    /// One more is done; `so_far` is said of all of them.
    pub fn step(&mut self, so_far: impl FnOnce() -> String) {
        self.at(self.done + 1, so_far);
    }

    /// So much of a campaign is done, after so long.
    pub fn to(&mut self, tally: Tally, after: Duration) {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let done = match self.of {
            Of::Things(_) => tally.seeds,
            Of::Time => millis.min(self.all),
        };
        let speed = u128::from(tally.seeds) * 1000 / u128::from(millis.max(1));
        self.at(done, || {
            let (orders, new, known) = (tally.orders, tally.new, tally.known);
            format!("{speed}/s, {orders} orders, {new} new findings, {known} known")
        });
    }

    fn at(&mut self, done: u64, so_far: impl FnOnce() -> String) {
        let before = std::mem::replace(&mut self.done, done);
        if let Some(bar) = &self.bar {
            bar.set_message(so_far());
            bar.set_position(done);
        } else if self.all >= LINES && self.tenth(done) > self.tenth(before) {
            let all = self.all;
            tell(&match self.of {
                Of::Things(what) => format!("{done} of {all} {what}, {}\n", so_far()),
                Of::Time => format!("{} of {} s, {}\n", done / 1000, all / 1000, so_far()),
            });
        }
    }

    /// How many tenths that is.
    fn tenth(&self, done: u64) -> u128 {
        u128::from(done) * u128::from(LINES) / u128::from(self.all)
    }

    /// Does what prints, without the bar between.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Nothing more comes.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
