//! Which room imports which, by the map in `tracer/src/lib.rs`; and circles between files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::imports::{Modules, Segments};

/// Circles that are still to be cut, none of them between rooms. A new one is a problem, and so is one of these that is
/// gone.
const CIRCLES: &[&[&str]] = &[
    &["callsites::after", "callsites::classify", "callsites::size"],
    &[
        "callsites::coverage",
        "callsites::coverage::callers",
        "callsites::coverage::modules",
        "callsites::coverage::saved",
        "callsites::coverage::untraceable",
        "callsites::survey",
        "callsites::survey::devices",
        "callsites::survey::disks",
        "callsites::survey::files",
        "callsites::survey::machine",
        "callsites::survey::memory",
        "callsites::survey::sockets",
        "callsites::survey::watch",
    ],
    &[
        "check::report",
        "check::report::github",
        "check::report::json",
        "check::report::junit",
        "check::report::markdown",
        "check::report::text",
    ],
    &["check::run", "check::run::conduct"],
    &["cli", "cli::check_args"],
    &["cli::commands::replay", "cli::commands::serve"],
    &["http", "http::accept", "http::answer", "http::loopback", "http::pages", "http::web"],
    &["kernel::btf", "kernel::btf::func"],
    &["model::counts", "model::window"],
    &["model::explained", "model::snapshot", "model::tally"],
    &["output::json", "output::json::buckets", "output::json::ledger", "output::json::unattributed"],
    &["output::prometheus", "output::prometheus::families", "output::prometheus::groups"],
    &["probes", "probes::links", "probes::pins", "probes::slots"],
    &["probes::plan", "probes::plan::form"],
    &["serve::group", "serve::groups", "serve::persist"],
    &["serve::page", "serve::scrape_queue"],
    &["session", "session::begun", "session::config", "session::resume", "session::workers"],
    &["sys", "sys::file_holder"],
];

/// By room, or part of one: the rooms that it may import. `None`: all.
pub struct Map(BTreeMap<Segments, Option<BTreeSet<String>>>);

impl Map {
    /// Lines ``//! | `room` | `one` `other` | ... |``.
    pub fn read(lib: &Path) -> Result<Map> {
        let text = fs::read_to_string(lib).with_context(|| format!("cannot read {}", lib.display()))?;
        let map = Map(text.lines().filter_map(line).collect());
        ensure!(!map.0.is_empty(), "{} has no map of rooms", lib.display());
        Ok(map)
    }

    pub fn violations(&self, modules: &Modules) -> Vec<String> {
        let mut found = Vec::new();
        for (at, module) in modules.iter().filter(|(at, _)| !at.is_empty()) {
            if !self.0.contains_key(&at[..1]) {
                found.push(format!("tracer/src/lib.rs: no line of the map is about `{}`", at[0]));
                continue;
            }
            let wrong = module.imports.iter().filter(|to| to[0] != at[0] && !self.allows(at, &to[0]));
            found.extend(wrong.map(|to| {
                let (at_name, to_name) = (at.join("::"), to.join("::"));
                format!("{at_name} imports {to_name}, which the map in tracer/src/lib.rs does not allow")
            }));
        }
        found
    }

    fn allows(&self, at: &[String], room: &str) -> bool {
        let lines = self.0.iter().filter(|(of, _)| at.starts_with(of));
        lines
            .map(|(_, allowed)| allowed)
            .any(|allowed| allowed.as_ref().is_none_or(|rooms| rooms.contains(room)))
    }
}

fn line(line: &str) -> Option<(Segments, Option<BTreeSet<String>>)> {
    let mut cells = line.strip_prefix("//! | `")?.split('|');
    let of = cells.next()?.trim().trim_end_matches('`').split('/').map(str::to_owned).collect();
    let allowed = cells.next()?;
    let rooms = allowed.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((of, (allowed.trim() != "all").then(|| rooms.collect())))
}

/// Files that import each other, directly or not.
pub fn circles(modules: &Modules) -> Vec<String> {
    let found = strongly_connected(modules);
    let name = |circle: &BTreeSet<Segments>| circle.iter().map(|at| at.join("::")).collect::<Vec<_>>();
    let known = |names: &Vec<String>| CIRCLES.iter().any(|files| files.iter().eq(names.iter()));
    let names: Vec<Vec<String>> = found.iter().map(name).collect();
    let new = names.iter().filter(|names| !known(names));
    let new = new.map(|names| format!("a circle of imports: {}", names.join(", ")));
    let gone = CIRCLES.iter().filter(|files| !names.iter().any(|names| files.iter().eq(names.iter())));
    let gone = gone.map(|files| format!("xtask/src/tidy/rooms.rs: no circle any more: {}", files.join(", ")));
    new.chain(gone).collect()
}

/// Sets of two and more modules, each of which leads to each other one.
fn strongly_connected(modules: &Modules) -> Vec<BTreeSet<Segments>> {
    let reached: BTreeMap<&Segments, BTreeSet<&Segments>> =
        modules.keys().map(|from| (from, reachable(from, modules))).collect();
    let mut found: Vec<BTreeSet<Segments>> = Vec::new();
    for (from, to) in &reached {
        let circle: BTreeSet<Segments> =
            to.iter().filter(|other| reached[*other].contains(*from)).map(|other| (*other).clone()).collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn reachable<'a>(from: &'a Segments, modules: &'a Modules) -> BTreeSet<&'a Segments> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(at) = next.pop() {
        for to in modules.get(at).into_iter().flat_map(|module| &module.imports) {
            if seen.insert(to) {
                next.push(to);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::super::imports::Module;
    use super::*;

    fn modules(imports: &[(&str, &[&str])]) -> Modules {
        let path = |text: &str| text.split("::").map(str::to_owned).collect::<Segments>();
        let module =
            |to: &[&str]| Module { imports: to.iter().map(|to| path(to)).collect(), ..Module::default() };
        imports.iter().map(|(at, to)| (path(at), module(to))).collect()
    }

    fn map(text: &str) -> Map {
        Map(text.lines().filter_map(line).collect())
    }

    #[test]
    fn rooms_import_what_their_lines_name() {
        let map =
            map("//! | `a` | | x |\n//! | `b` | `a` | x |\n//! | `b/run` | `c` | x |\n//! | `c` | all | x |");
        let right = modules(&[("a", &["a::x"]), ("b::x", &["a"]), ("b::run", &["c", "a"]), ("c", &["b"])]);
        assert_eq!(map.violations(&right), Vec::<String>::new());
        let wrong = modules(&[("a::x", &["b"]), ("b::x", &["c"]), ("d", &[])]);
        assert_eq!(map.violations(&wrong).len(), 3);
    }

    #[test]
    fn circles_are_found_and_lines_are_not() {
        assert_eq!(circles(&modules(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])).len(), CIRCLES.len());
        let found = circles(&modules(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]));
        assert!(found.contains(&"a circle of imports: a, b, c".to_owned()), "{found:?}");
    }
}
