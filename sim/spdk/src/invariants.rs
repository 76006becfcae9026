//! What must always hold of this model between two turns: rows with a name, a sentence, and a look.
//!
//! A broken one is a bug of the model, and no guest or socket may break one. Where a known bug *is* that
//! something is miscounted, the row names it, and does not look while it is in force. A process that has died
//! is not looked at: it may have died half-way.

use super::Target;
use crate::app;
use crate::bdev;
use crate::devices::{Device, Lun};
use crate::handles::{APP, BDEV, DPDK, DevHandle, Foreach, VDEV, VdevId};
use crate::mail::{AppMessage, VdevMessage, Waiting};
use crate::vdev;
use crate::vdev::controller::Controller;
use wire::bugs::{Bug, Bugs};
use wire::invariant::Invariant;

/// A row that is looked at until the process has died.
macro_rules! row {
    ($name:literal, $says:literal, |$t:ident| $broken:expr $(,)?) => {
        Invariant {
            name: $name,
            says: $says,
            broken: |$t: &Target| if $t.is_dead() { None } else { $broken },
        }
    };
}

/// A row that some known bugs break, each of which is just that: for the checks to find. Nobody looks while one
/// of them is switched on; none is of head, so that every row is looked at there.
macro_rules! unless {
    ([$($bug:ident),+], $name:literal, $says:literal, |$t:ident| $broken:expr $(,)?) => {
        row!($name, $says, |$t| {
            const BREAK_IT: Bugs = Bugs::INTENDED$(.with(Bug::$bug))+;
            const { $(assert!(!Bug::$bug.in_head()));+ }
            if $t.shared.bugs.has_any(BREAK_IT) { None } else { $broken }
        })
    };
}

