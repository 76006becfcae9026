//! What `vhost_get_controllers` and `framework_get_config` show of controllers.

use scenarios::SlotState;

use super::{AppThread, Entry};
use crate::rpc::render;
use crate::vdev::controller::Controller;

/// Shows the controllers, by name, or the one with this name.
pub(super) fn each_controller(
    app: &AppThread<'_>,
    name: Option<&str>,
    mut show: impl FnMut(&render::Controller<'_>),
) {
    let asked = |ctl: &&Controller| name.is_none_or(|name| ctl.name == name);
    let mut found: Vec<&Controller> = app.vdevs.iter().filter(asked).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    for ctl in found {
        let Some(entry) = &app.own.entries[ctl.vdev.index()] else {
            continue;
        };
        let names: Vec<String> = (0..ctl.sessions.len())
            .map(|index| ctl.session_name(index))
            .collect();
        let sessions = ctl.sessions.iter().zip(&names);
        let sessions = sessions.filter(|(session, _)| !session.gone);
        show(&render::Controller {
            ctrlr: &ctl.name,
            cpumask: entry.cpumask,
            delay_base_us: entry.coalescing.0,
            iops_threshold: entry.coalescing.1,
            socket: &app.own.socket(&ctl.name),
            sessions: sessions
                .map(|(session, name)| render::Session {
                    vid: session.vid,
                    id: session.id.0,
                    name,
                    started: session.started,
                    max_queues: session.max_queues,
                    inflight_task_cnt: session.task_cnt,
                })
                .collect(),
            backend: backend(app, entry, ctl),
        });
    }
}

fn backend<'a>(app: &'a AppThread<'_>, entry: &Entry, ctl: &Controller) -> render::Backend<'a> {
    let bdevs = &app.shared.bdevs;
    let named = |bdev| bdevs.get(bdev).map(|bdev| bdev.name.as_str());
    if let Some(blk) = entry.blk {
        return render::Backend::Blk {
            bdev: blk.bdev.and_then(named),
            readonly: blk.readonly,
        };
    }
    let present = ctl.slots.iter().enumerate().filter_map(|(slot, here)| {
        let handle = here.dev.filter(|_| here.state == SlotState::Present)?;
        let dev = app.shared.devs.get(handle)?;
        let lun = dev.lun.as_ref().filter(|lun| !lun.removed);
        Some(render::Target {
            scsi_dev_num: slot as u8,
            id: handle.index.into(),
            target_name: &dev.name,
            bdev_name: lun.and_then(|lun| named(lun.bdev)),
        })
    });
    render::Backend::Scsi(present.collect())
}
