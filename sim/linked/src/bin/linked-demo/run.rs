//! A target under a random schedule, and what is done to it.

use std::num::NonZeroU32;

use bytes::Bytes;
use linked::{Mark, Target};
use scenarios::Time;
use wire::message::{ClientId, FromTarget, ToTarget};
use wire::{ActorId, Component, Cx, Inside, Rng, Stream, TurnInfo, When};

use crate::front_end::FrontEnd;

const TURNS_MAX: u64 = 200_000;

/// A target, and the time.
pub struct Run {
    target: Target,
    now: Time,
    rng: Rng,
    hash: u64,
    turns: u64,
    show: bool,
    preempt: u32,
    out: Vec<FromTarget>,
    died: Option<String>,
    rpc: Vec<u8>,
    guest: FrontEnd,
    closed: bool,
}

impl Run {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            now: Time::ZERO,
            rng: Rng::new(0, Stream::Directed),
            hash: 0,
            turns: 0,
            show: std::env::args().any(|word| word == "--set-up"),
            preempt: 0,
            out: Vec::new(),
            died: None,
            rpc: Vec::new(),
            guest: FrontEnd::new(1),
            closed: false,
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn mark(&mut self) -> Mark {
        self.target.mark().expect("the target makes marks")
    }

    pub fn rewind(&mut self, to: &Mark) {
        self.guest.clear();
        self.target.rewind(to);
    }

    /// Forgets what the last seed did; the target is where it was marked.
    pub fn begin(&mut self, seed: u64, preempt: u32, show: bool) {
        self.preempt = preempt;
        self.rng = Rng::new(seed, Stream::Schedule);
        self.hash = 0xcbf2_9ce4_8422_2325;
        self.turns = 0;
        self.now = Time(0);
        self.show = show;
        self.died = None;
        self.rpc.clear();
        self.closed = false;
    }

    pub fn line(&self) -> String {
        format!(
            "hash {:016x} turns {} at {} us",
            self.hash,
            self.turns,
            self.now.0 / 1000
        )
    }

    fn fold(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    /// An actor takes a turn: any that can within the slack; false if nobody ever can.
    fn turn(&mut self) -> bool {
        self.target.changed();
        let actors =
            (0..self.target.actors()).filter_map(|actor| match self.target.when(ActorId(actor)) {
                When::At(at) => Some((at.max(self.now), actor)),
                When::Blocked => None,
            });
        let mut ready: Vec<_> = actors.collect();
        let Some(first) = ready.iter().map(|(at, _)| *at).min() else {
            return false;
        };
        ready.retain(|(at, _)| at.0 <= first.0 + 50_000);
        let (at, actor) = ready[self.rng.below(ready.len() as u32) as usize];
        self.now = at;
        self.turns += 1;
        if self.preempt > 0 && self.rng.below(self.preempt) == 0 {
            let point = NonZeroU32::new(1 + self.rng.below(16));
            point
                .into_iter()
                .for_each(|point| self.target.preempt_at(point));
        }
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            out: &mut self.out,
            saw: &mut Vec::new(),
        };
        let turn = self.target.turn(ActorId(actor), &mut cx);
        if self.show {
            println!(
                "{:>10} {:12} {turn:?}",
                at.0,
                self.target.actor_name(ActorId(actor))
            );
        }
        self.fold(u64::from(actor) << 56 ^ at.0);
        turn.words().into_iter().for_each(|word| self.fold(word));
        for out in std::mem::take(&mut self.out) {
            self.take(out);
        }
        true
    }

    fn take(&mut self, out: FromTarget) {
        if self.show {
            println!("           -> {out:?}");
        }
        match out {
            FromTarget::Rpc { bytes, .. } => {
                bytes.iter().for_each(|byte| self.fold((*byte).into()));
                self.rpc.extend(bytes);
            }
            FromTarget::Died(crash) => {
                self.died = Some(format!("{} in {}", crash.signal, crash.place))
            }
            FromTarget::Closed { .. } => self.closed = true,
            FromTarget::Answer { .. }
            | FromTarget::Call { .. }
            | FromTarget::RpcClosed { .. }
            | FromTarget::Log(_) => {}
        }
    }

