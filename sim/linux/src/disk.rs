//! A SCSI disk as Linux has it: the device, its state, and the block device over it.
//!
//! Knows no queue and no flow; what moves it stands in `flow` and `removal`.

use scenarios::DiskId;

use super::transfer::{DEFAULT_BYTES, Transfers};

/// States of a `scsi_device` that matter here (drivers/scsi/scsi_lib.c `scsi_device_set_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Being scanned; not visible.
    Created,
    /// In use.
    Running,
    /// Being removed: only the removal's own commands pass.
    Cancel,
    /// Gone; open files may still refer to it.
    Del,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The device that it hangs on.
    pub hba: u8,
    /// The target.
    pub target: u8,
    /// The device's state.
    pub state: DeviceState,
    /// The block device can be opened.
    pub visible: bool,
    /// `del_gendisk` has begun: capacity is 0 for good.
    pub dead: bool,
    /// Bytes.
    pub capacity: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// What it says of its longest transfers.
    pub transfers: Transfers,
    /// The most bytes that one command moves; a longer request is split.
    pub max_bytes: u32,
    /// The write cache is on: a removal synchronises it.
    pub write_cache: bool,
    /// READ and WRITE have the (10) form; a disk that does not know it gets the (6) form for good
    /// (`use_10_for_rw`).
    pub ten_byte: bool,
    /// Bytes of its INQUIRY data, as far as Linux asks for them.
    pub inquiry_bytes: u8,
    /// The disk of the plan with its serial number (VPD page 80).
    pub id: Option<DiskId>,
    /// `sdX` by number.
    pub name: u16,
    /// It was given that name.
    pub named: bool,
    /// Requests of applications that it has not answered.
    pub in_flight: u32,
    /// `sd` is still probing it.
    pub probing: bool,
}

/// What the block layer says to a request before any command is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Go on.
    Pass,
    /// The end of the device: a read moves nothing, a write fails with ENOSPC.
    PastEnd,
    /// Direct I/O that is not in whole logical blocks fails with EINVAL (`blkdev_dio_unaligned`).
    Unaligned,
}

/// What the SCSI mid-layer says to a command when it is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Send it.
    Open,
    /// ENODEV: the device is being removed (`scsi_device_state_check`, the default branch).
    NoDevice,
    /// EIO: the device is gone.
    Offline,
}

impl Disk {
    /// A disk that a scan has just found.
    #[must_use]
    pub fn found(hba: u8, target: u8, inquiry_bytes: u8, id: Option<DiskId>) -> Self {
        Self {
            hba,
            target,
            state: DeviceState::Created,
            visible: false,
            dead: false,
            capacity: 0,
            block_size: 512,
            transfers: Transfers::default(),
            max_bytes: DEFAULT_BYTES,
            write_cache: false,
            ten_byte: true,
            inquiry_bytes,
            id,
            name: 0,
            named: false,
            in_flight: 0,
            probing: true,
        }
    }

    /// It is gone with its device's driver.
    pub fn end(&mut self) {
        self.state = DeviceState::Del;
        self.visible = false;
        self.dead = true;
        self.probing = false;
        self.in_flight = 0;
    }

    /// Whether a request of an application for these bytes enters the block layer.
    #[must_use]
    pub fn enter(&self, offset: u64, len: u32) -> Entry {
        let end = offset.saturating_add(u64::from(len));
        let block = u64::from(self.block_size);
        if self.dead || offset >= self.capacity && len > 0 {
            Entry::PastEnd
        } else if !offset.is_multiple_of(block) || !end.is_multiple_of(block) {
            Entry::Unaligned
        } else if end > self.capacity {
            Entry::PastEnd
        } else {
            Entry::Pass
        }
    }

    /// Whether a command is dispatched.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self.state {
            DeviceState::Created | DeviceState::Running => Gate::Open,
            DeviceState::Cancel => Gate::NoDevice,
            DeviceState::Del => Gate::Offline,
        }
    }

    /// Whether a REMOVED or a change finds it: being created and being removed count as not found.
    #[must_use]
    pub fn removable(&self) -> bool {
        matches!(self.state, DeviceState::Created | DeviceState::Running)
    }

    /// Whether it was given the name `sdX` with this number and still has it, but for open files:
    /// those keep a name, too.
    #[must_use]
    pub fn has_name(&self, name: u16) -> bool {
        self.named && self.name == name && self.state != DeviceState::Del
    }

    /// Its node: `/dev/sda`, … `/dev/sdz`, `/dev/sdaa`, ….
    #[must_use]
    pub fn node(&self) -> String {
        let mut letters = Vec::new();
        let mut rest = usize::from(self.name) + 1;
        while rest > 0 {
            rest -= 1;
            letters.push(b'a' + (rest % 26) as u8);
            rest /= 26;
        }
        letters.reverse();
        format!("/dev/sd{}", String::from_utf8_lossy(&letters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(state: DeviceState, dead: bool) -> Disk {
        Disk {
            state,
            dead,
            capacity: 8192,
            ..Disk::found(0, 0, 36, None)
        }
    }

    #[test]
    fn a_dead_disk_has_no_end_to_write_to() {
        assert_eq!(
            disk(DeviceState::Running, false).enter(4096, 4096),
            Entry::Pass
        );
        assert_eq!(
            disk(DeviceState::Running, false).enter(8192, 4096),
            Entry::PastEnd
        );
        assert_eq!(
            disk(DeviceState::Cancel, true).enter(0, 4096),
            Entry::PastEnd
        );
    }

    #[test]
    fn only_whole_logical_blocks_enter() {
        let enter = |block_size, offset, len| {
            let disk = Disk {
                block_size,
                ..disk(DeviceState::Running, false)
            };
            disk.enter(offset, len)
        };
        assert_eq!(enter(512, 512, 1536), Entry::Pass);
        assert_eq!(enter(512, 0, 1000), Entry::Unaligned);
        assert_eq!(enter(512, 100, 512), Entry::Unaligned);
        assert_eq!(enter(4096, 512, 4096), Entry::Unaligned);
        assert_eq!(enter(4096, 0, 512), Entry::Unaligned);
        assert_eq!(enter(4096, 4096, 0), Entry::Pass, "a flush");
        assert_eq!(enter(512, 8192, 100), Entry::PastEnd, "the end comes first");
    }

    #[test]
    fn a_removal_closes_the_gate() {
        assert_eq!(disk(DeviceState::Running, false).gate(), Gate::Open);
        assert_eq!(disk(DeviceState::Cancel, false).gate(), Gate::NoDevice);
        assert_eq!(disk(DeviceState::Del, true).gate(), Gate::Offline);
    }

    #[test]
    fn names_go_on_after_z() {
        let node = |name| {
            Disk {
                name,
                ..disk(DeviceState::Running, false)
            }
            .node()
        };
        assert_eq!(
            [node(0), node(25), node(26)],
            ["/dev/sda", "/dev/sdz", "/dev/sdaa"]
        );
    }
}
