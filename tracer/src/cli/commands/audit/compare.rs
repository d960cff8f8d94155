//! One round's comparison: what the breakpoints saw against what the probes counted.

use std::collections::BTreeMap;

use anyhow::Result;
use tracer_ebpf::abi::{Direction, Path};

use super::groups::Group;
use super::surveyed::Place;
use crate::callsites::classify::PAGE;
use crate::callsites::coverage::{Coverage, IN_LIB};
use crate::callsites::survey::Entry;
use crate::model::site_coverage::Covered;
use crate::probes::hw_breakpoints::{self, Heard, Testimony};
use crate::session::Session;

/// Bytes from both sides.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Sides {
    /// As the breakpoints saw them, at call sites that something covers.
    pub witness: u64,
    /// That rows and call sites' probes counted.
    pub counted: u64,
}

impl Sides {
    pub fn residual(&self) -> i64 {
        self.witness as i64 - self.counted as i64
    }

    pub fn add(&mut self, other: Sides) {
        self.witness += other.witness;
        self.counted += other.counted;
    }
}

/// A group that was whole in a round.
pub struct Compared {
    pub group: Group,
    /// By the path of the task's service; `None`: it performed none that tracer knows.
    pub paths: BTreeMap<Option<Path>, Sides>,
}

impl Compared {
    pub fn sum(&self) -> Sides {
        let mut sum = Sides::default();
        self.paths.values().for_each(|sides| sum.add(*sides));
        sum
    }

    fn on(&mut self, path: Option<Path>) -> &mut Sides {
        self.paths.entry(path).or_default()
    }
}

/// Bytes and calls of copies of constant size, by primitive and caller.
pub type Metadata = BTreeMap<(&'static str, String), (Direction, u64, u64)>;

/// Calls of `memcpy` and the like that a row counts.
pub struct Counted {
    pub name: String,
    pub row: &'static str,
    pub sides: Sides,
}

/// The same of which nothing counts any.
pub struct Uncounted {
    pub name: String,
    pub entry: &'static Entry,
    pub bytes: u64,
    pub calls: u64,
}

#[derive(Default)]
pub struct Round {
    /// What was under breakpoints: primitives, or calls in functions.
    pub primitives: Vec<&'static str>,
    pub places: Vec<String>,
    pub compared: Vec<Compared>,
    pub metadata: Metadata,
    /// Of these, what is no structure: copies of a page and more that no row and no call site counts.
    pub pages: Metadata,
    pub counted: Vec<Counted>,
    pub uncounted: Vec<Uncounted>,
}

impl Round {
    /// Takes what was seen and counted since the last round. Groups with a primitive that was not under a
    /// breakpoint are left out.
    pub fn of_primitives(
        session: &mut Session,
        primitives: Vec<&'static str>,
        groups: &[Group],
    ) -> Result<Self> {
        let heard = hw_breakpoints::hear(&mut session.kernel)?;
        let rows = hw_breakpoints::counted(&mut session.kernel)?;
        let whole = |group: &&Group| group.primitives.iter().all(|p| primitives.contains(p));
        let compared = |group: &Group| {
            let mut compared = Compared { group: group.clone(), paths: BTreeMap::new() };
            for cells in group.rows.iter().filter_map(|row| rows.get(row)) {
                for ((path, direction), bytes) in cells {
                    if *direction == group.direction {
                        compared.on(Some(*path)).counted += bytes;
                    }
                }
            }
            compared
        };
        let compared = groups.iter().filter(whole).map(compared).collect();
        let mut round = Round { primitives, compared, ..Round::default() };
        round.take_all(&session.coverage, &heard);
        Ok(round)
    }

    fn take_all(&mut self, coverage: &Coverage, heard: &Heard) {
        for testimony in &heard.testimonies {
            self.take(coverage, testimony);
        }
        for site in &heard.sites {
            if let Some(primitive) = coverage.primitive_at(site.address)
                && let Some(compared) = self.of(primitive.name, site.direction)
            {
                compared.on(site.path).counted += site.bytes;
            }
        }
    }

    /// Books one testimony as covered or as metadata; calls within the copy helpers are their caller's.
    fn take(&mut self, coverage: &Coverage, testimony: &Testimony) {
        let address = testimony.return_address;
        let function = coverage.symbols().and_then(|symbols| symbols.function(address - 1));
        let caller = function.map_or_else(|| format!("{address:#x}"), |f| f.name.to_owned());
        if IN_LIB.contains(&caller.as_str()) {
            return;
        }
        let (primitive, direction) = (testimony.primitive.name, testimony.direction);
        if coverage.before(primitive, address) == Some(Covered::Uncovered) {
            let count = &testimony.count;
            // All calls from one place copy as much, or it would have a probe.
            let is_page = count.bytes >= count.calls.saturating_mul(PAGE);
            let uncounted = if is_page { &mut self.pages } else { &mut self.metadata };
            let entry = uncounted.entry((primitive, caller)).or_insert((direction, 0, 0));
            entry.1 += count.bytes;
            entry.2 += count.calls;
        } else if let Some(compared) = self.of(primitive, direction) {
            compared.on(testimony.path).witness += testimony.count.bytes;
        }
    }

    fn of(&mut self, primitive: &str, direction: Direction) -> Option<&mut Compared> {
        self.compared
            .iter_mut()
            .find(|c| c.group.direction == direction && c.group.primitives.contains(&primitive))
    }

    /// The same of calls of `memcpy` and the like, which know no direction.
    pub fn of_calls(session: &mut Session, places: &[Place]) -> Result<Self> {
        let heard = hw_breakpoints::hear(&mut session.kernel)?;
        let rows = hw_breakpoints::counted(&mut session.kernel)?;
        let mut round = Round { places: places.iter().map(Place::name).collect(), ..Round::default() };
        for place in places {
            let seen = place.seen(&heard);
            let name = place.name();
            if let Some(row) = place.row {
                let counted = rows.get(row).map_or(0, |cells| cells.values().sum());
                let sides = Sides { witness: seen.bytes, counted };
                round.counted.push(Counted { name, row, sides });
            } else if seen.calls > 0 {
                let (entry, bytes, calls) = (place.entry, seen.bytes, seen.calls);
                round.uncounted.push(Uncounted { name, entry, bytes, calls });
            }
        }
        Ok(round)
    }
}
