//! Guest memory whose file is cut off after it was mapped: the next access is a SIGBUS, which would end the
//! process, and with it every other guest.
//!
//! The page is replaced by an empty one of our own: whoever cuts its memory off gets zeroes, and nobody else
//! notices. Knows faults and pages; not whose they are.
#![expect(
    unsafe_code,
    reason = "neither a signal handler nor a mapping at a given address has a safe form"
)]

use std::io;
use std::num::NonZeroUsize;

use nix::libc::{BUS_ADRERR, c_int, c_void, siginfo_t};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Bytes of a page. A huge page cannot be replaced in part: that fault ends the process.
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// From now on, cut-off memory reads as zeroes. For the whole process.
///
/// # Errors
///
/// The system refuses.
pub fn survive() -> io::Result<()> {
    set(SigHandler::SigAction(replace_page))
}

fn set(handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::SA_SIGINFO, SigSet::empty());
    // SAFETY: `replace_page` makes two system calls that may be made in a handler (mmap, sigaction), touches
    // nothing that the interrupted code could be changing, and allocates nothing.
    unsafe { sigaction(Signal::SIGBUS, &action) }?;
    Ok(())
}

/// The handler. When it returns, the access is made again.
extern "C" fn replace_page(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over the siginfo of the signal; SIGBUS has an address.
    let (code, at) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    if let (BUS_ADRERR, Some(page)) = (code, NonZeroUsize::new(at & !(PAGE.get() - 1))) {
        // SAFETY: the page lies in a mapping of ours, or the fault were a SIGSEGV, and beyond the end of
        // the file that is mapped there: it holds nothing. Its owner unmaps it with the rest.
        let replaced = unsafe { mmap_anonymous(Some(page), PAGE, access, flags) };
        if replaced.is_ok() {
            return;
        }
    }
    // The access faults again, and that ends the process. If this fails, it faults for ever.
    let _ = set(SigHandler::SigDfl);
}

#[cfg(test)]
mod tests {
    use sim::wire::access::Access as _;
    use vm_memory::{GuestAddress, GuestMemoryBackend as _, GuestMemoryRegion as _};

    use super::super::memory::shared;
    use super::*;
    use crate::huge_pages::Pages;

    #[test]
    fn memory_that_was_cut_off_reads_as_zeroes_and_can_be_written() {
        survive().expect("a handler");
        let memory = shared(&[(GuestAddress(0), 0x4000)], Pages::Ordinary).expect("memory");
        for at in [0, 0x2ff0] {
            memory.write_at(&[7; 16], GuestAddress(at)).expect("mapped");
        }
        let region = memory.iter().next().expect("a region");
        let file = region.file_offset().expect("a file").file();
        file.set_len(0x1000).expect("cut");
        let mut bytes = [1; 16];
        memory
            .read_at(&mut bytes, GuestAddress(0x2ff0))
            .expect("mapped");
        assert_eq!(bytes, [0; 16]);
        memory
            .write_at(&[9; 16], GuestAddress(0x3ff0))
            .expect("mapped");
        memory.read_at(&mut bytes, GuestAddress(0)).expect("mapped");
        assert_eq!(bytes, [7; 16], "what is left of the file is the file's");
    }
}
