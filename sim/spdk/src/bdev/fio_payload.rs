//! What fio writes is a function of the seed in a block's header, behind the header and the checksum.

use fio_model::{Header, fill_from, is_pristine};

use super::pages::{HEAD, Regenerate};

/// fio's payload: a header and a checksum of up to 24 bytes fit the head, pages with a longer one are kept
/// whole.
#[derive(Clone, Copy, Debug)]
pub struct FioPayload;

impl Regenerate for FioPayload {
    fn can_make(head: &[u8; HEAD], rest: &[u8]) -> bool {
        is_pristine(Header::decode(head).rand_seed, HEAD, rest)
    }

    fn make(head: &[u8; HEAD], rest: &mut [u8]) {
        fill_from(Header::decode(head).rand_seed, HEAD, rest);
    }
}
