//! The block devices of the target: what SPDK's bdev layer and its modules hold.
//!
//! Knows names, sizes, who has what open, and how long devices take. Knows no SCSI, no slots, no
//! RPC. Handles carry a generation, so that a stale one is noticed instead of followed.

mod fio_payload;
pub mod invariants;
pub mod io;
mod made;
mod pages;
pub mod store;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use scenarios::Time;

use crate::handles::{BdevHandle, DevHandle};
use crate::rpc::{CallId, Errno};
use io::{Below, Engine};
pub use made::NewMalloc;
use store::{StoreId, Stores};

/// How long devices take, in nanoseconds, from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// A malloc or null bdev.
    pub malloc: (u32, u32),
    pub nvme: (u32, u32),
    /// NVMe devices post what they have completed so often, all at the same moments.
    ///
    /// # Divergence from SPDK
    ///
    /// The latencies are this model's own, so is how they are grouped: to the nanosecond, each completion
    /// would be a turn of the devices and an interrupt of its own, which no busy reactor sees.
    pub nvme_period: u32,
}

impl Latencies {
    /// A slow NVMe device, of 1 to 9 ms: about 80 times slower than usual, its period too.
    pub const SLOW: Self = Self {
        nvme: (1_000_000, 9_000_000),
        nvme_period: 640_000,
        ..Self::USUAL
    };

    /// Malloc: about 1 µs (fact sheet, §3 of the recordings). NVMe: 10 to 110 µs.
    pub const USUAL: Self = Self {
        malloc: (600, 1_400),
        nvme: (10_000, 110_000),
        nvme_period: 8_000,
    };
}

impl Default for Latencies {
    fn default() -> Self {
        Self::USUAL
    }
}

/// An NVMe device that can be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvmeDevice {
    /// Its transport address: "0000:01:00.0".
    pub traddr: String,
    /// Blocks and block size of its namespaces, from namespace 1.
    pub namespaces: Vec<(u64, u32)>,
}

/// What a bdev is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Malloc {
        store: StoreId,
    },
    /// Reads nothing, writes nothing.
    Null,
    /// A namespace of the controller with this name; its content outlives the bdev.
    Nvme {
        store: StoreId,
        controller: String,
    },
    /// A part of a base, from this block on.
    Split {
        base: BdevHandle,
        /// Its first block there.
        start: u64,
    },
    /// Fails or holds I/O of its base, as told.
    Error {
        base: BdevHandle,
    },
    /// Delays I/O of its base: average and 99th percentile of reads and writes, in microseconds.
    Delay {
        base: BdevHandle,
        /// Reads, rare reads, writes, rare writes.
        us: [u64; 4],
    },
}

impl Kind {
    pub const fn base(&self) -> Option<BdevHandle> {
        match self {
            Self::Split { base, .. } | Self::Error { base } | Self::Delay { base, .. } => {
                Some(*base)
            }
            Self::Malloc { .. } | Self::Null | Self::Nvme { .. } => None,
        }
    }
}

/// Who is answered once a bdev is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// An RPC that deletes this bdev.
    Call(CallId),
    /// An RPC that detaches the NVMe controller with this name.
    NvmeDetach(String),
}

#[derive(Clone, Debug)]
pub struct Bdev {
    generation: u32,
    pub name: String,
    pub aliases: Vec<String>,
    pub kind: Kind,
    /// Bytes in a block.
    pub block_size: u32,
    pub num_blocks: u64,
    /// Bytes in a physical block.
    pub physical_block_size: u32,
    /// "Malloc disk".
    pub product: &'static str,
    pub uuid: [u8; 16],
    /// It is being unregistered: it cannot be opened or found any more.
    pub going: bool,
    /// The module that has it to itself ("split").
    pub claimed: Option<&'static str>,
    /// The LUNs that have it open.
    pub luns: Vec<DevHandle>,
    pub tops: Vec<BdevHandle>,
    /// Whether a vhost-blk controller has it open.
    pub blk: bool,
    /// Who waits for its end.
    pub waiters: Vec<Waiter>,
}

impl Bdev {
    /// Whether anybody has it open.
    pub fn is_open(&self) -> bool {
        self.blk || !self.luns.is_empty() || !self.tops.is_empty()
    }
}

