//! The testbed on this machine, on the model target behind real sockets, with guests that only note what they
//! are asked and say what the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fio_model::JobFile;
use real::serve::{News, ServeOptions};
use real::testbed::guests::{Ask, Guests, Serials, Tell, Told};
use real::testbed::interrupt::Interrupt;
use real::testbed::run_dir::RunDir;
use real::testbed::target::Target;
use real::testbed::{Closing, Parts, RealOptions, RealTestbed, runtime};
use scenarios::driver::{self, NotHere, Refusal};
use scenarios::shipped::JOBS;
use scenarios::{
    Action, CheckId, ControllerId, DiskId, Evidence, FioId, FioJobEnd, Observation, Performed,
    Place, TargetId, TaskFunction, Testbed, TestbedError, Ticket, VmId,
};
use sim::spdk::TargetConfig;
use sim::{Bugs, DISKS_MAX, ModelledDisks, nvme_devices};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch::Sender;

/// What is due comes within this.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing comes within this, if nothing is to come.
const SILENCE: Duration = Duration::from_millis(300);
/// Who says nothing for so long is dead.
const ALIVE_MAX: Duration = Duration::from_secs(4);

type Asked = Arc<Mutex<Vec<(VmId, Ask)>>>;

/// Guests that only note what they are asked.
struct Notes {
    asked: Asked,
    /// Keeps the channel open.
    _tell: Tell,
}

impl Guests for Notes {
    fn evidence(&self) -> Evidence {
        Evidence::FIO_REPORT
    }

    fn ask(&mut self, vm: VmId, ask: Ask) -> Result<(), Refusal> {
        if matches!(ask, Ask::Do(driver::Ask::Manage(..))) {
            return Err(NotHere("these guests reset nothing".into()).into());
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((vm, ask));
        Ok(())
    }
}

struct Rig {
    testbed: RealTestbed,
    asked: Asked,
    tell: Tell,
    interrupt: Sender<bool>,
    serials: Serials,
    _dir: RunDir,
}

impl Rig {
    /// A target that runs, and nothing else.
    fn new() -> Self {
        let dir = RunDir::create().expect("a run directory");
        let (tell, told) = unbounded_channel();
        let tasks = runtime().expect("a runtime");
        let serve = ServeOptions {
            rpc_socket: dir.path().join("rpc"),
            vhost_sockets: dir.path().to_owned(),
            target: TargetConfig {
                bugs: Bugs::INTENDED,
                nvme: nvme_devices(DISKS_MAX),
                ..TargetConfig::default()
            },
            seed: 0,
            record: None,
        };
        let target = Target::model(serve, &tell, &tasks).expect("a target");
        let asked = Asked::default();
        let notes = Notes {
            asked: asked.clone(),
            _tell: tell.clone(),
        };
        let serials = Serials::default();
        let parts = Parts {
            target,
            disks: Box::new(ModelledDisks),
            guests: Box::new(notes),
            told,
            serials: serials.clone(),
            runtime: tasks,
        };
        let jobs = JOBS.iter().map(|job| {
            let file = JobFile::parse(job.file, job.text).expect("it is a job file");
            (job.name.to_owned(), Arc::new(file))
        });
        let jobs: BTreeMap<_, _> = jobs.collect();
        let runtime = Some(Duration::from_secs(3));
        let (interrupt, interrupted) = Interrupt::new();
        let testbed = RealTestbed::new(
            parts,
            RealOptions {
                jobs,
                runtime,
                alive_max: ALIVE_MAX,
                interrupt: interrupted,
                closing: Closing::SaysNothing,
            },
        );
        Self {
            testbed,
            asked,
            tell,
            interrupt,
            serials,
            _dir: dir,
        }
    }

    /// Two controllers, two disks, and VMs 1 and 2 with one controller each.
    fn started() -> Self {
        let mut rig = Self::new();
        let controllers = vec![ControllerId(1), ControllerId(2)];
        let disks = vec![DiskId(1), DiskId(2)];
        let start = Action::StartTarget {
            controllers,
            disks,
            kinds: Vec::new(),
        };
        assert_eq!(rig.answer(&start), Ok(0));
        for number in [1, 2] {
            let (vm, controllers) = (VmId(number), vec![ControllerId(number)]);
            rig.ask(&Action::BootVm { vm, controllers });
        }
        rig
    }

