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

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::after::{After, after};
use super::decode::{Flow, Instr, decode};
use super::scan::{Kind, Site};
use super::size::{Size, size};
use super::text::Text;
use crate::kernel::kallsyms::{Function, Kallsyms};

/// What a primitive moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Payload: every site has to be covered.
    Data,
    /// Without a check mostly structures of constant size, `copy_to_user(&stat)`: named where not covered. It moves data
    /// where its size is no constant, or a page and more.
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
    /// Of `wrappers`, those that count only what no check precedes.
    pub leaving_checked: &'a [&'a str],
    /// By primitive number: which argument is the size, where a check may precede the call.
    pub sizes: &'a [Option<usize>],
    /// Functions that are a check of the bytes about to be copied.
    pub checks: &'a [u64],
    /// The check has a probe.
    pub check_is_probed: bool,
    /// Where all functions begin whose calls matter: by these a call under a breakpoint is recognised.
    pub targets: &'a [u64],
}

impl<'a> Rules<'a> {
    /// For calls of whatever function, by the position of the size among its arguments.
    pub fn of_sizes(sizes: &'a [Option<usize>]) -> Self {
        Rules {
            roles: &[],
            wrappers: &[],
            in_lib: &[],
            leaving_checked: &[],
            sizes,
            checks: &[],
            check_is_probed: false,
            targets: &[],
        }
    }
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
    /// Paths lead here that a check precedes, and others.
    pub mixed: bool,
    /// How many bytes it copies, on paths that no check precedes; `Variable` where nobody asked.
    pub size: Size,
}

/// What the flow of functions tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Of the calls of copy primitives.
    pub sites: Vec<Verdict>,
    /// What follows the calls of the check.
    pub checks: Vec<After>,
    /// How many calls of the check some path leads to: none where it is patched out, or the kernel has none.
    pub live_checks: usize,
}

/// From this size on, a constant is no structure's.
pub const PAGE: u64 = 4096;

/// The number of the check among the functions whose calls `classify` is given as `checks`.
pub const CHECK: usize = 0;

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
    // Copies whose check is patched out: their size is no constant of the source, whatever the compiler made of it.
    let mut guarded: BTreeSet<u64> = BTreeSet::new();
    for site in checks {
        let unit = units.entry(site.function_start).or_insert_with(|| Unit::of(site, text, symbols, rules));
        let after = after(unit, site.addr, &copies);
        match (site.primitive == CHECK, unit.runs(site.addr)) {
            (true, true) => verdicts.live_checks += 1,
            (true, false) => guarded.extend(after.sites.iter().copied()),
            (false, _) => {}
        }
        verdicts.checks.push(after);
    }
    let verdict = |site: &Site| {
        let unit = units.entry(site.function_start).or_insert_with(|| Unit::of(site, text, symbols, rules));
        let state = unit.state(site.addr);
        let checked = state == State::CHECKED;
        let position = rules.sizes.get(site.primitive).copied().flatten();
        let size = match position {
            Some(position) if !checked && !guarded.contains(&site.addr) => {
                size(unit, text, site.addr, position, rules.checks)
            }
            _ => Size::Variable,
        };
        let coverage = match coverage(site, state, size, rules) {
            by_name @ (Coverage::Wrapper | Coverage::InLib) => by_name,
            _ if unit.doubtful => Coverage::Unknown,
            by_flow => by_flow,
        };
        let (reached, mixed) = (state != State::UNREACHED, state == State::MIXED);
        Verdict { coverage, checked, reached, mixed, size }
    };
    verdicts.sites = sites.iter().map(verdict).collect();
    verdicts
}

