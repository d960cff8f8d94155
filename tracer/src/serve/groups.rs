//! Groups and what was counted for them, from readings of slots.
//!
//! What a process did since its last reading is added to the group that it is in now. So a group never goes
//! back, whatever becomes of its processes, and the sum of all groups is the sum of all readings.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use tracer_ebpf::abi::{Ledger, Process};

use super::group::Group;
use super::labels::{ENDED, GroupBy, Key, OVERFLOW, Select, UNSELECTED, Who};
use super::persist::{Identity, identity, sparse};
use crate::model::reading::Reading;
use crate::model::snapshot::{Derived as _, Highest, Tally, minus, plus, stamp};

/// Names that one living process may have had before the oldest of them counts as ended.
const FORMER: usize = 16;

/// Of a slot without a seat: no process has this pid.
const NOBODY: (Identity, u64) = ((0, 0), 0);

/// A process that has a slot.
#[derive(Serialize, Deserialize)]
pub(super) struct Seat {
    identity: Identity,
    #[serde(with = "sparse")]
    last: Ledger,
    /// Name and cgroup that the kernel side had for it when it was described last.
    #[serde(skip)]
    told: Option<([u8; 16], u64)>,
    #[serde(flatten)]
    highest: Highest,
    pub(super) key: Key,
    /// Groups of the same process under other names, if it is grouped by pid.
    pub(super) former: Vec<Key>,
}

impl Seat {
    fn new(identity: Identity, key: Key) -> Self {
        Seat {
            identity,
            last: Ledger::ZERO,
            told: None,
            highest: Highest::default(),
            key,
            former: Vec::new(),
        }
    }
}

/// All groups.
pub struct Books {
    pub(super) group_by: GroupBy,
    pub(super) select: Select,
    pub(super) groups: BTreeMap<Key, Box<Group>>,
    pub(super) seats: HashMap<u32, Box<Seat>>,
    /// By slot who has a seat, and the stamp of what was read last: all that a scrape looks at of most.
    pub(super) stamps: Vec<(Identity, u64)>,
    pub(super) next: u64,
    /// Groups that lost their name for lack of room: to `ended`, and to `overflow`.
    pub merged: (u64, u64),
    /// Processes whose end was read.
    pub ended: u64,
    /// Slots that have a process, at the last reading of all.
    pub slots_used: usize,
}

impl Books {
    pub fn new(group_by: GroupBy, select: Select) -> Self {
        Books {
            group_by,
            select,
            groups: BTreeMap::new(),
            seats: HashMap::new(),
            stamps: Vec::new(),
            next: 0,
            merged: (0, 0),
            ended: 0,
            slots_used: 0,
        }
    }

    pub fn group_by(&self) -> &GroupBy {
        &self.group_by
    }

    pub fn select(&self) -> &Select {
        &self.select
    }

    /// In the order of their keys.
    pub fn groups(&self) -> impl Iterator<Item = (&Key, &Group)> {
        self.groups.iter().map(|(key, group)| (key, &**group))
    }

    /// A copy of a group; one without counts if there is none.
    pub fn copy_of(&self, key: &Key) -> Group {
        self.groups.get(key).map_or_else(|| Group::new(0, self.group_by.text(key)), |group| (**group).clone())
    }

    /// Makes up for what is not saved, because it follows from what is.
    pub(super) fn complete(&mut self) {
        for (key, group) in &mut self.groups {
            group.complete(self.group_by.text(key));
        }
        let stamps = self.seats.iter().map(|(slot, seat)| (*slot, (seat.identity, stamp(&seat.last))));
        let stamps: Vec<_> = stamps.collect();
        stamps.into_iter().for_each(|(slot, stamp)| self.set_stamp(slot, stamp));
    }

    pub fn processes(&self) -> usize {
        self.seats.len()
    }

    /// Sum over all groups.
    pub fn sum(&self) -> Ledger {
        self.groups.values().fold(Ledger::ZERO, |sum, group| plus(&sum, &group.ledger))
    }

    /// From here on by other rules. Groups stay if they are told apart in the same way; else what they counted
    /// is one group from now on, and the new ones begin at 0.
    pub fn rearrange(&mut self, group_by: GroupBy, select: Select) {
        self.select = select;
        if self.group_by == group_by {
            return;
        }
        let before = std::mem::take(&mut self.groups);
        self.group_by = group_by;
        let ended = self.group_by.special(ENDED);
        for group in before.into_values() {
            self.group(&ended).add(&group.ledger, &group.highest);
        }
        for seat in self.seats.values_mut() {
            seat.former.clear();
            seat.told = None;
            seat.key = ended.clone();
        }
        self.group(&ended).living = self.seats.len();
    }

    /// True if the last reading of a process had this stamp, so that another one would tell nothing.
    pub fn has_read(&self, slot: u32, process: &Process, stamp: u64) -> bool {
        match self.stamps.get(slot as usize) {
            Some(known) if *known != NOBODY => *known == (identity(process), stamp),
            _ => stamp == 0,
        }
    }

    fn set_stamp(&mut self, slot: u32, to: (Identity, u64)) {
        let slot = slot as usize;
        if self.stamps.len() <= slot {
            self.stamps.resize(slot + 1, NOBODY);
        }
        self.stamps[slot] = to;
    }

