//! The step `kept`: what was written to a disk is read back.
//!
//! Where single requests are seen, each block is compared with the last write that was acknowledged (check
//! I2). Where only fio's report is, the blocks were checked as they were read: each must be whole, in its
//! place, and as many as were written. A disk to which nothing was written has nothing to keep: that is
//! said, and is no verdict. Knows no testbed.

use super::{Poll, Polled, UnderWay, held, skipped, violated};
use crate::names::FioId;
use crate::observation::FioJobEnd;
use crate::run::known::ReadBack;
use crate::run::{FioRun, Runner, StepResult, limits};
use crate::script::Job;
use crate::testbed::{Action, Evidence};

impl Runner<'_> {
    pub(super) fn kept(
        &mut self,
        under_way: &mut UnderWay,
        does: &[Action],
        fio: FioId,
        job: &Job,
    ) -> Polled {
        let evidence = self.testbed.evidence();
        let per_io = evidence.contains(Evidence::PER_IO);
        if !per_io && !evidence.contains(Evidence::FIO_REPORT) {
            return unseen();
        }
        self.known.read_back.entry(fio).or_default();
        if let Some(reason) = self.ask(under_way, does, limits::FIO)? {
            self.known.read_back.remove(&fio);
            return skipped(reason);
        }
        let Some((exit, ended)) = self.known.fios.get(&fio) else {
            return self.wait(under_way, "fio ends", || "fio still runs".into());
        };
        let (exit, jobs) = (*exit, ended.clone());
        let end = jobs.iter().find(|end| end.disk == job.disk).cloned();
        self.fios.push(FioRun {
            fio,
            label: format!("kept {}", job.disk.0),
            exit,
            reads_back: true,
            jobs,
        });
        let counted = self.known.read_back.remove(&fio).unwrap_or_default();
        let Some(end) = end.filter(|end| !end.hung) else {
            return violated("its blocks can be read", "fio never ended");
        };
        if !self.known.written.contains(&job.disk) {
            let reason = format!(
                "nothing was written to {}: it has nothing to keep",
                job.disk
            );
            return inconclusive(reason);
        }
        if per_io {
            compared(&end, counted)
        } else {
            checked(&end)
        }
    }
}

/// Single requests were seen.
fn compared(end: &FioJobEnd, back: ReadBack) -> Polled {
    let ReadBack {
        done,
        failed,
        held: whole,
    } = back;
    if end.error != 0 || failed > 0 || done == 0 {
        let error = end.error;
        let seen = format!("{done} blocks read, {failed} failed, fio's error {error}");
        return violated("its blocks can be read", seen);
    }
    if whole == 0 {
        // Lost, or written elsewhere: I2 knows which, block by block.
        return inconclusive(format!(
            "none of the {done} blocks that were read holds anything"
        ));
    }
    held(format!(
        "{whole} written blocks read back, compared under I2"
    ))
}

/// fio's report was seen.
fn checked(end: &FioJobEnd) -> Polled {
    let done = end.verified;
    let wrong = match (end.error, end.unseen_by_fio(false)) {
        (0, None) if done == 0 => return unseen(),
        (0, None) => {
            return held(format!(
                "{done} blocks read back, each whole and in its place"
            ));
        }
        (0, Some(strict)) => strict.to_owned(),
        (error, _) => match end.messages.first() {
            Some(message) => format!("fio's error {error} ({message})"),
            None => format!("fio's error {error}"),
        },
    };
    violated("its blocks are there as they were written", wrong)
}

fn unseen() -> Polled {
    inconclusive("this testbed does not show what is read")
}

fn inconclusive(reason: impl Into<String>) -> Polled {
    Ok(Poll::Done(StepResult::Inconclusive {
        reason: reason.into(),
    }))
}
