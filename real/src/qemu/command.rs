//! QMP commands of a machine, and who waits for their answers.
//!
//! Knows who asked; what the commands do is QEMU's.

use std::io;

use serde_json::Value;

use super::qmp::{Asker, Said};
use super::vm::Vm;
use crate::testbed::guests::Told;

impl Vm {
    /// Sends a command. With no QEMU there, an action fails, and there is no sign of life.
    pub(super) fn command(
        &mut self,
        command: &str,
        arguments: Value,
        asker: Option<Asker>,
    ) -> io::Result<()> {
        let Some(qmp) = &mut self.qmp else {
            self.fail(asker);
            return Ok(());
        };
        let id = qmp.send(command, arguments)?;
        self.commands.extend(asker.map(|asker| (id, asker)));
        Ok(())
    }

    /// Takes what QEMU says; true if the guest was reset.
    pub(super) fn qmp_said(&mut self, said: Said) -> bool {
        match said {
            Said::Answer(id, result) => match self.commands.remove(&id) {
                Some(Asker::Action(ticket)) => self.answer(ticket, result.map(|()| 0)),
                Some(Asker::Ping) if result.is_ok() => self.tell(Told::Alive(self.vm)),
                Some(Asker::Ping) | None => {}
            },
            Said::Event(event) => return event == "RESET",
            Said::Hello => {}
        }
        false
    }

    /// QEMU has gone: what it was asked is not answered any more.
    pub(super) fn forget_commands(&mut self) {
        for (_, asker) in std::mem::take(&mut self.commands) {
            self.fail(Some(asker));
        }
    }

    fn fail(&self, asker: Option<Asker>) {
        if let Some(Asker::Action(ticket)) = asker {
            self.answer(ticket, Err(format!("{} does not run", self.vm)));
        }
    }
}
