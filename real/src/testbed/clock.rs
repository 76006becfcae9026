//! When the testbed at hand began: for whoever writes down what is said, and for nobody else.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use scenarios::Time;

static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);

/// A testbed begins now.
pub(super) fn start() -> Instant {
    let now = Instant::now();
    *BEGAN.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    now
}

/// The time of the testbed that began last; `None` if none has.
#[must_use]
pub fn time() -> Option<Time> {
    let began = *BEGAN.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Time::ZERO + began?.elapsed())
}
