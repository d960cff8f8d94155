//! The table of metrics.

use prometheus::proto::MetricType;

/// The only histogram.
pub const COPY_SIZE: &str = "tracer_copy_size_bytes";

/// Every metric there is: name, type, help.
#[rustfmt::skip]
pub const METRICS: [(&str, MetricType, &str); 27] = [
    ("tracer_copied_bytes_total", MetricType::COUNTER, "Bytes that the CPU moved from one place in memory to another."),
    ("tracer_copies_total", MetricType::COUNTER, "Number of such moves."),
    (COPY_SIZE, MetricType::HISTOGRAM, "Sizes of such moves (kind copy), one per call of a wrapper; with --sizes."),
    ("tracer_control_bytes_total", MetricType::COUNTER, "Bytes of structures copied: argument blocks, addresses, headers."),
    ("tracer_payload_bytes_total", MetricType::COUNTER, "Bytes that data-moving calls reported as moved."),
    ("tracer_payload_calls_total", MetricType::COUNTER, "Data-moving calls that moved at least one byte."),
    ("tracer_zero_copied_bytes_total", MetricType::COUNTER, "Payload bytes handed over by reference and never copied."),
    ("tracer_mode_switches_total", MetricType::COUNTER, "Crossings of the user/kernel boundary, in either direction."),
    ("tracer_syscalls_total", MetricType::COUNTER, "System calls entered."),
    ("tracer_context_switches_total", MetricType::COUNTER, "Times the scheduler put another task on the CPU."),
    ("tracer_device_bytes_total", MetricType::COUNTER, "Bytes that block and network devices moved by DMA."),
    ("tracer_process_info", MetricType::GAUGE, "A process that is counted; always 1."),
    ("tracer_probe_info", MetricType::GAUGE, "A row of the probe table as it ended up on this kernel; always 1."),
    ("tracer_probe_missed_total", MetricType::COUNTER, "Events that an attached probe is known to have missed."),
    ("tracer_events_lost_total", MetricType::COUNTER, "Events that were seen and could not be counted."),
    ("tracer_events_merged_total", MetricType::COUNTER, "Events that were counted, but not by process."),
    ("tracer_copy_call_sites", MetricType::GAUGE, "Call sites of copy primitives in the kernel's text, by what covers them."),
    ("tracer_coverage_complete", MetricType::GAUGE, "1 if every data-moving call site is covered by an attached probe."),
    ("tracer_bpf_runs_total", MetricType::COUNTER, "Times a BPF program ran."),
    ("tracer_bpf_run_seconds_total", MetricType::COUNTER, "Time that a BPF program took."),
    ("tracer_build_info", MetricType::GAUGE, "The version of the tracer, and what it was built with and for; always 1."),
    ("tracer_process_cpu_seconds_total", MetricType::COUNTER, "User and system time of the tracer itself."),
    ("tracer_process_resident_memory_bytes", MetricType::GAUGE, "Resident memory of the tracer itself."),
    ("tracer_process_virtual_memory_bytes", MetricType::GAUGE, "Virtual memory of the tracer itself."),
    ("tracer_process_open_fds", MetricType::GAUGE, "Open file descriptors of the tracer itself."),
    ("tracer_process_max_fds", MetricType::GAUGE, "Limit of open file descriptors of the tracer itself."),
    ("tracer_process_start_time_seconds", MetricType::GAUGE, "When the tracer itself was started, since the epoch."),
];
