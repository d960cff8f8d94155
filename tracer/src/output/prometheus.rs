//! The ledger as Prometheus metrics, text format 0.0.4, made anew for each scrape.
//!
//! One table of metrics ([`METRICS`]); what was not observed has no series.

mod families;
mod groups;
mod metrics;
mod samples;

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use tracer_ebpf::abi::Direction;

use self::families::Families;
pub use self::families::{Labels, labels};
#[cfg(test)]
pub use self::groups::tests::{Plain, differ, reference, some_ledger};
pub use self::groups::{GroupPages, GroupSeries, Own, label_text, series};
pub use self::metrics::METRICS;
use self::metrics::Metric;
pub use self::samples::Active;
use self::samples::samples;
use super::{active_paths, self_stat};
use crate::fmt::human;
use crate::fmt::rfc3339;
use crate::model::size_histogram::CopySizes;
use crate::model::snapshot::{CoverageState, Derived as _, Highest, Process, Snapshot, Tally};

/// For the HTTP header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Makes the text. Keeps what a counter that is derived needs in order to never go back.
#[derive(Default)]
pub struct Exporter {
    highest: HashMap<Whose, Highest>,
}

/// The labels of a ledger that is no process's, or a process's pid, with the start time as text so that a pid that is
/// used again starts anew.
type Whose = (Labels, Option<String>);

impl Exporter {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn render(&mut self, snapshot: &Snapshot) -> String {
        let mut families = Families::default();
        let mut all = HashMap::new();
        for subject in subjects(snapshot) {
            let whose = subject.whose();
            let mut highest = self.highest.get(&whose).copied().unwrap_or_default();
            highest.raise(subject.ledger);
            all.insert(whose, highest);
            samples(
                subject.ledger,
                Active::of(subject.ledger),
                &snapshot.observed,
                &highest,
                |metric, detail, value| {
                    families.add(metric.name(), subject.labels(&detail.labels), value);
                },
            );
            subject.copy_sizes(&mut families);
        }
        self.highest = all;
        processes(snapshot, &mut families);
        probes(snapshot, &mut families);
        coverage(snapshot, &mut families);
        own(&mut families);
        families.encode()
    }
}

/// A ledger and whose it is.
struct Subject<'a> {
    own: Labels,
    process: Option<&'a Process>,
    ledger: &'a Tally,
    sizes: &'a CopySizes,
}

fn subjects(snapshot: &Snapshot) -> impl Iterator<Item = Subject<'_>> {
    let processes = snapshot.processes.iter().map(|process| Subject {
        own: labels([("pid", &process.pid.to_string()), ("comm", &human::escape(&process.comm))]),
        process: Some(process),
        ledger: &process.ledger,
        sizes: &process.copy_sizes,
    });
    let sizes = &snapshot.unnamed_sizes;
    let others = [
        ("overflow", "overflow", &snapshot.overflow, &sizes.overflow),
        ("ended", "ended", &snapshot.ended.ledger, &snapshot.ended.copy_sizes),
        ("unattributed", "softirq", &snapshot.softirq, &sizes.softirq),
        ("unattributed", "kernel_thread", &snapshot.kernel_threads, &sizes.kernel_threads),
    ];
    let others = others.into_iter().filter(|(_, _, ledger, _)| !ledger.is_empty());
    processes.chain(others.map(|(pid, comm, ledger, sizes)| Subject {
        own: labels([("pid", pid), ("comm", comm)]),
        process: None,
        ledger,
        sizes,
    }))
}

impl Subject<'_> {
    fn labels(&self, more: &[(&'static str, &str)]) -> Labels {
        let mut labels = self.own.clone();
        labels.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        labels
    }

    fn whose(&self) -> Whose {
        let own = match self.process {
            // Whatever it is called by now.
            Some(process) => labels([("pid", &process.pid.to_string())]),
            None => self.own.clone(),
        };
        (own, self.process.and_then(|process| process.start_time).and_then(rfc3339))
    }

    fn copy_sizes(&self, families: &mut Families) {
        for path in active_paths(self.ledger) {
            for direction in Direction::ALL {
                if let Some(buckets) = self.sizes.of(path, direction) {
                    let labels = self.labels(&[("path", path.name()), ("direction", direction.name())]);
                    let bytes = self.ledger.copied[path as usize][direction as usize].bytes;
                    families.observe(Metric::CopySize.name(), labels, &buckets, bytes);
                }
            }
        }
    }
}

fn processes(snapshot: &Snapshot, families: &mut Families) {
    for process in &snapshot.processes {
        let start = process.start_time.and_then(rfc3339).unwrap_or_default();
        let labels = labels([
            ("pid", &process.pid.to_string()),
            ("comm", &human::escape(&process.comm)),
            ("start_time", &start),
            ("exe", &human::escape(&process.exe)),
            ("cgroup", &human::escape(&process.cgroup)),
        ]);
        families.set("tracer_process_info", labels, 1.0);
    }
}

fn probes(snapshot: &Snapshot, families: &mut Families) {
    for probe in &snapshot.probes {
        let attached = if probe.attached { "true" } else { "false" };
        let info = labels([
            ("probe", probe.name),
            ("method", probe.method),
            ("attached", attached),
            ("symbol", &human::escape(&probe.symbol)),
        ]);
        families.set("tracer_probe_info", info, 1.0);
        let by_probe = labels([("probe", probe.name)]);
        if probe.attached {
            families.add("tracer_probe_missed_total", by_probe.clone(), probe.missed);
        }
        // The kernel keeps these only if kernel.bpf_stats_enabled is set.
        if probe.runs > 0 {
            families.add("tracer_bpf_runs_total", by_probe.clone(), probe.runs);
            families.add_float("tracer_bpf_run_seconds_total", by_probe, probe.run_time_ns as f64 / 1e9);
        }
    }
    for loss in &snapshot.losses {
        let name = if loss.loses_events { "tracer_events_lost_total" } else { "tracer_events_merged_total" };
        families.add(name, labels([("reason", loss.reason)]), loss.count);
    }
}

fn coverage(snapshot: &Snapshot, families: &mut Families) {
    for site in &snapshot.coverage.sites {
        let labels = labels([("primitive", site.primitive), ("coverage", site.coverage)]);
        families.add("tracer_copy_call_sites", labels, site.sites);
    }
    let complete = matches!(snapshot.coverage.state, CoverageState::Complete | CoverageState::CompleteSince);
    families.add("tracer_coverage_complete", labels([]), u64::from(complete));
    if let Some(since) = snapshot.coverage.since.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
        families.set("tracer_coverage_since_timestamp_seconds", labels([]), since.as_secs_f64());
    }
}

fn own(families: &mut Families) {
    let build = labels([
        ("version", env!("CARGO_PKG_VERSION")),
        ("rustversion", env!("TRACER_RUST_VERSION")),
        ("target", env!("TRACER_TARGET")),
    ]);
    families.set("tracer_build_info", build, 1.0);
    let own = self_stat::read();
    let values = [
        ("tracer_process_cpu_seconds_total", own.cpu_seconds),
        ("tracer_process_resident_memory_bytes", own.resident_bytes),
        ("tracer_process_virtual_memory_bytes", own.virtual_bytes),
        ("tracer_process_open_fds", own.open_fds),
        ("tracer_process_max_fds", own.max_fds),
        ("tracer_process_start_time_seconds", own.start_time),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            families.set(name, labels([]), value);
        }
    }
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
