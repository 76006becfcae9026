//! Recordings of a guest, as recorded, made data: the shell script that was carried out in the guest becomes
//! the list of steps that `plugfest conform --guest` reads.

mod shell;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use conformance::guest::scenario::Scenario;

use shell::scenario;

/// Converts each `NAME.scenario` of a directory to the `NAME.steps.json` beside it, and says what cannot be
/// carried out of it.
///
/// # Errors
///
/// There is none, one is no script, or a file cannot be read or written.
pub fn convert(dir: &Path) -> Result<u8, String> {
    let recordings = recordings(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    if recordings.is_empty() {
        return Err(format!("{}: it has no .scenario", dir.display()));
    }
    for recording in recordings {
        let shown = recording.display();
        let text = fs::read_to_string(&recording).map_err(|error| format!("{shown}: {error}"))?;
        let scenario = scenario(&text).map_err(|error| format!("{shown}: {error}"))?;
        for unknown in scenario.unknown() {
            eprintln!("{shown}: cannot be carried out: {unknown}");
        }
        let steps = recording.with_extension(Scenario::EXTENSION);
        fs::write(&steps, scenario.to_text())
            .map_err(|error| format!("{}: {error}", steps.display()))?;
    }
    Ok(0)
}

fn recordings(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let files = entries.into_iter().map(|entry| entry.path());
    let is_scenario = |file: &PathBuf| file.extension().is_some_and(|end| end == "scenario");
    let mut files: Vec<PathBuf> = files.filter(is_scenario).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_converted_recordings_are_those_of_the_recorded_scripts() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guest_traces");
        let recordings = recordings(&dir).unwrap();
        assert!(recordings.len() >= 8, "{recordings:?}");
        for recording in recordings {
            let scenario = scenario(&fs::read_to_string(&recording).unwrap()).unwrap();
            let kept = fs::read_to_string(recording.with_extension(Scenario::EXTENSION)).unwrap();
            assert_eq!(scenario.to_text(), kept, "{}", recording.display());
            assert_eq!(Scenario::parse(&kept).unwrap(), scenario);
        }
    }

    #[test]
    fn a_directory_without_a_recording_is_told() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert!(convert(&dir).unwrap_err().ends_with("it has no .scenario"));
    }
}
