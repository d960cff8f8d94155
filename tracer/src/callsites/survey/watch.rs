//! Whether something that nothing counts was used while counting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::machine::{Machine, Use};
use super::{Entry, Sign, entries};

/// What disks had moved when counting began, by sign.
pub type Saved = BTreeMap<String, u64>;

/// The machine, and what was met of the survey.
#[derive(Default)]
pub struct Watch {
    /// Where /proc and /sys are; `None`: nothing is looked for.
    root: Option<PathBuf>,
    before: Saved,
    /// What was in use at some time, by what it is called.
    met: BTreeSet<&'static str>,
}

impl Watch {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Watch { root: Some(root.into()), ..Watch::default() }
    }

    /// Counting begins: what moved before does not matter any more. (Without it everything since boot does.)
    pub fn begin(&mut self) {
        let Some(machine) = self.machine() else { return };
        let sectors = signs().filter_map(|sign| match machine.uses(sign) {
            Use::Sectors(sectors) => Some((key(sign), sectors)),
            _ => None,
        });
        self.before = sectors.collect();
        self.met.clear();
    }

    pub fn save(&self) -> Saved {
        self.before.clone()
    }

    pub fn resume(&mut self, saved: Saved) {
        self.before = saved;
    }

    /// Notes what is in use now, so that it is known when it no longer is.
    pub fn look(&mut self) {
        self.met = self.in_use().map(|entry| entry.what).chain(self.met.iter().copied()).collect();
    }

    /// Why coverage is not complete.
    pub fn reasons(&self) -> Vec<String> {
        let in_use: BTreeSet<&str> = self.in_use().map(|entry| entry.what).collect();
        let used = |entry: &&Entry| in_use.contains(entry.what) || self.met.contains(entry.what);
        let reason = |entry: &Entry| {
            let by = if entry.by.is_empty() { "" } else { " by " };
            format!(
                "{} ({}): in use, and what moves there is copied{by}{} uncounted",
                entry.what,
                entry.place(),
                entry.by
            )
        };
        entries().filter(used).map(reason).collect()
    }

    /// Where what is in use would be told, and is not: paths that cannot be read.
    pub fn unread(&self) -> Vec<String> {
        self.machine().map_or_else(Vec::new, |machine| machine.unread())
    }

    /// What nothing counts of what this machine has, and whether it was used.
    pub fn present(&self) -> Vec<(&'static Entry, bool)> {
        let Some(machine) = self.machine() else { return Vec::new() };
        let present = entries().filter(|entry| entry.is_open() && machine.has(entry));
        present.map(|entry| (entry, self.is_used(&machine, entry))).collect()
    }

    fn machine(&self) -> Option<Machine> {
        self.root.as_deref().map(Machine::at)
    }

    fn in_use(&self) -> impl Iterator<Item = &'static Entry> {
        let machine = self.machine().into_iter();
        machine.flat_map(move |machine| entries().filter(move |entry| self.is_used(&machine, entry)))
    }

    fn is_used(&self, machine: &Machine, entry: &Entry) -> bool {
        entry.signs().iter().any(|sign| match machine.uses(*sign) {
            Use::Absent => false,
            Use::Users(users) => users > 0,
            Use::Sectors(sectors) => sectors > self.before.get(&key(*sign)).copied().unwrap_or(0),
        })
    }
}

fn signs() -> impl Iterator<Item = Sign> {
    entries().flat_map(|entry| entry.signs()).copied()
}

fn key(sign: Sign) -> String {
    format!("{sign:?}")
}
