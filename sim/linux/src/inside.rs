//! What a world asks of the guest beside turns and messages.

use scenarios::Evidence;

use super::Guest;
use wire::component::{Cx, Memory};
use wire::inside::Inside;
use wire::message::FromGuest;

impl Inside for Guest {
    /// All but the bytes of its memory, which a clone shares.
    type Mark = Self;

    /// Beside this, every request (`PER_IO`), if its configuration says so.
    const EVIDENCE: Evidence = Evidence::GUEST_DISKS
        .and(Evidence::FIO_REPORT)
        .and(Evidence::RINGS);

    fn mark(&mut self) -> Option<Self> {
        Some(self.clone())
    }

    fn rewind(&mut self, to: &Self) {
        self.clone_from(to);
    }

    fn left(&self) -> Option<Vec<String>> {
        Some(Self::left(self))
    }

    fn audit(&mut self, at_rest: bool, cx: &mut Cx<'_, FromGuest>) {
        Self::audit(self, at_rest, cx);
    }

    fn memories(&self, f: &mut dyn FnMut(&Memory)) {
        Self::memories(self, f);
    }
}
