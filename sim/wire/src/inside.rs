//! What a world asks of an end beside turns and messages: to go back to a mark, and what it shows of its inside.
//!
//! An end that cannot answer keeps the default, which says "not seen": never "nothing there". So a check that needs
//! the answer is not judged on that end, and nothing passes because nobody could look.

use std::num::NonZeroU32;

use scenarios::Evidence;

use crate::component::{Component, Cx, Memory};
use crate::invariant::Invariant;
use crate::message::{FromGuest, FromTarget, ToGuest, ToTarget};

/// The inside of an end, as far as it can be seen.
pub trait Inside: Component + 'static {
    /// What the end was at a moment.
    type Mark;

    /// What this end can show a check. What it says beside that is true, but not the whole.
    const EVIDENCE: Evidence = Evidence::empty();

    /// Whether a turn has points at which it can be stopped and others let go first ([`Inside::preempt_at`]).
    const PREEMPTIBLE: bool = false;

    /// What must always hold of it, whatever the modelled system does: broken, it is a bug of the simulator.
    #[must_use]
    fn invariants() -> &'static [Invariant<Self>]
    where
        Self: Sized,
    {
        &[]
    }

    /// Marks what it is now; `None` if it cannot be gone back to. A mark that was made before is void.
    fn mark(&mut self) -> Option<Self::Mark> {
        None
    }

    /// Becomes what it was at its last mark, to the byte. Guest memory is the world's to put back.
    ///
    /// # Panics
    ///
    /// If it makes no marks.
    fn rewind(&mut self, _to: &Self::Mark) {
        unreachable!("an end that makes no marks is never asked to go back to one");
    }

    /// Ends the next turn at its `point`th preemption point, if it comes so far: the rest is another turn.
    /// Only called if [`Inside::PREEMPTIBLE`].
    fn preempt_at(&mut self, _point: NonZeroU32) {}

    /// What should be nothing when nothing is going on, as "what: count"; `None`: not seen.
    fn left(&self) -> Option<Vec<String>> {
        None
    }

    /// Notes in `cx` what no request shows; `at_rest`: also what will never happen though somebody waits for it.
    fn audit(&mut self, _at_rest: bool, _cx: &mut Cx<'_, Self::Out>) {}

    /// Hands over every memory that it may write to and a world has to put back; one may come twice.
    fn memories(&self, _f: &mut dyn FnMut(&Memory)) {}

    /// How many controllers it can have, where that is a limit of the model and not of the modelled system.
    fn controllers_max(&self) -> Option<usize> {
        None
    }

    /// Bytes of its devices' contents; `None`: not seen.
    fn stored_bytes(&self) -> Option<u64> {
        None
    }
}

/// A target, as a world needs it.
pub trait BackEnd: Component<In = ToTarget, Out = FromTarget> + Inside {}

impl<T: Component<In = ToTarget, Out = FromTarget> + Inside> BackEnd for T {}

/// A guest, as a world needs it.
pub trait FrontEnd: Component<In = ToGuest, Out = FromGuest> + Inside {}

impl<G: Component<In = ToGuest, Out = FromGuest> + Inside> FrontEnd for G {}
