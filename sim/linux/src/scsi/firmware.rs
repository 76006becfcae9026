//! What SeaBIOS asks a controller's targets at every boot, as recorded.
//!
//! A script: answers in, the next command out. Knows no queue, lock or time.

use crate::driver::command::{Command, Reply};

/// Bytes that the firmware wants for a list of LUNs.
const REPORT_LUNS_BYTES: u32 = 16;

/// The scan of one controller.
#[derive(Clone, Debug)]
pub struct FirmwareScan {
    target: u16,
    /// The first target that it does not ask for any more.
    end: u16,
    step: u8,
    /// Disks whose boot sector is still to be read, the next one first.
    disks: std::collections::VecDeque<u8>,
}

impl FirmwareScan {
    /// Asks for so many targets.
    pub fn new(targets: u16) -> Self {
        Self {
            target: 0,
            end: targets,
            step: 0,
            disks: std::collections::VecDeque::new(),
        }
    }

    /// The next command, or `None` after the last target and the boot sectors.
    pub fn next(&mut self, answer: Option<&Reply>) -> Option<Command> {
        if self.target == self.end {
            return self
                .disks
                .pop_front()
                .map(|disk| Command::read_start(disk, 1, 512));
        }
        let good = answer.is_none_or(Reply::is_good);
        if good && self.step == 4 {
            self.disks.push_back(self.target as u8);
        }
        if !good || self.step == 4 {
            self.target += 1;
            self.step = 0;
        }
        if self.target == self.end {
            return self.next(None);
        }
        let target = self.target as u8;
        self.step += 1;
        Some(match self.step {
            1 => Command::report_luns(target, REPORT_LUNS_BYTES),
            2 => Command::inquiry(target, 36),
            3 => Command::test_unit_ready(target),
            _ => Command::read_capacity_10(target),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QEMU_TARGETS;

    #[test]
    fn a_boot_with_three_disks_sends_268_commands() {
        let sent = |targets| {
            let mut scan = FirmwareScan::new(targets);
            let mut sent = 0;
            let mut next = scan.next(None);
            while let Some(command) = next {
                sent += 1;
                let response = if [0, 2, 7].contains(&command.target) {
                    0
                } else {
                    3
                };
                next = scan.next(Some(&Reply {
                    response,
                    ..Reply::default()
                }));
            }
            sent
        };
        // As recorded: REPORT LUNS of all 256, three more for each disk, and its boot sector.
        assert_eq!(sent(QEMU_TARGETS), 268);
        assert_eq!(sent(8), 20);
    }
}
