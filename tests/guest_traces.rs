//! Every recording of a real guest, done over by the model guest.

use std::path::{Path, PathBuf};

use sim::guest::trace::{Texts, judge};

#[test]
#[ignore]
fn try_them() {
    let dir = PathBuf::from(std::env::var("TRACES").unwrap());
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter_map(|n| n.strip_suffix(".scenario").map(str::to_owned))
        .collect();
    names.sort();
    for name in names {
        if std::env::var("ONLY").is_ok_and(|only| only != name) {
            continue;
        }
        let read = |end: &str| {
            String::from_utf8_lossy(
                &std::fs::read(Path::new(&dir).join(format!("{name}.{end}"))).unwrap(),
            )
            .into_owned()
        };
        let texts = Texts {
            scenario: read("scenario"),
            target_log: read("target.log"),
            guest_log: read("guest.log"),
        };
        let started = std::time::Instant::now();
        match judge(&name, &texts) {
            Ok(v) => {
                println!(
                    "{name}: seed {} known {} unknown {} in {:?}",
                    v.seed,
                    v.known.len(),
                    v.unknown.len(),
                    started.elapsed()
                );
                for d in v.unknown.iter().take(12) {
                    println!("   {d}");
                }
            }
            Err(e) => println!("{name}: ERR {e}"),
        }
    }
}
