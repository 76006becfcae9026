//! The disks of a plan on a target that was there before: what they are made of there.
//!
//! Sends nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use scenarios::driver::calls::{self, Call};
use scenarios::driver::disks::BLOCK_BYTES;
use scenarios::driver::{Disks, NotHere};
use scenarios::{DiskId, DiskKind, TestbedError};
use serde_json::json;

use crate::hardware::PciAddress;

/// What the disks of a plan are made of on a target that was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bdevs {
    /// Memory of the target: a `bdev_malloc` a disk, of so many MiB. What guests see, and what is removed and
    /// inserted, is its only part (`bdev_split`): a `bdev_malloc` that is deleted loses its data, and is only
    /// answered for when the last request has come back, which a device that is lost is not.
    Malloc(u32),
    /// Bdevs that the target has. What is on them is lost.
    Names(Vec<String>),
    /// NVMe controllers by PCI address, their first namespaces. What is on them is lost.
    Nvme(Vec<PciAddress>),
}

/// MiB of a `bdev_malloc` if nobody says how many.
pub const MALLOC_MIB: u32 = 32;

impl Bdevs {
    /// What loses its data in a run: the names or addresses.
    #[must_use]
    pub fn erased(&self) -> Vec<String> {
        match self {
            Self::Malloc(_) => Vec::new(),
            Self::Names(names) => names.clone(),
            Self::Nvme(addresses) => addresses.iter().map(PciAddress::to_string).collect(),
        }
    }
}

impl FromStr for Bdevs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected malloc, malloc:MIB, names:BDEV,… or nvme:PCI-ADDRESS,…";
        let wrong = || format!("{text:?}: {expected}");
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let list = || {
            let list: Vec<String> = rest.split(',').map(str::to_owned).collect();
            let repeated = (1..list.len()).find(|n| list[..*n].contains(&list[*n]));
            match repeated {
                _ if list.iter().any(String::is_empty) => Err(wrong()),
                Some(n) => Err(format!("{text:?}: {} is named twice", list[n])),
                None => Ok(list),
            }
        };
        match word {
            "malloc" if !text.contains(':') => Ok(Self::Malloc(MALLOC_MIB)),
            "malloc" => match rest.parse() {
                Ok(mib) if mib > 0 => Ok(Self::Malloc(mib)),
                _ => Err(wrong()),
            },
            "names" => list().map(Self::Names),
            "nvme" => {
                let addresses: Result<_, String> = list()?.iter().map(|one| one.parse()).collect();
                Ok(Self::Nvme(addresses?))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Bdevs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malloc(mib) => write!(f, "malloc:{mib}"),
            Self::Names(_) => write!(f, "names:{}", self.erased().join(",")),
            Self::Nvme(_) => write!(f, "nvme:{}", self.erased().join(",")),
        }
    }
}

/// Disks on a target that was there before.
#[derive(Clone, Debug)]
pub struct GivenDisks {
    of: Bdevs,
    /// Where each disk is, by its number among the disks of the plan.
    places: BTreeMap<DiskId, usize>,
    kinds: BTreeMap<DiskId, DiskKind>,
    /// Disks that share a bdev, split; 1: none do.
    parts: usize,
}

impl GivenDisks {
    /// Disks made of `of`.
    #[must_use]
    pub fn new(of: Bdevs) -> Self {
        Self {
            of,
            places: BTreeMap::new(),
            kinds: BTreeMap::new(),
            parts: 1,
        }
    }

    /// The NVMe controller or the bdev of this number, before it is split.
    fn whole(&self, number: usize) -> String {
        match &self.of {
            Bdevs::Malloc(_) => format!("Plugfest{number}"),
            Bdevs::Names(names) => names[number].clone(),
            Bdevs::Nvme(_) => format!("{}n1", Self::controller(number)),
        }
    }

    /// The NVMe controller of this number.
    fn controller(number: usize) -> String {
        format!("Plugfest{number}")
    }

    fn is_split(&self) -> bool {
        self.parts > 1 || matches!(self.of, Bdevs::Malloc(_))
    }

    /// What splits the whole bdev of this number.
    fn split(&self, number: usize) -> Call {
        let params = json!({"base_bdev": self.whole(number), "split_count": self.parts});
        ("bdev_split_create", Some(params))
    }

    /// What takes its parts away.
    fn unsplit(&self, number: usize) -> Call {
        let params = json!({"base_bdev": self.whole(number)});
        ("bdev_split_delete", Some(params))
    }

    /// What makes the whole bdev of this number.
    fn make(&self, number: usize) -> Vec<Call> {
        match &self.of {
            Bdevs::Malloc(mib) => {
                let blocks = (u64::from(*mib) << 20) / u64::from(BLOCK_BYTES);
                let name = self.whole(number);
                let params = json!({"name": name, "num_blocks": blocks, "block_size": BLOCK_BYTES});
                vec![("bdev_malloc_create", Some(params))]
            }
            Bdevs::Names(_) => Vec::new(),
            Bdevs::Nvme(addresses) => {
                let traddr = addresses[number].to_string();
                vec![calls::attach_nvme(&Self::controller(number), &traddr)]
            }
        }
    }

