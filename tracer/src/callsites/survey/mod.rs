//! What copies user data and is no primitive of the table: `memcpy` and the like, by function, with what counts it or
//! why nothing does.
//!
//! Made by going through all calls of these functions in the text of the four kernels and their modules
//! (`tracer doctor --calls-of memcpy` lists those of a kernel), of which those that carry data are here. docs/coverage.md
//! holds it as a table, and the README what of it is not counted.

pub mod compare;
mod devices;
mod disks;
#[cfg(test)]
mod document;
mod files;
mod machine;
mod memory;
mod sockets;
mod watch;

pub use watch::{Saved, Watch};

/// One copy, wherever it is made.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub what: &'static str,
    /// Functions that contain the copy, by the name that one kernel or another has for them.
    pub functions: &'static [&'static str],
    /// The function that copies; "" if it is one of the table's primitives.
    pub by: &'static str,
    /// The module, on kernels that have it as one; "" for the kernel proper.
    pub module: &'static str,
    /// Kernels of the matrix that have it.
    pub kernels: &'static [&'static str],
    /// Of these, those whose compiler made no call of the copy.
    pub inlined: &'static [&'static str],
    pub status: Status,
}

/// What counts a copy.
#[derive(Clone, Copy, Debug)]
pub enum Status {
    /// One of these rows.
    Rows(&'static [&'static str]),
    /// Probes on its own call instructions.
    Sites,
    /// Nothing.
    Open(Shows, Extent),
}

/// What a ledger shows of bytes whose copy is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Nothing: their payload, if there is one, is explained by another copy or reference.
    Nothing,
    /// `unexplained_bytes`, where they are payload of direct I/O or of a receive.
    Unexplained,
    /// They are in `zero_copied_bytes`.
    ZeroCopied,
}

/// How much is copied there.
#[derive(Clone, Copy, Debug)]
pub enum Extent {
    /// Every byte that moves there. Coverage is not complete while one of the signs is in use; where there are none,
    /// every machine has it, or nothing tells.
    Every(&'static [Sign]),
    /// No more than this.
    Part(&'static str),
    /// Every byte, which is made anew: encrypted or compressed, which is no copy.
    Remade,
}

/// What tells that a machine has the thing, and whether it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A module that something refers to.
    Module(&'static str),
    /// A file system of this type that is mounted; if on a disk, one that is read or written.
    FileSystem(&'static str),
    /// Disks whose name begins and ends so, around a number, that are read or written and are no swap.
    Disk(&'static str, &'static str),
    /// Arrays of the levels 4, 5 and 6 that are written to.
    Raid,
    /// A family that has sockets, by its name in /proc/net/protocols.
    Protocol(&'static str),
    /// A file of /proc that has more than a head line.
    Listed(&'static str),
}

impl super::coverage::Coverage {
    /// What nothing counts of what this machine has, and whether it was used: for `doctor`.
    pub fn uncounted(&self) -> Vec<(&'static Entry, bool)> {
        self.survey.present()
    }
}

/// All of them.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [files::ENTRIES, disks::ENTRIES, sockets::ENTRIES, memory::ENTRIES, devices::ENTRIES]
        .into_iter()
        .flatten()
}

impl Entry {
    /// The first function's name, or what else names the place.
    pub fn place(&self) -> &'static str {
        self.functions.first().copied().unwrap_or(self.module)
    }

    /// Signs whose use makes coverage incomplete.
    pub fn signs(&self) -> &'static [Sign] {
        match self.status {
            Status::Open(_, Extent::Every(signs)) => signs,
            _ => &[],
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::Open(..))
    }
}

const ALL: &[&str] = &["5.10", "6.1", "6.12", "7.2"];
const UP_TO_6_1: &[&str] = &["5.10", "6.1"];
const UP_TO_6_12: &[&str] = &["5.10", "6.1", "6.12"];
const FROM_6_1: &[&str] = &["6.1", "6.12", "7.2"];
const FROM_6_12: &[&str] = &["6.12", "7.2"];
const ONLY_5_10: &[&str] = &["5.10"];
const ONLY_6_12: &[&str] = &["6.12"];
const ONLY_7_2: &[&str] = &["7.2"];

const SITES: Status = Status::Sites;

const fn rows(rows: &'static [&'static str]) -> Status {
    Status::Rows(rows)
}
const fn every(shows: Shows, signs: &'static [Sign]) -> Status {
    Status::Open(shows, Extent::Every(signs))
}
const fn part(shows: Shows, bound: &'static str) -> Status {
    Status::Open(shows, Extent::Part(bound))
}
const fn remade(shows: Shows) -> Status {
    Status::Open(shows, Extent::Remade)
}
const fn entry(
    what: &'static str,
    functions: &'static [&'static str],
    by: &'static str,
    module: &'static str,
    kernels: &'static [&'static str],
    status: Status,
) -> Entry {
    Entry { what, functions, by, module, kernels, inlined: &[], status }
}
const fn inlined(kernels: &'static [&'static str], entry: Entry) -> Entry {
    Entry { inlined: kernels, ..entry }
}

#[cfg(test)]
mod tests;