    /// Turns until `done` says so; else what is wrong.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        while !done(self) {
            if let Some(died) = &self.died {
                return Err(died.clone());
            }
            if self.turns == TURNS_MAX {
                return Err("does not end".to_owned());
            }
            if !self.turn() {
                return Err(format!(
                    "nobody can run: {}",
                    self.target.waits().join("; ")
                ));
            }
        }
        Ok(())
    }

    fn quiet(&mut self) -> Result<(), String> {
        let turns = self.turns;
        while self.died.is_none() && self.turns < turns + 20_000 && self.turn() {}
        self.died.clone().map_or(Ok(()), Err)
    }

    fn send(&mut self, client: u32, call: &str) {
        let bytes = Bytes::from(call.replace('\'', "\""));
        self.target.input(
            self.now,
            ToTarget::Rpc {
                client: ClientId(client),
                bytes,
            },
        );
    }

    fn rpc(&mut self, method: &str, params: &str) -> Result<String, String> {
        let open = |text: &[u8]| {
            text.iter().fold(0_i32, |depth, byte| {
                depth + i32::from(*byte == b'{') - i32::from(*byte == b'}')
            })
        };
        self.rpc.clear();
        self.send(
            1,
            &format!("{{'jsonrpc':'2.0','id':1,'method':'{method}','params':{params}}}"),
        );
        self.until(|run| !run.rpc.is_empty() && open(&run.rpc) == 0)?;
        let answer = String::from_utf8_lossy(&self.rpc).replace(['\n', ' '], "");
        Ok(answer)
    }

    /// Four disks and a controller.
    pub fn set_up(&mut self) {
        for n in 0..4 {
            let name = format!("{{'name':'m{n}','num_blocks':256,'block_size':512}}");
            self.ok("bdev_malloc_create", &name);
            self.ok(
                "bdev_delay_create",
                &format!(
                    "{{'base_bdev_name':'m{n}','name':'d{n}','avg_read_latency':30,'p99_read_latency':90,\
                     'avg_write_latency':30,'p99_write_latency':90}}"
                ),
            );
        }
        self.ok(
            "vhost_create_scsi_controller",
            "{'ctrlr':'c0','cpumask':'0x2'}",
        );
        self.quiet().expect("the target comes to rest");
    }

    fn ok(&mut self, method: &str, params: &str) {
        let answer = self.rpc(method, params).expect("the set-up is answered");
        assert!(answer.contains("\"result\""), "{method} {params}: {answer}");
    }

    fn put(&mut self, all: Vec<ToTarget>) {
        for message in all {
            self.target.input(self.now, message);
        }
    }

    fn command(
        &mut self,
        target: u8,
        cdb: &[u8],
        data: &[u8],
        data_in: u32,
    ) -> Result<(u8, u8, [u8; 3], Vec<u8>), String> {
        let (slot, look) = self.guest.command(target, cdb, data, data_in);
        self.put(vec![look]);
        let mut back = Vec::new();
        self.until(|run| {
            back.extend(run.guest.taken_back(2));
            back.contains(&u32::from(slot * 4))
        })?;
        Ok(self.guest.response(slot, data_in as usize))
    }

    pub fn scenario(&mut self, name: &str) -> String {
        let verdict = match name {
            "hotplug" => self.hotplug(),
            "delete" => self.delete_twice(),
            "connect" => self.delete_and_connect(),
            other => Err(format!("no scenario {other}")),
        };
        verdict.unwrap_or_else(|error| format!("WRONG {error}"))
    }

    /// Attach, event, INQUIRY, WRITE, READ, detach, event, stop, disconnect, delete.
    fn hotplug(&mut self) -> Result<String, String> {
        let start = self.guest.start("c0");
        self.put(start);
        self.quiet()?;
        let answer = self.rpc(
            "vhost_scsi_controller_add_target",
            "{'ctrlr':'c0','scsi_target_num':0,'bdev_name':'d0'}",
        )?;
        if !answer.contains("\"result\":0") {
            return Err(format!("attach: {answer}"));
        }
        let mut events = Vec::new();
        self.until(|run| {
            events.extend(run.guest.events());
            !events.is_empty()
        })?;
        let inquiry = self.command(0, &[0x12, 0, 0, 0, 36, 0], &[], 36)?;
        let written = self.command(0, &[0x2a, 0, 0, 0, 0, 3, 0, 0, 1, 0], &[0x5a; 512], 0)?;
        let mut read = self.command(0, &[0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0], &[], 512)?;
        if read.1 == 2 {
            // UNIT ATTENTION, as the real one gives it once
            read = self.command(0, &[0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0], &[], 512)?;
        }
        let data = read.3.iter().all(|byte| *byte == 0x5a);
        let answer = self.rpc(
            "vhost_scsi_controller_remove_target",
            "{'ctrlr':'c0','scsi_target_num':0}",
        )?;
        self.until(|run| {
            events.extend(run.guest.events());
            events.len() >= 2
        })?;
        let gone = self.command(0, &[0, 0, 0, 0, 0, 0], &[], 0)?;
        let stop = self.guest.stop();
        self.put(stop);
        self.put(vec![ToTarget::Disconnect {
            conn: self.guest.conn,
        }]);
        self.quiet()?;
        let deleted = self.rpc("vhost_delete_controller", "{'ctrlr':'c0'}")?;
        self.quiet()?;
        let left = self.target.left();
        Ok(format!(
            "events {events:?} inquiry {}/{} {:?} write {}/{} data {data} remove {} gone {}/{} {:?} delete {} {left:?}",
            inquiry.0,
            inquiry.1,
            String::from_utf8_lossy(&inquiry.3[8..32]),
            written.0,
            written.1,
            answer.contains("true"),
            gone.0,
            gone.1,
            gone.2,
            deleted.contains("true"),
        ))
    }

    /// Known bug X1: two deletions of a controller that has a target overlap.
    fn delete_twice(&mut self) -> Result<String, String> {
        self.rpc(
            "vhost_scsi_controller_add_target",
            "{'ctrlr':'c0','scsi_target_num':0,'bdev_name':'d0'}",
        )?;
        self.rpc.clear();
        let call =
            "{'jsonrpc':'2.0','id':1,'method':'vhost_delete_controller','params':{'ctrlr':'c0'}}";
        self.send(1, call);
        self.send(2, call);
        self.quiet()?;
        Ok(format!(
            "answers {}",
            String::from_utf8_lossy(&self.rpc).replace(['\n', ' '], "")
        ))
    }

    /// Known bug X2: a deletion against a front-end that connects.
    fn delete_and_connect(&mut self) -> Result<String, String> {
        self.rpc.clear();
        let pause = u64::from(self.rng.below(8_000_000));
        self.send(
            1,
            "{'jsonrpc':'2.0','id':1,'method':'vhost_delete_controller','params':{'ctrlr':'c0'}}",
        );
        let until = Time(self.now.0 + pause);
        while self.now < until && self.turn() {}
        let start = self.guest.start("c0");
        self.put(start);
        self.quiet()?;
        if self.rpc.is_empty() {
            return Err(format!("not answered: {}", self.target.waits().join("; ")));
        }
        Ok(String::from_utf8_lossy(&self.rpc).replace(['\n', ' '], ""))
    }
}
