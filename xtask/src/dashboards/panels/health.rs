//! tracer itself: whether its numbers can be trusted, and what they cost.

use super::{Board, Kind, Panel, Row, SHARE, panel};

pub fn board() -> Board {
    Board {
        uid: "tracer-health",
        title: "tracer: health",
        description: "Whether tracer's numbers can be trusted, and what they cost.",
        variables: &[],
        rows: vec![Row { title: "Trust", panels: trust() }, Row { title: "Cost", panels: cost() }],
    }
}

fn trust() -> Vec<Panel> {
    vec![
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
            "Unexplained",
            "bytes",
            "Payload of the last hour that was neither copied, handed on, moved by a device nor discarded, as far as was seen.",
            &[("sum by (instance) (increase(tracer_unexplained_bytes_total{$of}[1h]))", "{{instance}}")],
        ),
        panel(
            Kind::Number,
            "Probes attached",
            "none",
            "Of those that are meant for this kernel.",
            &[("count by (instance) (tracer_probe_info{$of, attached='true'})", "{{instance}}")],
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
    ]
}

fn cost() -> Vec<Panel> {
    vec![
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
    ]
}
