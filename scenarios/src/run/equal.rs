//! What is said of many jobs of one fio, in one line: what is equal is said once.

use std::fmt;

use crate::names::DiskId;
use crate::plan::spaced;

/// From so many on, equal ones are said once.
const EQUAL_MIN: usize = 3;
/// Details of equal ones that are shown. The report for programs has each.
const DETAILS_MAX: usize = 2;

/// Something that is said of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The disk of the job.
    pub disk: DiskId,
    /// What is said: "error 5".
    pub what: String,
    /// What fio or the strict oracle say more.
    pub detail: Option<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { disk, what, detail } = self;
        write!(f, "{disk} {what}")?;
        match detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

/// "disk 1 never ended; disk 2 3 4: 3 × error 5 (offset 0; offset 8; …)": in order, but equal ones together.
pub(super) fn together(said: &[Said]) -> String {
    let mut parts = Vec::new();
    for (at, one) in said.iter().enumerate() {
        let is_equal = |other: &&Said| other.what == one.what;
        let equal: Vec<&Said> = said.iter().filter(is_equal).collect();
        if equal.len() < EQUAL_MIN {
            parts.push(one.to_string());
        } else if !said[..at].iter().any(|other| is_equal(&other)) {
            parts.push(group(&equal));
        }
    }
    parts.join("; ")
}

/// Equal ones.
fn group(equal: &[&Said]) -> String {
    let mut disks: Vec<DiskId> = equal.iter().map(|one| one.disk).collect();
    disks.dedup();
    let mut details: Vec<&str> = Vec::new();
    for detail in equal.iter().filter_map(|one| one.detail.as_deref()) {
        if !details.contains(&detail) {
            details.push(detail);
        }
    }
    if details.len() > DETAILS_MAX {
        details.truncate(DETAILS_MAX);
        details.push("…");
    }
    let disks = spaced(disks.iter().map(|disk| disk.0));
    let mut text = format!("disk {disks}: {} × {}", equal.len(), equal[0].what);
    if !details.is_empty() {
        text += &format!(" ({})", details.join("; "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(disk: u8, what: &str, detail: Option<&str>) -> Said {
        Said {
            disk: DiskId(disk),
            what: what.to_owned(),
            detail: detail.map(str::to_owned),
        }
    }

    #[test]
    fn few_are_said_one_by_one() {
        let two = [
            said(1, "error 5", Some("at 0")),
            said(2, "never ended", None),
            said(3, "error 5", Some("at 8")),
        ];
        assert_eq!(
            together(&two),
            "disk 1 error 5 (at 0); disk 2 never ended; disk 3 error 5 (at 8)"
        );
    }

    #[test]
    fn many_equal_ones_are_said_once_with_the_first_details() {
        let places: Vec<String> = (0..16).map(|n| format!("at {n}")).collect();
        let mut many: Vec<Said> = (1..)
            .zip(&places)
            .map(|(disk, place)| said(disk, "error 5", Some(place)))
            .collect();
        many.insert(3, said(99, "never ended", None));
        assert_eq!(
            together(&many),
            "disk 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16: 16 × error 5 (at 0; at 1; …); disk 99 never ended"
        );
        let clones = vec![said(7, "error 12", Some("no room")); 16];
        assert_eq!(together(&clones), "disk 7: 16 × error 12 (no room)");
        let none = vec![said(7, "did not run", None); 3];
        assert_eq!(together(&none), "disk 7: 3 × did not run");
    }
}
