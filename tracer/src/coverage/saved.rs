//! What is known of the kernel's text outlives a daemon whose probes are pinned: with them in it, the text no
//! longer tells all that it told before.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::modules::Module;
use super::{Coverage, Covered};
use crate::facts::Facts;
use crate::load::Kernel;
use crate::plan::{Attach, Refusal};
use crate::text::scan::Site;

/// Sites as they were covered, and the modules of that time.
#[derive(Serialize, Deserialize)]
pub struct Saved {
    sites: Vec<(Site, Covered)>,
    failed: Vec<(String, Refusal)>,
    modules: BTreeSet<Module>,
    new_modules: Vec<String>,
    missed_before: u64,
}

impl Coverage {
    pub fn save(&self) -> Saved {
        Saved {
            sites: self.sites.clone(),
            failed: self.failed.clone(),
            modules: self.modules.clone(),
            new_modules: self.new_modules.clone(),
            missed_before: self.missed_before,
        }
    }

    /// Goes on with what was covered; probes the sites of modules that were loaded meanwhile.
    pub fn resume(
        &mut self,
        saved: Saved,
        kernel: &mut Kernel,
        facts: &Facts,
        attach: Attach,
        check_off: Option<String>,
    ) {
        self.attach = attach;
        self.check_off = check_off;
        self.sites = saved.sites;
        self.failed = saved.failed;
        self.new_modules = saved.new_modules;
        self.missed_before = saved.missed_before;
        let now = std::mem::replace(&mut self.modules, saved.modules);
        if now != self.modules {
            self.note_modules(now);
            kernel.attach_again(&self.offered(facts), attach);
        }
        self.cover_sites(kernel);
    }
}
