//! Blocks of known bytes; verdicts with and without the cache.
