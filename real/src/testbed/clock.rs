//! When the testbed at hand began: for whoever writes down what is said, and for nobody else.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use scenarios::Time;

static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);

/// A testbed begins now, or, before there is one, the command.
pub fn start() -> Instant {
    let now = Instant::now();
    *BEGAN.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    now
}

/// The time of the testbed that began last; the beginning, if none has.
#[must_use]
pub fn time() -> Time {
    let began = *BEGAN.lock().unwrap_or_else(PoisonError::into_inner);
    Time::ZERO + began.map(|began| began.elapsed()).unwrap_or_default()
}
