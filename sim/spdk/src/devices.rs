//! SCSI devices with their LUN 0: who refers to them, and what is queued on them.
//!
//! Knows no rings and no threads. Sources: lib/scsi/{dev,lun}.c; fact sheet §1.1, §1.6, §5.1.

use std::collections::VecDeque;

use crate::bdev::Bdevs;
use crate::handles::{BdevHandle, DevHandle, SlotId, TaskRef, VdevId};
use crate::scsi::Reservation;

/// `SPDK_SCSI_MAX_DEVS`: SCSI devices of a process; one more is "Invalid argument".
pub const DEVICES_MAX: usize = 1024;
/// LUN pollers: outstanding tasks, io channel gone, reset.
pub const LUN_PERIOD: std::time::Duration = std::time::Duration::from_micros(10);

#[derive(Clone, Debug)]
pub struct Device {
    generation: u32,
    /// Rises with every attach, over the whole target.
    pub number: u32,
    /// The controller it was made for.
    pub vdev: VdevId,
    /// "Target 3".
    pub name: String,
    /// LUN 0, until it is closed.
    pub lun: Option<Lun>,
    /// It goes when its LUN is closed.
    pub destructing: bool,
}

/// Where a hot-remove is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    No,
    /// It waits for tasks.
    Draining,
    /// The controller was told; it waits for the io channel to be freed.
    Told,
    /// It is to be closed on the app thread.
    Closing,
}

#[derive(Clone, Debug)]
pub struct Lun {
    pub bdev: BdevHandle,
    /// It is not found any more (`lun->removed`).
    pub removed: bool,
    /// The next command is told of a new capacity.
    pub resizing: bool,
    /// The controller's thread that owns the io channel.
    pub channel: Option<VdevId>,
    /// References to the io channel.
    pub references: u32,
    /// Tasks that the bdev has.
    pub outstanding: u32,
    pub pending: VecDeque<TaskRef>,
    /// The reset that the bdev has or that waits for tasks.
    pub reset: Option<TaskRef>,
    /// The bdev has done the reset.
    pub reset_done: bool,
    /// Resets that wait for the one before.
    pub resets: VecDeque<TaskRef>,
    /// Where a hot-remove is.
    pub removal: Removal,
    /// The hot-remove runs on the app thread: there was no io channel when it began.
    pub on_app: bool,
    /// A poller is due for it.
    pub polled: bool,
    /// A session waits for it to be idle.
    pub awaited: bool,
    pub reservation: Reservation,
}

impl Lun {
    /// Nothing is queued or outstanding (`scsi_lun_has_pending_tasks` and the like, all false).
    pub fn idle(&self) -> bool {
        self.outstanding == 0
            && self.pending.is_empty()
            && self.reset.is_none()
            && self.resets.is_empty()
    }
}

/// A SCSI device to make.
#[derive(Clone, Copy, Debug)]
pub struct NewDevice {
    pub bdev: BdevHandle,
    pub vdev: VdevId,
    pub slot: SlotId,
    pub number: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Devices {
    list: Vec<Option<Device>>,
    generations: u32,
}

impl Devices {
    /// The device, unless the handle is stale.
    pub fn get(&self, handle: DevHandle) -> Option<&Device> {
        self.list
            .get(usize::from(handle.index))
            .and_then(Option::as_ref)
            .filter(|dev| dev.generation == handle.generation)
    }

    /// The device, unless the handle is stale.
    pub fn get_mut(&mut self, handle: DevHandle) -> Option<&mut Device> {
        self.list
            .get_mut(usize::from(handle.index))
            .and_then(Option::as_mut)
            .filter(|dev| dev.generation == handle.generation)
    }

    /// The LUN, unless the handle is stale or it was closed.
    pub fn lun(&mut self, handle: DevHandle) -> Option<&mut Lun> {
        self.get_mut(handle).and_then(|dev| dev.lun.as_mut())
    }

    /// All devices, by SPDK's id.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Device)> {
        self.list
            .iter()
            .enumerate()
            .filter_map(|(id, dev)| dev.as_ref().map(|dev| (id, dev)))
    }

    /// All devices, by their handles.
    pub fn handles(&self) -> impl Iterator<Item = (DevHandle, &Device)> {
        self.all().map(|(index, dev)| {
            let handle = DevHandle {
                index: index as u16,
                generation: dev.generation,
            };
            (handle, dev)
        })
    }

    /// `spdk_scsi_dev_construct`: opens the bdev for writing. `None` if the bdev is claimed, goes, or
    /// there are [`DEVICES_MAX`] devices.
    pub fn construct(&mut self, bdevs: &mut Bdevs, new: NewDevice) -> Option<DevHandle> {
        let index = self
            .list
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.list.len());
        if index >= DEVICES_MAX {
            return None;
        }
        let under = bdevs.get_mut(new.bdev).filter(|bdev| !bdev.going)?;
        if under.claimed.is_some() {
            return None;
        }
        let handle = DevHandle {
            index: index as u16,
            generation: self.generations,
        };
        self.generations += 1;
        under.luns.push(handle);
        if index == self.list.len() {
            self.list.push(None);
        }
        self.list[index] = Some(Device {
            generation: handle.generation,
            number: new.number,
            vdev: new.vdev,
            name: format!("Target {}", new.slot.0),
            lun: Some(Lun {
                bdev: new.bdev,
                removed: false,
                resizing: false,
                channel: None,
                references: 0,
                outstanding: 0,
                pending: VecDeque::new(),
                reset: None,
                reset_done: false,
                resets: VecDeque::new(),
                removal: Removal::No,
                on_app: false,
                polled: false,
                awaited: false,
                reservation: Reservation::default(),
            }),
            destructing: false,
        });
        Some(handle)
    }

    /// `spdk_scsi_dev_allocate_io_channels` on a controller's thread. `false`: another thread has
    /// the channel. A device without a LUN has nothing to allocate, and succeeds.
    pub fn take_channel(&mut self, dev: DevHandle, vdev: VdevId) -> bool {
        let Some(lun) = self.lun(dev) else {
            return true;
        };
        match lun.channel {
            Some(owner) if owner != vdev => false,
            _ => {
                lun.channel = Some(vdev);
                lun.references += 1;
                true
            }
        }
    }

    /// A session waits for the LUN to be idle.
    pub fn note_removing(&mut self, dev: DevHandle) {
        if let Some(lun) = self.lun(dev) {
            lun.awaited = true;
        }
    }

    /// Whether nothing is queued or outstanding on the device.
    pub fn idle(&self, dev: DevHandle) -> bool {
        let lun = self.get(dev).and_then(|dev| dev.lun.as_ref());
        lun.is_none_or(Lun::idle)
    }

    /// Tasks queued or outstanding on the device.
    pub fn tasks(&self, dev: DevHandle) -> u32 {
        let lun = self.get(dev).and_then(|dev| dev.lun.as_ref());
        lun.map_or(0, |lun| {
            let waiting = lun.pending.len() + lun.resets.len() + usize::from(lun.reset.is_some());
            lun.outstanding + waiting as u32
        })
    }

    pub fn free(&mut self, dev: DevHandle) {
        if self.get(dev).is_some() {
            self.list[usize::from(dev.index)] = None;
        }
    }
}
