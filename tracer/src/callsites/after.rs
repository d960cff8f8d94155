//! What follows a call of the usercopy check: the copy that it was made for.

use std::collections::{BTreeSet, HashMap};

use super::classify::Unit;
use super::decode::Flow;
use super::scan::Site;

/// The first calls on all paths behind an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct After {
    /// Copy primitives among them, by number.
    pub primitives: BTreeSet<usize>,
    /// Where these are called.
    pub(super) sites: BTreeSet<u64>,
    /// Other functions are among them, or a path ends without a call.
    pub other: bool,
    /// A path runs into what cannot be decoded: the rest is not all.
    pub doubtful: bool,
}

/// Follows all paths from behind the instruction at `addr` to their first calls. `copies` has the primitives that
/// are called, by the address of the call.
pub(super) fn after(unit: &Unit, addr: u64, copies: &HashMap<u64, usize>) -> After {
    let mut found = After::default();
    let Some(call) = unit.find(addr) else {
        return After { doubtful: true, ..found };
    };
    let mut seen = BTreeSet::new();
    let mut work: Vec<usize> = unit.next(call).into_iter().collect();
    while let Some(at) = work.pop() {
        if !seen.insert(at) {
            continue;
        }
        let instr = unit.instr(at);
        if let Some(primitive) = copies.get(&instr.addr) {
            found.primitives.insert(*primitive);
            found.sites.insert(instr.addr);
            // A conditional tail jump also goes on.
            if !matches!(instr.flow, Flow::Branch(_)) {
                continue;
            }
        }
        match instr.flow {
            Flow::Call(_) | Flow::CallIndirect | Flow::Stop => found.other = true,
            Flow::Unknown => found.doubtful = true,
            Flow::Jump(target) => match unit.find(target) {
                Some(to) => work.push(to),
                None => found.other = true,
            },
            Flow::Branch(target) => {
                work.extend(unit.find(target));
                work.extend(unit.next(at));
            }
            Flow::Next => work.extend(unit.next(at)),
        }
    }
    found
}

impl Site {
    /// Where a function that is called here finds its return address; `None` for a tail jump, which leaves the one
    /// of the caller's caller.
    pub fn return_address(&self) -> Option<u64> {
        /// Bytes of a direct call.
        const CALL: u64 = 5;
        (self.kind == super::scan::Kind::Call).then(|| self.addr.wrapping_add(CALL))
    }
}