    /// Takes a reading of a process that may live on. `describe` is asked only if anything happened.
    pub fn read(&mut self, reading: &Reading, describe: impl FnOnce() -> Who) {
        let identity = identity(&reading.process);
        if self.seats.get(&reading.slot).is_some_and(|seat| seat.identity != identity) {
            // Its end was not told: the slot is another's by now.
            self.leave(reading.slot);
        }
        let seat = self.seats.get(&reading.slot);
        if seat.is_some_and(|seat| seat.identity == identity && seat.last == reading.ledger) {
            return;
        }
        if seat.is_none() && reading.ledger.is_empty() {
            return;
        }
        let who = describe();
        let key = match self.select.takes(&who) {
            true => self.group_by.key(&who),
            false => self.group_by.special(UNSELECTED),
        };
        let selected = self.group_by.by_pid() && key == self.group_by.key(&who);
        self.add(reading, &key).set_who(selected.then_some(who));
        if let Some(seat) = self.seats.get_mut(&reading.slot) {
            seat.told = Some((reading.process.comm, reading.process.cgroup));
        }
    }

    /// True if a process was described before, and the kernel side has not seen it change since. (It does not
    /// see all changes.)
    pub fn knows(&self, slot: u32, process: &Process) -> bool {
        let told = Some((process.comm, process.cgroup));
        self.seats.get(&slot).is_some_and(|seat| seat.identity == identity(process) && seat.told == told)
    }

    /// Takes a reading of a process that is known, as the one that it was.
    pub fn read_known(&mut self, reading: &Reading) {
        if let Some(seat) = self.seats.get(&reading.slot) {
            let key = seat.key.clone();
            self.add(reading, &key);
        }
    }

    fn add(&mut self, reading: &Reading, key: &Key) -> &mut Group {
        let (fresh, highest) = self.seat(reading, key);
        let group = self.group(key);
        group.add(&fresh, &highest);
        group
    }

    /// Takes the last reading of a process: its slot is somebody else's after this.
    pub fn end(&mut self, reading: &Reading, describe: impl FnOnce() -> Who) {
        self.ended += 1;
        self.read(reading, describe);
        self.leave(reading.slot);
    }

    fn leave(&mut self, slot: u32) {
        let Some(seat) = self.seats.remove(&slot) else { return };
        self.set_stamp(slot, NOBODY);
        if let Some(group) = self.groups.get_mut(&seat.key) {
            group.living = group.living.saturating_sub(1);
        }
        if self.group_by.by_pid() {
            self.fold(&seat.key);
            seat.former.iter().for_each(|key| self.fold(key));
        }
    }

    /// Puts the process into its seat; what it did since its last reading.
    fn seat(&mut self, reading: &Reading, key: &Key) -> (Ledger, Highest) {
        let by_pid = self.group_by.by_pid();
        let mut left = None;
        let mut forgotten = None;
        let seat = match self.seats.entry(reading.slot) {
            Entry::Occupied(entry) => {
                let seat = entry.into_mut();
                if seat.key != *key {
                    let before = std::mem::replace(&mut seat.key, key.clone());
                    left = Some(before.clone());
                    seat.former.retain(|former| former != key && *former != before);
                    if by_pid {
                        seat.former.push(before);
                    }
                    if seat.former.len() > FORMER {
                        forgotten = Some(seat.former.remove(0));
                    }
                }
                seat
            }
            Entry::Vacant(entry) => {
                entry.insert(Box::new(Seat::new(identity(&reading.process), key.clone())))
            }
        };
        let moved = left.is_some() || seat.last.is_empty();
        let fresh = minus(&reading.ledger, &seat.last);
        seat.last = reading.ledger;
        let highest = seat.highest.raise(&Tally { ledger: reading.ledger, unexplained: reading.unexplained });
        self.set_stamp(reading.slot, (identity(&reading.process), stamp(&reading.ledger)));
        if moved {
            self.group(key).living += 1;
        }
        if let Some(group) = left.and_then(|key| self.groups.get_mut(&key)) {
            group.living = group.living.saturating_sub(1);
            group.set_who(None);
        }
        if let Some(key) = forgotten {
            self.fold(&key);
        }
        (fresh, highest)
    }

    fn group(&mut self, key: &Key) -> &mut Group {
        if !self.groups.contains_key(key) {
            self.next += 1;
        }
        let (order, by) = (self.next, &self.group_by);
        self.groups.entry(key.clone()).or_insert_with(|| Box::new(Group::new(order, by.text(key))))
    }

    /// What an ended process had under its pid goes on without one.
    fn fold(&mut self, key: &Key) {
        let to = self.group_by.ended(key);
        self.merge(key, &to);
    }

    pub(super) fn merge(&mut self, from: &Key, to: &Key) {
        if from == to || self.is_special(from) {
            return;
        }
        if let Some(group) = self.groups.remove(from) {
            let into = self.group(to);
            into.add(&group.ledger, &group.highest);
            into.living += group.living;
        }
    }

    /// Groups that every other one may be merged into.
    pub(super) fn specials(&self) -> [Key; 3] {
        [OVERFLOW, ENDED, UNSELECTED].map(|name| self.group_by.special(name))
    }

    fn is_special(&self, key: &Key) -> bool {
        self.specials().contains(key)
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
