//! Says of every call site what counts the bytes that go through it.
//!
//! The rule for `Checked`: on every path through the function, the last call made before
//! the site is one of `__check_object_size`. That is how the inline `copy_to_user()` and
//! its like are compiled, and a probe on the check then sees the bytes of this site.
//!
//! Edges taken by faults (exception tables) are not followed: nothing can fault between
//! a check and its copy, and code that only faults reach is left unchecked.
//!
//! Where some path runs into what cannot be decoded (another tool's breakpoint, or no
//! instruction at all) nothing is claimed: the verdict is `Unknown`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Text;
use super::after::{After, after};
use super::decode::{Flow, Instr, decode};
use super::scan::{Kind, Site};
use crate::facts::kallsyms::{Function, Kallsyms};

/// What a primitive moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Payload: every site has to be covered.
    Data,
    /// Mostly structs of constant size, `copy_to_user(&stat)`: named where not covered.
    Struct,
}

/// The facts that classification rests on; all of it plain data from the probe table.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// By primitive number.
    pub roles: &'a [Role],
    /// Functions all of whose copies a wrapper probe counts.
    pub wrappers: &'a [&'a str],
    /// Helpers that are themselves reached only through other primitives.
    pub in_lib: &'a [&'a str],
    /// Functions that are a check of the bytes about to be copied, and probed.
    pub checks: &'a [u64],
    /// Where all functions begin whose calls matter: by these a call under a breakpoint is recognised.
    pub targets: &'a [u64],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coverage {
    Wrapper,
    Checked,
    InLib,
    /// Moves data and nothing else counts it: a kprobe goes here.
    CallSite,
    /// Metadata of constant size that nothing counts.
    Uncovered,
    /// Its function cannot be decoded as a whole.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub coverage: Coverage,
    /// The check comes first on every path. With `Wrapper`, both see the same bytes: the
    /// wrapper has to silence the check.
    pub checked: bool,
    /// Some path leads here. If not, a static key that is off does (7.2 compiles the copy a
    /// second time for `hardened_usercopy=off`), or the handling of a fault: a probe on
    /// such a site costs nothing, and counts should the analysis be wrong.
    pub reached: bool,
}

/// What the flow of functions tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Of the calls of copy primitives.
    pub sites: Vec<Verdict>,
    /// What follows the calls of the check.
    pub checks: Vec<After>,
}

/// Classifies `sites`, and says what follows `checks`; verdicts come in the same order.
pub fn classify(
    sites: &[Site],
    checks: &[Site],
    text: &Text,
    symbols: &Kallsyms,
    rules: &Rules<'_>,
) -> Verdicts {
    let mut units: BTreeMap<u64, Unit> = BTreeMap::new();
    let copies: HashMap<u64, usize> = sites.iter().map(|site| (site.addr, site.primitive)).collect();
    let mut verdicts = Verdicts::default();
    for site in checks {
        let unit = units.entry(site.function_start).or_insert_with(|| Unit::of(site, text, symbols, rules));
        verdicts.checks.push(after(unit, site.addr, &copies));
    }
    let verdict = |site: &Site| {
        let unit = units.entry(site.function_start).or_insert_with(|| Unit::of(site, text, symbols, rules));
        let state = unit.state(site.addr);
        let checked = state == State::Checked;
        let reached = state != State::Unreached;
        let coverage = match coverage(site, checked, rules) {
            by_name @ (Coverage::Wrapper | Coverage::InLib) => by_name,
            _ if unit.doubtful => Coverage::Unknown,
            by_flow => by_flow,
        };
        Verdict { coverage, checked, reached }
    };
    verdicts.sites = sites.iter().map(verdict).collect();
    verdicts
}

fn coverage(site: &Site, checked: bool, rules: &Rules<'_>) -> Coverage {
    let name = base_name(&site.function);
    let role = rules.roles.get(site.primitive).copied().unwrap_or(Role::Data);
    if rules.in_lib.contains(&name) && site.module.is_none() {
        Coverage::InLib
    } else if rules.wrappers.contains(&name) {
        Coverage::Wrapper
    } else if checked {
        Coverage::Checked
    } else if role == Role::Struct {
        Coverage::Uncovered
    } else {
        Coverage::CallSite
    }
}

/// The name in the source: without `.isra.0`, `.constprop.0`, `.part.0`, `.cold`.
pub fn base_name(symbol: &str) -> &str {
    symbol.split('.').next().unwrap_or(symbol)
}

/// The name of the function that a split-off `.cold` part belongs to.
fn parent_name(symbol: &str) -> Option<&str> {
    symbol.find(".cold").map(|end| &symbol[..end])
}

/// What is known before an instruction runs. The higher wins where paths meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Unreached,
    Checked,
    Unchecked,
}

/// A function with its cold part, decoded, and the state before each instruction.
#[derive(Debug, Default)]
pub(super) struct Unit {
    instrs: Vec<Instr>,
    /// The extents of the function and its cold part in `instrs`, each sorted by address.
    parts: Vec<std::ops::Range<usize>>,
    states: Vec<State>,
    /// A path runs into what cannot be decoded: the states behind it are guesses.
    doubtful: bool,
}

