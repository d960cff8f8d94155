//! The machine: which processes copy, and how often.

use super::{BYTES, Board, Kind, Panel, Row, SHARE, panel};

pub fn board() -> Board {
    Board {
        uid: "tracer-node",
        title: "tracer: node",
        description: "Which processes of a machine copy, and how often.",
        variables: &[],
        rows: vec![
            Row { title: "Now", panels: now() },
            Row { title: "Processes", panels: who() },
            Row { title: "Paths and devices", panels: what() },
        ],
    }
}

fn now() -> Vec<Panel> {
    vec![
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
    ]
}

fn who() -> Vec<Panel> {
    vec![
        panel(
            Kind::Stacked,
            "Copied by the CPU, by process",
            BYTES,
            "The ten names that copy most.",
            &[("topk(10, comm:tracer_copied_bytes:rate5m{$of})", "{{comm}}")],
        ),
        busiest(
            "Copies per byte, by process",
            "none",
            "Of the ten names that move most. 0: zero-copy; 2: read + write.",
            "tracer_copies_per_byte",
        ),
        busiest(
            "Zero-copy share, by process",
            SHARE,
            "Share of the payload that went by reference, of the ten names that move most.",
            "tracer_zero_copy_share",
        ),
        busiest(
            "Mode switches per MiB, by process",
            "none",
            "Of the ten names that move most.",
            "tracer_mode_switches_per_mib",
        ),
    ]
}

fn what() -> Vec<Panel> {
    vec![
        panel(
            Kind::Stacked,
            "Payload by path",
            BYTES,
            "Bytes that data-moving calls report as moved.",
            &[("sum by (path) (rate(tracer_payload_bytes_total{$all}[$__rate_interval]))", "{{path}}")],
        ),
        panel(
            Kind::Stacked,
            "Copied by path and direction",
            BYTES,
            "Bytes that the CPU copied, payload or not.",
            &[(
                "sum by (path, direction) (rate(tracer_copied_bytes_total{$all, kind='copy'}[$__rate_interval])) > 0",
                "{{path}} {{direction}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Bytes of devices (DMA)",
            BYTES,
            "What disks and network devices moved on behalf of processes.",
            &[(
                "sum by (device_kind, op) (rate(tracer_device_bytes_total{$all}[$__rate_interval]))",
                "{{device_kind}} {{op}}",
            )],
        ),
        panel(
            Kind::Lines,
            "Context switches",
            "ops",
            "Voluntary: waiting for something; involuntary: the scheduler took the CPU away.",
            &[("sum by (kind) (rate(tracer_context_switches_total{$all}[$__rate_interval]))", "{{kind}}")],
        ),
    ]
}

/// A recorded ratio of the ten names that move most.
fn busiest(title: &'static str, unit: &'static str, help: &'static str, ratio: &str) -> Panel {
    let expr =
        format!("comm:{ratio}:ratio_rate5m{{$of}} and topk(10, comm:tracer_payload_bytes:rate5m{{$of}})");
    panel(Kind::Lines, title, unit, help, &[(&expr, "{{comm}}")])
}
