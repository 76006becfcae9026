//! What is verified, when, and against what.

use super::{
    BLOCK_MAX, DEPTH_MAX, Draft, Refusal, Setter, Taken, Value, bad, put, set_u32, setter,
};
use crate::digest::VerifyType;
use crate::pattern::Pattern;

pub(super) static SETTERS: &[Setter] = &[
    setter("do_verify", "do_verify", |d, v| {
        put(&mut d.job.do_verify, v.bool())
    }),
    setter("verify", "verify", verify),
    setter("verify_backlog", "verify_backlog", |d, mut v| {
        let value = v.number(d.base(), 0, u64::from(u32::MAX));
        set_u32(&mut d.job.verify_backlog, value)
    }),
    setter(
        "verify_backlog_batch",
        "verify_backlog_batch",
        |d, mut v| {
            let value = v.number(d.base(), 0, u64::from(u32::MAX));
            set_u32(&mut d.job.verify_backlog_batch, value)
        },
    ),
    setter("verify_interval", "verify_interval", |d, mut v| {
        let value = v.number(d.base(), 80, BLOCK_MAX);
        set_u32(&mut d.job.verify_interval, value)
    }),
    setter("verify_offset", "verify_offset", |d, mut v| {
        let value = v.number(d.base(), 0, BLOCK_MAX);
        set_u32(&mut d.job.verify_offset, value)
    }),
    setter("verify_fatal", "verify_fatal", |d, v| {
        put(&mut d.job.verify_fatal, v.bool())
    }),
    setter("verify_pattern", "verify_pattern", verify_pattern),
    setter("verify_state_save", "verify_state_save", |d, v| {
        put(&mut d.job.verify_state_save, v.bool())
    }),
    setter("verify_state_load", "verify_state_load", |d, v| {
        put(&mut d.job.verify_state_load, v.bool())
    }),
    setter("verify_only", "verify_only", |d, v| {
        put(&mut d.job.verify_only, v.flag())
    }),
    setter("experimental_verify", "experimental_verify", |d, v| {
        put(&mut d.job.experimental_verify, v.bool())
    }),
    setter("verify_dump", "verify_dump", |d, v| {
        put(&mut d.job.verify_dump, v.bool())
    }),
    setter("verify_async", "verify_async", |d, mut v| {
        set_u32(&mut d.job.verify_async, v.number(1024, 0, DEPTH_MAX))
    }),
];

fn verify(draft: &mut Draft, value: Value<'_>) -> Taken {
    let name = value.text.unwrap_or_default();
    draft.verify_given = true;
    if name == "0" {
        return put(&mut draft.job.verify, Ok(None));
    }
    let list = VerifyType::ALL
        .iter()
        .map(|row| row.1)
        .collect::<Vec<_>>()
        .join(", ");
    put(
        &mut draft.job.verify,
        VerifyType::named(name).map(Some).ok_or_else(|| bad(list)),
    )
}

fn verify_pattern(draft: &mut Draft, value: Value<'_>) -> Taken {
    let expected = "bytes such as 0xdeadbeef, 123, \"text\" or %o, up to 512 of them";
    let text = value.text(expected)?;
    if text.contains('\'') {
        return Err(Refusal::Unsupported("reads no files: write the bytes"));
    }
    let pattern = Pattern::parse(text).ok_or_else(|| bad(expected))?;
    put(&mut draft.job.verify_pattern, Ok(Some(pattern)))
}