pub(crate) static INVARIANTS: &[Invariant<Target>] = &[
    row!(
        "time_of_the_app_thread",
        "The app thread is due when the first of its messages, timers, retries and polls is.",
        |t| {
            let (message, timer, retry) = t.shared.mail.app_due();
            let due = message.0.min(timer).min(retry).min(t.app.poll_due());
            due_differs(t, APP, due)
        },
    ),
    row!(
        "time_of_dpdks_thread",
        "DPDK's thread is due when what it does, waits for or was sent is.",
        |t| due_differs(t, DPDK, t.dpdk.due(&t.shared.mail)),
    ),
    row!(
        "time_of_the_devices",
        "The devices are due when the first I/O in flight ends.",
        |t| due_differs(t, BDEV, t.shared.bdevs.engine.due()),
    ),
    row!(
        "time_of_the_controllers",
        "A controller's thread is due when the first of its messages and pollers is.",
        |t| {
            t.vdevs.iter().find_map(|ctl| {
                let due = ctl.due().min(ctl.inbox().first().0);
                due_differs(t, VDEV + ctl.vdev.index(), due)
            })
        },
    ),
    row!(
        "who_is_due_has_its_bit",
        "The masks of the agenda say who is due, and who has a message.",
        |t| t.agenda.masked_wrongly(),
    ),
    row!(
        "messages_are_noted",
        "The message that is noted for a thread is the first of its inbox.",
        |t| {
            let vdevs = t.vdevs.iter();
            let firsts = vdevs.map(|ctl| (VDEV + ctl.vdev.index(), ctl.inbox().first()));
            let mut firsts = firsts.chain([(APP, t.shared.mail.app_due().0)]);
            let (actor, first) =
                firsts.find(|(actor, first)| t.agenda.message(*actor) != *first)?;
            let noted = t.agenda.message(actor);
            Some(format!("actor {actor} has {first:?}, noted is {noted:?}"))
        },
    ),
    row!(
        "nothing_overlooked",
        "After a turn everything that was touched was looked at, and nothing waits to be heeded.",
        |t| t.shared.mail.unheeded(),
    ),
    row!(
        "mail_in_order",
        "An inbox is in the order of sending, and holds nothing that was not sent.",
        |t| {
            let vdevs = t.vdevs.iter().find_map(|ctl| {
                let inbox = ctl.inbox();
                t.shared.mail.disorder(inbox)
            });
            vdevs.or_else(|| t.shared.mail.app_disorder())
        },
    ),
    row!(
        "semaphore_has_its_waiter",
        "The semaphore of a stop is awaited exactly while DPDK's thread waits for one.",
        |t| {
            let (awaited, posted) = t.shared.mail.semaphore();
            let waits = t.dpdk.waits();
            (awaited != waits || posted && !awaited)
                .then(|| format!("awaited {awaited}, posted {posted}, the thread waits {waits}"))
        },
    ),
    row!(
        "foreach_pending_once",
        "A controller counts as many foreach operations as are on their way.",
        |t| t.vdevs.iter().find_map(|ctl| foreach_miscounted(t, ctl)),
    ),
    row!(
        "lock_has_its_waiters",
        "Who waits for a controller's lock waits while it is held.",
        |t| {
            let mut waits = t.vdevs.iter();
            let ctl = waits.find(|ctl| !ctl.locked && !ctl.waiting.is_empty())?;
            Some(format!("{} is not locked", ctl.name))
        },
    ),
    unless!(
        [ForeachUnderLock],
        "lock_has_its_holder",
        "A controller's lock is held by a kick that DPDK's thread is in the middle of.",
        |t| {
            let kicks = t.dpdk.kicks();
            let mut held = t.vdevs.iter().filter(|ctl| ctl.locked);
            let ctl = held.find(|ctl| kicks != Some((ctl.vdev, ctl.number)))?;
            Some(format!("{} is locked, and DPDK kicks {kicks:?}", ctl.name))
        },
    ),
    row!(
        "controllers_in_their_places",
        "A controller stands at its place, under a name of its own, and the app thread knows it.",
        |t| {
            let wrong = |place: usize| {
                let ctl = t.vdevs.get(VdevId(place as u8));
                let known = t.app.knows(VdevId(place as u8));
                let twin = ctl.and_then(|ctl| t.vdevs.find(&ctl.name));
                let there = ctl.map(|ctl| ctl.vdev);
                (known != ctl.is_some()
                    || twin != there
                    || there.is_some_and(|v| v.index() != place))
                .then(|| format!("at place {place}: {there:?}, known {known}, named {twin:?}"))
            };
            (0..t.vdevs.places()).find_map(wrong)
        },
    ),
    row!(
        "numbers_are_given_once",
        "Controllers and SCSI devices have numbers of their own, none above the last that was given.",
        |t| t.app.misnumbered(&t.vdevs, &t.shared.devs),
    ),
    row!(
        "rpcs_that_retry_are_counted",
        "Who can wake RPCs that wait for a change knows how many wait, and wakes none if none does.",
        |t| app::retries_miscounted(&t.app, &t.shared.mail),
    ),
    row!(
        "every_call_waits_once",
        "An RPC that is answered later is open, and one place answers it.",
        |t| app::call_out_of_place(&t.app, &t.vdevs, &t.shared),
    ),
    row!(
        "timeouts_have_their_call",
        "A time-out of an RPC runs as long as the RPC waits, and no longer.",
        |t| app::timeout_of_nobody(&t.app, &t.shared.mail),
    ),
    row!(
        "rpc_poller_keeps_its_phase",
        "The RPC poller runs at whole periods, and runs if there is something to do.",
        |t| t.app.poller_out_of_phase(),
    ),
    row!(
        "sessions_in_order",
        "Sessions stand in the order of their ids, and ids are given once.",
        |t| {
            t.vdevs
                .iter()
                .find_map(vdev::invariants::sessions_out_of_order)
        },
    ),
    row!(
        "pollers_run_when_started",
        "A session whose pollers run has started, does not stop, and is not gone.",
        |t| each_session(t, vdev::invariants::polled_and_not_started),
    ),
    row!(
        "management_keeps_its_phase",
        "The management poller runs at whole periods since the start, and while the pollers run.",
        |t| each_session(t, vdev::invariants::management_out_of_phase),
    ),
    unless!(
        [ForeachUnderLock],
        "stops_are_bounded",
        "A stop looks again before its deadline, and at it.",
        |t| each_session(t, vdev::invariants::stop_unbounded),
    ),
    unless!(
        [LeakTaskOnReject],
        "tasks_are_counted",
        "A session counts as many tasks as its rings, of this life or an earlier one, have in flight.",
        |t| each_session(t, vdev::invariants::tasks_miscounted),
    ),
    row!(
        "rings_are_bounded",
        "A ring has no more tasks than entries, which SPDK takes, and a session no more queues than rings.",
        |t| each_session(t, vdev::invariants::ring_outgrown),
    ),
    row!(
        "session_slots_hold_their_devices",
        "A session's slot has a device exactly while it is ADDING, PRESENT or REMOVING.",
        |t| each_session(t, vdev::invariants::session_slot_wrong),
    ),
    unless!(
        [StaleFinish],
        "slots_hold_their_devices",
        "A controller's slot has a device exactly while it is ADDING, PRESENT or REMOVING.",
        |t| t.vdevs.iter().find_map(vdev::invariants::slot_wrong),
    ),
    row!(
        "channels_are_owned",
        "A LUN has an io channel exactly while somebody refers to it, on its controller's thread.",
        |t| {
            each_lun(t, |_, device, lun| {
                let owner = lun.channel;
                let foreign = owner.is_some_and(|owner| owner != device.vdev);
                (foreign || owner.is_some() != (lun.references > 0))
                    .then(|| format!("{owner:?}, {} references", lun.references))
            })
        },
    ),
    unless!(
        [
            DoubleSessionAdd,
            HotplugIntoStopped,
            UnlinkLunFirst,
            ChannelNotRefcounted
        ],
        "references_have_holders",
        "An io channel counts as many references as sessions hold the device.",
        |t| references_miscounted(t),
    ),
    row!(
        "resets_wait_for_a_reset",
        "Resets of a LUN wait behind one that is under way, and only that one can be done.",
        |t| {
            each_lun(t, |_, _, lun| {
                let waits = lun.reset_done || !lun.resets.is_empty();
                (waits && lun.reset.is_none())
                    .then(|| format!("{} wait, done {}", lun.resets.len(), lun.reset_done))
            })
        },
    ),
    row!(
        "lun_pollers_run_once",
        "A LUN that is polled has one run of its poller before it, on one thread; others have none.",
        |t| each_lun(t, |dev, device, lun| polls_miscounted(
            t,
            dev,
            device.vdev,
            lun
        )),
    ),
    row!(
        "luns_and_bdevs_agree",
        "A LUN's bdev is there, and lists the device; what a bdev lists has it open.",
        |t| bdev::invariants::open_one_way(&t.shared.bdevs, &t.shared.devs),
    ),
    row!(
        "bdevs_stand_on_their_bases",
        "A bdev on another is listed there, and a base is claimed exactly while something is on it.",
        |t| bdev::invariants::base_unaware(&t.shared.bdevs),
    ),
    row!(
        "names_lead_to_bdevs",
        "Each name of each bdev leads to it, and no other name leads anywhere.",
        |t| bdev::invariants::misnamed(&t.shared.bdevs),
    ),
    row!(
        "notifications_are_bounded",
        "No more notifications are kept than SPDK keeps.",
        |t| bdev::invariants::too_many_notifications(&t.shared.bdevs),
    ),
    row!(
        "flights_end_once",
        "An I/O in flight ends at one time, or is held by an error bdev; what is free flies not.",
        |t| t.shared.bdevs.engine.flight_adrift(),
    ),
    unless!(
        [ResetCompletesInflight],
        "flights_are_outstanding",
        "LUNs count as many tasks outstanding as the bdevs have in flight.",
        |t| {
            let luns = t.shared.devs.all().filter_map(|(_, dev)| dev.lun.as_ref());
            let outstanding: u32 = luns.map(|lun| lun.outstanding).sum();
            let flying = t.shared.bdevs.engine.flying();
            (flying != outstanding as usize)
                .then(|| format!("{outstanding} are outstanding, {flying} fly"))
        },
    ),
    row!(
        "connections_are_distinct",
        "A connection is open once, and has a vid of its own.",
        |t| t.dpdk.connection_twice(),
    ),
];

