//! One round's comparison: what the breakpoints saw against what the probes counted.

use std::collections::BTreeMap;

use anyhow::Result;
use tracer_ebpf::abi::Direction;

use super::groups::Group;
use crate::coverage::{Coverage, Covered, IN_LIB};
use crate::session::Session;
use crate::text::classify::PAGE;
use crate::witness::{self, Testimony};

/// A group that was whole in a round.
pub struct Compared {
    pub group: Group,
    /// Bytes at call sites that something covers, as the breakpoints saw them.
    pub witness: u64,
    /// Bytes that rows and call sites' probes counted.
    pub counted: u64,
}

impl Compared {
    pub fn residual(&self) -> i64 {
        self.witness as i64 - self.counted as i64
    }
}

/// Bytes and calls of copies of constant size, by primitive and caller.
pub type Metadata = BTreeMap<(&'static str, String), (Direction, u64, u64)>;

pub struct Round {
    pub primitives: Vec<&'static str>,
    pub compared: Vec<Compared>,
    pub metadata: Metadata,
    /// Of these, what is no structure: copies of a page and more that no row and no call site counts.
    pub pages: Metadata,
}

impl Round {
    /// Takes what was seen and counted since the last round. Groups with a primitive that was not under a
    /// breakpoint are left out.
    pub fn compare(session: &mut Session, primitives: Vec<&'static str>, groups: &[Group]) -> Result<Round> {
        let heard = witness::hear(&mut session.kernel)?;
        let rows = witness::counted(&mut session.kernel)?;
        let whole = |group: &&Group| group.primitives.iter().all(|p| primitives.contains(p));
        let counted = |group: &Group| -> u64 {
            let rows = group.rows.iter().filter_map(|row| rows.get(row));
            rows.map(|bytes| bytes[group.direction as usize]).sum()
        };
        let compared = groups
            .iter()
            .filter(whole)
            .map(|group| Compared { group: group.clone(), witness: 0, counted: counted(group) })
            .collect();
        let mut round = Round { primitives, compared, metadata: Metadata::new(), pages: Metadata::new() };
        for testimony in &heard.testimonies {
            round.take(&session.coverage, testimony);
        }
        for site in &heard.sites {
            if let Some(primitive) = session.coverage.primitive_at(site.address)
                && let Some(compared) = round.of(primitive.name, site.direction)
            {
                compared.counted += site.bytes;
            }
        }
        Ok(round)
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
            compared.witness += testimony.count.bytes;
        }
    }

    fn of(&mut self, primitive: &str, direction: Direction) -> Option<&mut Compared> {
        self.compared
            .iter_mut()
            .find(|c| c.group.direction == direction && c.group.primitives.contains(&primitive))
    }
}