fn coverage(site: &Site, state: State, size: Size, rules: &Rules<'_>) -> Coverage {
    let name = base_name(&site.function);
    let role = rules.roles.get(site.primitive).copied().unwrap_or(Role::Data);
    let may_be_checked = rules.sizes.get(site.primitive).is_some_and(Option::is_some);
    let is_left = may_be_checked && rules.leaving_checked.contains(&name);
    if rules.in_lib.contains(&name) && site.module.is_none() {
        return Coverage::InLib;
    }
    if rules.wrappers.contains(&name) && !is_left {
        return Coverage::Wrapper;
    }
    let is_data = match size {
        _ if role == Role::Data => true,
        Size::Constant(bytes) => bytes >= PAGE,
        Size::Variable => state != State::UNREACHED,
    };
    match state {
        State::CHECKED if rules.check_is_probed => Coverage::Checked,
        State::CHECKED if role == Role::Struct => Coverage::Uncovered,
        _ if is_data => Coverage::CallSite,
        _ => Coverage::Uncovered,
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

/// What is known before an instruction runs: whether the last call was one of the check, on the paths that lead here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State(u8);

impl State {
    const UNREACHED: State = State(0);
    const CHECKED: State = State(1);
    const UNCHECKED: State = State(2);
    const MIXED: State = State(3);
}

/// A function with its cold part, decoded, and the state before each instruction.
#[derive(Debug, Default)]
pub(super) struct Unit {
    instrs: Vec<Instr>,
    /// The extents of the function and its cold part in `instrs`, each sorted by address.
    parts: Vec<std::ops::Range<usize>>,
    states: Vec<State>,
    /// Where the function is entered from outside.
    entries: Vec<usize>,
    /// From where instructions are jumped to: found when it is first asked for.
    jumps: OnceCell<BTreeMap<usize, Vec<usize>>>,
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
        for part in &parts {
            let start = unit.instrs.len();
            // Only the function proper is entered from outside.
            if parent_name(part.name).is_none() {
                unit.entries.push(start);
            }
            unit.instrs.extend(instructions(part, text, rules).map(|instr| replaced(instr, symbols)));
            unit.parts.push(start..unit.instrs.len());
        }
        unit.states = vec![State::UNREACHED; unit.instrs.len()];
        unit.flow(rules.checks);
        unit
    }

    /// An instruction that was not found counts as reached with nothing known.
    fn state(&self, addr: u64) -> State {
        self.find(addr).map_or(State::UNCHECKED, |at| self.states[at])
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

    pub(super) fn is_reached(&self, at: usize) -> bool {
        self.states[at] != State::UNREACHED
    }

    /// True if the check was the last call on all paths to the instruction.
    pub(super) fn is_checked(&self, at: usize) -> bool {
        self.states[at] == State::CHECKED
    }

    pub(super) fn is_entry(&self, at: usize) -> bool {
        self.entries.contains(&at)
    }

    /// The instructions that may run right before one.
    pub(super) fn predecessors(&self, at: usize) -> Vec<usize> {
        let jumps = self.jumps.get_or_init(|| self.jumps());
        let before = at.checked_sub(1).filter(|&before| {
            self.falls_through(before) && !matches!(self.instrs[before].flow, Flow::Jump(_) | Flow::Stop)
        });
        before.into_iter().chain(jumps.get(&at).into_iter().flatten().copied()).collect()
    }

    fn jumps(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut jumps: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (from, instr) in self.instrs.iter().enumerate() {
            if let Flow::Jump(target) | Flow::Branch(target) = instr.flow
                && let Some(to) = self.find(target)
            {
                jumps.entry(to).or_default().push(from);
            }
        }
        jumps
    }

    /// True if some path leads to the call of the check at this address, or that cannot be told.
    fn runs(&self, addr: u64) -> bool {
        self.doubtful || self.find(addr).is_none_or(|at| self.is_reached(at))
    }

    /// Carries states forward from `entries` until nothing changes.
    fn flow(&mut self, checks: &[u64]) {
        let mut work = VecDeque::new();
        for entry in self.entries.clone() {
            self.join(entry, State::UNCHECKED, &mut work);
        }
        while let Some(at) = work.pop_front() {
            let (instr, state) = (self.instrs[at], self.states[at]);
            self.doubtful |= instr.flow == Flow::Unknown;
            let after = match instr.flow {
                Flow::Call(target) if checks.contains(&target) => State::CHECKED,
                Flow::Call(_) | Flow::CallIndirect | Flow::Unknown => State::UNCHECKED,
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
        if let Some(known) = self.states.get_mut(at)
            && known.0 | state.0 != known.0
        {
            known.0 |= state.0;
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
