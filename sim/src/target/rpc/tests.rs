//! Recorded requests against the model.
