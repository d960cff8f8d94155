//! Modules that are loaded: their text has call sites too.

use std::collections::BTreeSet;

/// A module, and where its text lies: one that is loaded again lies elsewhere, as a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module {
    pub name: String,
    address: String,
}

/// Those of this moment.
pub fn loaded() -> BTreeSet<Module> {
    let text = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    // `name size references users state address`
    let module = |line: &str| {
        let mut fields = line.split(' ').map(str::to_owned);
        Some(Module { name: fields.next()?, address: fields.nth(4)? })
    };
    text.lines().filter_map(module).collect()
}
