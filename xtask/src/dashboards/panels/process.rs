//! One program: which mechanisms it uses, and what each costs.

use super::{BYTES, Board, Kind, Panel, Row, Variable, panel};

pub fn board() -> Board {
    Board {
        uid: "tracer-process",
        title: "tracer: process",
        description: "Which mechanisms a program uses, and what each costs.",
        variables: &[Variable { name: "comm", metric: "tracer_payload_bytes_total", several: true }],
        rows: vec![
            Row { title: "Copies", panels: copies() },
            Row { title: "Switches and devices", panels: switches() },
        ],
    }
}

fn copies() -> Vec<Panel> {
    vec![
        panel(
            Kind::Lines,
            "Copies per byte, by path",
            "none",
            "Which mechanism copies: bytes copied over bytes moved, path by path.",
            &[(
                "sum by (path) (rate(tracer_copied_bytes_total{$who, kind='copy', $data}[$__rate_interval])) \
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
                "sum by (direction) (rate(tracer_copied_bytes_total{$who, kind='copy'}[$__rate_interval]))",
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
            "Unexplained, by path",
            BYTES,
            "Payload of which nothing was seen: neither copied, nor handed on, moved by a device or discarded. 0 as it should be.",
            &[("sum by (path) (rate(tracer_unexplained_bytes_total{$who}[$__rate_interval]))", "{{path}}")],
        ),
        panel(
            Kind::Lines,
            "Checksummed and encrypted",
            BYTES,
            "What else the CPU did while it touched every byte; no copies.",
            &[(
                "sum by (kind) (rate(tracer_copied_bytes_total{$who, kind!='copy'}[$__rate_interval]))",
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
    ]
}

fn switches() -> Vec<Panel> {
    vec![
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
    ]
}
