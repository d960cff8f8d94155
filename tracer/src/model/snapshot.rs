//! What was counted, as plain data: cumulative [`Snapshot`]s, and windows between two of them.
//!
//! Everything derived (copies per byte, zero-copied bytes, switches per MiB) is computed here and
//! nowhere else, so that every output shows the same number.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tracer_ebpf::abi::Ledger;

use crate::fmt::rfc3339;
use crate::model::size_histogram::{CopySizes, UnnamedSizes};

pub use crate::model::derived::Derived;
pub use crate::model::explained::{ByPath, Explained};
pub use crate::model::tally::{Highest, NEXT_TO_NONE, Tally};

/// One reading of everything. Counters are cumulative since counting began, unless it came from
/// [`Snapshot::since`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub kernel: String,
    /// When counting (or the window) began, and how long ago that was.
    pub started: SystemTime,
    pub window: Duration,
    pub observed: Observed,
    pub coverage: Coverage,
    pub probes: Vec<Probe>,
    /// Why events were not counted, by reason; every reason is listed, also with 0.
    pub losses: Vec<LossCount>,
    pub processes: Vec<Process>,
    /// Sum over all processes, kept by the kernel side on its own.
    pub total: Ledger,
    /// Processes for which no slot was left, together.
    pub overflow: Tally,
    /// Processes that ended long ago, when there were too many to keep them one by one.
    pub ended: Folded,
    /// Softirq copies whose owner is not known: of the whole machine, not of the selected processes.
    pub softirq: Tally,
    pub kernel_threads: Tally,
    /// Copies by size of the three ledgers above that are no process's.
    pub unnamed_sizes: UnnamedSizes,
    /// Network devices, by which packets left, that take them in one piece only.
    pub linear_devices: Vec<String>,
    /// Sentences about what could not be seen, to be shown before the numbers.
    pub notes: Vec<String>,
}

/// Which quantities could be observed at all. What was not is absent from every output, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    pub copies: bool,
    /// Bytes moved by reference.
    pub references: bool,
    /// Copies that ended at memory that is not mapped.
    pub cut_short: bool,
    pub syscalls: bool,
    pub payload: bool,
    pub faults: bool,
    pub interrupts: bool,
    pub context_switches: bool,
    /// Bytes that block devices moved, and network devices.
    pub block: bool,
    pub net: bool,
}

/// How sure it is that every copy was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    pub state: CoverageState,
    /// Since when it is complete, where it was not all the time.
    pub since: Option<SystemTime>,
    /// Why it is not complete, or was not; empty if it is.
    pub reasons: Vec<String>,
    /// Call sites of copy primitives, by primitive and by what covers them.
    pub sites: Vec<SiteCount>,
}

impl Coverage {
    /// The state, with the time since which it holds.
    pub fn state_since(&self) -> String {
        let since = self.since.and_then(rfc3339).map_or_else(String::new, |time| format!(" {time}"));
        format!("{}{since}", self.state.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoverageState {
    /// Every data-moving call site in the kernel's live text is covered by an attached probe.
    Complete,
    /// Complete now, and not before: a module was loaded whose own calls were found only then.
    CompleteSince,
    /// A site or a probe is known to be missing.
    Incomplete,
    /// The kernel's text could not be read: nothing is known to be missing, and nothing is proven.
    Unproven,
    /// Copies are not observed at all.
    None,
}

impl CoverageState {
    pub fn name(self) -> &'static str {
        match self {
            CoverageState::Complete => "complete",
            CoverageState::CompleteSince => "complete since",
            CoverageState::Incomplete => "incomplete",
            CoverageState::Unproven => "unproven",
            CoverageState::None => "none",
        }
    }
}

/// Number of call sites of one primitive with one coverage
/// (`wrapper`, `checked`, `call_site`, `uncovered`, `unknown`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteCount {
    pub primitive: &'static str,
    /// True for primitives that move data; false for `_copy_to_user` and `_copy_from_user`, whose
    /// uncovered sites copy structures of constant size.
    pub data: bool,
    pub coverage: &'static str,
    pub sites: u64,
}

/// One row of the probe table, as it ended up on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub name: &'static str,
    /// `fentry`, `fexit`, `kprobe`, `kretprobe`, `raw_tracepoint`, `callsite`; "" if not attached.
    pub method: &'static str,
    /// The function or tracepoint.
    pub symbol: String,
    pub attached: bool,
    /// True if its absence makes the ledger incomplete.
    pub required: bool,
    /// True if it is attached in a way that tells less than the others, because those cannot work here.
    pub reduced: bool,
    /// Events of counted processes that this probe may have missed: an upper bound.
    pub missed: u64,
    /// Runs that the kernel skipped, whomever they were for; 0 of them are `missed` if no counted process
    /// ran where that happened.
    pub skipped: u64,
    /// Times it ran and nanoseconds it took; only where the kernel keeps these statistics.
    pub runs: u64,
    pub run_time_ns: u64,
    /// Why it is not attached, and what would help; "" if it is.
    pub cause: String,
    pub remedy: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossCount {
    pub reason: &'static str,
    pub count: u64,
    /// False if the events were counted, but not by process.
    pub loses_events: bool,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// As the caller's pid namespace names it.
    pub pid: u32,
    /// Escaped for display by whoever displays it.
    pub comm: String,
    pub start_time: Option<SystemTime>,
    pub exited: bool,
    pub exe: String,
    pub cgroup: String,
    pub ledger: Tally,
    /// Empty unless sizes are counted.
    pub copy_sizes: CopySizes,
}

/// Processes of which only the sum is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    pub processes: u64,
    pub ledger: Tally,
    pub copy_sizes: CopySizes,
}

