//! Modules that are loaded: their text has call sites too.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Coverage;

/// A module, and which loading of it: the inode of its directory is another one when it is loaded again.
/// (Its address is hidden from who has no CAP_SYSLOG, or no longer.)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Module {
    pub name: String,
    pub(super) directory: u64,
}

/// Those of this moment.
pub fn loaded() -> BTreeSet<Module> {
    let text = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    // `name size references users state address`. One that is not live yet has no directory, and its text is not whole.
    let module = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        if words.nth(3)? != "Live" {
            return None;
        }
        let directory = std::fs::metadata(format!("/sys/module/{name}")).map_or(0, |found| found.ino());
        Some(Module { name, directory })
    };
    text.lines().filter_map(module).collect()
}

impl Coverage {
    /// Modules were loaded or removed: these are there now. Returns the new ones.
    pub(super) fn note_modules(&mut self, now: BTreeSet<Module>) -> Vec<String> {
        let name = |module: &Module| module.name.clone();
        let gone: BTreeSet<String> = self.modules.difference(&now).map(name).collect();
        self.forget_sites_in(&gone);
        let new = now.difference(&self.modules).map(name).collect();
        self.modules = now;
        new
    }

    /// Forgets the sites of modules that were removed, and why some had no probe. One that is loaded again may lie where it
    /// lay before, and the kernel has killed the kprobes in it (`kprobes_module_callback()`).
    fn forget_sites_in(&mut self, gone: &BTreeSet<String>) {
        let is_named = |site: &str| gone.iter().any(|module| site.contains(&format!(" [{module}] ")));
        self.sites.retain(|(site, _)| site.module.as_ref().is_none_or(|module| !gone.contains(module)));
        self.failed.retain(|(site, _)| !is_named(site));
        self.untraceable.retain(|_, sites| {
            sites.retain(|site| !is_named(site));
            !sites.is_empty()
        });
    }

    /// Of new modules, what those with calls of copy functions copied until now may not be counted.
    pub(super) fn note_late(&mut self, new: Vec<String>) {
        let now = SystemTime::now();
        let copies =
            |module: &String| self.sites.iter().any(|(site, _)| site.module.as_ref() == Some(module));
        let late: Vec<String> = new.into_iter().filter(copies).collect();
        self.late_modules.extend(late.into_iter().map(|module| (module, now)));
    }
}
