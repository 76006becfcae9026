//! Each invariant is broken by a mutant of a world, and by that alone; a world that nobody touched breaks none.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use linux::{Guest, GuestConfig};
use scenarios::{ControllerId, Observation, Seen, VmId};
use testkit::Target;
use wire::message::{ClientId, ConnId, FromTarget, GuestAct, HbaId, ToGuest};
use wire::{Rng, Stream};

use super::*;
use crate::{Choices, Device};

type Tiny = World<Target, Guest>;

/// A world with a guest that has booted.
fn booted() -> Tiny {
    let mut world = World::new(Target::new(), Rng::new(1, Stream::Accidents));
    let config = GuestConfig::new(VmId(1), vec![ControllerId(1)], [].into(), None);
    let device = Device::new(ControllerId(1), "tiny");
    world.add_guest(VmId(1), Guest::new(config), vec![device]);
    assert!(world.tell_guest(VmId(1), ToGuest::Do(GuestAct::Boot)));
    while world.step(Time::NEVER) == crate::Step::Turn {}
    let mut seen = Vec::new();
    world.take_seen(&mut seen);
    let ready = |seen: &Seen| matches!(seen.what, Observation::VmReady { .. });
    assert!(seen.iter().any(ready), "{seen:?}");
    world.check();
    world
}

/// What a check of a spoiled world says.
fn panics(check: impl FnOnce()) -> String {
    let caught = catch_unwind(AssertUnwindSafe(check));
    let text = caught.expect_err("a mutant is noticed");
    text.downcast::<String>()
        .map_or_else(|_| String::new(), |text| *text)
}

fn see(world: &mut Tiny, at: Time) {
    let what = Observation::VmReady {
        vm: VmId(1),
        boot: 1,
    };
    world.saw.push(Seen { at, what });
}

/// Spoils a world so that a certain invariant is broken.
fn spoil(world: &mut Tiny, invariant: &str) {
    match invariant {
        "time_never_goes_back" => world.now.0 -= 1,
        "turns_are_counted" => {
            // As a world would that had forgotten them altogether.
            (world.turns, world.trace, world.order) = Default::default();
        }
        "each_turn_is_in_the_trace_hash_once" => world.trace.fold(1),
        "the_order_hash_is_of_turns" => {
            (0..=world.turns).for_each(|_| world.order.fold(1));
        }
        "every_actor_has_an_owner" => world.owner[0] = 1,
        "the_schedule_knows_the_target" => world.schedule.set(0, When::At(world.now)),
        "the_schedule_knows_the_guests" => {
            let first = world.vms[0].first;
            world.schedule.set(first, When::At(world.now));
        }
        "messages_are_handed_over_at_once" => {
            world
                .from_target
                .push(FromTarget::Closed { conn: ConnId(0) });
        }
        "a_connection_is_of_a_device" => world.conns.push((0, HbaId(1))),
        "both_sides_know_a_connection" => world.vms[0].devices[0].conn = Some(ConnId(7)),
        "a_dead_target_has_no_connection" => {
            world.died = true;
            world.block_target();
        }
        "guests_have_names_of_their_own" => {
            let config = GuestConfig::new(VmId(1), vec![], [].into(), None);
            world.add_guest(VmId(1), Guest::new(config), vec![]);
        }
        "observations_are_in_order" => {
            see(world, Time(2));
            see(world, Time(1));
        }
        "observations_are_taken" => {
            let answer = (ClientId(0), Bytes::from_static(b"1"));
            world.rpc = vec![answer; UNTAKEN_MAX + 1];
        }
        "an_answer_has_bytes" => world.rpc.push((ClientId(0), Bytes::new())),
        "no_schedule_invents_a_stall" => {
            let rng = Box::new(Rng::new(1, Stream::Schedule));
            let slack = STOP_TIMEOUT.as_nanos() as u64;
            world.strategy = Strategy::Random { slack, rng };
        }
        "a_choice_is_of_an_actor" => {
            let mut choices = Choices::default();
            choices.spoil();
            world.strategy = Strategy::Replay(choices);
        }
        "a_schedule_diverged_in_the_past" => world.diverged = Some(world.turns + 1),
        other => panic!("nothing is known that breaks {other}"),
    }
}

