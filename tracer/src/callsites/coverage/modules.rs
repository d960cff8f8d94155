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
    directory: u64,
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
        let new = now.difference(&self.modules).map(|module| module.name.clone()).collect();
        self.modules = now;
        new
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