impl Default for Folded {
    fn default() -> Self {
        Folded { processes: 0, ledger: Tally::ZERO, copy_sizes: CopySizes::default() }
    }
}

impl Folded {
    /// Adds what was counted for one process.
    pub fn add(&mut self, process: &Process) {
        self.ledger = self.ledger.plus(&process.ledger);
        self.copy_sizes = std::mem::take(&mut self.copy_sizes).plus(&process.copy_sizes);
    }
}

impl Process {
    /// What tells it from another one: pids are used again.
    fn identity(&self) -> (u32, Option<SystemTime>) {
        (self.pid, self.start_time)
    }
}

impl Snapshot {
    /// The window between an earlier snapshot and this one. A process that is new since then is taken
    /// whole; one that had ended before is left out if nothing was counted late. Counters never go below 0.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let mut window = self.clone();
        window.started = earlier.started + earlier.window;
        window.window = self.window.saturating_sub(earlier.window);
        window.total = minus(&self.total, &earlier.total);
        window.overflow = self.overflow.since(&earlier.overflow);
        window.softirq = self.softirq.since(&earlier.softirq);
        window.kernel_threads = self.kernel_threads.since(&earlier.kernel_threads);
        let mut before: HashMap<_, &Process> = earlier.processes.iter().map(|p| (p.identity(), p)).collect();
        window.processes.retain_mut(|process| {
            let Some(before) = before.remove(&process.identity()) else { return true };
            process.ledger = process.ledger.since(&before.ledger);
            process.copy_sizes = std::mem::take(&mut process.copy_sizes).minus(&before.copy_sizes);
            !before.exited || !process.ledger.is_empty()
        });
        // What is left was folded since; its earlier counts belong to earlier windows.
        let mut known = earlier.ended.clone();
        before.values().for_each(|process| known.add(process));
        window.ended = Folded {
            processes: self.ended.processes.saturating_sub(earlier.ended.processes),
            ledger: self.ended.ledger.since(&known.ledger),
            copy_sizes: self.ended.copy_sizes.clone().minus(&known.copy_sizes),
        };
        window.unnamed_sizes = window.unnamed_sizes.minus(&earlier.unnamed_sizes);
        for (loss, before) in window.losses.iter_mut().zip(&earlier.losses) {
            loss.count = loss.count.saturating_sub(before.count);
        }
        for (probe, before) in window.probes.iter_mut().zip(&earlier.probes) {
            probe.missed = probe.missed.saturating_sub(before.missed);
            probe.skipped = probe.skipped.saturating_sub(before.skipped);
        }
        window
    }

    /// Events known to be lost, over all reasons and probes.
    pub fn lost_events(&self) -> u64 {
        let losses: u64 = self.losses.iter().filter(|l| l.loses_events).map(|l| l.count).sum();
        losses + self.probes.iter().map(|p| p.missed).sum::<u64>()
    }

    /// Sum of the selected processes' ledgers, with those that share the overflow slot.
    pub fn sum(&self) -> Tally {
        let unnamed = self.overflow.plus(&self.ended.ledger);
        self.processes.iter().fold(unnamed, |sum, p| sum.plus(&p.ledger))
    }

    /// The kernel side's total; what is unexplained of it is the sum of its parts.
    pub fn totals(&self) -> Tally {
        Tally { ledger: self.total, unexplained: self.sum().unexplained }
    }

    /// Copies by size of all that [`Snapshot::sum`] sums up.
    pub fn sum_of_sizes(&self) -> CopySizes {
        let unnamed = self.unnamed_sizes.overflow.clone().plus(&self.ended.copy_sizes);
        self.processes.iter().fold(unnamed, |sum, p| sum.plus(&p.copy_sizes))
    }

    /// True if the kernel side's own total equals the sum of all parts. While counting goes on the parts
    /// are read one after the other, and it need not.
    pub fn adds_up(&self) -> bool {
        self.sum().ledger == self.total
    }
}

/// Counter by counter.
pub fn plus(a: &Ledger, b: &Ledger) -> Ledger {
    zip(a, b, u64::saturating_add)
}

/// Counter by counter, never below 0.
pub fn minus(a: &Ledger, b: &Ledger) -> Ledger {
    zip(a, b, u64::saturating_sub)
}

