//! What was seen, said through `tracing`: for people, and for nobody else.
//!
//! Judges nothing.

use std::collections::BTreeMap;

use tracing::{Level, Span, debug, debug_span, trace, warn};

use crate::names::VmId;
use crate::observation::{Observation, Seen};
use crate::said;

/// Says what is seen, if anybody hears it.
pub struct Say {
    /// Asked once.
    heard: bool,
    /// How often each VM has booted.
    boots: BTreeMap<VmId, u32>,
}

impl Say {
    pub fn new() -> Self {
        let heard = tracing::enabled!(target: "observation", Level::DEBUG)
            || tracing::enabled!(target: "invariant", Level::WARN);
        let boots = BTreeMap::new();
        Self { heard, boots }
    }

    pub fn seen(&mut self, seen: &Seen) {
        if self.heard {
            said::at(seen.at, || self.say(&seen.what));
        }
    }

    /// Says it: the most frequent of it in a whisper.
    fn say(&mut self, what: &Observation) {
        if let Observation::VmReady { vm, boot } = what {
            self.boots.insert(*vm, *boot);
        }
        let span = whose(what).map_or_else(Span::none, |vm| {
            let boot = self.boots.get(&vm).copied().unwrap_or_default();
            debug_span!(target: "vm", "vm", id = vm.0, boot)
        });
        let _of_vm = span.enter();
        match what {
            Observation::Broken { check, text } => {
                warn!(target: "invariant", %check, "{text}");
            }
            Observation::IoSubmitted(_) | Observation::IoDone { .. } | Observation::Inside(_) => {
                trace!(target: "observation", "{what:?}");
            }
            _ => debug!(target: "observation", "{what:?}"),
        }
    }
}

/// The VM that it is about, if it is about one.
fn whose(what: &Observation) -> Option<VmId> {
    match what {
        Observation::VmReady { vm, .. }
        | Observation::VmDown { vm }
        | Observation::Connected { vm, .. }
        | Observation::DisksListed { vm, .. } => Some(*vm),
        Observation::DiskAppeared(disk)
        | Observation::DiskVanished(disk)
        | Observation::StaleDisk(disk) => Some(disk.vm),
        _ => None,
    }
}
