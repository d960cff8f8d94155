//! What the dashboards show, as data.

use super::rules::DATA_PATHS;

/// One dashboard.
pub struct Board {
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// Beside datasource, job and instance.
    pub variables: &'static [Variable],
    pub rows: Vec<Row>,
}

/// A choice on top of the page, by the values of a label.
pub struct Variable {
    pub name: &'static str,
    pub metric: &'static str,
    pub several: bool,
}

pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    pub title: &'static str,
    pub kind: Kind,
    /// As Grafana calls it.
    pub unit: &'static str,
    /// What it tells, for the panel's help.
    pub help: &'static str,
    pub queries: Vec<Query>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lines,
    /// Lines on top of each other: parts of a whole.
    Stacked,
    Number,
    /// One line per series, with its labels.
    Table,
}

pub struct Query {
    pub expr: String,
    pub legend: &'static str,
}

fn query(expr: &str, legend: &'static str) -> Query {
    // `$of`: the machine; `$who`: the processes of the page; `$data`: paths that have payload.
    let expr = expr.replace("$of", "job=~\"$job\", instance=~\"$instance\"");
    let expr = expr.replace("$who", "job=~\"$job\", instance=~\"$instance\", comm=~\"$comm\"");
    Query { expr: expr.replace("$data", &format!("path=~\"{DATA_PATHS}\"")), legend }
}