/// A number that changes whenever the ledger of a process does: counters only grow, and so does their sum.
pub fn stamp(ledger: &Ledger) -> u64 {
    words(ledger).iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

fn zip(a: &Ledger, b: &Ledger, op: impl Fn(u64, u64) -> u64) -> Ledger {
    let mut out = *a;
    for (x, y) in words_mut(&mut out).iter_mut().zip(words(b)) {
        *x = op(*x, *y);
    }
    out
}

/// A ledger as the counters it is made of.
pub fn words(ledger: &Ledger) -> &[u64; Ledger::WORDS] {
    // SAFETY: `Ledger` is `repr(C)`, made of u64 only, and the array has its size and alignment.
    unsafe { &*std::ptr::from_ref(ledger).cast() }
}

/// A ledger as the counters it is made of.
pub fn words_mut(ledger: &mut Ledger) -> &mut [u64; Ledger::WORDS] {
    // SAFETY: as `words`.
    unsafe { &mut *std::ptr::from_mut(ledger).cast() }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::abi::{Count, Direction, Path};

    use super::*;

    fn ledger(payload: u64, copied: u64, referenced: u64) -> Ledger {
        let mut l = Ledger::ZERO;
        l.payload[Path::Sendfile as usize] = Count { bytes: payload, calls: 1 };
        l.copied[Path::Sendfile as usize][Direction::InKernel as usize] = Count { bytes: copied, calls: 1 };
        l.referenced[Path::Sendfile as usize] = referenced;
        l
    }

    #[test]
    fn zero_copied_is_what_was_referenced_and_not_copied() {
        // To a socket: taken from the file by reference (N) and attached to packets by reference (N).
        assert_eq!(ledger(100, 0, 200).zero_copied(Path::Sendfile), 100);
        // To a file: taken by reference, then copied.
        assert_eq!(ledger(100, 100, 100).zero_copied(Path::Sendfile), 0);
        // Nothing was referenced: direct I/O, not zero-copy by reference.
        assert_eq!(ledger(100, 0, 0).zero_copied(Path::Sendfile), 0);
    }

    #[test]
    fn differences_never_go_below_zero() {
        let d = minus(&ledger(1, 5, 0), &ledger(2, 3, 0));
        assert_eq!((d.payload().bytes, d.copied(Path::Sendfile).bytes), (0, 2));
        assert_eq!(minus(&plus(&ledger(1, 2, 3), &ledger(4, 5, 6)), &ledger(4, 5, 6)), ledger(1, 2, 3));
    }

    #[test]
    fn a_window_is_what_came_since() {
        use crate::output::testing::{process, snapshot};
        let ended = |pid, ledger| Process { exited: true, ..process(pid, "x", ledger) };
        let (one, two) = (ledger(1, 10, 0), ledger(2, 20, 0));
        let before = snapshot(vec![process(1, "x", one), process(2, "x", one), ended(3, one)]);
        // 1 goes on, 2 is folded after more was counted for it, 3 ended before, 4 is new and has ended.
        let mut now = snapshot(vec![process(1, "x", two), ended(3, one), ended(4, two)]);
        now.ended = Folded { processes: 1, ledger: two.into(), ..Folded::default() };
        now.total = now.sum().ledger;
        let window = now.since(&before);
        let pids: Vec<_> = window.processes.iter().map(|p| (p.pid, p.ledger.payload().bytes)).collect();
        assert_eq!(pids, [(1, 1), (4, 2)]);
        assert_eq!((window.ended.processes, window.ended.ledger.payload().bytes), (1, 1));
        assert_eq!(window.sum().payload().bytes, window.total.payload().bytes);
    }

    #[test]
    fn ratios_need_payload() {
        assert_eq!(ledger(0, 5, 0).copies_per_byte(), None);
        assert_eq!(ledger(10, 5, 0).copies_per_byte(), Some(0.5));
    }

    #[test]
    fn copies_without_payload_are_in_no_ratio() {
        // 921 bytes read, and 19 pages copied on write after a fork.
        let mut l = Ledger::ZERO;
        l.payload[Path::Read as usize] = Count { bytes: 921, calls: 2 };
        l.copied[Path::Read as usize][Direction::ToUser as usize] = Count { bytes: 921, calls: 2 };
        l.copied[Path::MmapFault as usize][Direction::InKernel as usize] =
            Count { bytes: 19 * 4096, calls: 19 };
        assert_eq!(l.copies_per_byte(), Some(1.0));
        assert_eq!(l.path_copies_per_byte(Path::MmapFault), None);
        assert_eq!(l.copied_with_payload(), 921);
        assert_eq!(l.copied_without_payload(), [(Path::MmapFault, 77_824)]);
        let all: u64 = l.copied_without_payload().iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(l.copied_with_payload() + all, l.copied_in(Direction::ToUser).bytes + 77_824);
        // Nothing is counted on either side twice, or on none.
        assert_eq!(ledger(0, 5, 0).copied_without_payload(), [(Path::Sendfile, 5)]);
        assert_eq!(ledger(10, 5, 0).copied_without_payload(), []);
    }
}