    /// What takes the whole bdev of this number away; `None`: it is not ours.
    fn unmake(&self, number: usize) -> Option<Call> {
        match &self.of {
            Bdevs::Malloc(_) => {
                let params = json!({"name": self.whole(number)});
                Some(("bdev_malloc_delete", Some(params)))
            }
            Bdevs::Names(_) => None,
            Bdevs::Nvme(_) => Some(calls::detach_nvme(&Self::controller(number))),
        }
    }

    /// The number of a disk's whole bdev, if it is one of its own that we can take away.
    fn removable(&self, disk: DiskId) -> Result<usize, NotHere> {
        if self.parts > 1 {
            return Err(NotHere(format!("{disk} is a part of a split bdev")));
        }
        let place = self.places.get(&disk).copied().unwrap_or_default();
        match self.of {
            Bdevs::Names(_) => Err(NotHere(format!("{} was there before", self.whole(place)))),
            Bdevs::Malloc(_) | Bdevs::Nvme(_) => Ok(place),
        }
    }
}

impl Disks for GivenDisks {
    fn prepare(&mut self, disks: &[(DiskId, DiskKind)]) -> Result<Vec<Call>, TestbedError> {
        let kept = disks.iter().filter(|(_, kind)| *kind != DiskKind::Null);
        self.places = kept.map(|(disk, _)| *disk).zip(0..).collect();
        self.kinds = disks.iter().copied().collect();
        let count = self.places.len();
        let wholes = match &self.of {
            Bdevs::Malloc(_) => count,
            Bdevs::Names(list) => list.len().min(count),
            Bdevs::Nvme(list) => list.len().min(count),
        };
        self.parts = count.div_ceil(wholes.max(1)).max(1);
        let mut calls: Vec<Call> = (0..wholes).flat_map(|number| self.make(number)).collect();
        if self.is_split() {
            calls.extend((0..wholes).map(|number| self.split(number)));
        }
        let tops = disks.iter();
        calls.extend(tops.filter_map(|(disk, kind)| self.top(*disk, *kind)));
        Ok(calls)
    }

    fn undo(&self) -> Vec<Call> {
        let mut calls: Vec<Call> = Vec::new();
        for (disk, kind) in &self.kinds {
            let name = self.bdev(*disk, *kind);
            match kind {
                DiskKind::Nvme => {}
                DiskKind::Faulty => calls.push(("bdev_error_delete", Some(json!({"name": name})))),
                DiskKind::Null => calls.push(calls::delete_null(&name)),
                DiskKind::Delayed => calls.push(calls::undelay(&name)),
            }
        }
        let wholes = self.places.len().div_ceil(self.parts);
        if self.is_split() {
            calls.extend((0..wholes).map(|number| self.unsplit(number)));
        }
        calls.extend((0..wholes).filter_map(|number| self.unmake(number)));
        calls
    }

    fn made(&self) -> Vec<String> {
        let all = self.kinds.iter();
        let bdevs = all.map(|(disk, kind)| self.bdev(*disk, *kind));
        let (given, wholes): (&[String], usize) = match &self.of {
            Bdevs::Names(names) => (names, 0),
            Bdevs::Malloc(_) | Bdevs::Nvme(_) => (&[], self.places.len().div_ceil(self.parts)),
        };
        let bdevs = bdevs.filter(|bdev| !given.contains(bdev));
        bdevs
            .chain((0..wholes).map(|number| self.whole(number)))
            .collect()
    }

    fn base(&self, disk: DiskId) -> String {
        let place = self.places.get(&disk).copied().unwrap_or_default();
        if !self.is_split() {
            return self.whole(place);
        }
        format!("{}p{}", self.whole(place / self.parts), place % self.parts)
    }

    fn null(&self, disk: DiskId) -> String {
        format!("PlugfestNull{}", disk.0)
    }

    fn insert_base(&self, disk: DiskId) -> Result<Vec<Call>, NotHere> {
        let number = self.removable(disk)?;
        match self.of {
            Bdevs::Malloc(_) => Ok(vec![self.split(number)]),
            Bdevs::Names(_) | Bdevs::Nvme(_) => Ok(self.make(number)),
        }
    }

