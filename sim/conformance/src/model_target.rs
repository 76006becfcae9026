//! How the model target is made for a transcript, and which of its actors a reactor runs.

use super::model_peer::Maker;
use super::peer::PeerError;
use spdk::{Target, TargetConfig};
use wire::bugs::Bugs;
use wire::component::Component;

/// Actors of the target that no controller's reactor runs: the app thread, DPDK's, the devices.
const OTHER_ACTORS: u128 = 0b111;

/// Makes model targets with these bugs.
#[derive(Clone, Debug)]
pub struct TargetMaker {
    /// How they are wrong.
    pub bugs: Bugs,
    socket_dir: String,
}

impl TargetMaker {
    /// Makes model targets with these bugs.
    #[must_use]
    pub fn new(bugs: Bugs) -> Self {
        Self {
            bugs,
            socket_dir: TargetConfig::default().socket_dir,
        }
    }
}

impl Maker for TargetMaker {
    type Target = Target;

    fn make(&self, core_mask: Option<&str>) -> Result<Target, PeerError> {
        let cores = match core_mask {
            None => 1,
            Some("0x3") => 2,
            Some(other) => return Err(PeerError::Cores(other.to_owned())),
        };
        Ok(Target::new(TargetConfig {
            bugs: self.bugs,
            cores,
            socket_dir: self.socket_dir.clone(),
            ..TargetConfig::default()
        }))
    }

    /// With two reactors the app thread has the first, the controllers' threads the second.
    fn actors_of(&self, target: &Target, thread: &str) -> Result<u128, PeerError> {
        match thread {
            "reactor_1" => Ok(((1u128 << target.actors()) - 1) & !OTHER_ACTORS),
            _ => Err(PeerError::Thread(thread.to_owned())),
        }
    }

    fn socket_dir(&self) -> &str {
        &self.socket_dir
    }
}
