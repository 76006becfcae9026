//! What must always hold of this model between two turns: rows with a name, a sentence, and a look.
//!
//! A broken one is a bug of the model, and no known bug, guest or socket may break one. Where a known bug *is*
//! that something is miscounted, the row does not look while the bug is in force. A process that has died is
//! not looked at: it may have died half-way.

use super::Target;
use crate::app;
use crate::bdev;
use crate::devices::{Device, Lun};
use crate::handles::{APP, BDEV, DPDK, DevHandle, VDEV, VdevId};
use crate::mail::{AppMessage, VdevMessage, Waiting};
use crate::vdev;
use crate::vdev::controller::Controller;
use wire::bugs::Bug;

/// A row of the table.
pub(crate) struct Row {
    pub name: &'static str,
    /// What must hold, as a sentence.
    pub says: &'static str,
    /// What is wrong, with the values that show it.
    pub broken: fn(&Target) -> Option<String>,
}

const fn row(name: &'static str, says: &'static str, broken: fn(&Target) -> Option<String>) -> Row {
    Row { name, says, broken }
}

pub(crate) static TABLE: &[Row] = &[
    row(
        "time_of_the_app_thread",
        "The app thread is due when the first of its messages, timers, retries and polls is.",
        |t| {
            let (message, timer, retry) = t.shared.mail.app_due();
            let due = message.0.min(timer).min(retry).min(t.app.poll_due());
            t.due_differs(APP, due)
        },
    ),
    row(
        "time_of_dpdks_thread",
        "DPDK's thread is due when what it does, waits for or was sent is.",
        |t| t.due_differs(DPDK, t.dpdk.due(&t.shared.mail)),
    ),
    row(
        "time_of_the_devices",
        "The devices are due when the first I/O in flight ends.",
        |t| t.due_differs(BDEV, t.shared.bdevs.engine.due()),
    ),
    row(
        "time_of_the_controllers",
        "A controller's thread is due when the first of its messages and pollers is.",
        |t| {
            t.vdevs.iter().find_map(|ctl| {
                let due = ctl.due().min(ctl.inbox().first().0);
                t.due_differs(VDEV + ctl.vdev.index(), due)
            })
        },
    ),
    row(
        "nothing_untouched",
        "After a turn everything that was touched was looked at, and nothing waits to be heeded.",
        |t| t.shared.mail.unheeded(),
    ),
    row(
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
    row(
        "semaphore_has_its_waiter",
        "The semaphore of a stop is awaited exactly while DPDK's thread waits for one.",
        |t| {
            let (awaited, posted) = t.shared.mail.semaphore();
            let waits = t.dpdk.waits();
            (awaited != waits || posted && !awaited)
                .then(|| format!("awaited {awaited}, posted {posted}, the thread waits {waits}"))
        },
    ),
    row(
        "foreach_pending_once",
        "A controller counts as many foreach operations as are on their way.",
        |t| t.vdevs.iter().find_map(|ctl| t.foreach_miscounted(ctl)),
    ),
    row(
        "lock_has_its_waiters",
        "Who waits for a controller's lock waits while it is held.",
        |t| {
            let mut waits = t.vdevs.iter();
            let ctl = waits.find(|ctl| !ctl.locked && !ctl.waiting.is_empty())?;
            Some(format!("{} is not locked", ctl.name))
        },
    ),
    row(
        "lock_has_its_holder",
        "A controller's lock is held by a kick that DPDK's thread is in the middle of.",
        |t| {
            let kicks = t.dpdk.kicks();
            let mut held = t.vdevs.iter().filter(|ctl| ctl.locked);
            let stuck = t.shared.bugs.has(Bug::ForeachUnderLock);
            let ctl = held.find(|ctl| !stuck && kicks != Some((ctl.vdev, ctl.number)))?;
            Some(format!("{} is locked, and DPDK kicks {kicks:?}", ctl.name))
        },
    ),
    row(
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
    row(
        "numbers_are_given_once",
        "Controllers and SCSI devices have numbers of their own, none above the last that was given.",
        |t| t.app.misnumbered(&t.vdevs, &t.shared.devs),
    ),
    row(
        "rpcs_that_retry_are_counted",
        "Who can wake RPCs that wait for a change knows how many wait, and wakes none if none does.",
        |t| app::retries_miscounted(&t.app, &t.shared.mail),
    ),
    row(
        "every_call_waits_once",
        "An RPC that is answered later is open, and one place answers it.",
        |t| app::call_out_of_place(&t.app, &t.vdevs, &t.shared),
    ),
    row(
        "timeouts_have_their_call",
        "A time-out of an RPC runs as long as the RPC waits.",
        |t| app::timeout_of_nobody(&t.app, &t.shared.mail),
    ),
    row(
        "rpc_poller_keeps_its_phase",
        "The RPC poller runs at whole periods, and runs if there is something to do.",
        |t| t.app.poller_out_of_phase(),
    ),
    row(
        "sessions_in_order",
        "Sessions stand in the order of their ids, and ids are given once.",
        |t| {
            t.vdevs
                .iter()
                .find_map(vdev::invariants::sessions_out_of_order)
        },
    ),
    row(
        "pollers_run_when_started",
        "A session whose pollers run has started, does not stop, and is not gone.",
        |t| t.each_session(vdev::invariants::polled_and_not_started),
    ),
    row(
        "management_keeps_its_phase",
        "The management poller runs at whole periods since the start, and while the pollers run.",
        |t| t.each_session(vdev::invariants::management_out_of_phase),
    ),
    row(
        "stops_are_bounded",
        "A stop looks again before its deadline, and at it.",
        |t| {
            let stuck = t.shared.bugs.has(Bug::ForeachUnderLock);
            let look = vdev::invariants::stop_unbounded;
            if stuck { None } else { t.each_session(look) }
        },
    ),
    row(
        "tasks_are_counted",
        "A session counts as many tasks as its rings, of this life or an earlier one, have in flight.",
        |t| {
            let leaks = t.shared.bugs.has(Bug::LeakTaskOnReject);
            let look = vdev::invariants::tasks_miscounted;
            if leaks { None } else { t.each_session(look) }
        },
    ),
    row(
        "rings_are_bounded",
        "A ring has no more tasks or heads to serve again than entries, and a session no more queues than rings.",
        |t| t.each_session(vdev::invariants::ring_outgrown),
    ),
    row(
        "session_slots_hold_their_devices",
        "A session's slot has a device exactly while it is ADDING, PRESENT or REMOVING.",
        |t| {
            let twice = t.shared.bugs.has(Bug::DoubleSessionAdd);
            let look = vdev::invariants::session_slot_wrong;
            if twice { None } else { t.each_session(look) }
        },
    ),
    row(
        "slots_hold_their_devices",
        "A controller's slot has a device exactly while it is ADDING, PRESENT or REMOVING.",
        |t| {
            let early = t.shared.bugs.has(Bug::RemoveWhileAdding);
            let look = vdev::invariants::slot_wrong;
            if early {
                None
            } else {
                t.vdevs.iter().find_map(look)
            }
        },
    ),
    row(
        "channels_are_owned",
        "A LUN has an io channel exactly while somebody refers to it, on its controller's thread.",
        |t| {
            t.each_lun(|_, device, lun| {
                let owner = lun.channel;
                let foreign = owner.is_some_and(|owner| owner != device.vdev);
                (foreign || owner.is_some() != (lun.references > 0))
                    .then(|| format!("{owner:?}, {} references", lun.references))
            })
        },
    ),
    row(
        "references_have_holders",
        "An io channel counts as many references as sessions hold the device.",
        |t| t.references_miscounted(),
    ),
    row(
        "resets_wait_for_a_reset",
        "Resets of a LUN wait behind one that is under way, and only that one can be done.",
        |t| {
            t.each_lun(|_, _, lun| {
                let waits = lun.reset_done || !lun.resets.is_empty();
                (waits && lun.reset.is_none())
                    .then(|| format!("{} wait, done {}", lun.resets.len(), lun.reset_done))
            })
        },
    ),
    row(
        "lun_pollers_run_once",
        "A LUN that is polled has one run of its poller before it, on one thread; others have none.",
        |t| t.each_lun(|dev, device, lun| t.polls_miscounted(dev, device.vdev, lun)),
    ),
    row(
        "luns_and_bdevs_agree",
        "A LUN's bdev is there, and lists the device; what a bdev lists has it open.",
        |t| bdev::invariants::open_one_way(&t.shared.bdevs, &t.shared.devs),
    ),
    row(
        "bdevs_stand_on_their_bases",
        "A bdev on another is listed there, and a base is claimed exactly while something is on it.",
        |t| bdev::invariants::base_unaware(&t.shared.bdevs),
    ),
    row(
        "names_lead_to_bdevs",
        "Each name of each bdev leads to it, and no other name leads anywhere.",
        |t| bdev::invariants::misnamed(&t.shared.bdevs),
    ),
    row(
        "notifications_are_bounded",
        "No more notifications are kept than SPDK keeps.",
        |t| bdev::invariants::too_many_notifications(&t.shared.bdevs),
    ),
    row(
        "flights_end_once",
        "An I/O in flight ends at one time, or is held by an error bdev; what is free flies not.",
        |t| t.shared.bdevs.engine.flight_adrift(),
    ),
    row(
        "flights_are_outstanding",
        "LUNs count as many tasks outstanding as the bdevs have in flight.",
        |t| {
            let bugs = t.shared.bugs;
            if bugs.has(Bug::ResetCompletesInflight) || bugs.has(Bug::FreeBeforeRefsZero) {
                return None;
            }
            let luns = t.shared.devs.all().filter_map(|(_, dev)| dev.lun.as_ref());
            let outstanding: u32 = luns.map(|lun| lun.outstanding).sum();
            let flying = t.shared.bdevs.engine.flying();
            (flying != outstanding as usize)
                .then(|| format!("{outstanding} are outstanding, {flying} fly"))
        },
    ),
    row(
        "connections_are_distinct",
        "A connection is open once, and has a vid of its own.",
        |t| t.dpdk.connection_twice(),
    ),
];

impl Target {
    /// Hands over the name of each invariant that is broken, and how: nothing, unless this model has a bug.
    pub fn invariants(&self, broken: &mut dyn FnMut(&'static str, String)) {
        if self.is_dead() {
            return;
        }
        for row in TABLE {
            if let Some(what) = (row.broken)(self) {
                broken(row.name, format!("{} But {what}.", row.says));
            }
        }
    }

    fn due_differs(&self, actor: usize, due: scenarios::Time) -> Option<String> {
        let noted = self.agenda.due(actor);
        (noted != due).then(|| format!("actor {actor} is due at {due:?}, noted is {noted:?}"))
    }

    fn each_session(
        &self,
        broken: fn(&vdev::session::Session) -> Option<String>,
    ) -> Option<String> {
        let mut all = self.vdevs.iter().flat_map(|ctl| {
            let sessions = ctl.sessions.iter();
            sessions.map(move |session| (ctl, session))
        });
        all.find_map(|(ctl, session)| {
            let what = broken(session)?;
            Some(format!("of {}s{}: {what}", ctl.name, session.vid))
        })
    }

    fn each_lun(
        &self,
        broken: impl Fn(DevHandle, &Device, &Lun) -> Option<String>,
    ) -> Option<String> {
        self.shared.devs.handles().find_map(|(dev, device)| {
            let what = broken(dev, device, device.lun.as_ref()?)?;
            Some(format!("of device {}: {what}", device.number))
        })
    }

    fn foreach_miscounted(&self, ctl: &Controller) -> Option<String> {
        let done = |message: &AppMessage| match message {
            AppMessage::ForeachDone(foreach) => {
                (foreach.vdev, foreach.number) == (ctl.vdev, ctl.number)
            }
            _ => false,
        };
        let visit = |message: &VdevMessage| matches!(message, VdevMessage::Foreach(_));
        let waiting = ctl.waiting.iter().filter(|waiting| match waiting {
            Waiting::Vdev(message) => visit(message),
            Waiting::App(message) => done(message),
        });
        let under_way = ctl.inbox().all().filter(|message| visit(message)).count()
            + self
                .shared
                .mail
                .app()
                .filter(|message| done(message))
                .count()
            + waiting.count();
        (under_way != ctl.pending_ops as usize).then(|| {
            let (name, counted) = (&ctl.name, ctl.pending_ops);
            format!("{name} counts {counted}, {under_way} are on their way")
        })
    }

    fn references_miscounted(&self) -> Option<String> {
        const MISCOUNT: [Bug; 4] = [
            Bug::ChannelNotRefcounted,
            Bug::UnlinkLunFirst,
            Bug::DoubleSessionAdd,
            Bug::FreeBeforeRefsZero,
        ];
        if MISCOUNT.iter().any(|bug| self.shared.bugs.has(*bug)) {
            return None;
        }
        self.each_lun(|dev, device, lun| {
            let ctl = self.vdevs.get(device.vdev);
            let sessions = ctl.iter().flat_map(|ctl| &ctl.sessions);
            let slots = sessions.flat_map(|session| &session.slots);
            let held = slots.filter(|slot| slot.dev == Some(dev)).count();
            (held != lun.references as usize)
                .then(|| format!("{} references, {held} hold it", lun.references))
        })
    }

    fn polls_miscounted(&self, dev: DevHandle, vdev: VdevId, lun: &Lun) -> Option<String> {
        let ctl = self.vdevs.get(vdev);
        let own = ctl.iter().flat_map(|ctl| &ctl.lun_polls);
        let own = own.filter(|(_, of)| *of == dev).count();
        let timers = self.shared.mail.timers();
        let apps = timers.filter(|timer| matches!(timer, AppMessage::LunRemove(of) if *of == dev));
        let polls = own + apps.count();
        (polls != usize::from(lun.polled))
            .then(|| format!("polled {}, {polls} runs are due", lun.polled))
    }
}
