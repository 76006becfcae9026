//! Why a run said nothing at all.

use fio_model::JobErrors;
use scenarios::plan::PlanError;
use scenarios::resolve::Impossible;
use scenarios::testbed::TestbedError;
use thiserror::Error;

/// Why a run said nothing at all: what was asked for is wrong, or there is nothing to carry it out on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// An option, a repro, or a word in one is wrong; with its place, if it has one.
    #[error("{0}")]
    Input(String),
    /// A plan says nothing sensible.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A plan asks for something impossible.
    #[error(transparent)]
    Impossible(#[from] Impossible),
    /// A job file is wrong.
    #[error(transparent)]
    Job(#[from] JobErrors),
    /// There is no testbed, and never will be as long as the same is asked for: a device is refused, say.
    #[error("{0}")]
    NoTestbed(String),
    /// There is no testbed now, but there may be later: nobody listens where the target was to be.
    #[error("{0}")]
    NotNow(String),
    /// The testbed broke.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
}

impl RunError {
    /// Whether the same may succeed later, though nobody changes what is asked for.
    #[must_use]
    pub const fn passes(&self) -> bool {
        match self {
            Self::NotNow(_) | Self::Testbed(_) => true,
            Self::Input(_)
            | Self::Plan(_)
            | Self::Impossible(_)
            | Self::Job(_)
            | Self::NoTestbed(_) => false,
        }
    }
}
