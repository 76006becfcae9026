//! Several actions that are asked for at once, as rare bugs need them: each meets the others while they are under way.
//!
//! Knows what is where by the chooser; decides nothing about time.

use super::choose::{Chooser, pick};
use crate::names::ControllerId;
use crate::testbed::Action;

/// Connections that a storm breaks and makes anew at most.
const STORM_MAX: u8 = 6;

impl Chooser {
    /// Two deletions of one controller, the second before the first has ended.
    pub(super) fn deletes(&mut self, with: u8) -> Vec<Action> {
        let Some(controller) = self.undeleted(with) else {
            return Vec::new();
        };
        self.deleted.insert(controller);
        vec![Action::DeleteController { controller }; 2]
    }

    /// A deletion that meets a connection, a kick or a shutdown.
    pub(super) fn delete_meets(&mut self, with: u8, to: u8) -> Vec<Action> {
        let Some(controller) = self.undeleted(with) else {
            return Vec::new();
        };
        let Some(vm) = self.vm(to) else {
            return Vec::new();
        };
        let meets = match to / 2 % 4 {
            0 if !self.holds => self.reconnect(with, to),
            1 => Some(Action::RebootVm { vm }),
            2 => Some(Action::KillVm { vm }),
            _ => self.detach(with, to),
        };
        self.deleted.insert(controller);
        let delete = Action::DeleteController { controller };
        match meets {
            Some(other) if to >= 128 => vec![delete, other, Action::SaveConfig],
            Some(other) => vec![other, delete],
            None => vec![delete],
        }
    }

    /// Connections that break and are made anew, again and again.
    pub(super) fn storm(&mut self, with: u8, to: u8) -> Vec<Action> {
        let times = 2 + to % (STORM_MAX - 1);
        let all = (0..times).filter_map(|n| self.reconnect(with.wrapping_add(n), to / 8));
        let mut all: Vec<Action> = all.collect();
        all.push(Action::SaveConfig);
        all
    }

    /// A new memory table, for which sessions stop and start again, and what is attached or detached meanwhile.
    pub(super) fn new_table(&mut self, with: u8, to: u8) -> Vec<Action> {
        let Some(vm) = self.vm(to) else {
            return Vec::new();
        };
        let mut all = vec![Action::AddMemory { vm }];
        all.extend(self.detach(with, to));
        all.extend(self.attach(with, to));
        all
    }

    fn undeleted(&self, n: u8) -> Option<ControllerId> {
        let all = self.scene.controllers.iter().copied();
        let all: Vec<ControllerId> = all.filter(|one| !self.deleted.contains(one)).collect();
        pick(&all, n)
    }
}
