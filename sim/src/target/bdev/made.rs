//! Bdevs that are made of others or found on a device: splits, examination, NVMe namespaces.
//!
//! Knows how parts follow their base; the registry itself stands in the module above.

use super::*;

impl Bdevs {
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
    #[must_use]
    pub fn nvme_bdevs(&self, name: &str) -> usize {
        let of = |bdev: &&Bdev| matches!(&bdev.kind, Kind::Nvme { controller, .. } if controller == name);
        self.list.iter().flatten().filter(of).count()
    }
}
