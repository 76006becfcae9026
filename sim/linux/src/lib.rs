//! The model guest: QEMU, SeaBIOS, Linux with virtio_scsi, `sd` and the block layer, and fio.
//!
//! Sans-I/O: memory, messages and time in, messages out. Knows nothing of the target model, of the
//! world, or of sockets. Linux is 6.1 as recorded; QEMU is 7.2.
//!
//! # Divergence from Linux
//!
//! * Disks have LUN 0 only; other LUNs are asked for and forgotten.
//! * EVENT_IDX is not accepted (SPDK does not offer it).
//! * A CHECK CONDITION without sense data counts as another try; the error handler is not modelled.
//! * A request has one data segment: buffers are contiguous in guest memory. So only the disk's longest transfer
//!   splits a request, and never the 126 segments of a command.
//! * A request that moves nothing again and again fails after six tries; Linux goes on for ever.
//! * Applications do direct I/O inside a disk's first capacity, and flushes. There is no page cache, and no moment
//!   between the check of the size and the queue, in which a removal gives EIO.
//! * A disk whose size cannot be read is not visible; Linux shows it with 0 blocks.
//! * The commands of a scan are sent once, whatever they are answered, but for those of `sd` that are
//!   known to be sent again (TEST UNIT READY, READ CAPACITY).
//! * A reboot waits for nothing but the caches; processes and their requests are forgotten at once.
#![forbid(unsafe_code)]

mod actors;
mod block;
mod by_hand;
mod config;
mod driver;
mod fio;
mod front_end;
mod guest;
mod ids;
mod inside;
mod scsi;
mod shared;
pub mod testing;
#[cfg(test)]
mod tests;
mod turn;

pub use config::{Digests, GuestConfig, QEMU_TARGETS};
pub use driver::layout::{HBAS_MAX, RINGS};
pub use guest::Guest;
pub use turn::{FlowStep, GuestTurn};
