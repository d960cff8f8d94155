//! The contract's JSON: one object per window, `"schema": "tracer/1"`.
//!
//! The structs below are the schema. An `Option` that is `None` was not observed and is absent.

mod buckets;
mod ledger;
mod unattributed;

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

use self::ledger::LedgerView;
use self::unattributed::{Unattributed, UnattributedView};
use crate::fmt::rfc3339;
use crate::model::site_coverage::Covered;
use crate::model::snapshot::{Coverage, Folded, Observed, Probe, Process, Snapshot};

const SCHEMA: &str = "tracer/1";

/// The snapshot as a JSON value. Prefer [`write_line`] for output: it keeps the contract's order.
pub fn to_json(snapshot: &Snapshot) -> serde_json::Value {
    // Every key is a string and every number finite, so it cannot fail; null would say "not observed".
    serde_json::to_value(Report::of(snapshot)).unwrap_or_default()
}

/// One object on one line.
pub fn write_line(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let text = serde_json::to_string(&Report::of(snapshot))?;
    writeln!(out, "{}", ascii(&text))
}

/// JSON with everything outside of printable ASCII as `\uXXXX`: a reader gets the same strings, and a terminal
/// nothing to obey (JSON itself leaves DEL, C1 controls and text-reordering marks as they are). Such characters
/// are in strings only; line ends are between values only.
pub fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || (' '..='~').contains(&c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
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
            totals: LedgerView::of(&snapshot.totals(), &snapshot.sum_of_sizes(), observed),
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
    cut_short: bool,
    faults: bool,
    interrupts: bool,
}

impl ObservedView {
    fn of(observed: &Observed) -> Self {
        ObservedView {
            copies: observed.copies,
            mode_switches: observed.syscalls,
            context_switches: observed.context_switches,
            device_bytes: observed.block || observed.net,
            payload: observed.payload,
            references: observed.references,
            cut_short: observed.cut_short,
            faults: observed.faults,
            interrupts: observed.interrupts,
        }
    }
}

#[derive(Serialize)]
struct CoverageView<'a> {
    state: &'static str,
    /// With `complete since`: since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
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
            since: coverage.since.and_then(rfc3339),
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
    /// True if it tells less than it would on another kernel; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    reduced: Option<bool>,
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
            reduced: probe.reduced.then_some(true),
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
