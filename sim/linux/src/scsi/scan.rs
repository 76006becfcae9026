//! What a scan asks a target: `scsi_probe_lun`, `scsi_attach_vpd` and `scsi_report_lun_scan`
//! (drivers/scsi/scsi_scan.c, scsi.c), Linux 6.1, as recorded.
//!
//! A script: answers in, the next command out. Knows no queue, lock or time.

use super::transfer::Transfers;
use crate::driver::command::{Command, Reply};
use crate::ids::DiskNo;

/// Bytes of the first INQUIRY.
const INQUIRY_FIRST: u8 = 36;
/// Bytes that Linux wants for a list of LUNs: 511 of them and a header.
const REPORT_LUNS_BYTES: u32 = 4096;
/// VPD pages that Linux keeps; it reads them in the order of the device's list.
const PAGES: [u8; 6] = [0x80, 0x83, 0x89, 0xb0, 0xb1, 0xb2];

/// An answer: the reply and the data that came in.
pub type Answer<'a> = (&'a Reply, &'a [u8]);

/// Reads the vital product data pages that Linux keeps.
#[derive(Clone, Debug, Default)]
pub struct VpdWalk {
    step: u8,
    /// Pages still to read, the next one last.
    pages: Vec<u8>,
    /// The unit serial number (page 80), trimmed.
    pub serial: String,
    /// The block limits (page B0), as far as they are about transfers, and provisioning (page B2).
    pub transfers: Transfers,
}

impl VpdWalk {
    /// The next command, or `None` when all is read.
    pub fn next(&mut self, target: u8, answer: Option<Answer<'_>>) -> Option<Command> {
        let good = answer.filter(|(reply, data)| reply.is_good() && data.len() >= 4);
        let claimed = good.map_or(0, |(_, data)| u16::from_be_bytes([data[2], data[3]]));
        let full = claimed.saturating_add(4);
        self.step += 1;
        match self.step {
            // The list of pages, header and whole, twice.
            1 | 3 => Some(Command::vpd(target, 0, 4)),
            2 | 4 if good.is_some() => Some(Command::vpd(target, 0, full)),
            5 => {
                let list = good.map_or(&[][..], |(_, data)| &data[4..]);
                let kept = list.iter().rev().copied();
                self.pages = kept.filter(|page| PAGES.contains(page)).collect();
                self.before_page(target)
            }
            6 => Some(Command::vpd(target, *self.pages.last()?, 4)),
            7 if good.is_some() => Some(Command::vpd(target, *self.pages.last()?, full)),
            8 => {
                match (good, self.pages.last()) {
                    (Some((_, data)), Some(0x80)) => self.serial = text(&data[4..]),
                    (Some((_, data)), Some(0xb0)) => {
                        let unmaps = self.transfers.unmaps;
                        self.transfers = Transfers {
                            unmaps,
                            ..Transfers::of(data)
                        };
                    }
                    (Some((_, data)), Some(0xb2)) => {
                        self.transfers.unmaps = Transfers::is_unmapping(data);
                    }
                    _ => {}
                }
                self.pages.pop();
                self.before_page(target)
            }
            // A page that cannot be read is passed over; without a list there is nothing to read.
            7 => {
                self.pages.pop();
                self.before_page(target)
            }
            _ => None,
        }
    }

    /// Linux looks at the list again before each page.
    fn before_page(&mut self, target: u8) -> Option<Command> {
        self.pages.last()?;
        self.step = 5;
        Some(Command::vpd(target, 0, u16::from(INQUIRY_FIRST)))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_matches([' ', '\0'])
        .to_owned()
}

/// What a scan of a target found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No target there, or none that answers.
    Nothing,
    /// A disk on LUN 0.
    Disk(FoundDisk),
    /// LUN 0 was known already: it was not asked again.
    Known,
}

/// What a scan learns of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDisk {
    /// Page 80.
    pub serial: String,
    /// Bytes of its INQUIRY data.
    pub inquiry_bytes: u8,
    /// Page B0.
    pub transfers: Transfers,
}

/// Whether LUN 0 of a target exists and is past being created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lun0 {
    New,
    Known,
}

