//! Which observation answers an action.

use crate::names::Ticket;
use crate::observation::Observation;
use crate::testbed::Action;

/// Whether `seen` is what `action`, which was asked for with `ticket`, comes to.
#[must_use]
pub fn is_answer(seen: &Observation, action: &Action, ticket: Ticket) -> bool {
    let answered = |seen: &Observation| matches!(seen, Observation::Answered { ticket: of, .. } if *of == ticket);
    match action {
        Action::StartFio { fio, .. } => {
            matches!(seen, Observation::FioEnded { fio: ended, .. } if fio == ended)
        }
        Action::BootVm { vm, .. } | Action::RebootVm { vm } => {
            matches!(seen, Observation::VmReady { vm: ready, .. } if vm == ready)
        }
        Action::Reconnect { vm, controller } => {
            let failed = matches!(seen, Observation::Answered { result: Err(_), .. });
            let anew = matches!(seen, Observation::Connected { vm: of, controller: to, .. }
                if (vm, controller) == (of, to));
            anew || (failed && answered(seen))
        }
        Action::ListDisks { vm } => {
            matches!(seen, Observation::DisksListed { vm: of, .. } if vm == of)
        }
        Action::CheckAlive => matches!(seen, Observation::Alive { .. }),
        Action::Settle => matches!(seen, Observation::Quiet { .. }),
        Action::StartTarget { .. }
        | Action::BootFirmware { .. }
        | Action::Attach { .. }
        | Action::Detach { .. }
        | Action::WaitJobClock { .. }
        | Action::PauseVm { .. }
        | Action::ContinueVm { .. }
        | Action::KillVm { .. }
        | Action::AddMemory { .. }
        | Action::Manage { .. }
        | Action::Remove { .. }
        | Action::Insert { .. }
        | Action::Resize { .. }
        | Action::Hold { .. }
        | Action::Fail { .. }
        | Action::Delay { .. }
        | Action::Release { .. }
        | Action::CreateController { .. }
        | Action::DeleteController { .. }
        | Action::SaveConfig => answered(seen),
    }
}
