//! How each stimulus is done, and how a set-up is carried out.
//!
//! Says what to wait for; the waiting itself is the player's.

use std::time::Duration;

use scenarios::driver::json_rpc::request;
use serde_json::{Value, json};

use super::front_end::Step;
use super::names::feature_bits;
use super::player::{Awaited, LATE_MAX, PlayError, Player};
use super::posted::{Chain, PostEvents, Scsi, Tmf};
use super::request::Draft;
use super::stimulus::{
    Kick, QueueOnly, QueueSwitch, Rpc, RpcRaw, RpcUntil, ScsiPace, Start, Stimulus, Stop,
};
use super::transcript::{BdevSetup, ControllerSetup, Setup};
use wire::message::{ConnId, VhostUser, VringIndex};
use wire::scsi::EVENT_SIZE;

/// What a set-up may take.
const SETUP_LIMIT: Duration = Duration::from_secs(20);
/// After a set-up it has been silent for so long.
const SETUP_QUIET: Duration = Duration::from_millis(30);
/// What one answer of a series may take.
const SERIES_PATIENCE: Duration = Duration::from_millis(250);
/// What one answer to a repeated request may take.
const UNTIL_LIMIT: Duration = Duration::from_secs(10);
/// Ids of the requests of a set-up begin here: no transcript comes near.
const SETUP_ID: u64 = 1 << 40;

