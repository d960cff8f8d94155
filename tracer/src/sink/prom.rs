//! The ledger as Prometheus metrics, text format 0.0.4, made anew for each scrape.
//!
//! One table of metrics ([`METRICS`]); what was not observed has no series.

mod metrics;

use std::collections::{BTreeMap, HashMap};

use prometheus::TextEncoder;
use prometheus::proto::{self, MetricType};
use tracer_ebpf::abi::{BUCKETS, Direction, Ledger, Path, bound};

use self::metrics::COPY_SIZE;
pub use self::metrics::METRICS;
use super::devices::device_bytes;
use super::{active_paths, human, rfc3339, self_stat, zero_copied_is_observed};
use crate::copy_sizes::CopySizes;
use crate::snapshot::{CoverageState, Derived, Process, Snapshot};

/// For the HTTP header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Makes the text. Keeps what a counter that is derived needs in order to never go back.
#[derive(Default)]
pub struct Exporter {
    zero_copied: HashMap<Zeroed, u64>,
}

/// The series of one process (0: not a process) and path, with the start time as text so that a pid
/// that is used again starts anew.
type Zeroed = (u32, Option<String>, &'static str);

impl Exporter {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn render(&mut self, snapshot: &Snapshot) -> String {
        let mut families = Families::default();
        let mut zero_copied = HashMap::new();
        for subject in subjects(snapshot) {
            subject.copies(snapshot, &mut families);
            subject.copy_sizes(&mut families);
            subject.payload(snapshot, &mut families);
            subject.switches(snapshot, &mut families);
            subject.devices(snapshot, &mut families);
            for (key, bytes) in subject.zero_copied(snapshot) {
                // While a call runs its copies are counted and its payload not yet, so the difference
                // can dip, and a counter that dips is taken for a restart.
                let highest = self.zero_copied.get(&key).copied().unwrap_or(0).max(bytes);
                families.add("tracer_zero_copied_bytes_total", subject.labels([("path", key.2)]), highest);
                zero_copied.insert(key, highest);
            }
        }
        self.zero_copied = zero_copied;
        processes(snapshot, &mut families);
        probes(snapshot, &mut families);
        coverage(snapshot, &mut families);
        own(&mut families);
        families.encode()
    }
}

/// A ledger and whose it is.
struct Subject<'a> {
    pid: String,
    comm: String,
    process: Option<&'a Process>,
    ledger: &'a Ledger,
    sizes: &'a CopySizes,
}

fn subjects(snapshot: &Snapshot) -> impl Iterator<Item = Subject<'_>> {
    let processes = snapshot.processes.iter().map(|process| Subject {
        pid: process.pid.to_string(),
        comm: human::escape(&process.comm).into_owned(),
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
        pid: pid.to_owned(),
        comm: comm.to_owned(),
        process: None,
        ledger,
        sizes,
    }))
}

