//! A ledger together with what follows from its cumulative values only.

use std::ops::Deref;

use tracer_ebpf::abi::{Ledger, PATHS, Path};

use serde::{Deserialize, Serialize};

use super::explained::{ByPath, Explained, unexplained};
use super::snapshot::{Derived as _, minus, plus};

/// The counters of one process, or of several, and what of their payload nothing explains.
///
/// A call's copies are counted while it runs, its payload when it returns. So a window may have payload whose copies
/// are in the window before, and its own counters would show a hole that there is not. What is unexplained is
/// therefore derived from the cumulative ledger, in which copies are never later than their payload; a window has
/// what was added to that, and a sum the sum of its parts: one process's copies explain no other one's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    pub ledger: Ledger,
    pub unexplained: ByPath,
}

impl Tally {
    pub const ZERO: Tally = Tally { ledger: Ledger::ZERO, unexplained: [0; PATHS] };

    /// What was counted of one process since counting began.
    pub fn of(ledger: Ledger) -> Tally {
        Tally { unexplained: unexplained(&ledger), ledger }
    }

    pub fn plus(&self, other: &Tally) -> Tally {
        Tally {
            ledger: plus(&self.ledger, &other.ledger),
            unexplained: each(&self.unexplained, &other.unexplained, u64::saturating_add),
        }
    }

    /// What came since `earlier`; no counter goes below 0. (What was unexplained may be explained later: then a
    /// window has none.)
    pub fn since(&self, earlier: &Tally) -> Tally {
        Tally {
            ledger: minus(&self.ledger, &earlier.ledger),
            unexplained: each(&self.unexplained, &earlier.unexplained, u64::saturating_sub),
        }
    }

    /// Unexplained payload of one path.
    pub fn unexplained(&self, path: Path) -> u64 {
        self.unexplained[path as usize]
    }

    /// Unexplained payload of all paths.
    pub fn unexplained_in_all(&self) -> u64 {
        self.unexplained.iter().sum()
    }
}

impl Tally {
    /// Copies per byte over the paths that have payload. `None` without payload; and where the ratio would be read
    /// as "none" though that is not known, or nothing was there to copy: next to 0 with payload that is unexplained,
    /// or discarded as a whole.
    pub fn sure_copies_per_byte(&self) -> Option<f64> {
        let discarded: u64 = Path::ALL.iter().map(|&path| self.explained(path).discarded).sum();
        sure(self.copies_per_byte(), self.unexplained_in_all(), discarded == self.payload().bytes)
    }

    /// The same of one path.
    pub fn sure_path_copies_per_byte(&self, path: Path) -> Option<f64> {
        let discarded = self.explained(path).discarded;
        let all = discarded == self.payload[path as usize].bytes;
        sure(self.path_copies_per_byte(path), self.unexplained(path), all)
    }

    /// What explains the payload of a path. Of a window, what is neither explained in it nor unexplained was
    /// explained before it, by copies that were counted while the call ran.
    pub fn explained(&self, path: Path) -> Explained {
        let of_sum = Explained::of(&self.ledger, path);
        let unexplained = self.unexplained(path);
        let earlier = of_sum.unexplained.saturating_sub(unexplained);
        // One process's surplus explains nothing of another's payload.
        let surplus = unexplained.saturating_sub(of_sum.unexplained).min(of_sum.copied);
        Explained { copied: of_sum.copied + earlier - surplus, unexplained, ..of_sum }
    }
}

/// Below this a ratio is shown as 0.00.
pub const NEXT_TO_NONE: f64 = 0.005;

fn sure(ratio: Option<f64>, unexplained: u64, all_discarded: bool) -> Option<f64> {
    ratio.filter(|ratio| *ratio >= NEXT_TO_NONE || (unexplained == 0 && !all_discarded))
}

impl From<Ledger> for Tally {
    fn from(ledger: Ledger) -> Tally {
        Tally::of(ledger)
    }
}

impl Deref for Tally {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

/// Counters that follow from a cumulative ledger, and may dip where that grows: while a call runs, its copies are
/// counted and its payload is not. A counter that dips is taken for a restart, so the highest values are kept.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Highest {
    pub zero_copied: ByPath,
    #[serde(default)]
    pub unexplained: ByPath,
}

impl Highest {
    /// Raises the values to those of a ledger; by how much.
    pub fn raise(&mut self, tally: &Tally) -> Highest {
        let before = *self;
        for path in Path::ALL {
            let i = path as usize;
            self.zero_copied[i] = before.zero_copied[i].max(tally.zero_copied(path));
            self.unexplained[i] = before.unexplained[i].max(tally.unexplained[i]);
        }
        Highest {
            zero_copied: each(&self.zero_copied, &before.zero_copied, u64::saturating_sub),
            unexplained: each(&self.unexplained, &before.unexplained, u64::saturating_sub),
        }
    }

    pub fn add(&mut self, more: &Highest) {
        self.zero_copied = each(&self.zero_copied, &more.zero_copied, u64::saturating_add);
        self.unexplained = each(&self.unexplained, &more.unexplained, u64::saturating_add);
    }
}

fn each(a: &ByPath, b: &ByPath, op: impl Fn(u64, u64) -> u64) -> ByPath {
    std::array::from_fn(|i| op(a[i], b[i]))
}
