//! Modules that are loaded: their text has call sites too.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

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
    // `name size references users state address`
    let module = |line: &str| {
        let name = line.split(' ').next()?.to_owned();
        let directory = std::fs::metadata(format!("/sys/module/{name}")).map_or(0, |found| found.ino());
        Some(Module { name, directory })
    };
    text.lines().filter_map(module).collect()
}