impl Unit {
    fn of(site: &Site, text: &Text, symbols: &Kallsyms, rules: &Rules<'_>) -> Self {
        let Some(function) = symbols.function(site.addr) else {
            return Self::default();
        };
        let parts = parts(function, text, symbols, rules);
        let mut unit = Self::default();
        let mut entries = Vec::new();
        for part in &parts {
            let start = unit.instrs.len();
            // Only the function proper is entered from outside.
            if parent_name(part.name).is_none() {
                entries.push(start);
            }
            unit.instrs.extend(instructions(part, text, rules).map(|instr| replaced(instr, symbols)));
            unit.parts.push(start..unit.instrs.len());
        }
        unit.states = vec![State::Unreached; unit.instrs.len()];
        unit.flow(entries, rules.checks);
        unit
    }

    /// An instruction that was not found counts as reached with nothing known.
    fn state(&self, addr: u64) -> State {
        self.find(addr).map_or(State::Unchecked, |at| self.states[at])
    }

    pub(super) fn instr(&self, at: usize) -> Instr {
        self.instrs[at]
    }

    /// The index of the instruction that runs after one that does not jump.
    pub(super) fn next(&self, at: usize) -> Option<usize> {
        self.falls_through(at).then_some(at + 1)
    }

    pub(super) fn find(&self, addr: u64) -> Option<usize> {
        self.parts.iter().find_map(|part| {
            let found = self.instrs[part.clone()].binary_search_by_key(&addr, |instr| instr.addr);
            Some(part.start + found.ok()?)
        })
    }

    /// Carries states forward from `entries` until nothing changes.
    fn flow(&mut self, entries: Vec<usize>, checks: &[u64]) {
        let mut work = VecDeque::new();
        for entry in entries {
            self.join(entry, State::Unchecked, &mut work);
        }
        while let Some(at) = work.pop_front() {
            let (instr, state) = (self.instrs[at], self.states[at]);
            self.doubtful |= instr.flow == Flow::Unknown;
            let after = match instr.flow {
                Flow::Call(target) if checks.contains(&target) => State::Checked,
                Flow::Call(_) | Flow::CallIndirect | Flow::Unknown => State::Unchecked,
                _ => state,
            };
            if let Flow::Jump(target) | Flow::Branch(target) = instr.flow
                && let Some(to) = self.find(target)
            {
                self.join(to, after, &mut work);
            }
            if !matches!(instr.flow, Flow::Jump(_) | Flow::Stop) && self.falls_through(at) {
                self.join(at + 1, after, &mut work);
            }
        }
    }

    fn falls_through(&self, at: usize) -> bool {
        let end = self.instrs[at].addr.wrapping_add(self.instrs[at].len.into());
        self.instrs.get(at + 1).is_some_and(|next| next.addr == end)
    }

    fn join(&mut self, at: usize, state: State, work: &mut VecDeque<usize>) {
        if self.states.get(at).is_some_and(|known| state > *known) {
            self.states[at] = state;
            work.push_back(at);
        }
    }
}

fn instructions(part: &Function<'_>, text: &Text, rules: &Rules<'_>) -> impl Iterator<Item = Instr> {
    let code = text.segment(part.start).map(|segment| segment.slice(part.start, part.end));
    decode(code.unwrap_or_default(), part.start, |target| rules.targets.contains(&target)).into_iter()
}

/// A jump into the kernel's kprobe pages stands where an optimised kprobe has replaced instructions.
fn replaced(instr: Instr, symbols: &Kallsyms) -> Instr {
    let Flow::Jump(target) = instr.flow else { return instr };
    let by_kprobe = symbols.function(target).is_some_and(|f| f.module == Some("__builtin__kprobes"));
    if by_kprobe { Instr { flow: Flow::Unknown, ..instr } } else { instr }
}

/// The function and those `.cold` parts that it shares jumps with.
fn parts<'a>(
    function: Function<'a>,
    text: &Text,
    symbols: &'a Kallsyms,
    rules: &Rules<'_>,
) -> Vec<Function<'a>> {
    let jumps_into = |from: &Function<'_>, into: &Function<'_>| {
        instructions(from, text, rules).any(|instr| match instr.flow {
            Flow::Jump(to) | Flow::Branch(to) => (into.start..into.end).contains(&to),
            _ => false,
        })
    };
    let whole = match parent_name(function.name) {
        None => Some(function),
        // Static functions may share a name: the parent is the one that jumps here.
        Some(name) => {
            let named = symbols.lookup(name).filter_map(|symbol| symbols.function(symbol.addr));
            named.into_iter().find(|parent| jumps_into(parent, &function))
        }
    };
    let Some(whole) = whole else {
        return vec![function];
    };
    let mut parts = vec![whole];
    let jumps = instructions(&whole, text, rules).filter_map(|instr| match instr.flow {
        Flow::Jump(to) | Flow::Branch(to) if !(whole.start..whole.end).contains(&to) => Some(to),
        _ => None,
    });
    for part in jumps.filter_map(|to| symbols.function(to)) {
        let cold = symbols.names_at(part.start).any(|name| parent_name(name.name) == Some(whole.name));
        if cold && !parts.iter().any(|known| known.start == part.start) {
            parts.push(part);
        }
    }
    parts
}

/// Whether a kprobe at the site fires exactly when the primitive is called.
pub fn exact_as_probe(site: &Site) -> bool {
    site.kind != Kind::ConditionalTail
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
