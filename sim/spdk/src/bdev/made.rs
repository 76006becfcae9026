//! Bdevs that are made: of memory, of others, or found on a device.
//!
//! Knows how parts follow their base; the registry itself stands in the module above.

use super::*;

/// `BDEV_MALLOC`'s and the model's limit on bytes; more is "Cannot allocate memory".
const MALLOC_MAX: u64 = store::STORE_MAX;

/// A malloc bdev to make.
#[derive(Clone, Debug)]
pub struct NewMalloc {
    /// "MallocN" if none.
    pub name: Option<String>,
    pub block_size: u32,
    pub num_blocks: u64,
    /// 0: a block.
    pub physical_block_size: u32,
    pub uuid: Option<[u8; 16]>,
}

impl Bdevs {
    /// Makes a malloc bdev; "MallocN" if it has no name.
    ///
    /// # Errors
    ///
    /// As `bdev_malloc_create`: `EINVAL` for impossible sizes, `ENOMEM` for too many bytes or no
    /// block size, `EEXIST`.
    pub fn malloc(&mut self, new: NewMalloc) -> Result<BdevHandle, Errno> {
        let NewMalloc {
            name,
            block_size,
            num_blocks,
            physical_block_size,
            uuid,
        } = new;
        if num_blocks == 0 {
            return Err(Errno::Inval);
        }
        // A zero block size passes the check and ends as an allocation of nothing (T-A13).
        if block_size == 0 {
            return Err(Errno::NoMem);
        }
        if !block_size.is_multiple_of(512) || !physical_block_size.is_multiple_of(512) {
            return Err(Errno::Inval);
        }
        let bytes = u64::from(block_size).checked_mul(num_blocks);
        if bytes.is_none_or(|bytes| bytes > MALLOC_MAX) {
            return Err(Errno::NoMem);
        }
        let name = name.unwrap_or_else(|| {
            self.malloc_count += 1;
            format!("Malloc{}", self.malloc_count - 1)
        });
        let store = self.stores.create();
        let made = self.register(NewBdev {
            name,
            kind: Kind::Malloc { store },
            block_size,
            num_blocks,
            physical_block_size: if physical_block_size == 0 {
                block_size
            } else {
                physical_block_size
            },
            uuid,
        });
        if made.is_err() {
            self.stores.delete(store);
        }
        made
    }

    /// Puts an error or delay bdev on `base`, and claims it.
    ///
    /// # Errors
    ///
    /// `EPERM`: another module has claimed it. As [`Bdevs::register`].
    pub fn put_on(&mut self, base: BdevHandle, what: &Awaiting) -> Result<BdevHandle, Errno> {
        let under = self.get(base).ok_or(Errno::NoDev)?;
        if self.names.contains_key(&what.name) {
            return Err(Errno::Exist);
        }
        if under.claimed.is_some() {
            return Err(Errno::Perm);
        }
        let new = NewBdev {
            name: what.name.clone(),
            kind: match what.delay {
                Some(us) => Kind::Delay { base, us },
                None => Kind::Error { base },
            },
            block_size: under.block_size,
            num_blocks: under.num_blocks,
            physical_block_size: under.physical_block_size,
            uuid: what.uuid,
        };
        let handle = self.register(new)?;
        let under = self.get_mut(base).expect("looked up above");
        let module = if what.delay.is_some() {
            "delay"
        } else {
            "error"
        };
        under.claimed = Some(module);
        under.tops.push(handle);
        Ok(handle)
    }

    /// Makes the parts of a split whose base is there; says their names.
    ///
    /// # Errors
    ///
    /// `EPERM`: the base is claimed. `EINVAL`: the parts do not fit.
    pub fn make_split(
        &mut self,
        base: BdevHandle,
        config: &SplitConfig,
    ) -> Result<Vec<String>, Errno> {
        let under = self.get(base).ok_or(Errno::NoDev)?;
        let (name, block_size) = (under.name.clone(), u64::from(under.block_size));
        let (blocks, physical) = (under.num_blocks, under.physical_block_size);
        if under.claimed.is_some() {
            return Err(Errno::Perm);
        }
        let part = if config.size_mb == 0 {
            blocks / u64::from(config.count)
        } else {
            config.size_mb.checked_mul(1 << 20).ok_or(Errno::Inval)? / block_size
        };
        if part == 0 {
            return Err(Errno::Inval);
        }
        let count = (blocks / part).min(u64::from(config.count));
        if count == 0 {
            return Err(Errno::Inval);
        }
        let mut made = Vec::new();
        for i in 0..count {
            let new = NewBdev {
                name: format!("{name}p{i}"),
                kind: Kind::Split {
                    base,
                    start: i * part,
                },
                block_size: block_size as u32,
                num_blocks: part,
                physical_block_size: physical,
                uuid: None,
            };
            made.push(new.name.clone());
            let handle = self.register(new)?;
            let under = self.get_mut(base).expect("looked up above");
            under.claimed = Some("split");
            under.tops.push(handle);
        }
        Ok(made)
    }

    /// The splits that waited for a bdev of this name, made now (`vbdev_split_examine`).
    pub fn examine(&mut self, base: BdevHandle) {
        let Some(name) = self.get(base).map(|bdev| bdev.name.clone()) else {
            return;
        };
        let waiting = std::mem::take(&mut self.awaiting);
        for waiting in waiting {
            if waiting.base == name {
                let _ = self.put_on(base, &waiting);
            } else {
                self.awaiting.push(waiting);
            }
        }
        if let Some(config) = self.splits.iter().find(|split| split.base == name).cloned() {
            // A failure is SPDK's to log: examine has nobody to answer.
            let _ = self.make_split(base, &config);
        }
    }

    /// Attaches the NVMe device at `traddr` as `name`: its namespaces, up to `max`, become bdevs.
    ///
    /// # Errors
    ///
    /// `ENODEV`: there is none. `EEXIST`: a bdev's name is taken.
    pub fn nvme_attach(
        &mut self,
        name: &str,
        traddr: &str,
        max: u32,
    ) -> Result<Vec<BdevHandle>, Errno> {
        let found = self.nvme.iter().find(|(device, _)| device.traddr == traddr);
        let (device, stores) = found.cloned().ok_or(Errno::NoDev)?;
        let mut made = Vec::new();
        for (i, (&(blocks, block_size), &store)) in device
            .namespaces
            .iter()
            .zip(&stores)
            .take(max as usize)
            .enumerate()
        {
            made.push(self.register(NewBdev {
                name: format!("{name}n{}", i + 1),
                kind: Kind::Nvme {
                    store,
                    controller: name.to_owned(),
                },
                block_size,
                num_blocks: blocks,
                physical_block_size: block_size,
                uuid: None,
            })?);
        }
        self.nvme_controllers
            .insert(name.to_owned(), traddr.to_owned());
        Ok(made)
    }

    /// Bdevs of an NVMe controller that are registered, those that are going included.
    pub fn nvme_bdevs(&self, name: &str) -> usize {
        let of = |bdev: &&Bdev| matches!(&bdev.kind, Kind::Nvme { controller, .. } if controller == name);
        self.list.iter().flatten().filter(of).count()
    }
}