fn due_differs(t: &Target, actor: usize, due: scenarios::Time) -> Option<String> {
    let noted = t.agenda.due(actor);
    (noted != due).then(|| format!("actor {actor} is due at {due:?}, noted is {noted:?}"))
}

fn each_session(
    t: &Target,
    broken: fn(&vdev::session::Session) -> Option<String>,
) -> Option<String> {
    let mut all = t.vdevs.iter().flat_map(|ctl| {
        let sessions = ctl.sessions.iter();
        sessions.map(move |session| (ctl, session))
    });
    all.find_map(|(ctl, session)| {
        let what = broken(session)?;
        Some(format!("of {}s{}: {what}", ctl.name, session.vid))
    })
}

fn each_lun(
    t: &Target,
    broken: impl Fn(DevHandle, &Device, &Lun) -> Option<String>,
) -> Option<String> {
    t.shared.devs.handles().find_map(|(dev, device)| {
        let what = broken(dev, device, device.lun.as_ref()?)?;
        Some(format!("of device {}: {what}", device.number))
    })
}

fn foreach_miscounted(t: &Target, ctl: &Controller) -> Option<String> {
    let of_it = |foreach: &Foreach| (foreach.vdev, foreach.number) == (ctl.vdev, ctl.number);
    let done = |message: &AppMessage| message.foreach().is_some_and(of_it);
    let visit = |message: &VdevMessage| matches!(message, VdevMessage::Foreach(_));
    let waiting = ctl.waiting.iter().filter(|waiting| match waiting {
        Waiting::Vdev(message) => visit(message),
        Waiting::App(message) => done(message),
    });
    let under_way = ctl.inbox().all().filter(|message| visit(message)).count()
        + t.shared.mail.app().filter(|message| done(message)).count()
        + waiting.count();
    (under_way != ctl.pending_ops as usize).then(|| {
        let (name, counted) = (&ctl.name, ctl.pending_ops);
        format!("{name} counts {counted}, {under_way} are on their way")
    })
}

fn references_miscounted(t: &Target) -> Option<String> {
    each_lun(t, |dev, device, lun| {
        let ctl = t.vdevs.get(device.vdev);
        let sessions = ctl.iter().flat_map(|ctl| &ctl.sessions);
        let slots = sessions.flat_map(|session| &session.slots);
        let held = slots.filter(|slot| slot.dev == Some(dev)).count();
        (held != lun.references as usize)
            .then(|| format!("{} references, {held} hold it", lun.references))
    })
}

fn polls_miscounted(t: &Target, dev: DevHandle, vdev: VdevId, lun: &Lun) -> Option<String> {
    let ctl = t.vdevs.get(vdev);
    let own = ctl.iter().flat_map(|ctl| &ctl.lun_polls);
    let own = own.filter(|(_, of)| *of == dev).count();
    let timers = t.shared.mail.timers();
    let apps = timers.filter(|timer| matches!(timer, AppMessage::LunRemove(of) if *of == dev));
    let polls = own + apps.count();
    (polls != usize::from(lun.polled))
        .then(|| format!("polled {}, {polls} runs are due", lun.polled))
}
