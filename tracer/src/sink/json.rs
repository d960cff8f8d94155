//! The contract's JSON: one object per window, `"schema": "tracer/1"`.
//!
//! The structs below are the schema. An `Option` that is `None` was not observed and is absent.

mod buckets;

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use tracer_ebpf::abi::{Count, Direction, Ledger, Path};

use self::buckets::{Buckets, copy_sizes};
use super::{
    active_paths, checksummed, checksummed_in_all, encrypted_in_all, rfc3339, zero_copied_is_observed,
};
use crate::copy_sizes::CopySizes;
use crate::coverage::Covered;
use crate::snapshot::{Coverage, Derived, Folded, Observed, Probe, Process, Snapshot};

const SCHEMA: &str = "tracer/1";

/// The snapshot as a JSON value. Prefer [`write_line`] for output: it keeps the contract's order.
pub fn to_json(snapshot: &Snapshot) -> serde_json::Value {
    // Every key is a string and every number finite, so it cannot fail; null would say "not observed".
    serde_json::to_value(Report::of(snapshot)).unwrap_or_default()
}

/// One object on one line.
pub fn write_line(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, AsciiOnly);
    Report::of(snapshot).serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Writes everything outside of printable ASCII as `\uXXXX`: a reader gets the same string, and a
/// terminal nothing to obey (JSON itself leaves DEL, C1 controls and text-reordering marks as they are).
struct AsciiOnly;

impl serde_json::ser::Formatter for AsciiOnly {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        for c in text.chars() {
            if c.is_ascii() && !c.is_ascii_control() {
                write!(out, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    kernel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    window_seconds: f64,
    observed: ObservedView,
    coverage: CoverageView<'a>,
    probes: Vec<ProbeView<'a>>,
    lost_events: u64,
    losses: Named<u64>,
    adds_up: bool,
    notes: &'a [String],
    processes: Vec<ProcessView<'a>>,
    totals: LedgerView,
    overflow: LedgerView,
    /// Absent while every ended process is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<EndedView>,
    unattributed: Unattributed,
}

impl<'a> Report<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let (observed, sizes) = (&snapshot.observed, &snapshot.unnamed_sizes);
        Report {
            schema: SCHEMA,
            kernel: &snapshot.kernel,
            started: rfc3339(snapshot.started),
            window_seconds: snapshot.window.as_secs_f64(),
            observed: ObservedView::of(observed),
            coverage: CoverageView::of(&snapshot.coverage),
            probes: snapshot.probes.iter().map(ProbeView::of).collect(),
            lost_events: snapshot.lost_events(),
            losses: snapshot.losses.iter().map(|loss| (loss.reason, loss.count)).collect(),
            adds_up: snapshot.adds_up(),
            notes: &snapshot.notes,
            processes: snapshot.processes.iter().map(|p| ProcessView::of(p, observed)).collect(),
            totals: LedgerView::of(&snapshot.total, &snapshot.sum_of_sizes(), observed),
            overflow: LedgerView::of(&snapshot.overflow, &sizes.overflow, observed),
            ended: EndedView::of(&snapshot.ended, observed),
            unattributed: Unattributed {
                softirq: UnattributedView::of(&snapshot.softirq, &sizes.softirq, observed),
                kernel_thread: UnattributedView::of(
                    &snapshot.kernel_threads,
                    &sizes.kernel_threads,
                    observed,
                ),
            },
        }
    }
}

#[derive(Serialize)]
struct ObservedView {
    copies: bool,
    /// By system calls, which every kernel shows; `faults` and `interrupts` say it for those.
    mode_switches: bool,
    context_switches: bool,
    device_bytes: bool,
    payload: bool,
    references: bool,
    faults: bool,
    interrupts: bool,
}

impl ObservedView {
    fn of(observed: &Observed) -> Self {
        ObservedView {
            copies: observed.copies,
            mode_switches: observed.syscalls,
            context_switches: observed.context_switches,
            device_bytes: false,
            payload: observed.payload,
            references: observed.references,
            faults: observed.faults,
            interrupts: observed.interrupts,
        }
    }
}

#[derive(Serialize)]
struct CoverageView<'a> {
    state: &'static str,
    reasons: &'a [String],
    /// Sites of the primitives that move data; absent if the kernel's text could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_sites: Option<Named<u64>>,
    /// Sites of the primitives that copy structures.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_call_sites: Option<Named<u64>>,
}

