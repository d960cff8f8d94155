//! What can be asserted: one row per metric. Policy parser, judge, documentation and schema follow from it.

/// A word of the policy's assertions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Metric {
    CopiedBytes,
    Copies,
    CopiesPerByte,
    ControlBytes,
    PayloadBytes,
    PayloadCalls,
    PayloadShare,
    ZeroCopiedBytes,
    ZeroCopiedShare,
    UnexplainedBytes,
    Syscalls,
    ModeSwitches,
    ModeSwitchesPerMib,
    ContextSwitches,
    ContextSwitchesPerMib,
    DeviceBytes,
    MissedEvents,
    CallSites,
}

/// How limits are written and values shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Bytes,
    Count,
    /// Any number from 0.
    Ratio,
    /// 0 to 1, or a percentage.
    Share,
}

/// What narrows a metric down: a key of an assertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Selector {
    Path,
    Direction,
    Kind,
    Process,
    Reason,
    DeviceKind,
    Op,
    Probe,
    Coverage,
}

/// What a value does when events are missing: see `uncertainty.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    /// A sum of copies: whatever was not seen could only add to it.
    Copies,
    /// A sum of other events, likewise.
    Events,
    /// Copies per payload.
    CopyRatio,
    /// A ratio of other events.
    EventRatio,
    /// Grows or shrinks with what was not seen.
    Either,
    /// Payload that nothing explains: every copy that is missed makes it larger, every missed call smaller.
    Unexplained,
    /// Does not depend on what was seen.
    Fixed,
}

pub struct Row {
    pub metric: Metric,
    pub name: &'static str,
    pub unit: Unit,
    pub nature: Nature,
    pub selectors: &'static [Selector],
    pub help: &'static str,
}

use Selector as S;

pub const ROWS: [Row; 18] = [
    Row {
        metric: Metric::CopiedBytes,
        name: "copied_bytes",
        unit: Unit::Bytes,
        nature: Nature::Copies,
        selectors: &[S::Path, S::Direction, S::Kind, S::Process],
        help: "bytes that the CPU copied",
    },
    Row {
        metric: Metric::Copies,
        name: "copies",
        unit: Unit::Count,
        nature: Nature::Copies,
        selectors: &[S::Path, S::Direction, S::Process],
        help: "number of copies",
    },
    Row {
        metric: Metric::CopiesPerByte,
        name: "copies_per_byte",
        unit: Unit::Ratio,
        nature: Nature::CopyRatio,
        selectors: &[S::Path, S::Direction, S::Kind, S::Process],
        help: "copied bytes per byte of payload, of the path if one is given",
    },
    Row {
        metric: Metric::ControlBytes,
        name: "control_bytes",
        unit: Unit::Bytes,
        nature: Nature::Copies,
        selectors: &[S::Direction, S::Process],
        help: "bytes of structures copied: argument blocks, addresses",
    },
    Row {
        metric: Metric::PayloadBytes,
        name: "payload_bytes",
        unit: Unit::Bytes,
        nature: Nature::Events,
        selectors: &[S::Path, S::Process],
        help: "bytes that data-moving calls reported as moved",
    },
    Row {
        metric: Metric::PayloadCalls,
        name: "payload_calls",
        unit: Unit::Count,
        nature: Nature::Events,
        selectors: &[S::Path, S::Process],
        help: "data-moving calls that moved something",
    },
    Row {
        metric: Metric::PayloadShare,
        name: "payload_share",
        unit: Unit::Share,
        nature: Nature::EventRatio,
        selectors: &[S::Path, S::Process],
        help: "the path's part of all payload; needs a path",
    },
    Row {
        metric: Metric::ZeroCopiedBytes,
        name: "zero_copied_bytes",
        unit: Unit::Bytes,
        nature: Nature::Either,
        selectors: &[S::Path, S::Process],
        help: "bytes handed over by reference and not copied",
    },
    Row {
        metric: Metric::ZeroCopiedShare,
        name: "zero_copied_share",
        unit: Unit::Share,
        nature: Nature::Either,
        selectors: &[S::Path, S::Process],
        help: "zero-copied bytes per byte of payload, of the path if one is given",
    },
    Row {
        metric: Metric::UnexplainedBytes,
        name: "unexplained_bytes",
        unit: Unit::Bytes,
        nature: Nature::Unexplained,
        selectors: &[S::Path, S::Process],
        help: "payload that was neither copied, handed over, moved by a device nor discarded, as far as was seen",
    },
    Row {
        metric: Metric::Syscalls,
        name: "syscalls",
        unit: Unit::Count,
        nature: Nature::Events,
        selectors: &[S::Path, S::Process],
        help: "system calls",
    },
    Row {
        metric: Metric::ModeSwitches,
        name: "mode_switches",
        unit: Unit::Count,
        nature: Nature::Events,
        selectors: &[S::Reason, S::Process],
        help: "crossings of the user/kernel boundary; a system call is two",
    },
    Row {
        metric: Metric::ModeSwitchesPerMib,
        name: "mode_switches_per_mib",
        unit: Unit::Ratio,
        nature: Nature::EventRatio,
        selectors: &[S::Reason, S::Process],
        help: "mode switches per MiB of payload",
    },
    Row {
        metric: Metric::ContextSwitches,
        name: "context_switches",
        unit: Unit::Count,
        nature: Nature::Events,
        selectors: &[S::Kind, S::Process],
        help: "context switches; `kind` is voluntary or involuntary",
    },
    Row {
        metric: Metric::ContextSwitchesPerMib,
        name: "context_switches_per_mib",
        unit: Unit::Ratio,
        nature: Nature::EventRatio,
        selectors: &[S::Kind, S::Process],
        help: "context switches per MiB of payload",
    },
    Row {
        metric: Metric::DeviceBytes,
        name: "device_bytes",
        unit: Unit::Bytes,
        nature: Nature::Events,
        selectors: &[S::DeviceKind, S::Op, S::Process],
        help: "bytes that devices moved by DMA",
    },
    Row {
        metric: Metric::MissedEvents,
        name: "missed_events",
        unit: Unit::Count,
        nature: Nature::Events,
        selectors: &[S::Probe],
        help: "events known to be lost, of the probe if one is given",
    },
    Row {
        metric: Metric::CallSites,
        name: "call_sites",
        unit: Unit::Count,
        nature: Nature::Fixed,
        selectors: &[S::Coverage],
        help: "call sites of data-moving copy functions in this kernel",
    },
];

