//! Finds every direct call and tail jump to a set of functions in kernel text.
//!
//! A cheap pass over all bytes finds what may be opcodes before displacements that point at a target; only the
//! functions that hold one are decoded, which proves that it belongs to an instruction.
//! Calls through pointers cannot be seen this way: none of the primitives has its
//! address taken on the kernels looked at, except through `static_call` trampolines,
//! whose `__SCT__` code is ordinary text and is found as a tail jump.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decode::{Flow, INT3, decode, rel32};
use super::text::{Segment, Text};
use crate::kernel::kallsyms::{Function, Kallsyms};

/// Bytes looked at together: a bit of a word each.
const BLOCK: usize = 64;
/// Where a call may be redirected to at boot: behind `endbr64` (FineIBT).
const SKIPPED_ENTRY: u64 = 4;
/// ...or into the padding before the function (call depth tracking on Skylake).
const PREFIX: &str = "__pfx_";
const MAX_PREFIX: u64 = 64;

/// A function whose callers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The caller's number for it. Several targets may share one (aliases).
    pub primitive: usize,
    pub addr: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Call,
    /// `jmp`: the target returns to the caller's caller.
    Tail,
    /// A conditional tail jump: a probe on it fires also when it is not taken.
    ConditionalTail,
}

/// One instruction that calls a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    pub addr: u64,
    pub primitive: usize,
    pub kind: Kind,
    pub function: String,
    pub function_start: u64,
    pub module: Option<String>,
    pub offset: u64,
}

/// What looks like a call of a target but could not be decoded as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Where the displacement lies.
    pub addr: u64,
    pub primitive: usize,
    pub function: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// By address.
    pub sites: Vec<Site>,
    /// Nearly always empty: coincidences in data, or code others have patched.
    pub doubts: Vec<Doubt>,
}

/// Where calls of a target may arrive.
#[derive(Debug, Clone, Copy)]
struct Zone {
    start: u64,
    entry: u64,
    end: u64,
    primitive: usize,
}

impl Zone {
    fn is_entry(&self, target: u64) -> bool {
        target == self.entry || target == self.end
    }
}

/// The zones, by address.
#[derive(Debug)]
struct Zones(Vec<Zone>);

impl Zones {
    fn new(targets: &[Target], symbols: &Kallsyms) -> Self {
        let zone = |target: &Target| {
            let entry = target.addr;
            let before = symbols.function(entry.wrapping_sub(1));
            let prefix = before.filter(|f| f.name.starts_with(PREFIX) && entry - f.start <= MAX_PREFIX);
            let start = prefix.map_or(entry, |prefix| prefix.start);
            Zone { start, entry, end: entry.saturating_add(SKIPPED_ENTRY), primitive: target.primitive }
        };
        let mut zones: Vec<_> = targets.iter().map(zone).collect();
        zones.sort_by_key(|zone| zone.start);
        Self(zones)
    }

    fn find(&self, addr: u64) -> Option<&Zone> {
        let next = self.0.partition_point(|zone| zone.start <= addr);
        self.0[..next].last().filter(|zone| addr <= zone.end)
    }
}

/// The pages that zones lie in, by the low halves of their addresses: all kernel text lies within 2 GiB.
#[derive(Debug)]
struct Pages(Vec<u64>);

impl Pages {
    const BITS: u32 = 12;

    fn of(zones: &Zones) -> Self {
        let mut pages = Self(vec![0; 1 << (32 - Self::BITS - 6)]);
        for zone in &zones.0 {
            for page in zone.start >> Self::BITS..=zone.end >> Self::BITS {
                let page = page as u32 & (u32::MAX >> Self::BITS);
                pages.0[page as usize >> 6] |= 1 << (page & 63);
            }
        }
        pages
    }

    fn hold(&self, addr: u64) -> bool {
        let page = addr as u32 >> Self::BITS;
        self.0[page as usize >> 6] >> (page & 63) & 1 != 0
    }
}

/// Finds every call site of `targets` in `text`.
pub fn scan(text: &Text, symbols: &Kallsyms, targets: &[Target]) -> Found {
    let zones = Zones::new(targets, symbols);
    let pages = Pages::of(&zones);
    let mut found = Found::default();
    for segment in &text.segments {
        let mut hits = long_hits(segment, &zones, &pages);
        hits.extend(short_hits(segment, &zones));
        verify(segment, symbols, &zones, &hits, &mut found);
    }
    found.sites.sort_by_key(|site| site.addr);
    found.sites.dedup();
    found
}

/// A displacement that points into a zone.
#[derive(Debug, Clone, Copy)]
struct Hit {
    /// Where the displacement lies.
    addr: u64,
    primitive: usize,
    /// One-byte displacements are too often coincidence to raise a doubt.
    short: bool,
}

