//! A controller's thread, while it takes a turn.

use super::controller::Controller;
use super::task::Task;
use crate::handles::TaskRef;
use crate::shared::{self, Out, Shared};
use wire::message::LogLevel;

/// What the thread owns, what it shares with others, and where it speaks. It knows no state of the app thread.
pub struct VdevThread<'t> {
    pub own: &'t mut Controller,
    pub shared: &'t mut Shared,
    pub cx: Out<'t>,
}

impl VdevThread<'_> {
    pub fn task(&mut self, of: TaskRef) -> Option<&mut Task> {
        self.own.session(of.session)?.task(of)
    }

    pub fn log(&mut self, level: LogLevel, text: String) {
        shared::log(&mut self.cx, level, text);
    }

    pub fn die(&mut self, signal: &'static str, place: &'static str) {
        self.shared.die(&mut self.cx, signal, place);
    }

    pub fn memory_gone(&mut self, place: &'static str) {
        self.shared.memory_gone(&mut self.cx, place);
    }
}