    fn ask(&mut self, action: &Action) -> Ticket {
        match self.testbed.perform(action).expect("the testbed holds") {
            Performed::Asked(ticket) => ticket,
            Performed::NotHere(reason) => panic!("{action:?}: {reason}"),
        }
    }

    /// What is seen next; nothing, if nothing comes.
    fn seen(&mut self, patience: Duration) -> Vec<Observation> {
        let (mut seen, deadline) = (Vec::new(), self.testbed.now() + patience);
        self.testbed
            .observe(deadline, &mut seen)
            .expect("the testbed holds");
        seen.into_iter().map(|seen| seen.what).collect()
    }

    fn answer(&mut self, action: &Action) -> Result<u8, String> {
        let ticket = self.ask(action);
        match &self.seen(PATIENCE)[..] {
            [Observation::Answered { ticket: of, result }] if *of == ticket => result.clone(),
            other => panic!("{action:?}: {other:?}"),
        }
    }

    /// What guests were asked since the last look.
    fn asked(&self) -> Vec<(VmId, Ask)> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self, told: Told) {
        self.tell.send(told).expect("the testbed listens");
    }

    fn ends(&self, vm: u8, written: u64) {
        let end = FioJobEnd {
            disk: DiskId(vm),
            place: place(vm),
            section: 0,
            error: 0,
            hung: false,
            written,
            verified: written,
            volume: 0,
            messages: Vec::new(),
            strict: Vec::new(),
            no_data: Vec::new(),
        };
        let ended = Observation::FioEnded {
            fio: FioId(0),
            exit: 0,
            jobs: vec![end],
        };
        self.say(Told::Saw(VmId(vm), ended));
    }
}

fn place(controller: u8) -> Place {
    Place {
        controller: ControllerId(controller),
        target: TargetId(0),
    }
}

fn fio(number: u16, job: &str, disks: &[u8]) -> Action {
    let on = disks
        .iter()
        .map(|disk| (DiskId(*disk), place(*disk)))
        .collect();
    Action::StartFio {
        fio: FioId(number),
        job: job.to_owned(),
        on,
    }
}

fn quiet() -> Observation {
    Observation::Quiet {
        settled: true,
        left: Vec::new(),
    }
}

#[test]
fn a_target_is_asked_over_its_socket() {
    let mut rig = Rig::started();
    let attach = |target| Action::Attach {
        disk: DiskId(1),
        controller: ControllerId(1),
        target,
    };
    assert_eq!(rig.answer(&attach(None)), Ok(0));
    assert_eq!(
        rig.answer(&attach(Some(TargetId(0)))),
        Err("File exists".into())
    );
    assert_eq!(rig.answer(&Action::Detach { place: place(1) }), Ok(0));
    assert!(rig.answer(&Action::Detach { place: place(1) }).is_err());
    let serials = rig.serials.read().expect("nobody panicked").clone();
    assert_eq!(serials.get("Nvme1n1"), Some(&DiskId(2)));
    rig.ask(&Action::Settle);
    assert_eq!(rig.seen(PATIENCE), [quiet()]);
}