fn panel(
    kind: Kind,
    title: &'static str,
    unit: &'static str,
    help: &'static str,
    queries: &[(&str, &'static str)],
) -> Panel {
    let queries = queries.iter().map(|(expr, legend)| query(expr, legend)).collect();
    Panel { title, kind, unit, help, queries }
}

const BYTES: &str = "Bps";
const SHARE: &str = "percentunit";

pub fn boards() -> Vec<Board> {
    vec![node(), process(), health()]
}

fn node() -> Board {
    let now = vec![
        panel(
            Kind::Number,
            "Copies per byte",
            "none",
            "How often the CPU copied each byte that processes moved, over the last five minutes.",
            &[("instance:tracer_copies_per_byte:ratio_rate5m{$of}", "{{instance}}")],
        ),
        panel(
            Kind::Number,
            "Moved without a copy",
            SHARE,
            "Share of the payload that went by reference.",
            &[("instance:tracer_zero_copy_share:ratio_rate5m{$of}", "{{instance}}")],
        ),
        panel(
            Kind::Number,
            "Copied",
            BYTES,
            "Bytes that the CPU copied.",
            &[("instance:tracer_copied_bytes:rate5m{$of}", "{{instance}}")],
        ),
        panel(
            Kind::Number,
            "Mode switches",
            "none",
            "Crossings of the user/kernel boundary per MiB of payload; a system call is two.",
            &[("instance:tracer_mode_switches_per_mib:ratio_rate5m{$of}", "{{instance}}")],
        ),
    ];
    let who = vec![
        panel(
            Kind::Stacked,
            "Copied by the CPU, by process",
            BYTES,
            "The ten names that copy most.",
            &[("topk(10, comm:tracer_copied_bytes:rate5m{$of})", "{{comm}}")],
        ),
        panel(
            Kind::Lines,
            "Copies per byte, by process",
            "none",
            "Of the ten names that move most. 0: zero-copy; 2: read + write.",
            &[(
                "comm:tracer_copies_per_byte:ratio_rate5m{$of} \
                 and topk(10, comm:tracer_payload_bytes:rate5m{$of})",
                "{{comm}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Zero-copy share, by process",
            SHARE,
            "Share of the payload that went by reference, of the ten names that move most.",
            &[(
                "comm:tracer_zero_copy_share:ratio_rate5m{$of} \
                 and topk(10, comm:tracer_payload_bytes:rate5m{$of})",
                "{{comm}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Mode switches per MiB, by process",
            "none",
            "Of the ten names that move most.",
            &[(
                "comm:tracer_mode_switches_per_mib:ratio_rate5m{$of} \
                 and topk(10, comm:tracer_payload_bytes:rate5m{$of})",
                "{{comm}}",
            )],
        ),
    ];
    let what = vec![
        panel(
            Kind::Stacked,
            "Payload by path",
            BYTES,
            "Bytes that data-moving calls report as moved.",
            &[("sum by (path) (rate(tracer_payload_bytes_total{$of}[$__rate_interval]))", "{{path}}")],
        ),
        panel(
            Kind::Stacked,
            "Copied by path and direction",
            BYTES,
            "Bytes that the CPU copied, payload or not.",
            &[(
                "sum by (path, direction) (rate(tracer_copied_bytes_total{$of, kind=\"copy\"}[$__rate_interval])) > 0",
                "{{path}} {{direction}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Bytes of devices (DMA)",
            BYTES,
            "What disks and network devices moved on behalf of processes.",
            &[(
                "sum by (device_kind, op) (rate(tracer_device_bytes_total{$of}[$__rate_interval]))",
                "{{device_kind}} {{op}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Context switches",
            "ops",
            "Voluntary: waiting for something; involuntary: the scheduler took the CPU away.",
            &[("sum by (kind) (rate(tracer_context_switches_total{$of}[$__rate_interval]))", "{{kind}}")],
        ),
    ];
    Board {
        uid: "tracer-node",
        title: "tracer: node",
        description: "Which processes of a machine copy, and how often.",
        variables: &[],
        rows: vec![
            Row { title: "Now", panels: now },
            Row { title: "Processes", panels: who },
            Row { title: "Paths and devices", panels: what },
        ],
    }
}

fn process() -> Board {
    let copies = vec![
        panel(
            Kind::Lines,
            "Copies per byte, by path",
            "none",
            "Which mechanism copies: bytes copied over bytes moved, path by path.",
            &[(
                "sum by (path) (rate(tracer_copied_bytes_total{$who, kind=\"copy\", $data}[$__rate_interval])) \
                 / (sum by (path) (rate(tracer_payload_bytes_total{$who}[$__rate_interval])) > 0)",
                "{{path}}",
            )],
        ),
        panel(
            Kind::Stacked,
            "Payload by path",
            BYTES,
            "Bytes that data-moving calls report as moved.",
            &[("sum by (path) (rate(tracer_payload_bytes_total{$who}[$__rate_interval]))", "{{path}}")],
        ),
        panel(
            Kind::Stacked,
            "Copied by direction",
            BYTES,
            "To user memory, from it, and within the kernel.",
            &[(
                "sum by (direction) (rate(tracer_copied_bytes_total{$who, kind=\"copy\"}[$__rate_interval]))",
                "{{direction}}",
            )],
        ),
        panel(
            Kind::Lines,
            "By reference, by path",
            BYTES,
            "Bytes handed on without a copy, once per hop.",
            &[(
                "sum by (path) (rate(tracer_zero_copied_bytes_total{$who}[$__rate_interval])) > 0",
                "{{path}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Checksummed and encrypted",
            BYTES,
            "What else the CPU did while it touched every byte; no copies.",
            &[(
                "sum by (kind) (rate(tracer_copied_bytes_total{$who, kind!=\"copy\"}[$__rate_interval]))",
                "{{kind}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Bytes per call",
            "bytes",
            "Payload over calls: small calls make mode switches.",
            &[(
                "sum by (path) (rate(tracer_payload_bytes_total{$who}[$__rate_interval])) \
                 / (sum by (path) (rate(tracer_payload_calls_total{$who}[$__rate_interval])) > 0)",
                "{{path}}",
            )],
        ),
    ];
    let switches = vec![
        panel(
            Kind::Stacked,
            "Mode switches by reason",
            "ops",
            "System calls, page faults, interrupts; each way counts.",
            &[("sum by (reason) (rate(tracer_mode_switches_total{$who}[$__rate_interval]))", "{{reason}}")],
        ),
        panel(
            Kind::Stacked,
            "System calls by path",
            "ops",
            "What the process asks the kernel for.",
            &[("sum by (path) (rate(tracer_syscalls_total{$who}[$__rate_interval]))", "{{path}}")],
        ),
        panel(
            Kind::Lines,
            "Context switches",
            "ops",
            "Voluntary: waiting for something; involuntary: the scheduler took the CPU away.",
            &[("sum by (kind) (rate(tracer_context_switches_total{$who}[$__rate_interval]))", "{{kind}}")],
        ),
        panel(
            Kind::Lines,
            "Bytes of devices (DMA)",
            BYTES,
            "What disks and network devices moved on its behalf.",
            &[(
                "sum by (device_kind, op) (rate(tracer_device_bytes_total{$who}[$__rate_interval]))",
                "{{device_kind}} {{op}}",
            )],
        ),
    ];
    Board {
        uid: "tracer-process",
        title: "tracer: process",
        description: "Which mechanisms a program uses, and what each costs.",
        variables: &[Variable { name: "comm", metric: "tracer_payload_bytes_total", several: true }],
        rows: vec![
            Row { title: "Copies", panels: copies },
            Row { title: "Switches and devices", panels: switches },
        ],
    }
}

fn health() -> Board {
    let trust = vec![
        panel(
            Kind::Number,
            "Ready",
            "bool_yes_no",
            "All required probes are attached.",
            &[("min by (instance) (tracer_ready{$of})", "{{instance}}")],
        ),
        panel(
            Kind::Number,
            "Coverage complete",
            "bool_yes_no",
            "Every call of a copy function is proven to be covered.",
            &[("min by (instance) (tracer_coverage_complete{$of})", "{{instance}}")],
        ),
        panel(
            Kind::Number,
            "Events lost",
            "none",
            "Happened and were not counted, for any reason, in the last hour.",
            &[(
                "sum by (instance) (increase(tracer_events_lost_total{$of}[1h])) \
                 + sum by (instance) (increase(tracer_probe_missed_total{$of}[1h]))",
                "{{instance}}",
            )],
        ),
        panel(
            Kind::Number,
            "Probes attached",
            "none",
            "Of those that are meant for this kernel.",
            &[("count by (instance) (tracer_probe_info{$of, attached=\"true\"})", "{{instance}}")],
        ),
        panel(
            Kind::Table,
            "Call sites of copy functions",
            "none",
            "What covers each call: the proof that every copy is counted.",
            &[("sum by (primitive, coverage) (tracer_copy_call_sites{$of})", "")],
        ),
        panel(
            Kind::Table,
            "Probes",
            "none",
            "How each is attached here.",
            &[("max by (probe, method, symbol, attached) (tracer_probe_info{$of})", "")],
        ),
    ];
    let cost = vec![
        panel(
            Kind::Lines,
            "CPU of BPF programs",
            SHARE,
            "Seconds per second that programs ran, by probe, where the kernel keeps the time.",
            &[(
                "topk(10, sum by (probe) (rate(tracer_bpf_run_seconds_total{$of}[$__rate_interval])))",
                "{{probe}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Runs of BPF programs",
            "ops",
            "By probe.",
            &[("topk(10, sum by (probe) (rate(tracer_bpf_runs_total{$of}[$__rate_interval])))", "{{probe}}")],
        ),
        panel(
            Kind::Lines,
            "CPU of tracer itself",
            SHARE,
            "Seconds per second.",
            &[("rate(tracer_process_cpu_seconds_total{$of}[$__rate_interval])", "{{instance}}")],
        ),
        panel(
            Kind::Lines,
            "Memory of tracer itself",
            "bytes",
            "Resident.",
            &[("tracer_process_resident_memory_bytes{$of}", "{{instance}}")],
        ),
        panel(
            Kind::Lines,
            "Series",
            "none",
            "Of groups on the page, and what --max-series allows.",
            &[("tracer_series{$of}", "{{instance}}"), ("tracer_series_limit{$of}", "limit")],
        ),
        panel(
            Kind::Lines,
            "Slots of the map of processes",
            "none",
            "By state. A full map costs detail, never truth.",
            &[("sum by (state) (tracer_slots{$of})", "{{state}}")],
        ),
        panel(
            Kind::Lines,
            "Time of a scrape",
            "s",
            "Reading the maps, for one page.",
            &[("tracer_scrape_duration_seconds{$of}", "{{instance}}")],
        ),
    ];
    Board {
        uid: "tracer-health",
        title: "tracer: health",
        description: "Whether tracer's numbers can be trusted, and what they cost.",
        variables: &[],
        rows: vec![Row { title: "Trust", panels: trust }, Row { title: "Cost", panels: cost }],
    }
}
