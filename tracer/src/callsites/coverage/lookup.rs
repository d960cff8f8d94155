//! Call sites by address: for the audit.

use tracer_ebpf::table::{PRIMITIVES, Primitive};

use super::{CALL, Coverage};
use crate::callsites::decode::rel32;
use crate::callsites::scan::{Kind, Site};
use crate::model::site_coverage::Covered;

impl Coverage {
    /// The primitive that the call site at `address` calls.
    pub fn primitive_at(&self, address: u64) -> Option<&'static Primitive> {
        let at = self.sites.binary_search_by_key(&address, |(site, _)| site.addr).ok()?;
        PRIMITIVES.get(self.sites[at].0.primitive)
    }

    /// What covers the call of a primitive that returns to `address`; `None` where no site can be named,
    /// as behind a call through a pointer.
    pub fn before(&self, primitive: &str, address: u64) -> Option<Covered> {
        let scanned = self.scanned.as_ref().ok()?;
        let of = |site: &Site| PRIMITIVES[site.primitive].name == primitive;
        let call = address.wrapping_sub(CALL);
        let direct = self.sites.iter().find(|(site, _)| site.addr == call && of(site));
        if let Some((_, covered)) = direct {
            return Some(*covered);
        }
        // A function that was called there, and left by a tail jump to the primitive.
        let code = scanned.text.segment(call)?.slice(call, address);
        let function = scanned.symbols.function(rel32(code, 1, call)?)?;
        let mut tails = self
            .sites
            .iter()
            .filter(|(site, _)| site.function_start == function.start && site.kind != Kind::Call && of(site));
        let (_, covered) = tails.next()?;
        tails.all(|(_, other)| other == covered).then_some(*covered)
    }
}
