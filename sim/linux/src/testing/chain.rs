//! Chains of descriptors as the scripted back-end takes them apart.

use vm_memory::{Bytes, GuestAddress};

use wire::component::Memory;

/// A command that the guest sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub vring: u16,
    pub head: u16,
    pub target: u8,
    pub lun: u16,
    /// Bytes 2 and 3 of the LUN as they stand.
    pub lun_bytes: [u8; 2],
    pub cdb: [u8; 32],
    pub bytes_in: u32,
}

impl Sent {
    pub fn is_rw(&self) -> bool {
        matches!(self.cdb[0], 0x28 | 0x2a)
    }

    /// READ(6) and WRITE(6).
    pub fn is_short_rw(&self) -> bool {
        matches!(self.cdb[0], 0x08 | 0x0a)
    }

    /// As the distilled recordings have it.
    pub fn line(&self) -> String {
        let cdb: String = self.cdb[..16].iter().map(|b| format!("{b:02x}")).collect();
        format!("CMD {} {} {cdb} {}", self.target, self.lun, self.bytes_in)
    }
}

/// A chain, taken apart.
#[derive(Clone, Debug)]
pub struct Chain {
    pub sent: Sent,
    /// Bytes of header and response.
    pub sizes: (u32, u32),
    pub out: Vec<(u64, u32)>,
    pub response: u64,
    pub data_in: Vec<(u64, u32)>,
}

/// A ring, seen from the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring {
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub size: u16,
    pub next: u16,
    pub runs: bool,
}

impl Ring {
    /// The command at `head`.
    pub fn take_apart(&self, memory: &Memory, vring: u16, head: u16) -> Chain {
        let read = |at: u64| -> (u64, u32, u16, u16) {
            let word = |n: u64| memory.read_obj::<u16>(GuestAddress(at + n)).unwrap();
            let addr = memory.read_obj(GuestAddress(at)).unwrap();
            let len = memory.read_obj(GuestAddress(at + 8)).unwrap();
            (addr, len, word(12), word(14))
        };
        let (mut table, mut n) = (self.desc, head);
        let (addr, _, flags, _) = read(table + 16 * u64::from(n));
        if flags & 4 != 0 {
            (table, n) = (addr, 0);
        }
        let (mut readable, mut writable) = (Vec::new(), Vec::new());
        loop {
            let (addr, len, flags, next) = read(table + 16 * u64::from(n));
            let list = if flags & 2 == 0 {
                &mut readable
            } else {
                &mut writable
            };
            list.push((addr, len));
            if flags & 1 == 0 {
                break;
            }
            n = next;
        }
        let sizes = (readable[0].1, writable[0].1);
        let mut header = [0; 51];
        memory
            .read_slice(&mut header, GuestAddress(readable[0].0))
            .unwrap();
        let sent = Sent {
            vring,
            head,
            target: header[1],
            lun_bytes: [header[2], header[3]],
            lun: u16::from_be_bytes([header[2] & 0x3f, header[3]]),
            cdb: header[19..].try_into().unwrap(),
            bytes_in: writable[1..].iter().map(|(_, len)| len).sum(),
        };
        let (out, data_in) = (readable.split_off(1), writable.split_off(1));
        Chain {
            sent,
            sizes,
            out,
            response: writable[0].0,
            data_in,
        }
    }
}
