//! Makes testbeds on sockets: a target in this process or one that runs, guests in QEMU or modelled.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use real::hardware::Machine;
use real::huge_pages::Pages;
use real::model::ModelGuests;
use real::qemu::{Accelerator, Image, ImageOptions, QemuGuests, Shared, accelerator, image};
use real::serve::ServeOptions;
use real::testbed::disks::{Bdevs, GivenDisks};
use real::testbed::erase::{NotErased, erased};
use real::testbed::guests::{Guests, Serials, Tell};
use real::testbed::run_dir::RunDir;
use real::testbed::target::Target;
use real::testbed::{ALIVE_MAX, Closing, Parts, RealOptions, RealTestbed};
use real::vhost_user::cut;
use scenarios::driver::Disks;
use scenarios::testbed::Testbed;
use sim::spdk::TargetConfig;
use sim::{DISKS_MAX, ModelledDisks, nvme_devices};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;

use crate::job_files::parse_jobs;
use crate::options::{GuestKind, QemuOptions, RunOptions, SpdkOptions, TargetKind};
use crate::run_error::RunError;

/// The testbed that `options` name.
///
/// # Errors
///
/// A job file is wrong, or the testbed does not come up.
pub fn make(options: &RunOptions) -> Result<Box<dyn Testbed>, RunError> {
    let volume = options
        .volume
        .of_a_job()
        .filter(|_| options.runtime_s.is_none());
    Ok(Box::new(testbed(options, volume, Closing::SaysNothing)?))
}

fn no_sockets() -> RunError {
    let text = "--target linked takes turns with model guests: it has no sockets";
    RunError::Input(text.to_owned())
}

/// The same with another volume. `closing`: see [`RealOptions`].
///
/// # Errors
///
/// As [`make`].
pub fn testbed(
    options: &RunOptions,
    volume: Option<fio_model::Volume>,
    closing: Closing,
) -> Result<RealTestbed, RunError> {
    let jobs = parse_jobs(&options.jobs, &options.guests)?;
    // First, for it removes what killed runs left, and lets go what they had claimed.
    let dir = Arc::new(RunDir::create().map_err(broken)?);
    let bdevs = match &options.target {
        TargetKind::Model | TargetKind::Linked(_) => None,
        TargetKind::Spdk(spdk) => Some(announce(spdk)?),
    };
    let (tell, told) = unbounded_channel();
    let tasks = real::testbed::runtime().map_err(broken)?;
    let serials = Serials::default();
    let runtime = options.runtime_s.map(|s| Duration::from_secs(s.into()));
    let pages = match &options.target {
        TargetKind::Model => Pages::Ordinary,
        TargetKind::Linked(_) => return Err(no_sockets()),
        TargetKind::Spdk(spdk) => {
            let pages = Pages::for_guests_of(&spdk.rpc_socket);
            pages.map_err(|error| nobody(&spdk.rpc_socket, &error))?
        }
    };
    let guests: Box<dyn Guests> = match &options.guests {
        GuestKind::Qemu(qemu) => {
            let shared = in_qemu(qemu, pages, &dir, &serials, &tell)?;
            Box::new(QemuGuests::new(shared, tasks.clone()))
        }
        GuestKind::Model => {
            let shared = real::model::Shared {
                seed: options.seed,
                volume,
                pages,
                serials: serials.clone(),
                tell: tell.clone(),
            };
            Box::new(ModelGuests::new(shared).map_err(broken)?)
        }
    };
    if crate::interrupt::asked() {
        return Err(broken("interrupted"));
    }
    let (target, disks): (Target, Box<dyn Disks>) = match &options.target {
        TargetKind::Model => {
            let target = served(options, &dir, &tell, &tasks)?;
            (target, Box::new(ModelledDisks))
        }
        TargetKind::Linked(_) => return Err(no_sockets()),
        TargetKind::Spdk(spdk) => {
            let disks = GivenDisks::new(bdevs.unwrap_or_else(|| spdk.bdevs.clone()));
            (connected(spdk, &dir, &tell, &tasks)?, Box::new(disks))
        }
    };
    let parts = Parts {
        target,
        disks,
        guests,
        told,
        serials,
        runtime: tasks,
    };
    let more = RealOptions {
        jobs,
        runtime,
        alive_max: ALIVE_MAX,
        interrupt: crate::interrupt::interrupt(),
        closing,
    };
    Ok(RealTestbed::new(parts, more))
}

fn broken(error: impl Display) -> RunError {
    RunError::NoTestbed(error.to_string())
}

/// The model target behind sockets in this process.
fn served(
    options: &RunOptions,
    dir: &RunDir,
    tell: &Tell,
    runtime: &Rc<Runtime>,
) -> Result<Target, RunError> {
    let serve = ServeOptions {
        rpc_socket: dir.path().join("rpc"),
        vhost_sockets: dir.path().to_owned(),
        target: TargetConfig {
            bugs: options.all_bugs(),
            nvme: nvme_devices(DISKS_MAX),
            ..TargetConfig::default()
        },
        seed: options.seed,
        record: None,
    };
    Target::model(serve, tell, runtime).map_err(broken)
}

