//! Prints the floor F in nanoseconds of CPU time.

mod support;

use support::cpu::{per_unit, spread};
use support::floor::Floor;

fn main() {
    let mut floor = Floor::new();
    floor.run(20_000);
    let samples: Vec<f64> = (0..15)
        .map(|_| per_unit(&mut || floor.run(20_000)))
        .collect();
    let (least, median, most) = spread(&samples);
    println!("floor F: {median:.0} ns a verified I/O ({least:.0}..{most:.0})");
}
