//! What the books need to outlive a daemon whose probes are pinned.
//!
//! A process's counts are in its slot until the slot is given back, so what is saved may be older than the
//! slots, but never younger: the last word on a process is saved first, and then its slot is given back.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracer_ebpf::abi::{Ledger, Process};

use super::group::Group;
use super::groups::{Books, Seat};
use super::labels::{GroupBy, Key, Select};
use crate::model::snapshot::{words, words_mut};

/// A process: its pid, and its start in nanoseconds since the machine's.
pub type Identity = (u32, u64);

/// Books, and slots that were being given back.
#[derive(Serialize, Deserialize)]
pub struct Saved<B> {
    /// When the machine started, as it was first computed: with it, start times stay the same.
    pub booted: Option<SystemTime>,
    pub books: B,
    /// Their last word is in the books already.
    pub closed: Vec<(u32, Identity)>,
}

/// [`Books`] without their selection, which the settings tell.
#[derive(Serialize, Deserialize)]
pub struct SavedBooks {
    group_by: GroupBy,
    groups: Vec<(Key, Box<Group>)>,
    seats: Vec<(u32, Box<Seat>)>,
    next: u64,
    merged: (u64, u64),
    ended: u64,
}

/// The same, to be written.
#[derive(Serialize)]
struct Borrowed<'a> {
    group_by: &'a GroupBy,
    groups: Vec<(&'a Key, &'a Group)>,
    seats: Vec<(u32, &'a Seat)>,
    next: u64,
    merged: (u64, u64),
    ended: u64,
}

impl Books {
    pub fn save(&self) -> impl Serialize + '_ {
        Borrowed {
            group_by: &self.group_by,
            groups: self.groups().collect(),
            seats: self.seats.iter().map(|(slot, seat)| (*slot, &**seat)).collect(),
            next: self.next,
            merged: self.merged,
            ended: self.ended,
        }
    }

    pub fn restore(saved: SavedBooks, select: Select) -> Self {
        let mut books = Books {
            groups: saved.groups.into_iter().collect(),
            seats: saved.seats.into_iter().collect(),
            next: saved.next,
            merged: saved.merged,
            ended: saved.ended,
            ..Books::new(saved.group_by, select)
        };
        books.complete();
        books
    }
}

pub fn identity(process: &Process) -> Identity {
    (process.tgid, process.start_boottime)
}

/// A ledger as its counters that are not 0: most are.
pub mod sparse {
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    use super::*;

    pub fn serialize<S: Serializer>(ledger: &Ledger, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(words(ledger).iter().enumerate().filter(|(_, word)| **word != 0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ledger, D::Error> {
        let mut ledger = Ledger::ZERO;
        for (at, word) in Vec::<(usize, u64)>::deserialize(deserializer)? {
            *words_mut(&mut ledger).get_mut(at).ok_or_else(|| D::Error::custom("no such counter"))? = word;
        }
        Ok(ledger)
    }
}

#[cfg(test)]
#[path = "persist_tests.rs"]
mod tests;
