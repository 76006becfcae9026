//! Descriptor chains, indirect tables and control requests, each perhaps spoiled.

use wire::ring::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, Desc};

use super::{BUFFERS_AT, CANARY, Fire, REGION, SECOND, SIZE};

impl Fire {
    /// An address: mostly a good one, else an edge, the hole, or anything.
    pub(super) fn address(&mut self) -> u64 {
        let within = u64::from(self.rolls.below(REGION as u32));
        match self.rolls.below(14) {
            // From the hole into the canary, and what is the canary for who takes 48 bits.
            12 => CANARY - 1 - within % 0x1000,
            13 => (CANARY + within % 0x1000) | 1 << 48 | self.rolls.bits() << 48,
            0 => within + REGION,
            1 => REGION - u64::from(self.rolls.below(64)),
            2 => SECOND + REGION - u64::from(self.rolls.below(64)),
            3 => self.rolls.bits(),
            4 => u64::MAX - u64::from(self.rolls.below(64)),
            5 => SECOND + within,
            _ => BUFFERS_AT + within % (REGION - BUFFERS_AT - 0x1000),
        }
    }

    pub(super) fn length(&mut self) -> u32 {
        let edges = [
            0,
            1,
            11,
            12,
            15,
            16,
            17,
            23,
            24,
            50,
            51,
            52,
            107,
            108,
            109,
            512,
            4096,
            u32::MAX,
        ];
        match self.rolls.below(8) {
            0 => self.rolls.bits() as u32,
            1..4 => edges[self.rolls.below(edges.len() as u32) as usize],
            4 => 51,
            5 => 108,
            _ => 512 * (1 + self.rolls.below(16)),
        }
    }

    fn descriptor(&mut self, good: Desc) -> Desc {
        let mut desc = good;
        match self.rolls.below(10) {
            0 => desc.addr = self.address(),
            1 => desc.len = self.length(),
            2 => desc.flags ^= 1 << self.rolls.below(16),
            3 => desc.next = self.rolls.bits() as u16,
            4 => desc.flags = self.rolls.bits() as u16,
            5 => desc.next = self.rolls.below(SIZE.into()) as u16,
            _ => {}
        }
        desc
    }

    /// A request header: mostly of a command that exists, to a LUN that exists.
    fn header(&mut self) -> [u8; 51] {
        const OPCODES: [u8; 16] = [
            0x00, 0x03, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x42, 0x5a, 0x88, 0x8a, 0x91, 0x9e,
            0xa0, 0xb5,
        ];
        let mut header = [0; 51];
        for byte in &mut header[19..] {
            *byte = self.rolls.bits() as u8;
        }
        header[0] = 1;
        header[1] = self.rolls.below(3) as u8;
        if self.rolls.chance(1, 4) {
            let lun = self.rolls.bits().to_le_bytes();
            header[..8].copy_from_slice(&lun);
        }
        if self.rolls.chance(3, 4) {
            header[19] = OPCODES[self.rolls.below(16) as usize];
        }
        if self.rolls.chance(3, 4) {
            // A small LBA and length, so that many get as far as the bdev.
            header[20..36].fill(0);
            header[24] = self.rolls.below(8) as u8;
            header[27] = self.rolls.below(16) as u8;
            header[29] = header[27];
        }
        header
    }

    /// Three descriptors: header, data, response, each perhaps spoiled.
    fn chain(&mut self) -> [Desc; 3] {
        let write = self.rolls.chance(1, 2);
        let at = BUFFERS_AT + u64::from(self.rolls.below(64)) * 0x2000;
        let header = self.header();
        self.put(&header, at);
        let len = 512 * (1 + self.rolls.below(16));
        let request = desc(at, 51, DESC_F_NEXT, 1);
        let response = |next| {
            desc(
                at + 0x100,
                108,
                DESC_F_WRITE | if next > 0 { DESC_F_NEXT } else { 0 },
                next,
            )
        };
        let good = if write {
            [request, desc(at + 0x200, len, DESC_F_NEXT, 2), response(0)]
        } else {
            [request, response(2), desc(at + 0x200, len, DESC_F_WRITE, 0)]
        };
        good.map(|desc| self.descriptor(desc))
    }

    /// A good READ(10) of eight blocks, to anywhere.
    pub(super) fn read_into(&mut self, data: u64) {
        let mut header = [0; 51];
        (header[0], header[19], header[27]) = (1, 0x28, 8);
        self.put(&header, BUFFERS_AT);
        let response = desc(BUFFERS_AT + 0x100, 108, DESC_F_WRITE | DESC_F_NEXT, 2);
        self.place(2, 0, desc(BUFFERS_AT, 51, DESC_F_NEXT, 1));
        self.place(2, 1, response);
        self.place(2, 2, desc(data, 8 * 512, DESC_F_WRITE, 0));
        self.publish_skipping(2, 0, 0);
    }

    pub(super) fn request(&mut self, indirect: bool) {
        let vring = 2 + self.rolls.below(2) as u16;
        let chain = self.chain();
        let head = self.rolls.below(u32::from(SIZE) - 3) as u16;
        if indirect {
            self.tally.tables += 1;
            let table = BUFFERS_AT + 0x1000 + u64::from(self.rolls.below(64)) * 0x2000;
            for (n, desc) in chain.iter().enumerate() {
                self.put(&desc.to_bytes(), table + 16 * n as u64);
            }
            let len = if self.rolls.chance(3, 4) {
                48
            } else {
                self.length()
            };
            let top = Desc {
                addr: table,
                len,
                flags: DESC_F_INDIRECT,
                next: 0,
            };
            let top = self.descriptor(top);
            self.place(vring, head, top);
        } else {
            self.tally.chains += 1;
            for (n, desc) in chain.iter().enumerate() {
                let mut desc = *desc;
                if desc.next < 3 {
                    desc.next += head;
                }
                if self.rolls.chance(1, 60) {
                    (desc.next, desc.flags) = (head + n as u16, desc.flags | DESC_F_NEXT);
                }
                self.place(vring, head + n as u16, desc);
            }
        }
        self.publish(vring, head);
    }

    pub(super) fn control(&mut self) {
        self.tally.controls += 1;
        let at = BUFFERS_AT + u64::from(self.rolls.below(64)) * 0x2000;
        let mut request = [0; 24];
        request[0] = self.rolls.below(4) as u8;
        request[4] = self.rolls.below(9) as u8;
        request[8] = 1;
        request[11] = self.rolls.below(2) as u8;
        request[9] = self.rolls.below(10) as u8;
        if self.rolls.chance(1, 8) {
            request[..8].copy_from_slice(&self.rolls.bits().to_le_bytes());
        }
        self.put(&request, at);
        let first = Desc {
            addr: at,
            len: 24,
            flags: DESC_F_NEXT,
            next: 1,
        };
        let second = Desc {
            addr: at + 64,
            len: 5,
            flags: DESC_F_WRITE,
            next: 0,
        };
        let (mut first, second) = (self.descriptor(first), self.descriptor(second));
        let head = self.rolls.below(u32::from(SIZE) - 2) as u16;
        if first.next == 1 {
            first.next = head + 1;
        }
        self.place(0, head, first);
        self.place(0, head + 1, second);
        self.publish(0, head);
    }
}

const fn desc(addr: u64, len: u32, flags: u16, next: u16) -> Desc {
    Desc {
        addr,
        len,
        flags,
        next,
    }
}
