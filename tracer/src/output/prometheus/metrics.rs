//! The table of metrics.

use prometheus::proto::MetricType;

/// Those of a ledger and its process, as they are numbered in [`METRICS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    CopiedBytes,
    Copies,
    /// The only histogram.
    CopySize,
    CutShortBytes,
    CutShortCopies,
    ControlBytes,
    PayloadBytes,
    PayloadCalls,
    ZeroCopiedBytes,
    UnexplainedBytes,
    DiscardedBytes,
    ModeSwitches,
    Syscalls,
    ContextSwitches,
    DeviceBytes,
    ProcessInfo,
}

impl Metric {
    pub const COUNT: usize = Metric::ProcessInfo as usize + 1;

    pub fn name(self) -> &'static str {
        METRICS[self as usize].0
    }
}

/// Every metric there is: name, type, help.
#[rustfmt::skip]
pub const METRICS: [(&str, MetricType, &str); 49] = [
    ("tracer_copied_bytes_total", MetricType::COUNTER, "Bytes that the CPU moved from one place in memory to another."),
    ("tracer_copies_total", MetricType::COUNTER, "Number of such moves."),
    ("tracer_copy_size_bytes", MetricType::HISTOGRAM, "Sizes of such moves (kind copy), one per call of a wrapper; with --sizes."),
    ("tracer_cut_short_bytes_total", MetricType::COUNTER, "Bytes, at most, that were counted as copied and were not, because memory was not mapped."),
    ("tracer_cut_short_copies_total", MetricType::COUNTER, "Copies that ended at memory that is not mapped."),
    ("tracer_control_bytes_total", MetricType::COUNTER, "Bytes of structures copied: argument blocks, addresses, headers."),
    ("tracer_payload_bytes_total", MetricType::COUNTER, "Bytes that data-moving calls reported as moved."),
    ("tracer_payload_calls_total", MetricType::COUNTER, "Data-moving calls that moved at least one byte."),
    ("tracer_zero_copied_bytes_total", MetricType::COUNTER, "Payload bytes handed over by reference and never copied."),
    ("tracer_unexplained_bytes_total", MetricType::COUNTER, "Payload bytes that were neither copied, handed over, moved by a device nor discarded, as far as was seen."),
    ("tracer_discarded_bytes_total", MetricType::COUNTER, "Payload bytes that were thrown away, or made of nothing."),
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
    ("tracer_coverage_since_timestamp_seconds", MetricType::GAUGE, "Since when that holds, since the epoch: a module was loaded while counting. Absent if it always did."),
    ("tracer_bpf_runs_total", MetricType::COUNTER, "Times a BPF program ran."),
    ("tracer_bpf_run_seconds_total", MetricType::COUNTER, "Time that a BPF program took."),
    ("tracer_processes", MetricType::GAUGE, "Living processes that were counted (serve)."),
    ("tracer_processes_ended_total", MetricType::COUNTER, "Processes whose end was read (serve)."),
    ("tracer_slots", MetricType::GAUGE, "Slots of the kernel side's map of processes, by state (serve)."),
    ("tracer_series", MetricType::GAUGE, "Series of groups on this page (serve)."),
    ("tracer_series_limit", MetricType::GAUGE, "What --max-series allows (serve)."),
    ("tracer_groups_merged_total", MetricType::COUNTER, "Groups that gave up their name for lack of series, by the group they went to (serve)."),
    ("tracer_scrape_duration_seconds", MetricType::GAUGE, "Time that reading the maps took, for this page (serve)."),
    ("tracer_scrapes_total", MetricType::COUNTER, "Times that the maps were read for a page (serve)."),
    ("tracer_http_requests_total", MetricType::COUNTER, "HTTP requests answered, by status (serve)."),
    ("tracer_http_connections_dropped_total", MetricType::COUNTER, "Connections closed before a request was read, by reason (serve)."),
    ("tracer_config_last_reload_successful", MetricType::GAUGE, "1 if the last reading of the configuration file succeeded (serve)."),
    ("tracer_config_last_reload_success_timestamp_seconds", MetricType::GAUGE, "When the configuration file was last read with success, since the epoch (serve)."),
    ("tracer_web_config_last_reload_successful", MetricType::GAUGE, "1 if the last reading of the web configuration file succeeded (serve)."),
    ("tracer_counting_start_time_seconds", MetricType::GAUGE, "When counting began, since the epoch (serve)."),
    ("tracer_ready", MetricType::GAUGE, "1 if all required probes are attached (serve)."),
    ("tracer_pin_save_failures_total", MetricType::COUNTER, "Times that the counts could not be left to the next daemon; it would begin lower (serve)."),
    ("tracer_capabilities_info", MetricType::GAUGE, "Capabilities that the daemon kept, by name; always 1 (serve)."),
    ("tracer_build_info", MetricType::GAUGE, "The version of the tracer, and what it was built with and for; always 1."),
    ("tracer_process_cpu_seconds_total", MetricType::COUNTER, "User and system time of the tracer itself."),
    ("tracer_process_resident_memory_bytes", MetricType::GAUGE, "Resident memory of the tracer itself."),
    ("tracer_process_virtual_memory_bytes", MetricType::GAUGE, "Virtual memory of the tracer itself."),
    ("tracer_process_open_fds", MetricType::GAUGE, "Open file descriptors of the tracer itself."),
    ("tracer_process_max_fds", MetricType::GAUGE, "Limit of open file descriptors of the tracer itself."),
    ("tracer_process_start_time_seconds", MetricType::GAUGE, "When the tracer itself was started, since the epoch."),
];
