fn main() {
    let mut a = std::env::args().skip(1).map(|s| s.parse::<u64>().unwrap());
    let (from, to) = (a.next().unwrap(), a.next().unwrap());
    let mut verified=0; let mut turns=0;
    let mut counts = std::collections::BTreeMap::new();
    let start = std::time::Instant::now();
    for seed in from..to {
        let story = plugfest::story::drawn(seed);
        if to-from<3 { println!("{story:#?}"); }
        match plugfest::story::tell(&story, plugfest::story::StoryOptions::intended(seed)) {
            Ok(r) => {
                verified += r.verified; turns += r.ending.turns;
                for v in r.violated() { *counts.entry(v.id).or_insert(0)+=1; println!("{seed}: {v:?}"); }
                for c in &r.checks { if let scenarios::run::CheckOutcome::Explained{cause} = &c.outcome { *counts.entry(c.id).or_insert(0)+=0; if to-from<50 {println!("{seed}: {} explained {cause}", c.id);} } }
            }
            Err(e) => println!("{seed}: ERR {e}"),
        }
    }
    println!("{verified} verified {turns} turns {:?} per schedule; {counts:?}", start.elapsed()/(to-from) as u32);
}
