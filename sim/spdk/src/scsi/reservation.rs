//! Reservations of a LUN: SPC-2 RESERVE and RELEASE, and persistent reservations (scsi_pr.c).
//!
//! Knows one I_T nexus: SPDK's vhost hands no initiator port to its tasks, so all sessions of a
//! target are one registrant. A reservation can therefore be held only by whoever sends a
//! command, and the conflict check before a command never fails; it is not modelled.

use wire::scsi::CDB_SIZE;

use super::reply::Reply;
use super::{Command, Outcome, Sense, be16, be32};

/// Bytes of a PERSISTENT RESERVE OUT parameter list.
const OUT_LIST: usize = 24;
/// Reservation types of which every registrant is a holder.
const ALL_REGISTRANTS: [u8; 2] = [7, 8];

/// Who has reserved a LUN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    /// RESERVE(6) or (10) is in force.
    spc2: bool,
    /// The key under which the one nexus is registered.
    key: Option<u64>,
    /// The type of the persistent reservation that it holds.
    held: Option<u8>,
    /// PRGENERATION.
    generation: u32,
}

impl Reservation {
    /// RESERVE: third-party and extent reservations are refused.
    pub(super) fn reserve_spc2(&mut self, c: &[u8; CDB_SIZE]) -> Outcome {
        if c[1] & 0x3 != 0 {
            return Outcome::check(Sense::INVALID_FIELD);
        }
        self.spc2 = true;
        Outcome::good(0)
    }

    /// RELEASE: refused when nothing is reserved (T-B21).
    pub(super) fn release_spc2(&mut self) -> Outcome {
        if !self.spc2 {
            return Outcome::check(Sense::INVALID_FIELD);
        }
        self.spc2 = false;
        Outcome::good(0)
    }

    /// PERSISTENT RESERVE IN: always as many bytes as the allocation length says.
    pub(super) fn persistent_in(&self, c: &[u8; CDB_SIZE], reply: &mut Reply) -> Outcome {
        let allocation = u32::from(be16(c, 7));
        let action = c[1] & 0x1f;
        let least = if action == 1 { 24 } else { 8 };
        if action > 3 || allocation < least {
            return Outcome::check(Sense::INVALID_FIELD);
        }
        match action {
            0 => self.keys(reply),
            1 => self.holder(reply),
            // CRH; TMV; types 1, 3, 5, 6, 7 and 8.
            2 => reply.bytes(&[0, 8, 0x10, 0x80, 0xea, 0x01, 0, 0]),
            _ => self.full_status(reply),
        }
        reply.send_filled(allocation)
    }

    fn keys(&self, reply: &mut Reply) {
        reply.bytes(&self.generation.to_be_bytes());
        match self.key {
            Some(key) => {
                reply.bytes(&8u32.to_be_bytes());
                reply.bytes(&key.to_be_bytes());
            }
            None => reply.zeroes(4),
        }
    }

    fn holder(&self, reply: &mut Reply) {
        reply.bytes(&self.generation.to_be_bytes());
        let Some(held) = self.held else {
            return reply.zeroes(4);
        };
        let shown = if ALL_REGISTRANTS.contains(&held) {
            0
        } else {
            self.key.unwrap_or(0)
        };
        reply.bytes(&16u32.to_be_bytes());
        reply.bytes(&shown.to_be_bytes());
        reply.bytes(&[0, 0, 0, 0, 0, held, 0, 0]);
    }

    /// SPC-4 6.15.5, with an empty transport id.
    fn full_status(&self, reply: &mut Reply) {
        reply.bytes(&self.generation.to_be_bytes());
        let Some(key) = self.key else {
            return reply.zeroes(4);
        };
        reply.bytes(&24u32.to_be_bytes());
        reply.bytes(&key.to_be_bytes());
        reply.zeroes(4);
        reply.bytes(&[self.held.is_some().into(), self.held.unwrap_or(0)]);
        reply.zeroes(10);
    }

    /// PERSISTENT RESERVE OUT; `None` if the parameter list is needed first.
    pub(super) fn persistent_out(
        &mut self,
        command: &Command,
        data_out: Option<&[u8]>,
    ) -> Option<Outcome> {
        let c = command.cdb;
        let list_len = be32(c, 5);
        if list_len < OUT_LIST as u32 || command.transfer_len < OUT_LIST as u32 {
            return Some(Outcome::check(Sense::INVALID_FIELD));
        }
        let Some(list) = data_out?.first_chunk::<OUT_LIST>() else {
            return Some(Outcome::check(Sense::INVALID_FIELD));
        };
        let p = list;
        let key = u64::from_be_bytes([p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]]);
        let new = u64::from_be_bytes([p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]]);
        let (scope, kind) = (c[2] >> 4, c[2] & 0xf);
        let result = match c[1] & 0x1f {
            // SPEC_I_PT, ALL_TG_PT and APTPL are not supported.
            0 | 6 if p[20] & 0x0d != 0 => Err(Outcome::check(Sense::INVALID_FIELD)),
            0 => self.register(Some(key), new),
            6 => self.register(None, new),
            1 | 2 | 4 | 5 if scope != 0 => Err(Outcome::check(Sense::INVALID_FIELD)),
            1 => self.reserve(key, kind),
            2 => self.release(key, kind),
            3 => self.clear(key),
            4 | 5 => self.preempt(key, new, kind),
            _ => Err(Outcome::check(Sense::INVALID_FIELD)),
        };
        Some(match result {
            Ok(()) => Outcome::good(command.transfer_len),
            Err(outcome) => outcome,
        })
    }

    /// REGISTER under `new` if the nexus gives its present key, or (`None`) whatever that is.
    fn register(&mut self, present: Option<u64>, new: u64) -> Result<(), Outcome> {
        if present.is_some_and(|key| key != self.key.unwrap_or(0)) {
            return Err(Outcome::reservation_conflict());
        }
        if new != 0 {
            self.key = Some(new);
        } else if self.key.take().is_some() {
            self.held = None;
        } else {
            return Ok(());
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn registered(&self, key: u64) -> Result<(), Outcome> {
        match self.key {
            Some(present) if present == key => Ok(()),
            _ => Err(Outcome::reservation_conflict()),
        }
    }

    fn reserve(&mut self, key: u64, kind: u8) -> Result<(), Outcome> {
        self.registered(key)?;
        match self.held {
            Some(held) if held != kind => Err(Outcome::reservation_conflict()),
            _ => {
                self.held = Some(kind);
                Ok(())
            }
        }
    }

    fn release(&mut self, key: u64, kind: u8) -> Result<(), Outcome> {
        self.registered(key)?;
        match self.held {
            Some(held) if held != kind => Err(Outcome::check(Sense::INVALID_RELEASE)),
            _ => {
                self.held = None;
                Ok(())
            }
        }
    }

    fn clear(&mut self, key: u64) -> Result<(), Outcome> {
        self.registered(key)?;
        self.key = None;
        self.held = None;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// PREEMPT: with one registrant, it can only take its own reservation again, or miss.
    fn preempt(&mut self, key: u64, victim: u64, kind: u8) -> Result<(), Outcome> {
        self.registered(key)?;
        let all = self
            .held
            .is_some_and(|held| ALL_REGISTRANTS.contains(&held));
        if victim == 0 && !all {
            return Err(Outcome::check(Sense::INVALID_FIELD));
        }
        if victim != 0 && victim != key {
            return Err(Outcome::reservation_conflict());
        }
        if self.held.is_some() {
            self.held = Some(kind);
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }
}
