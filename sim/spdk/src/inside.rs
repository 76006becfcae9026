//! What a world asks of the target beside turns and messages.

use scenarios::Evidence;

use super::{Out, Target, TargetMark};
use wire::component::Memory;
use wire::inside::Inside;

impl Inside for Target {
    type Mark = TargetMark;

    const EVIDENCE: Evidence = Evidence::TARGET_INSIDE;

    fn mark(&mut self) -> Option<TargetMark> {
        Some(Self::mark(self))
    }

    fn rewind(&mut self, to: &TargetMark) {
        Self::rewind(self, to);
    }

    fn left(&self) -> Option<Vec<String>> {
        Some(Self::left(self))
    }

    fn audit(&mut self, at_rest: bool, cx: &mut Out<'_>) {
        if at_rest {
            Self::audit(self, cx);
        }
    }

    fn memories(&self, f: &mut dyn FnMut(&Memory)) {
        Self::memories(self, f);
    }

    fn stored_bytes(&self) -> Option<u64> {
        Some(Self::stored_bytes(self))
    }
}
