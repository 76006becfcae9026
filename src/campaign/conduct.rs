//! With what the scenarios of a campaign are carried out.

use std::collections::BTreeMap;

use scenarios::Script;
use scenarios::plan::Plan;
use scenarios::script::Doubts;

use super::Campaign;
use crate::options::{RunOptions, Volume};
use crate::run::doubts;
use crate::run_error::RunError;
use crate::scenario::{Jobs, View, shipped_jobs};

/// With what scenarios are carried out.
#[derive(Clone)]
pub struct Conduct {
    /// What each disk of a job covers.
    pub volume: Volume,
    /// The job files.
    pub jobs: Jobs,
    /// Why a job may find blocks wrong though the disk is right, by its name.
    pub doubts: BTreeMap<String, Doubts>,
    /// Draw once more from the world's rng at this turn.
    pub disturb_at: Option<u64>,
    /// Panic at this turn.
    pub panic_at: Option<u64>,
    /// What the checks are shown.
    pub view: View,
}

impl Conduct {
    pub fn new(campaign: &Campaign) -> Result<Self, RunError> {
        let plans = &campaign.plans;
        let texts = RunOptions::default().jobs;
        let doubts = plans.iter().flat_map(|plan| doubts(plan, &texts));
        Ok(Self {
            volume: if plans.is_empty() {
                Volume::Full
            } else {
                Volume::Quick
            },
            jobs: shipped_jobs()?,
            doubts: doubts.collect(),
            disturb_at: None,
            panic_at: campaign.panic_at,
            view: campaign.view,
        })
    }

    /// What is carried out of a plan in which nothing is left to chance.
    pub fn script(&self, plan: &Plan) -> Result<Script, RunError> {
        let script = scenarios::resolve::script(plan)?;
        Ok(Script {
            doubts: self.doubts.clone(),
            ..script
        })
    }
}