/// Says what the run erases: the bdevs, as the target itself calls them.
fn announce(spdk: &SpdkOptions) -> Result<Bdevs, RunError> {
    if spdk.bdevs.erased().is_empty() {
        return Ok(spdk.bdevs.clone());
    }
    let machine = Machine::this().map_err(broken)?;
    let (erased, bdevs) =
        erased(&spdk.bdevs, &spdk.rpc_socket, &machine).map_err(|why| match why {
            NotErased::NoTarget(error) => nobody(&spdk.rpc_socket, &error),
            NotErased::Unsaid(_) => RunError::NotNow(why.to_string()),
            NotErased::Refused(refused) => broken(refused),
        })?;
    for one in erased {
        eprintln!("erasing {one}");
    }
    Ok(bdevs)
}

fn nobody(socket: &Path, error: &io::Error) -> RunError {
    let socket = socket.display();
    RunError::NotNow(format!(
        "no target listens at {socket}: {error}\n  = expected SPDK or `plugfest serve`; say where with --rpc-socket"
    ))
}

/// A target that runs.
fn connected(
    spdk: &SpdkOptions,
    dir: &Arc<RunDir>,
    tell: &Tell,
    runtime: &Rc<Runtime>,
) -> Result<Target, RunError> {
    cut::survive().map_err(broken)?;
    let socket = &spdk.rpc_socket;
    let target = Target::given(socket, &spdk.vhost_sockets, dir.clone(), tell, runtime);
    target.map_err(|error| nobody(socket, &error))
}

fn in_qemu(
    qemu: &QemuOptions,
    pages: Pages,
    dir: &Arc<RunDir>,
    serials: &Serials,
    tell: &Tell,
) -> Result<Shared, RunError> {
    let image = match &qemu.image {
        Some(dir) => Image::in_dir(dir),
        None => image::build(&ImageOptions::default()),
    };
    Ok(Shared {
        image: image.map_err(broken)?,
        accelerator: if qemu.emulate {
            Accelerator::Tcg
        } else {
            accelerator()
        },
        pages,
        dir: dir.clone(),
        serials: serials.clone(),
        tell: tell.clone(),
    })
}

#[cfg(test)]
mod tests {
    use scenarios::check::{Facts, Judge};
    use scenarios::generate::{Scene, VERIFY_JOB, step};
    use scenarios::plan::{Plan, PlanVm, Step, Wait};
    use scenarios::testbed::{Action, Ending, Evidence, Performed, Testbed, TestbedError};
    use scenarios::{
        ControllerId, DiskId, DiskKind, FioId, Observation, Place, Seen, TargetId, Time, VmId,
    };

    use real::rpc::client::RpcClient;
    use real::serve::{Ended, Server};

    use super::*;

