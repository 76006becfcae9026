//! Who gets a message: what one end gives goes straight into the other end's queue, and may let its actors go.
//!
//! Knows connections; knows no message's meaning but that of a crash, which closes them all.

use scenarios::{Observation, said};

use super::{Device, Schedule, World};
use wire::component::{ActorId, Component, When};
use wire::message::{ConnId, FromGuest, FromTarget, HbaId, ToGuest, ToTarget};
use wire::{BackEnd, FrontEnd};

impl<T: BackEnd, G: FrontEnd> World<T, G> {
    /// Delivers what a turn of the target has sent.
    pub(super) fn deliver_from_target(&mut self) {
        let mut out = std::mem::take(&mut self.from_target);
        for message in out.drain(..) {
            self.route_from_target(message);
        }
        self.from_target = out;
    }

    /// Delivers what a turn of a guest has sent.
    pub(super) fn deliver_from_guest(&mut self, vm: usize) {
        let mut out = std::mem::take(&mut self.from_guest);
        for message in out.drain(..) {
            self.route_from_guest(vm, message);
        }
        self.from_guest = out;
    }

    fn route_from_target(&mut self, message: FromTarget) {
        match message {
            FromTarget::Answer { conn, reply } => {
                said::at(self.now, || reply.say(conn));
                if let Some((vm, hba)) = self.peer(conn) {
                    self.put_guest(vm, ToGuest::Answer { hba, reply });
                }
            }
            FromTarget::Call { conn, vring } => {
                if let Some((vm, hba)) = self.peer(conn) {
                    self.put_guest(vm, ToGuest::Call { hba, vring });
                }
            }
            FromTarget::Closed { conn } => self.close(conn),
            FromTarget::Rpc { client, bytes } => self.rpc.push((client, bytes)),
            FromTarget::RpcClosed { .. } => {}
            FromTarget::Log(line) => said::at(self.now, || line.say()),
            FromTarget::Died(crash) => {
                self.died = true;
                let how = format!("{} in {}", crash.signal, crash.place);
                self.see(Observation::Crashed {
                    who: "target".into(),
                    how,
                });
                self.block_target();
                for conn in 0..self.conns.len() {
                    self.close(ConnId(conn as u32));
                }
            }
        }
    }

    fn route_from_guest(&mut self, vm: usize, message: FromGuest) {
        match message {
            FromGuest::Connect { hba } => {
                let conn = ConnId(self.conns.len() as u32);
                self.conns.push((vm, hba));
                let of = self.vms[vm].id;
                let device = self.device(vm, hba);
                device.conn = Some(conn);
                let (controller, socket) = (device.controller, device.socket.clone());
                self.see(Observation::Connected {
                    vm: of,
                    controller,
                    conn: conn.0,
                });
                if self.died {
                    self.close(conn);
                } else {
                    let controller = socket;
                    self.put_target(ToTarget::Connect { conn, controller });
                }
            }
            FromGuest::Disconnect { hba } => {
                if let Some(conn) = self.device(vm, hba).conn.take() {
                    self.put_target(ToTarget::Disconnect { conn });
                }
            }
            FromGuest::VhostUser {
                hba,
                message,
                need_reply,
            } => {
                if let Some(conn) = self.device(vm, hba).conn {
                    said::at(self.now, || message.say(conn));
                    self.put_target(ToTarget::VhostUser {
                        conn,
                        message,
                        need_reply,
                    });
                }
            }
            FromGuest::Doorbell { hba, vring } => {
                if let Some(conn) = self.device(vm, hba).conn {
                    self.put_target(ToTarget::Doorbell { conn, vring });
                }
            }
        }
    }

    /// The guest and device at the other end of `conn`, while it is open.
    fn peer(&self, conn: ConnId) -> Option<(usize, HbaId)> {
        let (vm, hba) = self.conns[conn.0 as usize];
        let device = &self.vms[vm].devices[usize::from(hba.0)];
        (device.conn == Some(conn)).then_some((vm, hba))
    }

    fn device(&mut self, vm: usize, hba: HbaId) -> &mut Device {
        &mut self.vms[vm].devices[usize::from(hba.0)]
    }

    fn close(&mut self, conn: ConnId) {
        if let Some((vm, hba)) = self.peer(conn) {
            self.device(vm, hba).conn = None;
            self.put_guest(vm, ToGuest::Closed { hba });
        }
    }

    pub(super) fn put_target(&mut self, message: ToTarget) {
        if !self.died {
            self.target.input(self.now, message);
            self.refresh_target();
        }
    }

    pub(super) fn put_guest(&mut self, vm: usize, message: ToGuest) {
        self.vms[vm].guest.input(self.now, message);
        self.refresh_guest(vm);
    }

    pub(super) fn refresh_target(&mut self) {
        refresh(&mut self.schedule, &mut self.target, 0);
    }

    pub(super) fn refresh_guest(&mut self, vm: usize) {
        let vm = &mut self.vms[vm];
        refresh(&mut self.schedule, &mut vm.guest, vm.first);
    }

    /// Nobody of a dead target ever goes again.
    pub(super) fn block_target(&mut self) {
        for actor in 0..usize::from(self.target.actors()) {
            self.schedule.set(actor, When::Blocked);
        }
    }
}

/// Takes over from an end, whose first actor is `first`, when its actors can go.
#[inline]
fn refresh<C: Component>(schedule: &mut Schedule, end: &mut C, first: usize) {
    let mut changed = end.changed();
    while changed != 0 {
        let actor = changed.trailing_zeros();
        changed &= changed - 1;
        let when = end.when(ActorId(actor as u16));
        schedule.set(first + actor as usize, when);
    }
}