#[test]
fn each_invariant_of_a_world_is_broken_by_a_mutant() {
    for row in Tiny::INVARIANTS {
        let mut world = booted();
        spoil(&mut world, row.name);
        let broken = Tiny::INVARIANTS
            .iter()
            .filter(|row| (row.broken)(&world).is_some());
        assert_eq!(broken.map(|row| row.name).collect::<Vec<_>>(), [row.name]);
        let text = panics(|| world.check());
        assert!(
            text.contains(row.name) && text.contains(row.says),
            "{}: {text}",
            row.name
        );
    }
    let mut ahead = booted();
    let later = Time(ahead.now.0 + 1);
    see(&mut ahead, later);
    assert!(panics(|| ahead.check()).contains("observations_are_in_order"));
}

#[test]
fn each_invariant_of_a_schedule_is_broken_by_a_mutant() {
    for row in Schedule::INVARIANTS {
        let mut schedule = booted().schedule;
        schedule.spoil(row.name);
        assert!(panics(|| check_all(Schedule::INVARIANTS, &schedule)).contains(row.name));
    }
}

#[test]
fn each_invariant_of_a_snapshot_is_broken_by_a_mutant() {
    let tables = [Frozen::INVARIANTS, Frozen::RESTORED];
    for (table, row) in tables
        .iter()
        .flat_map(|table| table.iter().map(move |row| (table, row)))
    {
        let mut world = booted();
        let mut snapshot = world.snapshot().expect("both ends make marks");
        let frozen = &mut snapshot.memories[0];
        check_all(table, frozen);
        frozen.spoil(row.name);
        assert!(panics(|| check_all(table, frozen)).contains(row.name));
    }
}

#[test]
fn each_invariant_of_a_choice_is_broken_by_a_mutant() {
    let good = Picked {
        actor: 1,
        since: Time(5),
        ready: Some(Time(5)),
        soonest: Some(Time(5)),
        actors: 2,
        limit: Time(6),
    };
    check_all(&PICKED, &good);
    for row in &PICKED {
        let picked = match row.name {
            "who_is_picked_exists" => Picked { actor: 2, ..good },
            "who_is_picked_is_ready" => Picked {
                ready: None,
                ..good
            },
            "no_turn_is_after_the_limit" => Picked {
                limit: Time(4),
                ..good
            },
            "a_timed_schedule_takes_the_earliest" => Picked {
                soonest: Some(Time(4)),
                ..good
            },
            other => panic!("nothing is known that breaks {other}"),
        };
        assert!(panics(|| check_all(&PICKED, &picked)).contains(row.name));
    }
}

#[test]
fn a_mutant_is_noticed_by_the_loop_itself() {
    let mut world = booted();
    let turns = world.turns;
    world.tell_guest(VmId(1), ToGuest::Do(GuestAct::Boot));
    spoil(&mut world, "the_order_hash_is_of_turns");
    (0..world.turns).for_each(|_| world.order.fold(1));
    let text = panics(|| while world.step(Time::NEVER) == crate::Step::Turn {});
    assert!(text.contains("the_order_hash_is_of_turns"), "{text}");
    assert!(world.turns - turns <= CHECK_EVERY * ALL_OF);
}

#[test]
fn names_are_used_once_and_sentences_are_whole() {
    let mut names = BTreeSet::new();
    for (name, says) in Tiny::invariants() {
        assert!(names.insert(name), "{name} is there twice");
        assert!(says.ends_with('.'), "{name}: {says}");
    }
    assert!(names.len() >= 32, "{}", names.len());
}
