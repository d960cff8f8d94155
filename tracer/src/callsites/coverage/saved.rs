//! What is known of the kernel's text outlives a daemon whose probes are pinned: with them in it, the text no
//! longer tells all that it told before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Coverage;
use super::modules::Module;
use crate::callsites::scan::Site;
use crate::callsites::survey;
use crate::kernel::Facts;
use crate::model::attach::{Attach, Refusal};
use crate::model::site_coverage::Covered;
use crate::probes::Kernel;

/// Sites as they were covered, and the modules of that time.
#[derive(Serialize, Deserialize)]
pub struct Saved {
    sites: Vec<(Site, Covered)>,
    failed: Vec<(String, Refusal)>,
    untraceable: BTreeMap<String, BTreeSet<String>>,
    modules: BTreeSet<Module>,
    late_modules: BTreeMap<String, SystemTime>,
    missed_before: u64,
    /// Absent in what an older version saved.
    #[serde(default)]
    survey: survey::Saved,
}

impl Coverage {
    pub fn save(&self) -> Saved {
        Saved {
            sites: self.sites.clone(),
            failed: self.failed.clone(),
            untraceable: self.untraceable.clone(),
            modules: self.modules.clone(),
            late_modules: self.late_modules.clone(),
            missed_before: self.missed_before,
            survey: self.survey.save(),
        }
    }

    /// Goes on with what was covered; probes the sites of modules that were loaded meanwhile.
    pub fn resume(&mut self, saved: Saved, kernel: &mut Kernel, facts: &Facts, attach: Attach) {
        self.attach = attach;
        self.sites = saved.sites;
        self.failed = saved.failed;
        self.untraceable = saved.untraceable;
        self.late_modules = saved.late_modules;
        self.missed_before = saved.missed_before;
        self.survey.resume(saved.survey);
        let now = std::mem::replace(&mut self.modules, saved.modules);
        let mut new = Vec::new();
        if now != self.modules {
            new = self.note_modules(now);
            kernel.attach_again(&self.offered(facts), attach);
        }
        self.cover_sites(kernel);
        self.note_late(new);
    }
}
