//! A world driven by hand: calls in, turns taken, everything that is seen shown to whoever watches.
//!
//! For directed tests of any two ends. Knows JSON-RPC, and neither end.

use std::collections::BTreeMap;
use std::time::Duration;

use scenarios::driver::json_rpc::{Client, Refused};
use scenarios::{Observation, Seen, Ticket, Time, VmId};
use serde_json::Value;

use wire::message::{ClientId, GuestAct, ToGuest};
use wire::{BackEnd, FrontEnd};
use world::{Step, World};

/// What is waited for comes within this, or the test is wrong (virtual time).
const PATIENCE: Duration = Duration::from_secs(60);

/// An RPC: method and parameters.
pub type Call = (&'static str, Value);

/// Somebody who is shown everything that is seen, in order, and may complete it.
pub trait Watch {
    fn see(&mut self, seen: &mut Seen);
}

/// Keeps it all.
impl Watch for Vec<Seen> {
    fn see(&mut self, seen: &mut Seen) {
        self.push(seen.clone());
    }
}

/// A world, and who watches it.
pub struct Directed<T, G, W> {
    pub world: World<T, G>,
    pub watch: W,
    calls: u32,
    rpc: Client<u32>,
    answers: BTreeMap<u32, Result<Value, Refused>>,
}

impl<T: BackEnd, G: FrontEnd, W: Watch> Directed<T, G, W> {
    /// Nothing has happened yet.
    pub fn over(world: World<T, G>, watch: W) -> Self {
        Self {
            world,
            watch,
            calls: 0,
            rpc: Client::default(),
            answers: BTreeMap::new(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.world.now()
    }

    /// Writes `calls` to the RPC socket at once; the number of the last.
    pub fn send(&mut self, calls: impl IntoIterator<Item = Call>) -> u32 {
        let mut bytes: Vec<u8> = Vec::new();
        for (method, params) in calls {
            self.calls += 1;
            let text = self.rpc.call(method, Some(&params), self.calls);
            bytes.extend_from_slice(text.as_bytes());
        }
        self.world.send_rpc(ClientId(0), bytes.into());
        self.calls
    }

    /// Makes a call and waits for its answer: the result.
    ///
    /// # Panics
    ///
    /// If it is an error.
    pub fn call(&mut self, call: Call) -> Value {
        let asked = format!("{} {}", call.0, call.1);
        let id = self.send([call]);
        let answered = |seen: &Seen| matches!(&seen.what, Observation::Answered { ticket, .. } if *ticket == Ticket(id));
        self.wait(&asked, answered);
        match &self.answers[&id] {
            Ok(result) => result.clone(),
            Err(refused) => panic!("{asked}: {refused}"),
        }
    }

    /// Asks a guest to do something.
    ///
    /// # Panics
    ///
    /// If there is no such guest.
    pub fn tell(&mut self, vm: VmId, act: GuestAct) {
        assert!(self.world.tell_guest(vm, ToGuest::Do(act)), "no {vm}");
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let limit = self.now() + span;
        while self.step(limit, &mut |_| false) == Some(Step::Turn) {}
        self.world.pass(limit);
    }

    /// Runs until something is seen.
    ///
    /// # Panics
    ///
    /// If it is not, before nobody can take a turn or the time is over.
    pub fn wait(&mut self, what: &str, mut is: impl FnMut(&Seen) -> bool) {
        let limit = self.now() + PATIENCE;
        loop {
            match self.step(limit, &mut is) {
                None => return,
                Some(Step::Turn) => {}
                Some(end) => panic!(
                    "{what}: not seen before {end:?} at {}; left: {:?}",
                    self.now(),
                    self.world.left()
                ),
            }
        }
    }

    /// Runs until nobody can take a turn, or for `most`; then says what is left.
    pub fn rest(&mut self, most: Duration) {
        let limit = self.now() + most;
        let settled = loop {
            match self.step(limit, &mut |_| false) {
                Some(Step::Limit) => break false,
                Some(Step::AtRest) => break true,
                Some(Step::Turn) | None => {}
            }
        };
        self.world.audit(settled);
        let left = self.world.left();
        self.world.see(Observation::Quiet { settled, left });
        self.show(&mut |_| false);
    }

    /// Takes a turn; `None` if what it showed is what `is` looks for.
    fn step(&mut self, limit: Time, is: &mut dyn FnMut(&Seen) -> bool) -> Option<Step> {
        let step = self.world.step(limit);
        for (_, bytes) in self.world.take_rpc() {
            self.read(&bytes);
        }
        if self.show(is) { None } else { Some(step) }
    }

    /// Shows what was seen; whether `is` was among it.
    fn show(&mut self, is: &mut dyn FnMut(&Seen) -> bool) -> bool {
        let mut seen = Vec::new();
        self.world.take_seen(&mut seen);
        let mut found = false;
        for seen in &mut seen {
            self.watch.see(seen);
            found |= is(seen);
        }
        found
    }

    fn read(&mut self, bytes: &[u8]) {
        for (call, answer) in self.rpc.read(bytes).expect("answers to calls") {
            let result = answer.clone().map(|_| 0);
            self.world.see(Observation::Answered {
                ticket: Ticket(call),
                result: result.map_err(|refused| refused.message),
            });
            self.answers.insert(call, answer);
        }
    }
}
