//! What a machine's process and its guest's agent say, line by line, and what that means.
//!
//! Asks nothing.

use std::io;
use std::time::Instant;

use scenarios::{CheckId, FioId, Observation};
use tracing::{debug, info, trace, warn};

use super::agent::{self, Said};
use super::console::{Trouble, trouble};
use super::fio_end;
use super::process::{Line, Port, how, was_killed};
use super::qmp::{self, Qmp};
use super::vm::{Vm, span};
use crate::testbed::guests::Told;

/// Lines of standard error that are kept to say why QEMU ended.
const ERRORS_KEPT: usize = 4;

impl Vm {
    /// Takes a line in.
    pub(super) async fn line(&mut self, line: Line) -> io::Result<()> {
        self.say_line(&line);
        match line {
            Line::Connected(Port::Agent, pipe) => self.agent = Some(pipe),
            Line::Connected(Port::Qmp, pipe) => self.qmp = Some(Qmp::new(pipe)?),
            Line::Agent(text) => match self.reader.line(&text) {
                Ok(said) => said.into_iter().for_each(|said| self.said(said)),
                Err(error) => self.tell(Told::Lost(format!("{}: {error}", self.vm))),
            },
            Line::Qmp(text) => {
                if self.qmp_said(qmp::read(&text).map_err(io::Error::other)?) {
                    self.down();
                }
            }
            Line::Console(text) => self.console(&text),
            Line::Error(text) => {
                self.errors.push(text);
                let more = self.errors.len().saturating_sub(ERRORS_KEPT);
                self.errors.drain(..more);
            }
            Line::Ended => self.ended().await?,
        }
        Ok(())
    }

    /// Says what its process says.
    fn say_line(&self, line: &Line) {
        self.span.in_scope(|| match line {
            Line::Agent(text) => debug!(target: "vm", "agent: {text}"),
            Line::Qmp(text) => debug!(target: "vm", "QMP: {text}"),
            Line::Console(text) => trace!(target: "vm", "console: {text}"),
            Line::Error(text) => warn!(target: "vm", "QEMU: {text}"),
            Line::Connected(port, _) => debug!(target: "vm", "{port:?} is connected"),
            Line::Ended => info!(target: "vm", "QEMU has ended"),
        });
    }

    /// QEMU ended, and nobody had asked for that.
    async fn ended(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let status = process.end().await?;
        let mut text = format!("QEMU ended by itself: {}", how(status));
        if !self.errors.is_empty() {
            text += &format!(": {}", self.errors.join("; "));
        }
        if self.boots == 0 || was_killed(status) {
            self.tell(Told::Lost(format!("{}: {text}", self.vm)));
        } else {
            self.see(Observation::Crashed {
                who: self.vm.to_string(),
                how: text,
            });
        }
        self.gone();
        Ok(())
    }

    fn console(&mut self, text: &str) {
        match trouble(text) {
            // One oops is many lines.
            Some(_) if self.in_trouble => {}
            Some(Trouble::Broken) if self.boots == 0 => {
                self.in_trouble = true;
                self.tell(Told::Lost(format!("{} does not boot: {text}", self.vm)));
            }
            Some(Trouble::Broken) => {
                self.in_trouble = true;
                let (who, how) = (self.vm.to_string(), text.to_owned());
                self.see(Observation::Crashed { who, how });
                self.down();
            }
            Some(Trouble::HungTask) => {
                self.in_trouble = true;
                let text = format!("{}: {text}", self.vm);
                self.see(Observation::Broken {
                    check: CheckId::V2,
                    text,
                });
            }
            None => {}
        }
    }

    fn said(&mut self, said: Said) {
        match said {
            Said::Ready(boot_id) => self.ready(boot_id),
            Said::Pong => self.tell(Told::Alive(self.vm)),
            Said::Disks(listed) => self.listed(&listed),
            Said::Armed(fio) => self.tell(Told::Armed(self.vm, FioId(fio))),
            Said::Io(fio) => {
                if let Some(run) = self.fios.get_mut(&FioId(fio)) {
                    run.io_since = Some(Instant::now());
                }
            }
            Said::Moved(number) => {
                let asked = self
                    .clocks
                    .iter()
                    .position(|clock| clock.asked == Some(number));
                if let Some(at) = asked {
                    let clock = self.clocks.remove(at);
                    self.answer(clock.ticket, Ok(0));
                }
            }
            Said::Absent(fio, places) => {
                let missing: Vec<String> = places
                    .iter()
                    .map(|(slot, target)| agent::place_word(*slot, *target))
                    .collect();
                let text = format!(
                    "not started: the guest has no disk at {}",
                    missing.join(", ")
                );
                self.fio_ended(FioId(fio), |start| {
                    (1, fio_end::all(start, fio_end::ENOENT, &text))
                });
            }
            Said::Ended(fio, end) => {
                self.fio_ended(FioId(fio), |start| (end.exit, fio_end::jobs(start, &end)));
            }
        }
    }

    fn ready(&mut self, boot_id: String) {
        self.down();
        if boot_id == self.boot_id {
            self.tell(Told::Lost(format!(
                "{}: its agent started twice in one boot",
                self.vm
            )));
            return;
        }
        self.boot_id = boot_id;
        self.boots += 1;
        self.span = span(self.vm, self.boots);
        self.span
            .in_scope(|| info!(target: "vm", "the guest is up"));
        (self.up, self.booting, self.in_trouble) = (true, false, false);
        self.see(Observation::VmReady {
            vm: self.vm,
            boot: self.boots,
        });
    }
}
