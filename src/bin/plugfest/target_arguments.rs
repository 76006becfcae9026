//! Which target a run is about, as arguments.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use plugfest::{Bdevs, Behaviour, LinkedOptions, SpdkOptions, TargetKind};
use sim::Bug;

use crate::output::{Stop, tell};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TargetWord {
    /// The model of SPDK's
    Model,
    /// SPDK's own code in this process, in virtual time
    Linked,
    /// One that runs, such as SPDK or `plugfest serve`
    Spdk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BehaviourWord {
    /// As SPDK 3230130e6a does, its bugs included
    Head,
    /// As it should
    Intended,
}

impl From<BehaviourWord> for Behaviour {
    fn from(word: BehaviourWord) -> Self {
        match word {
            BehaviourWord::Head => Self::Head,
            BehaviourWord::Intended => Self::Intended,
        }
    }
}

#[derive(Debug, Args)]
pub struct TargetArguments {
    /// What the target is
    #[arg(long, value_enum, default_value = "model")]
    pub target: TargetWord,

    /// With --target linked: the library that `make -C sim/linked/shim SPDK_DIR=…` links
    /// [default: sim/linked/shim/build/libplugfest_spdk.so]
    #[arg(long, value_name = "FILE")]
    pub linked_library: Option<PathBuf>,

    /// With --target spdk: where it listens for JSON-RPC [default: /var/tmp/spdk.sock]
    #[arg(long, value_name = "PATH")]
    pub rpc_socket: Option<PathBuf>,

    /// With --target spdk: where its controllers' vhost-user sockets appear [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    pub vhost_sockets: Option<PathBuf>,

    /// With --target spdk: what the plan's disks are: malloc[:MIB], its memory; names:BDEV,… that it has;
    /// nvme:PCI-ADDRESS,…; split if they are too few [default: malloc:32]
    #[arg(long, value_name = "SPEC")]
    pub bdevs: Option<Bdevs>,

    /// What --bdevs names once more, since all its data is lost: BDEV,… or PCI-ADDRESS,…
    #[arg(long, value_name = "LIST")]
    pub erase: Option<String>,
}

/// Says which of `more` are no more than `behaviour` is already.
pub fn note_repeated(behaviour: BehaviourWord, more: &[Bug]) {
    let preset = plugfest::command::bugs(behaviour.into(), &[]);
    for one in more.iter().filter(|one| preset.has(**one)) {
        let (one, word) = (one.name(), Behaviour::from(behaviour).word());
        tell(&format!(
            "note: --bug {one} adds nothing: --target-behaviour {word} does it already\n"
        ));
    }
}

impl TargetArguments {
    /// The target.
    ///
    /// # Errors
    ///
    /// An option that means nothing with it, or data that would be lost and is not said to be.
    pub fn kind(&self) -> Result<TargetKind, Stop> {
        if self.target != TargetWord::Linked && self.linked_library.is_some() {
            let only = "--linked-library means something with --target linked only";
            return Err(Stop::Error(only.to_owned()));
        }
        if self.target == TargetWord::Spdk {
            return self.spdk().map(TargetKind::Spdk);
        }
        let given = [
            ("--rpc-socket", self.rpc_socket.is_some()),
            ("--vhost-sockets", self.vhost_sockets.is_some()),
            ("--bdevs", self.bdevs.is_some()),
            ("--erase", self.erase.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Stop::Error(format!(
                "{option} means something with --target spdk only"
            ))),
            None if self.target == TargetWord::Linked => {
                let usual = LinkedOptions::default().library;
                let library = self.linked_library.clone().unwrap_or(usual);
                Ok(TargetKind::Linked(LinkedOptions { library }))
            }
            None => Ok(TargetKind::Model),
        }
    }

    fn spdk(&self) -> Result<SpdkOptions, Stop> {
        let default = SpdkOptions::default();
        let bdevs = self.bdevs.clone().unwrap_or(default.bdevs);
        let (erased, said) = (bdevs.erased().join(","), self.erase.as_deref());
        match said {
            None if !erased.is_empty() => Err(Stop::Error(format!(
                "the run writes to {erased}: all data there is lost\n  = if that is meant, say --erase {erased}"
            ))),
            Some(_) if erased.is_empty() => Err(Stop::Error(format!(
                "--erase: nothing is lost with --bdevs {bdevs}"
            ))),
            Some(said) if said != erased => Err(Stop::Error(format!(
                "--erase {said}\n  = expected what --bdevs names: --erase {erased}"
            ))),
            _ => Ok(SpdkOptions {
                rpc_socket: self.rpc_socket.clone().unwrap_or(default.rpc_socket),
                vhost_sockets: self.vhost_sockets.clone().unwrap_or(default.vhost_sockets),
                bdevs,
            }),
        }
    }
}
