//! Why a check is inconclusive, and what can still be said then.

/// Each is a verdict of its own: none of them ever passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing attaches here: no kernel support, no privilege, lockdown.
    UnsupportedKernel,
    /// tracer itself could not go on.
    TracerFailed,
    /// The built-in workload was not counted as it is known.
    CalibrationOff,
    /// The recording does not tell that it was calibrated.
    CalibrationMissing,
    /// A recording of a schema that this program does not know.
    UnknownSchema,
    /// The parts of the ledger are not its total.
    DoesNotAddUp,
    /// A probe is missing, or a call site is not covered.
    CoverageIncomplete,
    /// Nothing is known to be missing, but completeness is not proven.
    CoverageUnproven,
    EventsMissed,
    /// Payload moved, and no row saw it copied, handed over, moved by a device or discarded.
    UnexplainedBytes,
    /// Copies ended at memory that is not mapped, and the assertion turns on what of them was counted and not copied.
    CopiesCutShort,
    /// Some processes were counted together.
    MapFull,
    TooLittlePayload,
    TargetEndedEarly,
    DriverEndedEarly,
    TimedOut,
    Interrupted,
    /// An assertion's quantity is not observed.
    NotObserved,
    /// An assertion has nothing to look at: no payload on its path, no such process.
    NothingToJudge,
    /// The baseline does not have the quantity, or missed events itself.
    BaselineUnusable,
}

/// What may be wrong with the numbers of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// Nothing can be said.
    Everything,
    /// Events are missing: every sum may be larger in truth.
    EventsMissing,
    /// Copies are missing: sums of copies may be larger in truth, payload and calls are exact.
    CopiesMissing,
    /// The numbers are right, but of too little: sums can only grow, ratios may change.
    TooShort,
    /// It is not known whether a part of the payload was copied: sums of copies may be larger in truth.
    PayloadUnexplained,
    /// Sums over everything are right, those of one process may be larger.
    ProcessesMerged,
}

impl Reason {
    pub const ALL: [Reason; 20] = [
        Reason::UnsupportedKernel,
        Reason::TracerFailed,
        Reason::CalibrationOff,
        Reason::CalibrationMissing,
        Reason::UnknownSchema,
        Reason::DoesNotAddUp,
        Reason::CoverageIncomplete,
        Reason::CoverageUnproven,
        Reason::EventsMissed,
        Reason::UnexplainedBytes,
        Reason::CopiesCutShort,
        Reason::MapFull,
        Reason::TooLittlePayload,
        Reason::TargetEndedEarly,
        Reason::DriverEndedEarly,
        Reason::TimedOut,
        Reason::Interrupted,
        Reason::NotObserved,
        Reason::NothingToJudge,
        Reason::BaselineUnusable,
    ];

    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Reason::UnsupportedKernel => "unsupported_kernel",
            Reason::TracerFailed => "tracer_failed",
            Reason::CalibrationOff => "calibration_off",
            Reason::CalibrationMissing => "calibration_missing",
            Reason::UnknownSchema => "unknown_schema",
            Reason::DoesNotAddUp => "does_not_add_up",
            Reason::CoverageIncomplete => "coverage_incomplete",
            Reason::CoverageUnproven => "coverage_unproven",
            Reason::EventsMissed => "events_missed",
            Reason::UnexplainedBytes => "unexplained_bytes",
            Reason::CopiesCutShort => "copies_cut_short",
            Reason::MapFull => "map_full",
            Reason::TooLittlePayload => "too_little_payload",
            Reason::TargetEndedEarly => "target_ended_early",
            Reason::DriverEndedEarly => "driver_ended_early",
            Reason::TimedOut => "timed_out",
            Reason::Interrupted => "interrupted",
            Reason::NotObserved => "not_observed",
            Reason::NothingToJudge => "nothing_to_judge",
            Reason::BaselineUnusable => "baseline_unusable",
        }
    }

    pub fn doubt(self) -> Doubt {
        match self {
            Reason::UnsupportedKernel
            | Reason::TracerFailed
            | Reason::CalibrationOff
            | Reason::UnknownSchema
            | Reason::DoesNotAddUp
            | Reason::CopiesCutShort
            | Reason::NotObserved
            | Reason::NothingToJudge
            | Reason::BaselineUnusable => Doubt::Everything,
            Reason::CalibrationMissing | Reason::EventsMissed => Doubt::EventsMissing,
            Reason::CoverageIncomplete | Reason::CoverageUnproven => Doubt::CopiesMissing,
            Reason::TooLittlePayload
            | Reason::TargetEndedEarly
            | Reason::DriverEndedEarly
            | Reason::TimedOut
            | Reason::Interrupted => Doubt::TooShort,
            Reason::UnexplainedBytes => Doubt::PayloadUnexplained,
            Reason::MapFull => Doubt::ProcessesMerged,
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Reason::UnsupportedKernel => {
                "run as root on a kernel with BPF; `sudo tracer doctor` tells what is missing"
            }
            Reason::TracerFailed => "read the error; if it is not of this machine, report it",
            Reason::CalibrationOff => {
                "`sudo tracer doctor` tells what is missing on this kernel; if nothing is, report it with its output"
            }
            Reason::CalibrationMissing => {
                "save the window with `tracer record`, which calibrates, or say `calibrate: false`"
            }
            Reason::UnknownSchema => "judge it with the version of tracer that wrote it",
            Reason::DoesNotAddUp => {
                "the counters changed while they were read: let the load end before the window, or report it"
            }
            Reason::CoverageIncomplete => "`sudo tracer doctor` names what is missing and what would help",
            Reason::CoverageUnproven => {
                "let tracer read /proc/kcore and /proc/kallsyms as root, or say `coverage: unproven` and live with it"
            }
            Reason::EventsMissed => "run again with less load beside it; `missed_events: N` tolerates some",
            Reason::UnexplainedBytes => {
                "`sudo tracer audit --pid PID` looks for what copied them, `sudo tracer doctor` tells what is not covered"
            }
            Reason::CopiesCutShort => {
                "calls that failed with EFAULT gave memory that is not mapped: `strace -f -Z` names them"
            }
            Reason::MapFull => "count fewer processes, or assert without `process`",
            Reason::TooLittlePayload => "make the driver move more, or lower `min_payload`",
            Reason::TargetEndedEarly => "the target must live until its driver has ended",
            Reason::DriverEndedEarly => "the driver must run as long as `window.duration`",
            Reason::TimedOut => "give more `--timeout`, or make the driver end sooner",
            Reason::Interrupted => "let it run to its end",
            Reason::NotObserved => "`sudo tracer doctor` tells whether this kernel can show it",
            Reason::NothingToJudge => {
                "does the load reach this path and this process? `tracer record` and look"
            }
            Reason::BaselineUnusable => "save the baseline again with `tracer record`",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