impl Player<'_> {
    /// Starts the peer and gives it bdevs, controllers and targets.
    pub(super) fn start_peer(&mut self) -> Result<(), PlayError> {
        let setup = &self.transcript.setup;
        self.peer
            .restart(setup.core_mask.as_deref())
            .map_err(|e| e.to_string())?;
        for (id, (method, params)) in (SETUP_ID..).zip(setup_requests(setup)) {
            let text = request(id, method, Some(&params));
            self.seen.clear();
            self.clients.send(0, &text, self.peer);
            let until = self.peer.now() + SETUP_LIMIT;
            self.run_until(until, |player| !player.seen.is_empty())?;
            let succeeded = |seen: &Value| seen["rpc"].get("result").is_some();
            if !self.seen.first().is_some_and(succeeded) {
                return Err(format!("set-up: {text} gave {:?}", self.seen));
            }
        }
        self.seen.clear();
        Ok(())
    }

    /// Connects and starts the front-ends that are so before the first stimulus.
    pub(super) fn start_front_ends(&mut self) -> Result<(), PlayError> {
        for n in 0..self.front_ends.len() {
            let setup = self.front_ends[n].setup.clone();
            if !setup.connected {
                continue;
            }
            let mut number = self.connect(n);
            if setup.started {
                number = self.start(&Start {
                    frontend: setup.name.clone(),
                    queues: None,
                    regions: None,
                    keep: false,
                    base: None,
                })?;
            }
            self.pump()?;
            let until = self.peer.now() + SETUP_LIMIT;
            self.run_until(until, |player| player.front_ends[n].has_done(number))?;
            if !self.front_ends[n].has_done(number) {
                return Err(format!("set-up: {} does not start", setup.name));
            }
        }
        self.be_quiet(SETUP_QUIET)
    }

    /// Does a stimulus and says what it waits for.
    pub(super) fn perform(&mut self, stimulus: &Stimulus) -> Result<Vec<Awaited>, PlayError> {
        match stimulus {
            Stimulus::Rpc(rpc) => Ok(self.rpc(rpc)),
            Stimulus::RpcRaw(raw) => Ok(self.rpc_raw(raw)),
            Stimulus::RpcClose(close) => {
                self.clients.close(close.conn, self.peer);
                Ok(Vec::new())
            }
            Stimulus::RpcUntil(until) => self.rpc_until(until),
            Stimulus::Connect(who) => {
                let n = self.front_end(&who.frontend)?;
                let number = self.connect(n);
                Ok(vec![Awaited::Message(n, number)])
            }
            Stimulus::Disconnect(who) => {
                let n = self.front_end(&who.frontend)?;
                self.front_ends[n].disconnect(self.peer);
                Ok(Vec::new())
            }
            Stimulus::Start(start) => {
                let n = self.front_end(&start.frontend)?;
                let number = self.start(start)?;
                Ok(vec![Awaited::Message(n, number)])
            }
            Stimulus::Stop(stop) => self.stop(stop),
            Stimulus::Scsi(pace, scsi) => self.scsi(*pace, scsi),
            Stimulus::Tmf(tmf) => self.tmf(tmf),
            Stimulus::Chain(chain) => self.chain(chain),
            Stimulus::PostEvents(post) => self.post_events(post),
            Stimulus::Kick(kick) => self.kick(kick),
            Stimulus::SetCall(QueueOnly { frontend, queue }) => {
                self.ring_message(frontend, *queue, |vring| VhostUser::SetVringCall { vring })
            }
            Stimulus::VringEnable(QueueSwitch {
                frontend,
                queue,
                on,
            }) => {
                let on = on.is_on();
                let enable = |vring| VhostUser::SetVringEnable { vring, on };
                self.ring_message(frontend, *queue, enable)
            }
            Stimulus::SetMemTable(set) => {
                let n = self.front_end(&set.frontend)?;
                let memory = self.front_ends[n].memory.table(set.regions.unwrap_or(2))?;
                Ok(self.enqueue(n, vec![Step::Send(VhostUser::SetMemTable(memory))]))
            }
            Stimulus::SetFeatures(set) => {
                let n = self.front_end(&set.frontend)?;
                let bits = feature_bits(&set.features)?;
                Ok(self.enqueue(n, vec![Step::Send(VhostUser::SetFeatures(bits))]))
            }
            Stimulus::NoInterrupt(switch) => self.no_interrupt(switch),
            Stimulus::UsedFlags(which) => self.used_flags(which),
            Stimulus::WatchCalls(switch) => {
                self.watch_calls = switch.on.is_on();
                Ok(Vec::new())
            }
            Stimulus::Freeze(thread) => self.freeze(&thread.thread, true),
            Stimulus::Thaw(thread) => self.freeze(&thread.thread, false),
            Stimulus::PeerRestart => {
                self.forget_connections();
                self.start_peer()?;
                Ok(Vec::new())
            }
            Stimulus::Settle(settle) => {
                let until = self.peer.now() + Duration::from_millis(settle.ms);
                self.run_until(until, |_| false)?;
                Ok(Vec::new())
            }
        }
    }

    /// Lets a front-end send what the steps say, one after the other.
    fn enqueue(&mut self, n: usize, steps: Vec<Step>) -> Vec<Awaited> {
        let number = self.front_ends[n].enqueue(steps);
        vec![Awaited::Message(n, number)]
    }

    /// Lets a front-end send a message about one of its rings.
    fn ring_message(
        &mut self,
        frontend: &str,
        queue: u16,
        message: impl Fn(VringIndex) -> VhostUser,
    ) -> Result<Vec<Awaited>, PlayError> {
        let n = self.queue_of(frontend, queue)?;
        let message = message(VringIndex(queue));
        Ok(self.enqueue(n, vec![Step::Send(message)]))
    }

    fn stop(&mut self, stop: &Stop) -> Result<Vec<Awaited>, PlayError> {
        let n = self.front_end(&stop.frontend)?;
        let queues = self.queues(n, stop.queues.as_deref())?;
        let get = |queue: &u16| {
            let vring = VringIndex(*queue);
            Step::Send(VhostUser::GetVringBase { vring })
        };
        Ok(self.enqueue(n, queues.iter().map(get).collect()))
    }

    fn post_events(&mut self, post: &PostEvents) -> Result<Vec<Awaited>, PlayError> {
        let n = self.front_end(&post.frontend)?;
        let len = post.len.unwrap_or(EVENT_SIZE);
        self.front_ends[n].post_events(post.count, len)?;
        self.front_ends[n].publish(1, self.peer);
        Ok(Vec::new())
    }

    fn no_interrupt(&mut self, switch: &QueueSwitch) -> Result<Vec<Awaited>, PlayError> {
        let n = self.queue_of(&switch.frontend, switch.queue)?;
        let front_end = &self.front_ends[n];
        let ring = front_end.ring(switch.queue);
        ring.set_no_interrupt(&front_end.memory, switch.on.is_on());
        front_end.publish(switch.queue, self.peer);
        Ok(Vec::new())
    }

    fn used_flags(&mut self, which: &QueueOnly) -> Result<Vec<Awaited>, PlayError> {
        let n = self.queue_of(&which.frontend, which.queue)?;
        let front_end = &self.front_ends[n];
        let value = front_end.ring(which.queue).used_flags(&front_end.memory);
        self.seen.push(json!({"used_flags":
            {"frontend": which.frontend, "queue": which.queue, "value": value}}));
        Ok(Vec::new())
    }

    fn front_end(&self, name: &str) -> Result<usize, PlayError> {
        let found = self.front_ends.iter().position(|f| f.setup.name == name);
        found.ok_or_else(|| format!("there is no front-end {name}"))
    }

    fn queue_of(&self, name: &str, queue: u16) -> Result<usize, PlayError> {
        let n = self.front_end(name)?;
        self.front_ends[n].check_queue(queue)?;
        Ok(n)
    }

    fn queues(&self, n: usize, named: Option<&[u16]>) -> Result<Vec<u16>, PlayError> {
        let Some(named) = named else {
            return Ok(self.front_ends[n].all_queues());
        };
        for queue in named {
            self.front_ends[n].check_queue(*queue)?;
        }
        Ok(named.to_vec())
    }

    fn connect(&mut self, n: usize) -> u64 {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.front_ends[n].connect(conn, self.peer)
    }

    /// The driver starts: features, memory, each ring, then each is enabled.
    fn start(&mut self, start: &Start) -> Result<u64, PlayError> {
        let n = self.front_end(&start.frontend)?;
        let queues = self.queues(n, start.queues.as_deref())?;
        let front_end = &mut self.front_ends[n];
        let mut steps = Vec::new();
        match (start.keep, start.base.as_deref()) {
            (false, None) => steps.push(Step::FreshRings),
            (true, None) => {}
            (true, Some("used")) => steps.push(Step::BaseFromUsed(queues.clone())),
            (_, Some(base)) => return Err(format!("a base of `{base}`")),
        }
        if front_end.setup.inflight {
            steps.extend([Step::GetInflight, Step::SetInflight]);
        }
        let bits = feature_bits(&front_end.setup.features)?;
        steps.push(Step::Send(VhostUser::SetFeatures(bits)));
        match start.regions.unwrap_or(2) {
            0 => {}
            regions => {
                let table = front_end.memory.table(regions)?;
                steps.push(Step::Send(VhostUser::SetMemTable(table)));
            }
        }
        for queue in &queues {
            let vring = VringIndex(*queue);
            steps.extend(front_end.ring_messages(*queue));
            steps.push(Step::Send(VhostUser::SetVringCall { vring }));
            steps.push(Step::Send(VhostUser::SetVringKick { vring }));
        }
        for queue in &queues {
            let vring = VringIndex(*queue);
            steps.push(Step::Send(VhostUser::SetVringEnable { vring, on: true }));
        }
        Ok(front_end.enqueue(steps))
    }

    fn kick(&mut self, kick: &Kick) -> Result<Vec<Awaited>, PlayError> {
        let n = self.queue_of(&kick.frontend, kick.queue)?;
        let vring = VringIndex(kick.queue);
        let mut steps = Vec::new();
        if kick.full {
            steps.extend(self.front_ends[n].ring_messages(kick.queue));
        }
        steps.push(Step::Send(VhostUser::SetVringKick { vring }));
        Ok(self.enqueue(n, steps))
    }

    fn rpc(&mut self, rpc: &Rpc) -> Vec<Awaited> {
        let text = request(&rpc.id, &rpc.method, rpc.params.as_ref());
        self.clients.send(rpc.conn, &text, self.peer);
        vec![Awaited::Rpc(rpc.id.clone())]
    }

    fn rpc_raw(&mut self, raw: &RpcRaw) -> Vec<Awaited> {
        self.clients.send(raw.conn, &raw.text, self.peer);
        raw.id.iter().cloned().map(Awaited::Rpc).collect()
    }

    /// Sends a request until it is answered without an error; only the last answer is reported.
    fn rpc_until(&mut self, until: &RpcUntil) -> Result<Vec<Awaited>, PlayError> {
        let id = until.id.clone().unwrap_or_else(|| SETUP_ID.into());
        let text = request(&id, &until.method, until.params.as_ref());
        let deadline = self.peer.now() + UNTIL_LIMIT;
        let is_answer = |seen: &Value| seen.get("rpc").is_some_and(|rpc| rpc["id"] == id);
        loop {
            self.clients.send(until.conn, &text, self.peer);
            self.run_until(deadline, |player| player.seen.iter().any(is_answer))?;
            let Some(at) = self.seen.iter().position(is_answer) else {
                return Ok(vec![Awaited::Rpc(id)]);
            };
            if let Some(result) = self.seen[at]["rpc"].get("result") {
                self.seen[at] = json!({"rpc": {"id": id, "last_result": result}});
                return Ok(Vec::new());
            }
            self.seen.remove(at);
            let pause = self.peer.now() + Duration::from_micros(until.every_us);
            self.run_until(pause, |_| false)?;
        }
    }

    fn freeze(&mut self, thread: &str, frozen: bool) -> Result<Vec<Awaited>, PlayError> {
        self.peer
            .freeze(thread, frozen)
            .map_err(|e| e.to_string())?;
        Ok(Vec::new())
    }

    fn scsi(&mut self, pace: ScsiPace, scsi: &Scsi) -> Result<Vec<Awaited>, PlayError> {
        let n = self.queue_of(&scsi.frontend, scsi.queue)?;
        let count = u64::from(scsi.count.unwrap_or(1));
        let mut awaited = Vec::new();
        if pace == ScsiPace::Series {
            return self.series(n, scsi, count);
        }
        let begin = self.peer.now();
        for number in 0..count {
            if pace == ScsiPace::Steady {
                let after = scsi.every_ms.unwrap_or(0) * number;
                self.run_until(begin + Duration::from_millis(after), |_| false)?;
            }
            let tag = scsi.tag + number;
            self.offer_scsi(n, scsi, tag)?;
            if pace == ScsiPace::Steady {
                self.front_ends[n].publish(scsi.queue, self.peer);
            }
            awaited.push(Awaited::Tag(n, tag));
        }
        self.front_ends[n].publish(scsi.queue, self.peer);
        Ok(awaited)
    }

    fn offer_scsi(&mut self, n: usize, scsi: &Scsi, tag: u64) -> Result<(), PlayError> {
        let front_end = &mut self.front_ends[n];
        let draft = Draft::scsi(scsi, tag, &mut front_end.memory)?;
        front_end.offer(scsi.queue, draft, None, 1)
    }

    /// One after the other, reported as a summary of equal answers.
    fn series(&mut self, n: usize, scsi: &Scsi, count: u64) -> Result<Vec<Awaited>, PlayError> {
        let mut answers: Vec<(u64, Value)> = Vec::new();
        for number in 0..count {
            let before = self.seen.len();
            self.offer_scsi(n, scsi, scsi.tag + number)?;
            self.front_ends[n].publish(scsi.queue, self.peer);
            let patience = if self.peer.goes_on() {
                LATE_MAX
            } else {
                SERIES_PATIENCE
            };
            let until = self.peer.now() + patience;
            self.run_until(until, |player| player.seen.len() > before)?;
            for mut seen in self.seen.split_off(before) {
                if let Some(used) = seen.get_mut("used").and_then(Value::as_object_mut) {
                    used.shift_remove("tag");
                }
                match answers.iter_mut().find(|(_, known)| *known == seen) {
                    Some((times, _)) => *times += 1,
                    None => answers.push((1, seen)),
                }
            }
        }
        let answers: Vec<Value> = answers
            .into_iter()
            .map(|(times, see)| json!({"n": times, "see": see}))
            .collect();
        let avail_idx = self.front_ends[n].ring(scsi.queue).avail_idx();
        self.seen
            .push(json!({"series": {"avail_idx": avail_idx, "answers": answers}}));
        Ok(Vec::new())
    }

    fn tmf(&mut self, tmf: &Tmf) -> Result<Vec<Awaited>, PlayError> {
        let n = self.queue_of(&tmf.frontend, 0)?;
        let front_end = &mut self.front_ends[n];
        let draft = Draft::tmf(tmf, &mut front_end.memory)?;
        front_end.offer(0, draft, None, 1)?;
        front_end.publish(0, self.peer);
        Ok(vec![Awaited::Tag(n, tmf.tag)])
    }

    fn chain(&mut self, chain: &Chain) -> Result<Vec<Awaited>, PlayError> {
        let n = self.queue_of(&chain.frontend, chain.queue)?;
        let front_end = &mut self.front_ends[n];
        let draft = Draft::chain(chain, &mut front_end.memory)?;
        front_end.offer(
            chain.queue,
            draft,
            chain.head,
            chain.avail_jump.unwrap_or(1),
        )?;
        front_end.publish(chain.queue, self.peer);
        Ok(vec![Awaited::Tag(n, chain.tag)])
    }
}

