//! What must always hold of a controller's state, and of a session's.

use scenarios::{SlotState, Time};

use super::controller::Controller;
use super::session::{MANAGE_PERIOD, Session};
use super::task::Task;
use super::vring::RING_SIZE_MAX;

pub fn sessions_out_of_order(ctl: &Controller) -> Option<String> {
    let ids = || ctl.sessions.iter().map(|session| session.id);
    let rise = ids().is_sorted_by(|a, b| a < b);
    let last = ids().next_back();
    (!rise || last >= Some(ctl.next_session)).then(|| {
        let all: Vec<_> = ids().collect();
        format!("{} has {all:?}, next is {:?}", ctl.name, ctl.next_session)
    })
}

pub fn polled_and_not_started(session: &Session) -> Option<String> {
    let stops = session.stopping.is_some() || session.draining || session.gone;
    (session.polled && (!session.started || stops)).then(|| {
        let (started, gone) = (session.started, session.gone);
        format!("started {started}, stops {stops}, gone {gone}")
    })
}

pub fn management_out_of_phase(session: &Session) -> Option<String> {
    let at = session.manage_at;
    let period = MANAGE_PERIOD.as_nanos() as u64;
    let on_tick = (at.0.saturating_sub(session.since.0)).is_multiple_of(period);
    (at != Time::NEVER && !(session.polled && on_tick)).then(|| {
        format!(
            "due at {at:?}, polled {} since {:?}",
            session.polled, session.since
        )
    })
}

pub fn stop_unbounded(session: &Session) -> Option<String> {
    let stop = session.stopping.as_ref()?;
    (stop.next > stop.deadline || stop.began > stop.next).then(|| format!("{stop:?}"))
}

pub fn tasks_miscounted(session: &Session) -> Option<String> {
    let in_flight = |tasks: &[Task]| tasks.iter().filter(|task| task.in_flight).count();
    let rings = session.vrings.iter().map(|ring| in_flight(&ring.tasks));
    let old = session.orphans.iter();
    let old = old.map(|(_, _, tasks)| in_flight(tasks));
    let flying: usize = rings.chain(old).sum();
    (flying != session.task_cnt as usize)
        .then(|| format!("{} are counted, {flying} in flight", session.task_cnt))
}

pub fn ring_outgrown(session: &Session) -> Option<String> {
    let rings = session.vrings.len();
    if usize::from(session.max_queues) > rings {
        return Some(format!("{} queues of {rings} rings", session.max_queues));
    }
    session.vrings.iter().find_map(|ring| {
        let (size, tasks) = (usize::from(ring.size()), ring.tasks.len());
        (tasks > size || size > RING_SIZE_MAX as usize)
            .then(|| format!("{tasks} tasks in a ring of {size}"))
    })
}

const fn holds(state: SlotState) -> bool {
    match state {
        SlotState::Adding | SlotState::Present | SlotState::Removing => true,
        SlotState::Empty | SlotState::Removed => false,
    }
}

pub fn session_slot_wrong(session: &Session) -> Option<String> {
    let wrong = |slot: &&super::session::SessionSlot| slot.dev.is_some() != holds(slot.state);
    let slot = session.slots.iter().find(wrong)?;
    Some(format!("{slot:?}"))
}

pub fn slot_wrong(ctl: &Controller) -> Option<String> {
    let wrong = |slot: &&super::controller::Slot| slot.dev.is_some() != holds(slot.state);
    let slot = ctl.slots.iter().find(wrong)?;
    Some(format!("of {}: {slot:?}", ctl.name))
}