/// A bdev on another one that is not there yet: made when it appears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaiting {
    pub base: String,
    /// The name of the one to make.
    pub name: String,
    /// The latencies of a delay bdev; `None` for an error bdev.
    pub delay: Option<[u64; 4]>,
    pub uuid: Option<[u8; 16]>,
}

/// `SPDK_NOTIFY_MAX_EVENTS`: older notifications are forgotten.
const NOTIFICATIONS_MAX: usize = 1024;

/// A split that is in force, or waits for its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitConfig {
    pub base: String,
    pub count: u32,
    /// MiB a part; 0: equal parts.
    pub size_mb: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Bdevs {
    list: Vec<Option<Bdev>>,
    names: BTreeMap<String, BdevHandle>,
    generations: u32,
    /// Splits in force or waiting for their base.
    pub splits: Vec<SplitConfig>,
    /// Error and delay bdevs that wait for their base.
    pub awaiting: Vec<Awaiting>,
    /// What `notify_get_notifications` tells: the number of the first, and type and name of each.
    pub notifications: (u64, VecDeque<(&'static str, String)>),
    pub stores: Stores,
    pub engine: Engine,
    nvme: Arc<Vec<(NvmeDevice, Vec<StoreId>)>>,
    /// Attached NVMe controllers: name and transport address.
    pub nvme_controllers: BTreeMap<String, String>,
    malloc_count: u32,
}

impl Bdevs {
    /// No bdevs yet; these NVMe devices can be attached.
    pub fn new(nvme: &[NvmeDevice], latencies: Latencies) -> Self {
        let mut bdevs = Self::default();
        bdevs.reset(nvme, latencies);
        bdevs
    }

    /// As new, but keeps memory for reuse.
    pub fn reset(&mut self, nvme: &[NvmeDevice], latencies: Latencies) {
        self.list.clear();
        self.names.clear();
        self.generations = 0;
        self.splits.clear();
        self.awaiting.clear();
        self.notifications = (0, VecDeque::new());
        self.stores.delete_all();
        self.engine.reset(latencies);
        self.nvme_controllers.clear();
        self.malloc_count = 0;
        let stores = &mut self.stores;
        let nvme = nvme.iter().map(|device| {
            let namespaces = device.namespaces.iter();
            (
                device.clone(),
                namespaces.map(|_| stores.create()).collect(),
            )
        });
        self.nvme = Arc::new(nvme.collect());
    }

    /// The bdev, unless the handle is stale.
    pub fn get(&self, handle: BdevHandle) -> Option<&Bdev> {
        self.list
            .get(usize::from(handle.index))
            .and_then(Option::as_ref)
            .filter(|bdev| bdev.generation == handle.generation)
    }

    /// The bdev, unless the handle is stale.
    pub fn get_mut(&mut self, handle: BdevHandle) -> Option<&mut Bdev> {
        self.list
            .get_mut(usize::from(handle.index))
            .and_then(Option::as_mut)
            .filter(|bdev| bdev.generation == handle.generation)
    }

    /// The bdev with this name, alias or UUID, unless it is being unregistered.
    pub fn find(&self, name: &str) -> Option<BdevHandle> {
        let handle = self.names.get(name).copied()?;
        self.get(handle).filter(|bdev| !bdev.going).map(|_| handle)
    }

    /// All bdevs that are not being unregistered, in the order of their registration.
    pub fn all(&self) -> impl Iterator<Item = (BdevHandle, &Bdev)> {
        let mut all: Vec<_> = self
            .list
            .iter()
            .enumerate()
            .filter_map(|(index, bdev)| bdev.as_ref().map(|bdev| (index, bdev)))
            .filter(|(_, bdev)| !bdev.going)
            .map(|(index, bdev)| {
                let handle = BdevHandle {
                    index: index as u16,
                    generation: bdev.generation,
                };
                (handle, bdev)
            })
            .collect();
        all.sort_by_key(|(handle, _)| handle.generation);
        all.into_iter()
    }

    /// Who waits for the end of some bdev.
    pub fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.list.iter().flatten().flat_map(|bdev| &bdev.waiters)
    }

    /// Registers a bdev.
    ///
    /// # Errors
    ///
    /// `EEXIST`: the name or an alias is used. `EINVAL`: it is empty. `ENOMEM`: too many.
    pub fn register(&mut self, bdev: NewBdev) -> Result<BdevHandle, Errno> {
        if bdev.name.is_empty() {
            return Err(Errno::Inval);
        }
        let uuid = bdev.uuid.unwrap_or_else(|| invented_uuid(self.generations));
        let aliases = vec![uuid_text(&uuid)];
        let used = |name: &String| self.names.contains_key(name);
        if used(&bdev.name) || aliases.iter().any(used) {
            return Err(Errno::Exist);
        }
        let free = self.list.iter().position(Option::is_none);
        let index = free.unwrap_or(self.list.len());
        let handle = BdevHandle {
            index: u16::try_from(index).map_err(|_| Errno::NoMem)?,
            generation: self.generations,
        };
        self.generations += 1;
        let notified = bdev.name.clone();
        for name in aliases.iter().chain([&bdev.name]) {
            self.names.insert(name.clone(), handle);
        }
        if index == self.list.len() {
            self.list.push(None);
        }
        self.list[index] = Some(Bdev {
            generation: handle.generation,
            name: bdev.name,
            aliases,
            product: product(&bdev.kind),
            kind: bdev.kind,
            block_size: bdev.block_size,
            num_blocks: bdev.num_blocks,
            physical_block_size: bdev.physical_block_size,
            uuid,
            going: false,
            claimed: None,
            luns: Vec::new(),
            tops: Vec::new(),
            blk: false,
            waiters: Vec::new(),
        });
        self.notify("bdev_register", &notified);
        Ok(handle)
    }

    /// The error bdev with this name, one that is being unregistered included: its module keeps a
    /// list of its own.
    pub fn error_bdev(&self, name: &str) -> Option<BdevHandle> {
        let handle = self.names.get(name).copied()?;
        self.get(handle)
            .filter(|bdev| matches!(bdev.kind, Kind::Error { .. }))
            .map(|_| handle)
    }

    /// Notes something for `notify_get_notifications`.
    pub fn notify(&mut self, what: &'static str, name: &str) {
        let (first, kept) = &mut self.notifications;
        kept.push_back((what, name.to_owned()));
        if kept.len() > NOTIFICATIONS_MAX {
            kept.pop_front();
            *first += 1;
        }
    }

    /// Takes a bdev that nobody has open any more out of the registry, and gives its content back.
    /// Says what it was.
    pub fn destroy(&mut self, handle: BdevHandle) -> Option<Bdev> {
        self.get(handle)?;
        let bdev = self.list[usize::from(handle.index)].take()?;
        for name in bdev.aliases.iter().chain([&bdev.name]) {
            if self.names.get(name) == Some(&handle) {
                self.names.remove(name);
            }
        }
        if let Kind::Malloc { store } = bdev.kind {
            self.stores.delete(store);
        }
        self.engine.forget(handle);
        self.notify("bdev_unregister", &bdev.name);
        Some(bdev)
    }

    /// Begins I/O for a task; see [`io::Engine`].
    pub fn submit(&mut self, now: Time, request: io::Request, rng: &mut wire::Rng) {
        let Self { list, engine, .. } = self;
        engine.submit(now, request, Below { list, rng });
    }

    /// Lets go what an error bdev holds.
    pub fn resume(&mut self, now: Time, bdev: BdevHandle, rng: &mut wire::Rng) {
        let Self { list, engine, .. } = self;
        engine.resume(now, bdev, Below { list, rng });
    }
}

/// A bdev to register.
#[derive(Clone, Debug)]
pub struct NewBdev {
    pub name: String,
    pub kind: Kind,
    /// Bytes in a block.
    pub block_size: u32,
    pub num_blocks: u64,
    /// Bytes in a physical block.
    pub physical_block_size: u32,
    /// Its UUID; invented if none.
    pub uuid: Option<[u8; 16]>,
}

const fn product(kind: &Kind) -> &'static str {
    match kind {
        Kind::Malloc { .. } => "Malloc disk",
        Kind::Null => "Null disk",
        Kind::Nvme { .. } => "NVMe disk",
        Kind::Split { .. } => "Split Disk",
        Kind::Error { .. } => "Error Disk",
        Kind::Delay { .. } => "delay",
    }
}

/// A version-4 UUID that is the same in every run.
fn invented_uuid(number: u32) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid[..4].copy_from_slice(b"plug");
    uuid[6] = 0x40;
    uuid[8] = 0x80;
    uuid[12..].copy_from_slice(&number.to_be_bytes());
    uuid
}

/// As SPDK prints a UUID.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