    /// A target that does not answer, or never comes so far, is found out after this.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A testbed whose disk is slow once its guest has it, and whose connections break while requests are in
    /// flight: neither any sooner.
    struct Breaking<'a> {
        inner: &'a mut dyn Testbed,
        rpc: RpcClient,
        /// The guest has the disk.
        appeared: bool,
        /// Seen meanwhile, and not handed on yet.
        unread: Vec<Seen>,
        /// Connections that have broken.
        broken: u64,
    }

    impl Breaking<'_> {
        fn look(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
            let before = seen.len();
            self.inner.observe(deadline, seen)?;
            let appears = |seen: &Seen| matches!(seen.what, Observation::DiskAppeared(_));
            self.appeared |= seen[before..].iter().any(appears);
            Ok(())
        }

        fn wait_for_the_disk(&mut self) -> Result<(), TestbedError> {
            let deadline = self.inner.now() + PATIENCE;
            let mut unread = std::mem::take(&mut self.unread);
            while !self.appeared {
                self.look(deadline, &mut unread)?;
                assert!(self.inner.now() < deadline, "{unread:?}");
            }
            self.unread = unread;
            Ok(())
        }

        /// Waits until the only session is the one after so many, and has requests in flight.
        fn wait_for_requests(&mut self) {
            let deadline = self.inner.now() + PATIENCE;
            loop {
                let all = self.rpc.call("vhost_get_controllers", None);
                let sessions = all.expect("it answers")[0]["sessions"].clone();
                let sessions = sessions.as_array().expect("a controller has sessions");
                let works = |session: &serde_json::Value| {
                    let requests = session["inflight_task_cnt"].as_u64();
                    session["id"] == self.broken
                        && session["started"] == true
                        && requests.is_some_and(|count| count > 0)
                };
                if matches!(&sessions[..], [one] if works(one)) {
                    return;
                }
                assert!(self.inner.now() < deadline, "{sessions:?}");
            }
        }
    }

    impl Testbed for Breaking<'_> {
        fn evidence(&self) -> Evidence {
            self.inner.evidence()
        }

        fn now(&self) -> Time {
            self.inner.now()
        }

        fn perform(&mut self, action: &Action) -> Result<Performed, TestbedError> {
            match action {
                Action::Delay { .. } => self.wait_for_the_disk()?,
                Action::Reconnect { .. } => {
                    self.wait_for_requests();
                    self.broken += 1;
                }
                _ => {}
            }
            self.inner.perform(action)
        }

        fn observe(&mut self, deadline: Time, seen: &mut Vec<Seen>) -> Result<(), TestbedError> {
            if self.unread.is_empty() {
                return self.look(deadline, seen);
            }
            seen.append(&mut self.unread);
            Ok(())
        }

        fn ending(&self) -> Ending {
            self.inner.ending()
        }
    }

    /// A fio on a slow disk, during which the connection breaks twice, each time until it is there again. The
    /// disk is so slow that the job lasts eight seconds.
    fn scenario_of(vm: VmId, controller: ControllerId) -> Plan {
        let disk = DiskId(1);
        let place = Place {
            controller,
            target: TargetId(0),
        };
        let anew = Action::Reconnect { vm, controller };
        let attach = Action::Attach {
            disk,
            controller,
            target: Some(place.target),
        };
        let delay = |micros| Action::Delay { disk, micros };
        let start = Action::StartFio {
            fio: FioId(0),
            job: VERIFY_JOB.into(),
            on: vec![(disk, place)],
        };
        let controllers = vec![controller];
        let boot = Action::BootVm {
            vm,
            controllers: controllers.clone(),
        };
        let all = [
            boot,
            attach,
            delay(1_000_000),
            start,
            anew.clone(),
            anew,
            delay(0),
        ];
        let steps = all.map(|action| Step {
            wait: if action.fio().is_some() {
                Wait::Nothing
            } else {
                Wait::Answer
            },
            ..step(action)
        });
        let scene = Scene {
            controllers: controllers.clone(),
            disks: vec![(disk, DiskKind::Delayed)],
            vms: vec![PlanVm { vm, controllers }],
            steps: steps.into(),
        };
        scene.into()
    }

    /// A guest's fio goes on over a connection that breaks, on sockets as in the simulator.
    #[test]
    fn a_front_end_connects_anew_and_its_fio_goes_on() {
        let (vm, controller) = (VmId(1), ControllerId(1));
        let script = scenarios::resolve::script(&scenario_of(vm, controller));
        let script = script.expect("it is possible");
        let dir = RunDir::create().expect("there is room");
        let serve = ServeOptions {
            rpc_socket: dir.path().join("rpc"),
            vhost_sockets: dir.path().to_owned(),
            target: TargetConfig::default(),
            seed: 1,
            record: None,
        };
        let spdk = SpdkOptions {
            rpc_socket: serve.rpc_socket.clone(),
            vhost_sockets: serve.vhost_sockets.clone(),
            bdevs: "malloc:32".parse().expect("memory"),
        };
        let server = Server::start(serve, |_| {}).expect("it comes up");
        let options = RunOptions {
            guests: GuestKind::Model,
            target: TargetKind::Spdk(spdk),
            ..RunOptions::default()
        };
        let made = testbed(&options, None, Closing::SaysNothing);
        let mut testbed = made.expect("it comes up");
        let evidence = testbed.evidence();
        let vms = vec![(vm, vec![controller])];
        let mut judge = Judge::new(Facts {
            evidence,
            events_may_drop: false,
            vms,
        });
        let rpc = || RpcClient::connect(&dir.path().join("rpc"), PATIENCE).expect("it listens");
        let mut breaking = Breaking {
            inner: &mut testbed,
            rpc: rpc(),
            appeared: false,
            unread: Vec::new(),
            broken: 0,
        };
        let judged = crate::scenario::judged(&script, &mut breaking, &mut judge);
        let row = judged.expect("it can be carried out").rows.remove(0);
        let broken = |check: &&scenarios::run::CheckResult| {
            matches!(check.outcome, scenarios::run::CheckOutcome::Violated { .. })
        };
        assert_eq!(row.checks.iter().find(broken), None);
        let skipped = |step: &&scenarios::run::StepReport| {
            matches!(step.result, scenarios::run::StepResult::Skipped { .. })
        };
        assert_eq!(row.steps.iter().find(skipped), None);
        // Sessions are numbered from 0 on.
        let all = rpc().call("vhost_get_controllers", None);
        let all = all.expect("it answers");
        let session = &all[0]["sessions"][0]["id"];
        assert_eq!(*session, 2);
        drop(testbed);
        let ended = server.stop();
        assert!(matches!(ended, Ended::Stopped), "{ended:?}");
        assert!(row.fios[0].jobs[0].verified > 0, "{:?}", row.checks);
    }
}
