//! When something happened that is said: the clock of `tracing`'s events.
//!
//! A testbed has a time of its own, virtual in the simulator, and whoever writes events down has none: he asks here.
//! Nothing of a run does.

use std::cell::Cell;

use crate::time::Time;

thread_local! {
    static NOW: Cell<Option<Time>> = const { Cell::new(None) };
}

/// Says something: what `say` says happened at `now`.
pub fn at<R>(now: Time, say: impl FnOnce() -> R) -> R {
    let before = NOW.replace(Some(now));
    let said = say();
    NOW.set(before);
    said
}

/// When that happened which this thread is saying, if it is known.
#[must_use]
pub fn time() -> Option<Time> {
    NOW.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_what_is_said_and_of_nothing_after_it() {
        assert_eq!(time(), None);
        at(Time(3), || {
            at(Time(2), || assert_eq!(time(), Some(Time(2))));
            assert_eq!(time(), Some(Time(3)));
        });
        assert_eq!(time(), None);
    }
}
