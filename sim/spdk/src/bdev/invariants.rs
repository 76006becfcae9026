//! What must always hold of the bdev layer's tables.

use super::{Bdev, Bdevs, NOTIFICATIONS_MAX};
use crate::devices::Devices;
use crate::handles::BdevHandle;

impl Bdevs {
    /// All bdevs, those that are going included.
    fn every(&self) -> impl Iterator<Item = (BdevHandle, &Bdev)> {
        let listed = self.list.iter().enumerate();
        listed.filter_map(|(index, bdev)| {
            let bdev = bdev.as_ref()?;
            let handle = BdevHandle {
                index: index as u16,
                generation: bdev.generation,
            };
            Some((handle, bdev))
        })
    }
}

/// A LUN whose bdev knows nothing of it, or the other way round.
pub fn open_one_way(bdevs: &Bdevs, devs: &Devices) -> Option<String> {
    let unknown = devs.handles().find_map(|(dev, device)| {
        let bdev = device.lun.as_ref()?.bdev;
        let listed = bdevs.get(bdev).is_some_and(|bdev| bdev.luns.contains(&dev));
        (!listed).then(|| format!("device {} is not listed by {bdev:?}", device.number))
    });
    unknown.or_else(|| {
        bdevs.every().find_map(|(handle, bdev)| {
            let open = |dev| {
                let lun = devs.get(dev)?.lun.as_ref()?;
                (lun.bdev == handle).then_some(())
            };
            let stranger = bdev.luns.iter().find(|dev| open(**dev).is_none())?;
            Some(format!("{} lists {stranger:?}", bdev.name))
        })
    })
}

/// A bdev that its base does not list, or a base with a claim and nothing on it.
pub fn base_unaware(bdevs: &Bdevs) -> Option<String> {
    bdevs.every().find_map(|(handle, bdev)| {
        let name = &bdev.name;
        if let Some(base) = bdev.kind.base()
            && bdevs
                .get(base)
                .is_none_or(|base| !base.tops.contains(&handle))
        {
            return Some(format!("the base of {name} does not list it"));
        }
        let on_it = |top: &&BdevHandle| {
            let base = bdevs.get(**top).and_then(|top| top.kind.base());
            base != Some(handle)
        };
        if let Some(top) = bdev.tops.iter().find(on_it) {
            return Some(format!("{top:?} is not on {name}"));
        }
        let tops = bdev.tops.len();
        (bdev.claimed.is_some() != (tops > 0))
            .then(|| format!("{name} is claimed by {:?}, {tops} are on it", bdev.claimed))
    })
}

/// A name that leads to another bdev or none.
pub fn misnamed(bdevs: &Bdevs) -> Option<String> {
    let mut names = 0;
    for (handle, bdev) in bdevs.every() {
        for name in bdev.aliases.iter().chain([&bdev.name]) {
            names += 1;
            if bdevs.names.get(name) != Some(&handle) {
                return Some(format!("{name} leads to {:?}", bdevs.names.get(name)));
            }
        }
    }
    let known = bdevs.names.len();
    (known != names).then(|| format!("{known} names are known, bdevs have {names}"))
}

pub fn too_many_notifications(bdevs: &Bdevs) -> Option<String> {
    let kept = bdevs.notifications.1.len();
    (kept > NOTIFICATIONS_MAX).then(|| format!("{kept} are kept"))
}

/// A change to a target that breaks the invariant of this name.
#[cfg(test)]
pub const MUTANTS: crate::tests::Mutants = &[
    ("luns_and_bdevs_agree", |t| {
        t.shared
            .bdevs
            .list
            .iter_mut()
            .flatten()
            .for_each(|bdev| bdev.luns.clear());
    }),
    ("bdevs_stand_on_their_bases", |t| {
        t.shared
            .bdevs
            .list
            .iter_mut()
            .flatten()
            .for_each(|bdev| bdev.claimed = None);
    }),
    ("names_lead_to_bdevs", |t| {
        t.shared.bdevs.names.pop_first();
    }),
    ("notifications_are_bounded", |t| {
        (0..=NOTIFICATIONS_MAX).for_each(|_| {
            t.shared
                .bdevs
                .notifications
                .1
                .push_back(("bdev_resize", String::new()))
        });
    }),
];
