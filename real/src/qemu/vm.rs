//! One virtual machine: a task that owns its QEMU, does what it is asked, and tells what it sees.
//!
//! Knows one guest; what several answer together is put together by the testbed.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use scenarios::driver::{self, Boots};
use scenarios::{FioId, Observation, Place, Ticket, VmId};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::{Span, debug_span, info};

use super::Shared;
use super::agent;
use super::fio_end;
use super::pipe::Pipe;
use super::process::{HBA_SLOT, Line, Process};
use super::qmp::{Asker, Qmp};
use crate::huge_pages::{HUGE_PAGE, Pages};
use crate::testbed::guests::{Ask, FioStart, Hba, Told};

/// fio's error when its guest goes down under it: EINTR, as in *sim*.
const INTERRUPTED: u16 = 4;

/// What a machine's task waits for.
#[derive(Debug)]
pub(super) enum Mail {
    /// It is asked something.
    Ask(Ask),
    /// Its process, the one of this generation, says something.
    Line(u32, Line),
    /// The run is over.
    Stop,
}

/// A fio in this guest.
pub(super) struct Fio {
    start: FioStart,
    /// When all its disks were first seen to do I/O.
    pub(super) io_since: Option<Instant>,
}

/// Somebody waits for a fio's clock.
pub(super) struct Clock {
    pub(super) ticket: Ticket,
    fio: FioId,
    at: Duration,
    /// The number of the question whether its disks do I/O, once it was asked.
    pub(super) asked: Option<u32>,
}

/// A machine.
pub(super) struct Vm {
    pub(super) vm: VmId,
    pub(super) shared: Shared,
    mail: UnboundedSender<Mail>,
    /// Of its boot.
    pub(super) span: Span,
    pub(super) hbas: Vec<Hba>,
    /// Starts of QEMU so far: lines of earlier ones are nobody's.
    generation: u32,
    pub(super) process: Option<Process>,
    pub(super) agent: Option<Pipe>,
    pub(super) qmp: Option<Qmp>,
    pub(super) reader: agent::Reader,
    pub(super) boots: u32,
    pub(super) boot_id: String,
    pub(super) up: bool,
    pub(super) in_trouble: bool,
    numbers: u32,
    pub(super) fios: BTreeMap<FioId, Fio>,
    pub(super) clocks: Vec<Clock>,
    /// Commands that are not answered.
    pub(super) commands: BTreeMap<u64, Asker>,
    /// It boots, because it was asked to.
    pub(super) booting: bool,
    pub(super) errors: Vec<String>,
}

impl Vm {
    pub(super) fn new(vm: VmId, shared: Shared, mail: UnboundedSender<Mail>) -> Self {
        Self {
            vm,
            shared,
            mail,
            span: span(vm, 0),
            hbas: Vec::new(),
            generation: 0,
            process: None,
            agent: None,
            qmp: None,
            reader: agent::Reader::default(),
            boots: 0,
            boot_id: String::new(),
            up: false,
            in_trouble: false,
            numbers: 0,
            fios: BTreeMap::new(),
            clocks: Vec::new(),
            commands: BTreeMap::new(),
            booting: false,
            errors: Vec::new(),
        }
    }