/// Displacements of 32 bits behind an opcode of a call, jump or branch.
fn long_hits(segment: &Segment, zones: &Zones, pages: &Pages) -> Vec<Hit> {
    let code = segment.bytes.as_slice();
    let mut hits = Vec::new();
    for block in (0..code.len()).step_by(BLOCK) {
        let end = code.len().min(block + BLOCK);
        let before = block.checked_sub(1).map_or(0, |at| code[at]);
        let mut opcodes = opcodes(&code[block..end], before);
        while opcodes != 0 {
            let at = block + opcodes.trailing_zeros() as usize;
            opcodes &= opcodes - 1;
            let target = rel32(code, at + 1, segment.start).filter(|target| pages.hold(*target));
            let Some((target, zone)) = target.and_then(|target| Some((target, zones.find(target)?))) else {
                continue;
            };
            let one = code[at];
            let two = at.checked_sub(1).map_or(0, |at| code[at]);
            // A breakpoint has replaced the first byte. As int3 is also padding, in front of
            // any bytes, only those that point exactly at a target are taken for a call.
            let exact = zone.is_entry(target);
            let branch = one & 0xf0 == 0x80 && (two == 0x0f || (two == INT3 && exact));
            if matches!(one, 0xe8 | 0xe9) || (one == INT3 && exact) || branch {
                let addr = segment.start.wrapping_add(at as u64 + 1);
                hits.push(Hit { addr, primitive: zone.primitive, short: false });
            }
        }
    }
    hits
}

/// Which bytes of a block may be the last of an opcode with a displacement of 32 bits, by bit. `before` precedes
/// the block. No byte depends on another, so that the compiler makes vector code of it.
fn opcodes(block: &[u8], before: u8) -> u64 {
    let (mut ones, mut twos, mut found) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
    ones[..block.len()].copy_from_slice(block);
    twos[0] = before;
    twos[1..].copy_from_slice(&ones[..BLOCK - 1]);
    for ((found, one), two) in found.iter_mut().zip(ones).zip(twos) {
        let branch = (one & 0xf0 == 0x80) & ((two == 0x0f) | (two == INT3));
        *found = u8::from((one & 0xfe == 0xe8) | (one == INT3) | branch);
    }
    // Eight bytes of 0 and 1 become eight bits.
    let bits = |eight: &[u8]| {
        u64::from_le_bytes(eight.try_into().unwrap_or_default()).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    found.chunks_exact(8).rev().fold(0, |mask, eight| mask << 8 | bits(eight))
}

/// Two-byte jumps, which reach a target only from its neighbourhood.
fn short_hits(segment: &Segment, zones: &Zones) -> Vec<Hit> {
    let mut hits = Vec::new();
    for zone in &zones.0 {
        let start = zone.start.saturating_sub(130).max(segment.start);
        for (i, pair) in segment.slice(start, zone.end.saturating_add(130)).windows(2).enumerate() {
            let addr = start.wrapping_add(i as u64);
            let target = addr.wrapping_add(2).wrapping_add_signed(i64::from(pair[1] as i8));
            let jump = pair[0] == 0xeb || pair[0] & 0xf0 == 0x70;
            if jump && (zone.start..=zone.end).contains(&target) {
                hits.push(Hit { addr: addr.wrapping_add(1), primitive: zone.primitive, short: true });
            }
        }
    }
    hits
}

/// Decodes each function that holds a hit, and takes its sites from the instructions.
fn verify(segment: &Segment, symbols: &Kallsyms, zones: &Zones, hits: &[Hit], found: &mut Found) {
    let mut functions: BTreeMap<u64, (Function<'_>, Vec<Hit>)> = BTreeMap::new();
    for hit in hits {
        match symbols.function(hit.addr) {
            Some(function) => {
                let entry = functions.entry(function.start).or_insert_with(|| (function, Vec::new()));
                entry.1.push(*hit);
            }
            None if hit.short => {}
            None => {
                found.doubts.push(Doubt { addr: hit.addr, primitive: hit.primitive, function: None });
            }
        }
    }
    for (function, hits) in functions.into_values() {
        let proven = sites(segment, &function, zones, &mut found.sites);
        let inside = |hit: &Hit| proven.iter().any(|&(start, end)| (start..end).contains(&hit.addr));
        found.doubts.extend(hits.iter().filter(|hit| !hit.short && !inside(hit)).map(|hit| Doubt {
            addr: hit.addr,
            primitive: hit.primitive,
            function: Some(function.name.to_owned()),
        }));
    }
}

/// Adds the sites in one function. Returns the extents of all instructions that lead to
/// a target, including those within a target itself, which are not sites.
fn sites(
    segment: &Segment,
    function: &Function<'_>,
    zones: &Zones,
    sites: &mut Vec<Site>,
) -> Vec<(u64, u64)> {
    let code = segment.slice(function.start, function.end);
    let mut proven = Vec::new();
    let is_entry = |addr| zones.find(addr).is_some_and(|zone| zone.is_entry(addr));
    for instr in decode(code, function.start, is_entry) {
        let (kind, target) = match instr.flow {
            Flow::Call(target) => (Kind::Call, target),
            Flow::Jump(target) => (Kind::Tail, target),
            Flow::Branch(target) => (Kind::ConditionalTail, target),
            _ => continue,
        };
        let Some(zone) = zones.find(target) else {
            continue;
        };
        proven.push((instr.addr, instr.addr.saturating_add(instr.len.into())));
        // A loop back to the first instruction is no call.
        if kind != Kind::Call && function.start == zone.entry {
            continue;
        }
        sites.push(Site {
            addr: instr.addr,
            primitive: zone.primitive,
            kind,
            function: function.name.to_owned(),
            function_start: function.start,
            module: function.module.map(str::to_owned),
            offset: instr.addr - function.start,
        });
    }
    proven
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