impl Subject<'_> {
    fn labels<const N: usize>(&self, more: [(&'static str, &str); N]) -> Labels {
        let mut labels = labels([("pid", &self.pid), ("comm", &self.comm)]);
        labels.extend(self::labels(more));
        labels
    }

    fn copies(&self, snapshot: &Snapshot, families: &mut Families) {
        if !snapshot.observed.copies {
            return;
        }
        for path in active_paths(self.ledger) {
            let i = path as usize;
            let mut add = |direction: Direction, kind, bytes, calls| {
                let labels =
                    self.labels([("path", path.name()), ("direction", direction.name()), ("kind", kind)]);
                families.add("tracer_copied_bytes_total", labels.clone(), bytes);
                families.add("tracer_copies_total", labels, calls);
            };
            for direction in Direction::ALL {
                let copied = self.ledger.copied[i][direction as usize];
                add(direction, "copy", copied.bytes, copied.calls);
                let summed = self.ledger.checksum[i][direction as usize];
                if summed.calls > 0 || summed.bytes > 0 {
                    add(direction, "checksum", summed.bytes, summed.calls);
                }
            }
            let crypto = self.ledger.crypto[i];
            if crypto.calls > 0 || crypto.bytes > 0 {
                // The cipher reads and writes kernel memory.
                add(Direction::InKernel, "crypto", crypto.bytes, crypto.calls);
            }
        }
        for direction in Direction::ALL {
            let bytes = self.ledger.control[direction as usize].bytes;
            families.add("tracer_control_bytes_total", self.labels([("direction", direction.name())]), bytes);
        }
    }

    fn copy_sizes(&self, families: &mut Families) {
        for path in active_paths(self.ledger) {
            for direction in Direction::ALL {
                if let Some(buckets) = self.sizes.of(path, direction) {
                    let labels = self.labels([("path", path.name()), ("direction", direction.name())]);
                    let bytes = self.ledger.copied[path as usize][direction as usize].bytes;
                    families.observe(COPY_SIZE, labels, &buckets, bytes);
                }
            }
        }
    }

    fn payload(&self, snapshot: &Snapshot, families: &mut Families) {
        for path in active_paths(self.ledger) {
            let labels = self.labels([("path", path.name())]);
            let (payload, syscalls) =
                (self.ledger.payload[path as usize], self.ledger.syscalls[path as usize]);
            if snapshot.observed.payload && payload.calls > 0 {
                families.add("tracer_payload_bytes_total", labels.clone(), payload.bytes);
                families.add("tracer_payload_calls_total", labels.clone(), payload.calls);
            }
            if snapshot.observed.syscalls && syscalls > 0 {
                families.add("tracer_syscalls_total", labels, syscalls);
            }
        }
    }

    fn zero_copied(&self, snapshot: &Snapshot) -> Vec<(Zeroed, u64)> {
        if !zero_copied_is_observed(&snapshot.observed) {
            return Vec::new();
        }
        let pid = self.process.map_or(0, |process| process.pid);
        let start = self.process.and_then(|process| process.start_time).and_then(rfc3339);
        let moved = |path: &Path| self.ledger.payload[*path as usize].calls > 0;
        let paths = active_paths(self.ledger).filter(moved);
        paths.map(|path| ((pid, start.clone(), path.name()), self.ledger.zero_copied(path))).collect()
    }

    fn switches(&self, snapshot: &Snapshot, families: &mut Families) {
        let (observed, ledger) = (snapshot.observed, self.ledger);
        let modes = [
            (observed.syscalls, "syscall", ledger.syscall_switches()),
            (observed.faults, "fault", 2 * ledger.faults),
            (observed.interrupts, "interrupt", 2 * ledger.interrupts),
        ];
        for (_, reason, switches) in modes.into_iter().filter(|(seen, ..)| *seen) {
            families.add("tracer_mode_switches_total", self.labels([("reason", reason)]), switches);
        }
        if observed.context_switches {
            for (kind, switches) in [("voluntary", ledger.voluntary), ("involuntary", ledger.involuntary)] {
                families.add("tracer_context_switches_total", self.labels([("kind", kind)]), switches);
            }
        }
    }

    fn devices(&self, snapshot: &Snapshot, families: &mut Families) {
        for (kind, op, bytes) in device_bytes(self.ledger, &snapshot.observed) {
            families.add(
                "tracer_device_bytes_total",
                self.labels([("device_kind", kind), ("op", op)]),
                bytes,
            );
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
    let complete = snapshot.coverage.state == CoverageState::Complete;
    families.add("tracer_coverage_complete", labels([]), u64::from(complete));
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

type Labels = Vec<(&'static str, String)>;

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// Series by metric and labels. Two with equal labels (a pid used again under the same name) become
/// their sum: two lines for one series would make Prometheus refuse the whole scrape.
#[derive(Default)]
struct Families(HashMap<&'static str, BTreeMap<Labels, Value>>);

/// A counter or gauge; of a histogram the sum, with the number of events by bucket.
#[derive(Default)]
struct Value {
    number: f64,
    buckets: [u64; BUCKETS],
}

impl Families {
    fn add(&mut self, name: &'static str, labels: Labels, value: u64) {
        self.add_float(name, labels, value as f64);
    }

    fn add_float(&mut self, name: &'static str, labels: Labels, value: f64) {
        self.0.entry(name).or_default().entry(labels).or_default().number += value;
    }

    fn observe(&mut self, name: &'static str, labels: Labels, buckets: &[u64; BUCKETS], sum: u64) {
        let value = self.0.entry(name).or_default().entry(labels).or_default();
        value.number += sum as f64;
        value.buckets.iter_mut().zip(buckets).for_each(|(all, more)| *all += more);
    }

    /// Not a sum, also if it is there already.
    fn set(&mut self, name: &'static str, labels: Labels, value: f64) {
        self.0.entry(name).or_default().entry(labels).or_default().number = value;
    }

    fn encode(mut self) -> String {
        let mut families = Vec::new();
        for (name, kind, help) in METRICS {
            let Some(series) = self.0.remove(name) else { continue };
            let mut family = proto::MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
                .set_metric(series.into_iter().map(|(labels, value)| metric(kind, labels, &value)).collect());
            families.push(family);
        }
        debug_assert!(self.0.is_empty(), "not in METRICS: {:?}", self.0.keys());
        // Fails only for families without series or with wrong names, of which there are none.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

fn metric(kind: MetricType, labels: Labels, value: &Value) -> proto::Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = proto::Metric::from_label(pairs.collect());
    match kind {
        MetricType::COUNTER => {
            let mut counter = proto::Counter::default();
            counter.set_value(value.number);
            metric.set_counter(counter);
        }
        MetricType::HISTOGRAM => metric.set_histogram(histogram(value)),
        _ => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value.number);
            metric.set_gauge(gauge);
        }
    }
    metric
}

/// Buckets hold all that is not larger; the encoder adds `+Inf`, which is the count.
fn histogram(value: &Value) -> proto::Histogram {
    let mut count = 0;
    let mut buckets = Vec::new();
    for (i, events) in value.buckets.iter().enumerate() {
        count += events;
        if let Some(bound) = bound(i) {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound as f64);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(count);
    histogram.set_sample_sum(value.number);
    histogram
}

#[cfg(test)]
#[path = "prom_tests.rs"]
mod tests;
