//! What a world asks of the guest beside turns and messages.

use scenarios::Evidence;

use wire::component::{Cx, Memory};
use wire::inside::Inside;
use wire::invariant::Invariant;
use wire::message::FromGuest;

use crate::Guest;
use crate::guest::INVARIANTS;

impl Inside for Guest {
    /// All but the bytes of its memory, which a clone shares.
    type Mark = Self;

    /// Beside this, every request (`PER_IO`), if its configuration says so.
    const EVIDENCE: Evidence = Evidence::GUEST_DISKS
        .union(Evidence::FIO_REPORT)
        .union(Evidence::RINGS);

    fn invariants() -> &'static [Invariant<Self>] {
        INVARIANTS
    }

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
