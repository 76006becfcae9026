//! Which places of the disk are visited, in which order.

use super::{BLOCK_MAX, Draft, Refusal, Setter, Taken, Value, bad, put, set_u32, setter};
use crate::distribution::Distribution;
use crate::job::Generator;

pub(super) static SETTERS: &[Setter] = &[
    setter("offset", "fileoffset", |d, mut v| {
        let offset = v.span(d.base());
        put(&mut d.job.offset, offset)
    }),
    setter("offset_align", "offset_align", |d, mut v| {
        let align = v.number(d.base(), 0, BLOCK_MAX);
        set_u32(&mut d.job.offset_align, align)
    }),
    setter("offset_increment", "offset_increment", |d, mut v| {
        let step = v.span(d.base());
        put(&mut d.job.offset_increment, step)
    }),
    setter("norandommap", "norandommap", |d, v| {
        put(&mut d.job.norandommap, v.flag())
    }),
    setter("random_distribution", "random_distribution", distribution),
    setter("random_generator", "random_generator", generator),
    setter("randrepeat", "randrepeat", |d, v| {
        put(&mut d.job.randrepeat, v.bool())
    }),
    setter("allrandrepeat", "allrandrepeat", |d, v| {
        put(&mut d.job.allrandrepeat, v.bool())
    }),
    setter("randseed", "randseed", |d, mut v| {
        let seed = v.number(d.base(), 0, u64::MAX);
        put(&mut d.job.randseed, seed.map(Some))
    }),
];

fn distribution(draft: &mut Draft, value: Value<'_>) -> Taken {
    let text = value.text("random, zipf, pareto or normal")?.trim();
    if text.starts_with("zoned") {
        return Err(Refusal::Unsupported("has no zones of different heat"));
    }
    let parsed = Distribution::parse(text);
    put(&mut draft.job.distribution, parsed.map_err(bad))
}

fn generator(draft: &mut Draft, value: Value<'_>) -> Taken {
    if value.text == Some("tausworthe64") {
        return Err(Refusal::Unsupported("draws 32 bits: tausworthe or lfsr"));
    }
    let names = [
        ("tausworthe", Generator::Tausworthe),
        ("lfsr", Generator::Lfsr),
    ];
    put(&mut draft.job.generator, value.named(&names))
}
