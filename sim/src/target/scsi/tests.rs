//! Recorded commands against the model.
