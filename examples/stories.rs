use plugfest::story::*;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (from, to): (u64, u64) = (args[0].parse().unwrap(), args[1].parse().unwrap());
    let mut verified = 0;
    let mut turns = 0;
    let mut counts = std::collections::BTreeMap::new();
    let start = std::time::Instant::now();
    for seed in from..to {
        let story = drawn(seed);
        match tell(&story, StoryOptions::intended(seed)) {
            Ok(r) => {
                verified += r.verified;
                turns += r.ending.turns;
                for v in r.violated() {
                    *counts.entry(v.id).or_insert(0) += 1;
                    println!("{seed}: {v:?}");
                }
                if args.len() > 2
                    && let Some(v) = r.violated().next()
                {
                    let (small, opts) =
                        plugfest::shrink(story, StoryOptions::intended(seed), v.id).unwrap();
                    for vm in &small.vms {
                        println!("  {vm:?}");
                    }
                    println!("  disks {:?}", small.disks);
                    for b in &small.beats {
                        println!(
                            "  +{}us {}{:?}",
                            b.after / 1000,
                            if b.awaited { "await " } else { "" },
                            b.does
                        );
                    }
                    if args[2] == "trace" {
                        tell_watched(&small, opts.clone(), &mut |seen| {
                            if !matches!(
                                seen.what,
                                scenarios::Observation::IoSubmitted(_)
                                    | scenarios::Observation::IoDone { .. }
                            ) {
                                println!("    {} {:?}", seen.at, seen.what);
                            }
                        })
                        .unwrap();
                    }
                    let r = tell(&small, opts.clone()).unwrap();
                    println!(
                        "  seed {} {:?}",
                        opts.seed,
                        r.violated().collect::<Vec<_>>()
                    );
                }
            }
            Err(e) => println!("{seed}: ERR {e}"),
        }
    }
    println!(
        "{verified} verified {turns} turns {:?} per schedule; {counts:?}",
        start.elapsed() / (to - from) as u32
    );
}