/// The requests that carry out a set-up.
fn setup_requests(setup: &Setup) -> Vec<(&'static str, Value)> {
    let mut requests: Vec<(&'static str, Value)> = Vec::new();
    requests.extend(
        (1..)
            .zip(&setup.bdevs)
            .map(|(n, bdev)| bdev_request(n, bdev)),
    );
    requests.extend(setup.controllers.iter().map(controller_request));
    requests.extend(setup.targets.iter().map(|target| {
        (
            "vhost_scsi_controller_add_target",
            json!({
                "ctrlr": target.ctrlr,
                "scsi_target_num": target.slot,
                "bdev_name": target.bdev,
            }),
        )
    }));
    requests
}

/// The request that makes a bdev; malloc bdevs get a fixed UUID, by their number.
fn bdev_request(number: u64, bdev: &BdevSetup) -> (&'static str, Value) {
    if let Some(base) = &bdev.hold_of {
        return ("bdev_error_create", json!({ "base_name": base }));
    }
    if let Some(base) = &bdev.delay_of {
        let us = bdev.us.unwrap_or(0);
        let params = json!({
            "base_bdev_name": base,
            "name": bdev.name,
            "avg_read_latency": us,
            "p99_read_latency": us,
            "avg_write_latency": us,
            "p99_write_latency": us,
        });
        return ("bdev_delay_create", params);
    }
    if let Some(base) = &bdev.split_of {
        let params = json!({"base_bdev": base, "split_count": bdev.count.unwrap_or(0)});
        return ("bdev_split_create", params);
    }
    let mut params = json!({
        "name": bdev.name,
        "block_size": bdev.block_size.unwrap_or(512),
        "num_blocks": bdev.num_blocks.unwrap_or(8192),
    });
    if bdev.null {
        return ("bdev_null_create", params);
    }
    params["uuid"] = format!("00000000-0000-4000-8000-{number:012x}").into();
    ("bdev_malloc_create", params)
}

fn controller_request(controller: &ControllerSetup) -> (&'static str, Value) {
    let full = match controller {
        ControllerSetup::Name(name) => {
            return ("vhost_create_scsi_controller", json!({ "ctrlr": name }));
        }
        ControllerSetup::Full(full) => full,
    };
    let mut params = json!({ "ctrlr": full.ctrlr });
    if let Some(mask) = &full.cpumask {
        params["cpumask"] = mask.as_str().into();
    }
    if full.kind.as_deref() == Some("blk") {
        params["dev_name"] = full.dev_name.as_deref().unwrap_or_default().into();
        return ("vhost_create_blk_controller", params);
    }
    ("vhost_create_scsi_controller", params)
}
