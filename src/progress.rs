//! How far a campaign is: a bar where people look on, ten lines where a file or a CI system does.
//!
//! On standard error, so that standard output stays the report.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

/// Lines where nobody looks on.
const LINES: u64 = 10;

/// How far a campaign is.
pub struct Progress {
    bar: Option<ProgressBar>,
    seeds: u64,
    done: u64,
    open: u64,
}

impl Progress {
    /// Nothing of `seeds` is done.
    pub fn new(seeds: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg} ({eta} left)");
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(seeds).with_message("0 cases open");
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self {
            bar,
            seeds,
            done: 0,
            open: 0,
        }
    }

    /// One more seed is done; `open`: its cases that did not pass.
    pub fn step(&mut self, open: u64) {
        self.done += 1;
        self.open += open;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} cases open", self.open));
            bar.set_position(self.done);
        } else if self.seeds >= LINES && self.is_tenth() {
            let (done, seeds, open) = (self.done, self.seeds, self.open);
            eprintln!("{done} of {seeds} seeds, {open} cases did not pass");
        }
    }

    /// Whether the line before this seed was drawn in another tenth.
    fn is_tenth(&self) -> bool {
        self.done * LINES / self.seeds > (self.done - 1) * LINES / self.seeds
    }

    /// Nothing more comes.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