    fn remove_base(&self, disk: DiskId) -> Result<Call, NotHere> {
        let number = self.removable(disk)?;
        match self.of {
            Bdevs::Malloc(_) => Ok(self.unsplit(number)),
            Bdevs::Names(_) | Bdevs::Nvme(_) => self
                .unmake(number)
                .ok_or_else(|| NotHere(format!("{disk} was there before"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks(count: u8) -> Vec<(DiskId, DiskKind)> {
        (1..=count).map(|n| (DiskId(n), DiskKind::Nvme)).collect()
    }

    fn words(calls: &[Call]) -> Vec<String> {
        let word = |(method, params): &Call| match params {
            Some(params) => format!("{method} {params}"),
            None => (*method).to_owned(),
        };
        calls.iter().map(word).collect()
    }

    #[test]
    fn a_bdev_is_split_when_there_are_too_few_and_whole_again_at_the_end() {
        let mut given = GivenDisks::new("names:A,B".parse().expect("two bdevs"));
        let made = given.prepare(&disks(3)).expect("they are made");
        assert_eq!(
            words(&made),
            [
                r#"bdev_split_create {"base_bdev":"A","split_count":2}"#,
                r#"bdev_split_create {"base_bdev":"B","split_count":2}"#,
            ]
        );
        let names = [1, 2, 3].map(|disk| given.bdev(DiskId(disk), DiskKind::Nvme));
        assert_eq!(names, ["Ap0", "Ap1", "Bp0"]);
        assert_eq!(
            words(&given.undo()),
            [
                r#"bdev_split_delete {"base_bdev":"A"}"#,
                r#"bdev_split_delete {"base_bdev":"B"}"#,
            ]
        );
        assert!(given.remove(DiskId(1), DiskKind::Nvme).is_err());
    }

    #[test]
    fn what_was_there_before_is_not_taken_away() {
        let mut given = GivenDisks::new("names:A,B,C".parse().expect("three bdevs"));
        assert_eq!(given.prepare(&disks(2)), Ok(Vec::new()));
        assert_eq!(given.bdev(DiskId(2), DiskKind::Nvme), "B");
        assert!(given.undo().is_empty());
        let why = given.remove(DiskId(2), DiskKind::Nvme);
        assert_eq!(why, Err(NotHere("B was there before".to_owned())));
    }

    #[test]
    fn what_was_made_is_taken_away_the_top_first() {
        let mut given = GivenDisks::new("malloc:1".parse().expect("memory"));
        let slow = (DiskId(8), DiskKind::Delayed);
        let kinds = [(DiskId(4), DiskKind::Faulty), (DiskId(7), DiskKind::Null)];
        let all = given.prepare(&[kinds[0], kinds[1], slow]);
        let (made, delayed) = (
            words(&all.expect("they are made")),
            given.insert(slow.0, slow.1),
        );
        assert_eq!(made.last(), words(&delayed.expect("it can be done")).last());
        assert_eq!(made.len(), 7);
        assert_eq!(
            [&made[0], &made[2], &made[4]],
            [
                r#"bdev_malloc_create {"name":"Plugfest0","num_blocks":2048,"block_size":512}"#,
                r#"bdev_split_create {"base_bdev":"Plugfest0","split_count":1}"#,
                r#"bdev_error_create {"base_name":"Plugfest0p0"}"#,
            ]
        );
        assert_eq!(
            words(&given.undo()),
            [
                r#"bdev_error_delete {"name":"EE_Plugfest0p0"}"#,
                r#"bdev_null_delete {"name":"PlugfestNull7"}"#,
                r#"bdev_delay_delete {"name":"Delayed_Plugfest1p0"}"#,
                r#"bdev_split_delete {"base_bdev":"Plugfest0"}"#,
                r#"bdev_split_delete {"base_bdev":"Plugfest1"}"#,
                r#"bdev_malloc_delete {"name":"Plugfest0"}"#,
                r#"bdev_malloc_delete {"name":"Plugfest1"}"#,
            ]
        );
    }

    #[test]
    fn memory_that_is_removed_keeps_its_data() {
        let mut given = GivenDisks::new("malloc:1".parse().expect("memory"));
        given.prepare(&disks(2)).expect("they are made");
        let second = (DiskId(2), DiskKind::Nvme);
        let gone = given.remove(second.0, second.1).map(|call| vec![call]);
        let there = given.insert(second.0, second.1);
        assert_eq!(
            [gone, there].map(|calls| words(&calls.expect("it can be done"))),
            [
                [r#"bdev_split_delete {"base_bdev":"Plugfest1"}"#],
                [r#"bdev_split_create {"base_bdev":"Plugfest1","split_count":1}"#],
            ]
        );
        // Nobody else's are used, nor taken away at the end: the parts and what they are parts of.
        assert_eq!(
            given.made(),
            ["Plugfest0p0", "Plugfest1p0", "Plugfest0", "Plugfest1"]
        );
    }

    #[test]
    fn what_is_no_list_of_bdevs_is_refused() {
        for wrong in [
            "",
            "malloc:",
            "malloc:0",
            "names:",
            "names:A,,B",
            "disk:1",
            "nvme",
            "nvme:01:00.0",
            "nvme:0000:01:00.0,disk",
        ] {
            let read: Result<Bdevs, String> = wrong.parse();
            assert!(read.is_err_and(|why| why.contains("expected")), "{wrong}");
        }
        let twice: Result<Bdevs, String> = "nvme:0000:01:00.0,0000:01:00.0".parse();
        assert!(twice.is_err_and(|why| why.contains("0000:01:00.0 is named twice")));
        let kept: Bdevs = "names:A,B".parse().expect("two bdevs");
        assert_eq!(
            (kept.to_string().as_str(), kept.erased().len()),
            ("names:A,B", 2)
        );
    }
}