impl From<Option<DiskNo>> for Lun0 {
    fn from(disk: Option<DiskNo>) -> Self {
        match disk {
            Some(_) => Self::Known,
            None => Self::New,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Inquiry,
    InquiryFull,
    Vpd,
    ReportLuns,
    OtherLuns,
    Over,
}

/// The scan of one target.
#[derive(Clone, Debug)]
pub struct TargetScan {
    target: u8,
    lun0: Lun0,
    stage: Stage,
    vpd: VpdWalk,
    /// LUNs reported that Linux does not know, the next one last.
    others: Vec<u16>,
    inquiry_bytes: u8,
    found: Option<Found>,
}

impl TargetScan {
    pub fn new(target: u8, lun0: Lun0) -> Self {
        let (stage, vpd, others) = (Stage::Start, VpdWalk::default(), Vec::new());
        Self {
            target,
            lun0,
            stage,
            vpd,
            others,
            inquiry_bytes: INQUIRY_FIRST,
            found: None,
        }
    }

    /// The target.
    pub fn target(&self) -> u8 {
        self.target
    }

    /// Whether its LUN 0 is being made: it can be looked up from its first INQUIRY on.
    pub fn is_making(&self) -> bool {
        matches!(self.stage, Stage::Inquiry | Stage::InquiryFull | Stage::Vpd)
    }

    /// What was found, once: a disk is known before its LUNs are asked for, so that `sd` may probe it
    /// while the scan goes on.
    pub fn take_found(&mut self) -> Option<Found> {
        self.found.take()
    }

    /// The next command, or `None` when the scan is over.
    pub fn next(&mut self, answer: Option<Answer<'_>>) -> Option<Command> {
        match self.stage {
            Stage::Start if self.lun0 == Lun0::Known => {
                self.found = Some(Found::Known);
                self.report_luns()
            }
            Stage::Start => {
                self.stage = Stage::Inquiry;
                Some(Command::inquiry(self.target, INQUIRY_FIRST))
            }
            Stage::Inquiry => self.after_inquiry(answer),
            Stage::InquiryFull | Stage::Vpd => {
                let answer = answer.filter(|_| self.stage == Stage::Vpd);
                self.stage = Stage::Vpd;
                let next = self.vpd.next(self.target, answer);
                next.or_else(|| {
                    self.found = Some(Found::Disk(FoundDisk {
                        serial: std::mem::take(&mut self.vpd.serial),
                        inquiry_bytes: self.inquiry_bytes,
                        transfers: self.vpd.transfers,
                    }));
                    self.report_luns()
                })
            }
            Stage::ReportLuns => {
                self.stage = Stage::OtherLuns;
                if let Some((reply, data)) = answer
                    && reply.is_good()
                {
                    self.others = unknown_luns(data);
                }
                self.other_lun()
            }
            Stage::OtherLuns => self.other_lun(),
            Stage::Over => None,
        }
    }

    fn after_inquiry(&mut self, answer: Option<Answer<'_>>) -> Option<Command> {
        let good = answer.filter(|(reply, data)| reply.is_good() && data.len() >= 5);
        let Some((_, data)) = good else {
            self.stage = Stage::Over;
            self.found = Some(Found::Nothing);
            return None;
        };
        if data[0] >> 5 == 3 {
            // "Target present, no LUN", of a version too old for REPORT LUNS: LUN 1 is tried.
            self.others = vec![1];
            self.stage = Stage::OtherLuns;
            self.found = Some(Found::Nothing);
            return self.other_lun();
        }
        self.stage = Stage::InquiryFull;
        let claimed = data[4].saturating_add(5);
        if claimed > INQUIRY_FIRST {
            self.inquiry_bytes = claimed;
            return Some(Command::inquiry(self.target, claimed));
        }
        self.next(None)
    }

    fn report_luns(&mut self) -> Option<Command> {
        self.stage = Stage::ReportLuns;
        Some(Command::report_luns(self.target, REPORT_LUNS_BYTES))
    }

    fn other_lun(&mut self) -> Option<Command> {
        let Some(lun) = self.others.pop() else {
            self.stage = Stage::Over;
            return None;
        };
        Some(Command {
            lun,
            ..Command::inquiry(self.target, INQUIRY_FIRST)
        })
    }
}

/// LUNs other than 0 in a REPORT LUNS answer, the first one last.
fn unknown_luns(data: &[u8]) -> Vec<u16> {
    let claimed = data
        .first_chunk()
        .map_or(0, |n: &[u8; 4]| u32::from_be_bytes(*n) as usize);
    let entries = data
        .get(8..)
        .unwrap_or(&[])
        .chunks_exact(8)
        .take(claimed / 8);
    let luns = entries.map(|entry| u16::from_be_bytes([entry[0] & 0x3f, entry[1]]));
    luns.filter(|lun| *lun != 0)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Reply = Reply {
        response: 0,
        status: 0,
        sense: None,
        resid: 0,
    };

    /// What SPDK's target says to a command, as far as a scan looks at it.
    fn disk(command: &Command) -> (Reply, Vec<u8>) {
        let data: Vec<u8> = match (command.cdb[0], command.cdb[1], command.cdb[2]) {
            (0x12, 0, _) => [&[0, 0, 5, 18, 47][..], &[0; 47]].concat(),
            (0x12, 1, 0) => vec![0, 0, 0, 5, 0, 0x80, 0x83, 0xb0, 0xb1],
            (0x12, 1, 0x80) => [&[0, 0x80, 0, 8][..], b"Nvme0p1 "].concat(),
            (0x12, 1, 0xb0) => [0, 0xb0, 0, 60, 0, 0, 0, 8, 0, 0, 32, 0, 0, 0, 32, 0].into(),
            (0x12, 1, page) => vec![0, page, 0, 60],
            (0xa0, ..) => vec![0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            other => panic!("a scan does not send {other:?}"),
        };
        (GOOD, data)
    }

    /// The commands of a scan as opcode, EVPD and page, allocation length.
    fn commands(
        scan: &mut TargetScan,
        answer: impl Fn(&Command) -> (Reply, Vec<u8>),
    ) -> Vec<(u8, u8, u32)> {
        let mut sent = Vec::new();
        let mut next = scan.next(None);
        while let Some(command) = next {
            sent.push((command.cdb[0], command.cdb[2], command.data_in));
            let (reply, data) = answer(&command);
            next = scan.next(Some((&reply, &data)));
        }
        sent
    }

    #[test]
    fn a_disk_is_asked_what_a_real_guest_asks() {
        let mut scan = TargetScan::new(0, Lun0::New);
        let sent = commands(&mut scan, disk);
        let list = (0x12, 0, 36);
        let expected = [
            (0x12, 0, 36),
            (0x12, 0, 52),
            (0x12, 0, 4),
            (0x12, 0, 9),
            (0x12, 0, 4),
            (0x12, 0, 9),
            list,
            (0x12, 0x80, 4),
            (0x12, 0x80, 12),
            list,
            (0x12, 0x83, 4),
            (0x12, 0x83, 64),
            list,
            (0x12, 0xb0, 4),
            (0x12, 0xb0, 64),
            list,
            (0x12, 0xb1, 4),
            (0x12, 0xb1, 64),
            (0xa0, 0, 4096),
        ];
        assert_eq!(sent, expected);
        assert_eq!(
            scan.take_found(),
            Some(Found::Disk(FoundDisk {
                serial: "Nvme0p1".into(),
                inquiry_bytes: 52,
                transfers: Transfers {
                    granularity: 8,
                    most: 8192,
                    optimal: 8192,
                    unmap: 0,
                    unmaps: false,
                }
            }))
        );
    }

    #[test]
    fn an_absent_target_costs_one_command() {
        let mut scan = TargetScan::new(9, Lun0::New);
        let bad = Reply {
            response: 3,
            ..GOOD
        };
        assert_eq!(commands(&mut scan, |_| (bad, Vec::new())), [(0x12, 0, 36)]);
        assert_eq!(scan.take_found(), Some(Found::Nothing));
    }

    #[test]
    fn a_removed_target_is_asked_for_lun_1() {
        let mut scan = TargetScan::new(0, Lun0::New);
        let sent = commands(&mut scan, |_| {
            (GOOD, [&[0x7f, 0, 0, 0, 31][..], &[0; 31]].concat())
        });
        assert_eq!(sent.len(), 2);
        assert_eq!(scan.take_found(), Some(Found::Nothing));
    }

    #[test]
    fn a_known_disk_is_not_asked_again() {
        let mut scan = TargetScan::new(0, Lun0::Known);
        assert_eq!(commands(&mut scan, disk), [(0xa0, 0, 4096)]);
        assert_eq!(scan.take_found(), Some(Found::Known));
    }
}