impl<'a> CoverageView<'a> {
    fn of(coverage: &'a Coverage) -> Self {
        CoverageView {
            state: coverage.state.name(),
            reasons: &coverage.reasons,
            call_sites: call_sites(coverage, true),
            metadata_call_sites: call_sites(coverage, false),
        }
    }
}

fn call_sites(coverage: &Coverage, data: bool) -> Option<Named<u64>> {
    if coverage.sites.iter().all(|site| site.coverage == Covered::Unknown.name()) {
        return None;
    }
    let mut sums = ["wrapper", "checked", "call_site", "uncovered"].map(|name| (name, 0)).to_vec();
    for site in coverage.sites.iter().filter(|site| site.data == data) {
        match sums.iter_mut().find(|(name, _)| *name == site.coverage) {
            Some((_, sum)) => *sum += site.sites,
            None => sums.push((site.coverage, site.sites)),
        }
    }
    Some(Named(sums))
}

#[derive(Serialize)]
struct ProbeView<'a> {
    probe: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'static str,
    attached: bool,
    /// Absent if it is not attached: nobody knows what it would have seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
    symbol: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cause: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    remedy: &'a str,
}

impl<'a> ProbeView<'a> {
    fn of(probe: &'a Probe) -> Self {
        ProbeView {
            probe: probe.name,
            method: probe.method,
            attached: probe.attached,
            missed: probe.attached.then_some(probe.missed),
            skipped: (probe.skipped != 0).then_some(probe.skipped),
            symbol: &probe.symbol,
            cause: &probe.cause,
            remedy: &probe.remedy,
        }
    }
}

#[derive(Serialize)]
struct ProcessView<'a> {
    pid: u32,
    comm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    exited: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    exe: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cgroup: &'a str,
    #[serde(flatten)]
    ledger: LedgerView,
}

impl<'a> ProcessView<'a> {
    fn of(process: &'a Process, observed: &Observed) -> Self {
        ProcessView {
            pid: process.pid,
            comm: &process.comm,
            start_time: process.start_time.and_then(rfc3339),
            exited: process.exited,
            exe: &process.exe,
            cgroup: &process.cgroup,
            ledger: LedgerView::of(&process.ledger, &process.copy_sizes, observed),
        }
    }
}

/// Ended processes that are too many to be listed, together.
#[derive(Serialize)]
struct EndedView {
    processes: u64,
    #[serde(flatten)]
    ledger: LedgerView,
}

impl EndedView {
    fn of(ended: &Folded, observed: &Observed) -> Option<Self> {
        let view = || EndedView {
            processes: ended.processes,
            ledger: LedgerView::of(&ended.ledger, &ended.copy_sizes, observed),
        };
        (ended.processes > 0).then(view)
    }
}

#[derive(Serialize)]
struct LedgerView {
    paths: Named<PathView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies_per_byte: Option<f64>,
    /// In `copied_bytes` of their paths, and not in `copies_per_byte`.
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_without_payload_bytes: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_kinds: Option<OtherKinds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_bytes: Option<Named<u64>>,
    mode_switches: ModeSwitches,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_switches: Option<ContextSwitches>,
}

#[derive(Serialize)]
struct OtherKinds {
    checksum: u64,
    crypto: u64,
}

#[derive(Serialize)]
struct ModeSwitches {
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupt: Option<u64>,
}

#[derive(Serialize)]
struct ContextSwitches {
    voluntary: u64,
    involuntary: u64,
}