    /// Does what mail asks for, until there will be none. QEMU goes with it.
    pub(super) async fn run(mut self, mut mail: UnboundedReceiver<Mail>) {
        loop {
            let due = self.clocks.iter().filter_map(|clock| self.due(clock)).min();
            let mail = tokio::select! {
                mail = mail.recv() => Some(mail),
                () = until(due) => None,
            };
            let done = match mail {
                Some(Some(Mail::Ask(ask))) => self.ask(ask).await,
                Some(Some(Mail::Line(of, line))) if of == self.generation => self.line(line).await,
                Some(Some(Mail::Line(..))) | None => Ok(()),
                Some(Some(Mail::Stop) | None) => break,
            };
            let asked = done.and_then(|()| self.ask_moved());
            if let Err(error) = asked
                // A guest that dies between two lines says so on its own.
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                self.tell(Told::Lost(format!("{}: {error}", self.vm)));
            }
        }
        if let Some(mut process) = self.process.take() {
            // It has gone already, or it goes with its parent.
            let _ = process.end().await;
        }
    }

    pub(super) fn tell(&self, told: Told) {
        // Nobody listens any more: the run is over.
        let _ = self.shared.tell.send(told);
    }

    pub(super) fn see(&self, what: Observation) {
        self.tell(Told::Saw(self.vm, what));
    }

    async fn ask(&mut self, ask: Ask) -> io::Result<()> {
        use driver::Ask as Do;
        match ask {
            Ask::Boot(hbas, Boots::System) => self.boot(hbas),
            Ask::Do(Do::Reboot) => self.boot(Vec::new()),
            Ask::Do(Do::ListDisks) => {
                let number = self.number();
                self.say(&format!("disks {number}\n"))
            }
            // Its agent is not there yet: QEMU is.
            Ask::Do(Do::Ping) if self.booting => {
                self.command("query-status", json!({}), Some(Asker::Ping))
            }
            Ask::Do(Do::Ping) => {
                let number = self.number();
                self.say(&format!("ping {number}\n"))
            }
            Ask::StartFio(start) => self.start_fio(start),
            Ask::Go(fio) => self.say(&format!("go {}\n", fio.0)),
            Ask::WaitJobClock { ticket, fio, at } => {
                self.clocks.push(Clock {
                    ticket,
                    fio,
                    at,
                    asked: None,
                });
                self.answer_clocks_of_ended();
                Ok(())
            }
            Ask::Do(Do::Pause(ticket)) => {
                self.command("stop", json!({}), Some(Asker::Action(ticket)))
            }
            Ask::Do(Do::Continue(ticket)) => {
                self.command("cont", json!({}), Some(Asker::Action(ticket)))
            }
            Ask::Do(Do::AddMemory(ticket)) => self.add_memory(ticket),
            Ask::Do(Do::Kill(ticket)) => {
                self.kill().await?;
                self.answer(ticket, Ok(0));
                Ok(())
            }
            Ask::Boot(_, Boots::FirmwareOnly) | Ask::Do(Do::Reconnect(..) | Do::Manage(..)) => {
                Err(io::Error::other("it was asked for what it cannot do"))
            }
        }
    }

    fn add_memory(&mut self, ticket: Ticket) -> io::Result<()> {
        let id = format!("dimm{ticket}").replace(' ', "");
        let mut memory =
            json!({"qom-type": "memory-backend-memfd", "id": id, "size": 128 << 20, "share": true});
        if self.shared.pages == Pages::Huge {
            memory["hugetlb"] = json!(true);
            memory["hugetlbsize"] = json!(HUGE_PAGE);
            memory["prealloc"] = json!(true);
        }
        self.command("object-add", memory, None)?;
        let dimm = json!({"driver": "pc-dimm", "memdev": id, "id": format!("d-{id}")});
        self.command("device_add", dimm, Some(Asker::Action(ticket)))
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// Writes to the agent. A guest that is not up cannot hear: it does not answer.
    fn say(&mut self, text: &str) -> io::Result<()> {
        match &mut self.agent {
            Some(agent) if self.up => agent.write(text),
            _ => Ok(()),
        }
    }

    pub(super) fn answer(&self, ticket: Ticket, result: Result<u8, String>) {
        self.see(Observation::Answered { ticket, result });
    }

    fn boot(&mut self, hbas: Vec<Hba>) -> io::Result<()> {
        self.booting = true;
        if self.process.is_none() {
            return self.start(hbas);
        }
        self.say("reboot\n")
    }

    fn start(&mut self, hbas: Vec<Hba>) -> io::Result<()> {
        if !hbas.is_empty() {
            self.hbas = hbas;
        }
        self.generation += 1;
        let (mail, generation) = (self.mail.clone(), self.generation);
        let lines = move |line| {
            // The machine has gone.
            let _ = mail.send(Mail::Line(generation, line));
        };
        let name = format!("vm{}", self.vm.0);
        let process = Process::start(&name, &self.shared, &self.hbas, &lines)?;
        self.process = Some(process);
        self.span
            .in_scope(|| info!(target: "vm", "QEMU has been started"));
        Ok(())
    }

    fn start_fio(&mut self, start: FioStart) -> io::Result<()> {
        let (fio, globals) = (start.fio, &start.globals);
        let mut job = globals.clone();
        // fio runs this in each section, after it has set up everything and before its clock begins.
        job += &format!("exec_prerun=/plugfest/gate {}\n", fio.0);
        for (number, (disk, _)) in start.on.iter().enumerate() {
            // fio puts variables of its environment in place; the agent knows the disks' names.
            job += &format!("[disk{}]\nfilename=${{DISK{number}}}\n", disk.0);
        }
        let places: Vec<String> = start
            .on
            .iter()
            .map(|(_, place)| self.place_word(*place))
            .collect();
        let lines = job.lines().count();
        let text = format!(
            "job {} {lines}\n{job}fio {} {}\n",
            fio.0,
            fio.0,
            places.join(" ")
        );
        self.fios.insert(
            fio,
            Fio {
                start,
                io_since: None,
            },
        );
        if !self.up {
            self.fio_ended(fio, |start| {
                (1, fio_end::all(start, INTERRUPTED, "the guest is down"))
            });
            return Ok(());
        }
        self.say(&text)
    }

    fn place_word(&self, place: Place) -> String {
        let number = self
            .hbas
            .iter()
            .position(|hba| hba.controller == place.controller);
        // A controller that it does not have: a slot with no HBA, where no disk is found.
        let slot = number
            .and_then(|number| u8::try_from(number).ok())
            .map_or(0xff, |n| HBA_SLOT + n);
        agent::place_word(slot, place.target.0)
    }

    pub(super) fn fio_ended(
        &mut self,
        fio: FioId,
        ends: impl FnOnce(&FioStart) -> (u8, Vec<scenarios::FioJobEnd>),
    ) {
        if let Some(run) = self.fios.remove(&fio) {
            let (exit, jobs) = ends(&run.start);
            self.see(Observation::FioEnded { fio, exit, jobs });
            self.answer_clocks_of_ended();
        }
    }

    /// Clocks of fios that do not run are answered at once: they will never say that time.
    fn answer_clocks_of_ended(&mut self) {
        let (wait, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.clocks)
            .into_iter()
            .partition(|clock| self.fios.contains_key(&clock.fio));
        self.clocks = wait;
        for clock in over {
            self.answer(clock.ticket, Err(format!("it had ended in {}", self.vm)));
        }
    }

    /// When a clock says what somebody waits for.
    fn due(&self, clock: &Clock) -> Option<Instant> {
        let since = self.fios.get(&clock.fio)?.io_since?;
        clock.asked.is_none().then(|| since + clock.at)
    }

    /// Asks for those clocks that are due whether I/O is under way.
    fn ask_moved(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for number in 0..self.clocks.len() {
            let due = self.due(&self.clocks[number]).is_some_and(|due| due <= now);
            if due {
                let question = self.number();
                let clock = &mut self.clocks[number];
                clock.asked = Some(question);
                let text = format!("moved {question} {}\n", clock.fio.0);
                self.say(&text)?;
            }
        }
        Ok(())
    }

    async fn kill(&mut self) -> io::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.end().await?;
            self.gone();
        }
        Ok(())
    }

    /// The process is no more.
    pub(super) fn gone(&mut self) {
        self.generation += 1;
        self.process = None;
        (self.agent, self.qmp) = (None, None);
        self.booting = false;
        self.forget_commands();
        self.down();
    }

    /// The guest takes no work any more.
    pub(super) fn down(&mut self) {
        if std::mem::replace(&mut self.up, false) {
            self.see(Observation::VmDown { vm: self.vm });
        }
        let running: Vec<FioId> = self.fios.keys().copied().collect();
        for fio in running {
            self.fio_ended(fio, |start| {
                (1, fio_end::all(start, INTERRUPTED, "the guest went down"))
            });
        }
    }
}

pub(super) fn span(vm: VmId, boot: u32) -> Span {
    debug_span!(target: "vm", "vm", id = vm.0, boot)
}

/// Waits until `due`; for ever, if nothing is.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
