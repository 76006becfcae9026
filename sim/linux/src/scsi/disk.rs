//! A SCSI disk as Linux has it: the device, its state, and the block device over it.
//!
//! The SCSI mid-layer moves its state; the block layer counts its requests; whoever opens it keeps its name.
//! Knows no queue and no flow.

use scenarios::DiskId;
use wire::message::HbaId;

use super::sd::Geometry;
use super::transfer::{DEFAULT_BYTES, Transfers};

/// States of a `scsi_device` that matter here (drivers/scsi/scsi_lib.c `scsi_device_set_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Being scanned; not visible.
    Created,
    Running,
    /// Being removed: only the removal's own commands pass.
    Cancel,
    /// Gone; open files may still refer to it.
    Del,
}

#[derive(Clone, Debug)]
pub struct Disk {
    hba: HbaId,
    target: u8,
    /// The disk of the plan with its serial number (VPD page 80).
    id: Option<DiskId>,
    state: DeviceState,
    /// The block device can be opened.
    visible: bool,
    /// `del_gendisk` has begun: capacity is 0 for good.
    dead: bool,
    /// Bytes.
    capacity: u64,
    /// Bytes of a logical block.
    block_size: u32,
    /// What it says of its longest transfers.
    transfers: Transfers,
    /// The most bytes that one command moves; a longer request is split.
    max_bytes: u32,
    /// The most bytes that one command trims; 0: none does.
    trim_bytes: u64,
    /// The write cache is on: a removal synchronises it.
    write_cache: bool,
    /// READ and WRITE have the (10) form; a disk that does not know it gets the (6) form for good
    /// (`use_10_for_rw`).
    ten_byte: bool,
    /// Bytes of its INQUIRY data, as far as Linux asks for them.
    inquiry_bytes: u8,
    /// `sdX` by number, once it was given one.
    name: Option<u16>,
    /// Commands of applications that it has not answered.
    in_flight: u32,
    /// Files that are open on it (`bd_openers`).
    openers: u32,
    /// `sd` is still probing it.
    probing: bool,
    /// A removal waits for the last command in flight.
    draining: bool,
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
    pub fn found(hba: HbaId, target: u8, inquiry: (u8, Transfers), id: Option<DiskId>) -> Self {
        Self {
            hba,
            target,
            id,
            state: DeviceState::Created,
            visible: false,
            dead: false,
            capacity: 0,
            block_size: 512,
            transfers: inquiry.1,
            max_bytes: DEFAULT_BYTES,
            trim_bytes: 0,
            write_cache: false,
            ten_byte: true,
            inquiry_bytes: inquiry.0,
            name: None,
            in_flight: 0,
            openers: 0,
            probing: true,
            draining: false,
        }
    }

    pub fn hba(&self) -> HbaId {
        self.hba
    }

    pub fn target(&self) -> u8 {
        self.target
    }

    pub fn id(&self) -> Option<DiskId> {
        self.id
    }

    pub fn state(&self) -> DeviceState {
        self.state
    }

    /// Whether the block device was made and not taken away.
    pub fn is_there(&self) -> bool {
        self.visible && !self.dead
    }

    /// Whether it was ever there.
    pub fn was_visible(&self) -> bool {
        self.visible
    }

    pub fn is_dead(&self) -> bool {
        self.dead
    }