impl LedgerView {
    fn of(ledger: &Ledger, sizes: &CopySizes, observed: &Observed) -> Self {
        let ratio_is_observed = observed.copies && observed.payload;
        LedgerView {
            paths: active_paths(ledger)
                .map(|path| (path.name(), PathView::of(ledger, sizes, path, observed)))
                .collect(),
            copies_per_byte: ledger.copies_per_byte().filter(|_| ratio_is_observed),
            copied_without_payload_bytes: ratio_is_observed.then(|| {
                let paths = ledger.copied_without_payload().into_iter();
                paths.map(|(path, bytes)| (path.name(), bytes)).collect()
            }),
            other_kinds: observed.copies.then(|| OtherKinds::of(ledger)),
            control_bytes: observed.copies.then(|| by_direction(&ledger.control, |c| c.bytes)),
            mode_switches: ModeSwitches {
                syscall: observed.syscalls.then(|| ledger.syscall_switches()),
                // In and out again.
                fault: observed.faults.then_some(2 * ledger.faults),
                interrupt: observed.interrupts.then_some(2 * ledger.interrupts),
            },
            context_switches: observed
                .context_switches
                .then_some(ContextSwitches { voluntary: ledger.voluntary, involuntary: ledger.involuntary }),
        }
    }
}

impl OtherKinds {
    fn of(ledger: &Ledger) -> Self {
        OtherKinds { checksum: checksummed_in_all(ledger), crypto: encrypted_in_all(ledger) }
    }
}

#[derive(Serialize)]
struct PathView {
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syscalls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zero_copied_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_bytes: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<Named<u64>>,
    /// Absent unless `--sizes` is given and something was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_sizes: Option<Named<Buckets>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_bytes: Option<u64>,
}

impl PathView {
    fn of(ledger: &Ledger, sizes: &CopySizes, path: Path, observed: &Observed) -> Self {
        let i = path as usize;
        let nonzero = |bytes: u64| (observed.copies && bytes > 0).then_some(bytes);
        PathView {
            calls: observed.payload.then_some(ledger.payload[i].calls),
            payload_bytes: observed.payload.then_some(ledger.payload[i].bytes),
            syscalls: observed.syscalls.then_some(ledger.syscalls[i]),
            zero_copied_bytes: zero_copied_is_observed(observed).then(|| ledger.zero_copied(path)),
            copied_bytes: observed.copies.then(|| by_direction(&ledger.copied[i], |c| c.bytes)),
            copies: observed.copies.then(|| by_direction(&ledger.copied[i], |c| c.calls)),
            copy_sizes: copy_sizes(sizes, path),
            checksum_bytes: nonzero(checksummed(ledger, path)),
            crypto_bytes: nonzero(ledger.crypto[i].bytes),
        }
    }
}

#[derive(Serialize)]
struct Unattributed {
    softirq: UnattributedView,
    kernel_thread: UnattributedView,
}

/// Empty if nothing was copied.
#[derive(Serialize)]
struct UnattributedView {
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_bytes: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_sizes: Option<Named<Buckets>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_kinds: Option<OtherKinds>,
}

impl UnattributedView {
    fn of(ledger: &Ledger, sizes: &CopySizes, observed: &Observed) -> Self {
        let copied = Direction::ALL.map(|direction| ledger.copied_in(direction));
        let any_copy = observed.copies && copied.iter().any(|count| count.bytes > 0);
        let any_other = observed.copies && checksummed_in_all(ledger) + encrypted_in_all(ledger) > 0;
        UnattributedView {
            copied_bytes: any_copy.then(|| by_direction(&copied, |c| c.bytes)),
            copies: any_copy.then(|| by_direction(&copied, |c| c.calls)),
            copy_sizes: Path::ALL.iter().find_map(|&path| copy_sizes(sizes, path)),
            other_kinds: any_other.then(|| OtherKinds::of(ledger)),
        }
    }
}

fn by_direction(counts: &[Count; 3], value: impl Fn(&Count) -> u64) -> Named<u64> {
    Direction::ALL.iter().map(|&d| (d.name(), value(&counts[d as usize]))).collect()
}

/// A JSON object whose keys are data, kept in the given order.
struct Named<T>(Vec<(&'static str, T)>);

impl<T> FromIterator<(&'static str, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(entries: I) -> Self {
        Named(entries.into_iter().collect())
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
