//! How the threads of a fio begin: those of a `stonewall` as the ones before have ended.
//!
//! Knows disks and slots; what a thread does stands in `fio`.

use std::time::Duration;

use fio_model::{Device, Errno, FioThread, GivenDisk, Job, JobFile, JobResult};
use scenarios::{DiskId, FioId, Place, Time};
use wire::component::Cx;
use wire::message::FromGuest;

use super::end::FioRun;
use super::{Fio, REQUEST_NS, Thread};
use crate::actors::Actor;
use crate::block::Block;
use crate::driver::layout::{CPUS, THREAD_BYTES, thread_buffers};
use crate::ids::{DiskNo, ThreadNo};
use crate::shared::{Power, Shared};

impl Fio {
    /// Starts a fio: the threads that its job file has on these disks.
    pub fn start(
        &mut self,
        (fio, file): (FioId, &JobFile),
        on: &[(DiskId, Place)],
        block: &mut Block,
        shared: &mut Shared,
        cx: &mut Cx<'_, FromGuest>,
    ) {
        let given = |(id, place): &(DiskId, Place)| GivenDisk {
            label: format!("disk{}", id.0),
            node: node(shared, usable_disk(shared, (*id, *place))),
        };
        let disks: Vec<GivenDisk> = on.iter().map(given).collect();
        let runtime = Duration::from_nanos(file.runtime_ns());
        let placed = file.place(&disks).into_iter();
        let placed = placed.map(|placed| (on[placed.disk], placed)).collect();
        self.runs.push(FioRun::new(fio, runtime, placed));
        self.start_ready(fio, block, shared, cx.now);
        self.end_if_over(fio, cx);
    }

    /// Starts those threads of a fio that wait for no other one, as far as there is room for them.
    ///
    /// # Divergence from fio
    ///
    /// At most `THREADS_MAX` threads of a guest run at once; more begin as others end. A thread has at most as
    /// many requests in flight as `THREAD_BYTES` hold.
    pub(super) fn start_ready(
        &mut self,
        fio: FioId,
        block: &mut Block,
        shared: &mut Shared,
        now: Time,
    ) {
        loop {
            let has_room = self.free_slot(block).is_some();
            let run = self.runs.iter_mut().find(|run| run.fio == fio);
            let Some((on, placed)) = run.and_then(|run| run.next_ready(has_room)) else {
                return;
            };
            let disk = usable_disk(shared, on);
            let (number, mut job) = (placed.thread_number, placed.job);
            job.filename = Some(node(shared, disk));
            let thread = (fio, number, placed.group);
            match self.start_thread(thread, &job, (on, disk), block, shared) {
                Ok(slot) => {
                    let at = Time(now.0 + REQUEST_NS);
                    shared.actors.wake(Actor::Fio(slot), at);
                }
                Err((errno, text)) => {
                    let node = job.filename.clone().unwrap_or_default();
                    let mut result = JobResult::new(&job.name, number, &node);
                    result.error = errno;
                    result.messages.push(text);
                    self.thread_ended(fio, on, 0, result);
                }
            }
        }
    }

    /// Starts one thread, or says what it fails with at once.
    fn start_thread(
        &mut self,
        (fio, number, group): (FioId, u32, u32),
        job: &Job,
        (on, disk): ((DiskId, Place), Option<DiskNo>),
        block: &mut Block,
        shared: &mut Shared,
    ) -> Result<ThreadNo, (Errno, String)> {
        // The node is looked at before fio is started: fio itself would create a regular file.
        let disk = disk.ok_or_else(|| (Errno::ENOENT, format!("{} is not at {}", on.0, on.1)))?;
        let device = Device {
            name: job.filename.clone().unwrap_or_default(),
            size_bytes: shared.disks[disk].capacity(),
        };
        let (volume, state) = (shared.config.volume, self.state_files.of(&job.name, number));
        let most = (THREAD_BYTES / u64::from(job.len_max().max(1))).max(1);
        let begin = |job: &Job| {
            FioThread::resume(job, number, &device, volume, state)
                .map_err(|error| (error.errno(), error.to_string()))
        };
        let mut file = begin(job)?;
        if u64::from(file.depth()) > most {
            file = begin(&Job {
                iodepth: most as u32,
                ..job.clone()
            })?;
        }
        let bytes = u64::from(file.depth()) * u64::from(file.buffer_len());
        let slot = self.free_slot(block);
        let slot = slot.filter(|_| bytes <= THREAD_BYTES).ok_or_else(|| {
            let text = format!("no room for {bytes} bytes of buffers");
            (Errno(12), text)
        })?;
        self.note_sharing(on.0, &mut file, block);
        let depth = file.depth() as usize;
        block.open(slot, depth);
        shared.disks[disk].opened();
        self.threads[slot.0] = Some(Thread {
            slot,
            fio,
            group,
            disk,
            cpu: slot.0 % CPUS,
            on,
            file,
            buffers: thread_buffers(shared.hbas.count(), slot.0),
            batch: Vec::with_capacity(depth),
            submitted: 0,
            seen_io: false,
            cut_short: false,
        });
        if let Some(run) = self.runs.iter_mut().find(|run| run.fio == fio) {
            run.running += 1;
        }
        Ok(slot)
    }

    /// Tells a thread that is about to begin, and those that run, of others that write to their disk.
    fn note_sharing(&mut self, id: DiskId, file: &mut FioThread, block: &Block) {
        let threads = self.threads.iter_mut().flatten();
        for other in threads.filter(|other| other.on.0 == id) {
            if file.writes() {
                other.file.share_disk();
            }
            if other.file.writes() {
                file.share_disk();
            }
        }
        // Those of a fio that was given up may come yet.
        if block.writes_to(id) {
            file.share_disk();
        }
    }

    fn free_slot(&self, block: &Block) -> Option<ThreadNo> {
        let mut slots = (0..self.threads.len()).map(ThreadNo);
        slots.find(|slot| self.threads[slot.0].is_none() && !block.is_busy(*slot))
    }
}

/// The disk with this serial number, if it is there: node names move.
fn usable_disk(shared: &Shared, (id, place): (DiskId, Place)) -> Option<DiskNo> {
    let hba = shared.hbas.on(place.controller)?;
    let disk = shared.disks.at(hba, place.target.0)?;
    let (runs, found) = (shared.power == Power::Running, &shared.disks[disk]);
    (runs && found.is_there() && found.id() == Some(id)).then_some(disk)
}

fn node(shared: &Shared, disk: Option<DiskNo>) -> String {
    disk.map_or("/dev/none".to_owned(), |disk| shared.disks[disk].node())
}