impl Metric {
    pub fn row(self) -> &'static Row {
        // The order is asserted by a test.
        &ROWS[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// True if it says how often payload was copied, which is not known of payload that nothing explains.
    pub fn is_about_copies(self) -> bool {
        let nature = self.row().nature;
        matches!(nature, Nature::Copies | Nature::CopyRatio | Nature::Either) && self != Metric::ControlBytes
    }

    pub fn named(name: &str) -> Option<Metric> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.metric)
    }

    pub fn names() -> Vec<&'static str> {
        ROWS.iter().map(|row| row.name).collect()
    }
}

impl Selector {
    pub const ALL: [Selector; 9] = [
        Selector::Path,
        Selector::Direction,
        Selector::Kind,
        Selector::Process,
        Selector::Reason,
        Selector::DeviceKind,
        Selector::Op,
        Selector::Probe,
        Selector::Coverage,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Selector::Path => "path",
            Selector::Direction => "direction",
            Selector::Kind => "kind",
            Selector::Process => "process",
            Selector::Reason => "reason",
            Selector::DeviceKind => "device_kind",
            Selector::Op => "op",
            Selector::Probe => "probe",
            Selector::Coverage => "coverage",
        }
    }

    /// The words it takes with a metric; `None` if any.
    pub fn words(self, metric: Metric) -> Option<Vec<&'static str>> {
        use tracer_ebpf::abi::{Direction, Path};
        Some(match self {
            Selector::Path => Path::ALL.map(Path::name).to_vec(),
            Selector::Direction => Direction::ALL.map(Direction::name).to_vec(),
            Selector::Kind
                if metric == Metric::ContextSwitches || metric == Metric::ContextSwitchesPerMib =>
            {
                vec!["voluntary", "involuntary"]
            }
            Selector::Kind => vec!["copy", "checksum", "crypto"],
            Selector::Reason => vec!["syscall", "fault", "interrupt"],
            Selector::DeviceKind => vec!["block", "net"],
            Selector::Op => vec!["read", "write", "rx", "tx"],
            Selector::Coverage => vec!["wrapper", "checked", "call_site", "uncovered"],
            Selector::Process | Selector::Probe => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_metrics() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.metric as usize, index, "{}", row.name);
            assert_eq!(Metric::named(row.name), Some(row.metric));
        }
    }
}
