//! A job's name, its threads, its time, and when it ends.

use super::{DEPTH_MAX, Draft, Refusal, Setter, Taken, Value, bad, put, set_u32, setter};
use crate::continue_on_error;
use crate::numbers;

pub(super) static SETTERS: &[Setter] = &[
    setter("name", "name", |d, v| {
        put(&mut d.job.name, v.text("a name").map(str::to_owned))
    }),
    setter("thread", "thread", |d, v| put(&mut d.job.thread, v.flag())),
    setter("numjobs", "numjobs", |d, mut v| {
        set_u32(&mut d.job.numjobs, v.number(1024, 1, DEPTH_MAX))
    }),
    setter("group_reporting", "group_reporting", |d, v| {
        put(&mut d.job.group_reporting, v.flag())
    }),
    setter("stonewall", "wait_for_previous", |d, v| {
        put(&mut d.job.stonewall, v.flag())
    }),
    setter("new_group", "new_group", |d, v| {
        put(&mut d.job.new_group, v.flag())
    }),
    setter("exitall", "exitall", |d, v| {
        put(&mut d.job.exitall, v.flag())
    }),
    setter("exitall_on_error", "exitall_on_error", |d, v| {
        put(&mut d.job.exitall_on_error, v.flag())
    }),
    setter("time_based", "time_based", |d, v| {
        put(&mut d.job.time_based, v.flag())
    }),
    setter("runtime", "timeout", |d, v| {
        put(&mut d.job.runtime_ns, time(&v))
    }),
    setter("ramp_time", "ramp_time", |d, v| {
        put(&mut d.job.ramp_ns, time(&v))
    }),
    setter("loops", "loops", |d, mut v| {
        set_u32(&mut d.job.loops, v.number(1024, 1, u64::from(u32::MAX)))
    }),
    setter("number_ios", "number_ios", |d, mut v| {
        let number = v.number(d.base(), 0, u64::MAX);
        put(&mut d.job.number_ios, number)
    }),
    setter("continue_on_error", "continue_on_error", |d, v| {
        let on = v.named(&continue_on_error::NAMES)?;
        d.job.continue_on_error.set(on);
        Ok(())
    }),
    setter("kb_base", "kb_base", |d, v| {
        let base = v.named(&[("1024", 1024), ("1000", 1000)]);
        put(&mut d.kb_base, base.map(Some))
    }),
    setter("ignore_error", "ignore_error", ignore_error),
];

fn time(value: &Value<'_>) -> Result<u64, Refusal> {
    let time = value.text.and_then(|text| numbers::time_ns(text.trim()));
    time.ok_or_else(|| bad("a time such as 10, 500ms or 5m"))
}

/// `EIO:110,ENOSPC`: of reads, of writes, of the verification.
fn ignore_error(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "errors of reads, of writes and of the verification, such as EIO:110,ENOSPC";
    let text = value.text(expected)?;
    let taken = draft.job.continue_on_error.ignore(text.trim());
    taken.ok_or_else(|| bad(expected))
}