    pub fn is_probing(&self) -> bool {
        self.probing
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    pub fn max_bytes(&self) -> u32 {
        self.max_bytes
    }

    pub fn trim_bytes(&self) -> u64 {
        self.trim_bytes
    }

    pub fn has_write_cache(&self) -> bool {
        self.write_cache
    }

    pub fn inquiry_bytes(&self) -> u8 {
        self.inquiry_bytes
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub fn openers(&self) -> u32 {
        self.openers
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether both have the same name for their own.
    pub fn has_name_of(&self, other: &Self) -> bool {
        let named = |disk: &Self| disk.name.filter(|_| disk.state != DeviceState::Del);
        named(self).is_some() && named(self) == named(other)
    }

    pub fn knows_ten_byte(&self) -> bool {
        self.ten_byte
    }

    pub fn forget_ten_byte(&mut self) {
        self.ten_byte = false;
    }

    /// It takes commands of applications.
    pub fn took(&mut self, commands: u32) {
        self.in_flight += commands;
    }

    pub fn opened(&mut self) {
        self.openers += 1;
    }

    pub(super) fn closed(&mut self) {
        self.openers = self.openers.saturating_sub(1);
    }

    /// A command of an application is over; true if it was the last that a removal waited for.
    pub(super) fn gave_back(&mut self) -> bool {
        self.in_flight -= 1;
        self.in_flight == 0 && std::mem::take(&mut self.draining)
    }

    /// A request of an application is nobody's any more.
    pub(super) fn forgot(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Moves the device to its next state.
    ///
    /// # Panics
    ///
    /// If Linux has no such transition.
    pub(super) fn go(&mut self, next: DeviceState) {
        use DeviceState::{Cancel, Created, Del, Running};
        let allowed = match (self.state, next) {
            // A removal may take the disk before `sd` begins to probe it; a reset of the device takes all.
            (Created, Running | Cancel) | (Running, Cancel) | (_, Del) => true,
            (_, Created) | (Running | Cancel | Del, Running) | (Cancel | Del, Cancel) => false,
        };
        let from = self.state;
        assert!(allowed, "a SCSI device goes from {from:?} to {next:?}");
        self.state = next;
    }

    /// `sd` begins to probe it.
    pub(super) fn begin_probe(&mut self, name: u16) {
        self.go(DeviceState::Running);
        self.name = Some(name);
    }

    pub(super) fn end_probe(&mut self) {
        self.probing = false;
    }

    /// `sd` knows its size: it is made a block device, unless it is being removed.
    pub(super) fn appear(&mut self, geometry: &Geometry) {
        self.capacity = geometry.bytes();
        self.block_size = geometry.block_size;
        self.max_bytes = self.transfers.max_bytes(geometry.block_size);
        self.trim_bytes = self.transfers.trim_bytes(geometry.block_size);
        self.write_cache = geometry.write_cache;
        self.visible = geometry.blocks > 0 && self.state == DeviceState::Running;
    }

    pub(super) fn resize(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    /// `del_gendisk`: the capacity becomes 0.
    pub(super) fn kill(&mut self) {
        self.dead = true;
    }

    /// A removal waits for the last command in flight; false if there is none.
    pub(super) fn drain(&mut self) -> bool {
        self.draining = self.in_flight > 0;
        self.draining
    }

    /// It is gone with its device's driver.
    pub(super) fn end(&mut self) {
        self.go(DeviceState::Del);
        self.visible = false;
        self.dead = true;
        self.probing = false;
        self.draining = false;
        self.in_flight = 0;
    }

    /// Whether a request of an application for these bytes enters the block layer.
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
    pub fn gate(&self) -> Gate {
        match self.state {
            DeviceState::Created | DeviceState::Running => Gate::Open,
            DeviceState::Cancel => Gate::NoDevice,
            DeviceState::Del => Gate::Offline,
        }
    }

    /// Whether a REMOVED or a change finds it: being created and being removed count as not found.
    pub fn removable(&self) -> bool {
        matches!(self.state, DeviceState::Created | DeviceState::Running)
    }

    /// Whether the name `sdX` with this number is its own still, or that of somebody's open file on it.
    pub(super) fn has_name(&self, name: u16) -> bool {
        let is_open = self.in_flight > 0 || self.openers > 0;
        self.name == Some(name) && (is_open || self.state != DeviceState::Del)
    }

    /// Its node: `/dev/sda`, … `/dev/sdz`, `/dev/sdaa`, ….
    pub fn node(&self) -> String {
        let mut letters = Vec::new();
        let mut rest = self.name.map_or(0, usize::from) + 1;
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
            ..Disk::found(HbaId(0), 0, (36, Transfers::default()), None)
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
                name: Some(name),
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