#[test]
fn a_fio_in_two_guests_begins_and_ends_as_one() {
    let mut rig = Rig::started();
    rig.asked();
    rig.ask(&fio(0, "default_integrity", &[1, 2]));
    let started = rig.asked();
    assert!(matches!(
        started[..],
        [(VmId(1), Ask::StartFio(_)), (VmId(2), Ask::StartFio(_))]
    ));
    rig.say(Told::Armed(VmId(2), FioId(0)));
    assert_eq!(rig.seen(SILENCE), []);
    assert!(rig.asked().is_empty(), "one of them is not ready");
    rig.say(Told::Armed(VmId(1), FioId(0)));
    assert_eq!(rig.seen(SILENCE), []);
    let go = rig.asked();
    assert!(
        matches!(go[..], [(_, Ask::Go(FioId(0))), (_, Ask::Go(FioId(0)))]),
        "{go:?}"
    );
    // 3 s of 10 s are 0.9 s of 3 s.
    let ticket = rig.ask(&Action::WaitJobClock {
        fio: FioId(0),
        at: Duration::from_secs(3),
    });
    let clocks = rig.asked();
    let at = |ask: &Ask| matches!(ask, Ask::WaitJobClock { at, .. } if at.as_millis() == 900);
    assert!(
        clocks.len() == 2 && clocks.iter().all(|(_, ask)| at(ask)),
        "{clocks:?}"
    );
    let answered = Observation::Answered {
        ticket,
        result: Ok(0),
    };
    rig.say(Told::Saw(VmId(1), answered.clone()));
    assert_eq!(rig.seen(SILENCE), [], "the other has not answered");
    rig.say(Told::Saw(VmId(2), answered.clone()));
    assert_eq!(rig.seen(PATIENCE), [answered]);
    let ticket = rig.ask(&Action::WaitJobClock {
        fio: FioId(0),
        at: Duration::from_secs(9),
    });
    let ended = Err("it had ended in VM 2".to_owned());
    for (vm, result) in [(2, ended.clone()), (1, Ok(0))] {
        rig.say(Told::Saw(
            VmId(vm),
            Observation::Answered { ticket, result },
        ));
    }
    let late = Observation::Answered {
        ticket,
        result: ended,
    };
    assert_eq!(rig.seen(PATIENCE), [late], "too late for one of them");
    rig.ends(2, 7);
    rig.ask(&Action::Settle);
    assert_eq!(rig.seen(SILENCE), [], "one of them still runs");
    rig.ends(1, 9);
    let mut seen = rig.seen(PATIENCE);
    let ended = seen.remove(0);
    let Observation::FioEnded { jobs, .. } = &ended else {
        panic!("{ended:?}");
    };
    assert_eq!(
        jobs.iter().map(|job| job.disk.0).collect::<Vec<_>>(),
        [1, 2]
    );
    seen.extend(rig.seen(PATIENCE));
    assert_eq!(seen, [quiet()]);
}

#[test]
fn what_was_written_is_what_must_be_there() {
    let mut rig = Rig::started();
    let refused = rig
        .testbed
        .perform(&fio(0, "read_back", &[1]))
        .expect("the testbed holds");
    assert!(
        matches!(refused, Performed::NotHere(_)),
        "nothing was written: {refused:?}"
    );
    rig.ask(&fio(0, "default_integrity", &[1]));
    rig.ends(1, 42);
    assert_eq!(rig.seen(PATIENCE).len(), 1);
    rig.asked();
    rig.ask(&fio(1, "read_back", &[1]));
    match &rig.asked()[..] {
        [(VmId(1), Ask::StartFio(start))] => {
            assert_eq!(start.must_hold, Some(vec![42]));
            assert!(start.globals.contains("verify=md5"), "{}", start.globals);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_gives_no_sign_of_life_is_named() {
    let mut rig = Rig::started();
    rig.ask(&Action::CheckAlive);
    rig.say(Told::Alive(VmId(1)));
    rig.say(Told::Alive(VmId(2)));
    assert_eq!(
        rig.seen(PATIENCE),
        [Observation::Alive { silent: Vec::new() }]
    );
    rig.ask(&Action::CheckAlive);
    rig.say(Told::Alive(VmId(1)));
    let silent = vec!["VM 2".to_owned()];
    assert_eq!(rig.seen(PATIENCE), [Observation::Alive { silent }]);
}

#[test]
fn what_cannot_be_done_is_refused_and_what_breaks_is_told() {
    let mut rig = Rig::started();
    let reset = rig.testbed.perform(&Action::Manage {
        place: place(1),
        function: TaskFunction::LunReset,
    });
    let reason = "these guests reset nothing".to_owned();
    assert_eq!(reset, Ok(Performed::NotHere(reason)));
    rig.say(Told::Target(News::Broken("I3: a handle".into())));
    let text = "a handle".to_owned();
    assert_eq!(
        rig.seen(PATIENCE),
        [Observation::Broken {
            check: CheckId::I3,
            text
        }]
    );
    rig.say(Told::Lost("VM 1: gone".into()));
    let deadline = rig.testbed.now() + PATIENCE;
    let lost = rig.testbed.observe(deadline, &mut Vec::new());
    assert_eq!(lost, Err(TestbedError("VM 1: gone".into())));
}

#[test]
fn a_run_that_shall_end_is_lost_at_once() {
    let mut rig = Rig::new();
    let interrupt = rig.interrupt.clone();
    let soon = std::thread::spawn(move || {
        std::thread::sleep(SILENCE);
        interrupt.send_replace(true);
    });
    let deadline = rig.testbed.now() + PATIENCE;
    let lost = rig.testbed.observe(deadline, &mut Vec::new());
    assert_eq!(lost, Err(TestbedError("interrupted".into())));
    assert!(rig.testbed.now() < deadline);
    soon.join().expect("it ends");
}
