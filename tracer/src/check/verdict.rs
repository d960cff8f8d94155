//! What a check comes to: plain data that every report shows.

use std::collections::BTreeMap;

use super::policy::{Amount, Assertion, Severity};
use super::reason::{Doubt, Reason};
use crate::model::window::Recording;

/// All that was seen, to be judged.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    pub windows: Vec<Window>,
    /// What the run itself shows: programs that ended early, a kernel that refuses everything.
    pub findings: Vec<Finding>,
    /// Live runs calibrate unless told otherwise; saved ones have it in the recording, or not.
    pub calibration: Calibration,
    /// By name as the policy writes it.
    pub baselines: BTreeMap<String, Recording>,
    /// The programs that were run, as they ended.
    pub programs: Vec<Program>,
}

#[derive(Clone, Debug)]
pub struct Window {
    pub recording: Recording,
    /// What happened in it.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Calibration {
    /// The recording tells, if anything does.
    #[default]
    AsRecorded,
    /// Told not to.
    Skipped,
    Exact,
    /// What was counted, and what is known.
    Off(String),
}

/// A program that the check started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `target`, `driver`.
    pub role: &'static str,
    pub command: String,
    pub window: usize,
    /// `exit status 0`, `signal 15 (SIGTERM), sent by tracer`.
    pub end: String,
    /// It ended by itself, and not well.
    pub failed: bool,
}

/// One reason why the check is inconclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub reason: Reason,
    /// From 1; `None` if it concerns all.
    pub window: Option<usize>,
    pub detail: String,
}

impl Finding {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Finding { reason, window: None, detail: detail.into() }
    }

    pub fn in_window(mut self, window: usize) -> Self {
        self.window = Some(window);
        self
    }

    pub fn doubt(&self) -> Doubt {
        self.reason.doubt()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    Violated,
    Inconclusive,
    WorkloadFailed,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Violated => "violated",
            Verdict::Inconclusive => "inconclusive",
            Verdict::WorkloadFailed => "workload_failed",
        }
    }

    /// The documented exit status.
    pub fn status(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Violated => 1,
            Verdict::Inconclusive => 3,
            Verdict::WorkloadFailed => 4,
        }
    }
}

/// What became of one assertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Holds,
    Violated,
    Inconclusive,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Holds => "holds",
            Status::Violated => "violated",
            Status::Inconclusive => "inconclusive",
        }
    }
}

/// An assertion in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct InWindow {
    pub status: Status,
    pub value: Option<Amount>,
    /// The baseline's value, and the limit that follows from it.
    pub baseline: Option<Amount>,
    /// Why it is violated or inconclusive.
    pub why: String,
    /// `None` unless it is the assertion itself that makes it inconclusive.
    pub reason: Option<Reason>,
    /// About `allow`.
    pub allowed: Vec<String>,
}

/// An assertion over all windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub assertion: Assertion,
    pub status: Status,
    pub windows: Vec<InWindow>,
    /// Index of the window that decided.
    pub worst: Option<usize>,
    /// About the baseline.
    pub notes: Vec<String>,
    /// Where the bytes went, if it is violated.
    pub evidence: Option<Evidence>,
}

impl Judged {
    /// The window that decided.
    pub fn deciding(&self) -> Option<&InWindow> {
        self.windows.get(self.worst?)
    }

    pub fn decides(&self) -> bool {
        self.assertion.severity == Severity::Error
    }
}

/// Where the bytes (or the calls) went, most first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What is listed: `copied` or `system calls`.
    pub of: &'static str,
    pub paths: Vec<Share>,
    pub processes: Vec<Share>,
    /// Functions whose probes counted the copies.
    pub sites: Vec<Share>,
    pub advice: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    pub name: String,
    pub amount: u64,
    /// `in 1,024 calls that moved 64.0 MiB`.
    pub detail: String,
}

/// The whole judgement.
#[derive(Clone, Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub assertions: Vec<Judged>,
    /// Why it is inconclusive, or would be were nothing violated.
    pub findings: Vec<Finding>,
    pub programs: Vec<Program>,
    pub windows: Vec<Summary>,
    pub calibration: Calibration,
}

/// One window in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub kernel: String,
    pub coverage: String,
    pub seconds: Option<f64>,
    pub payload: Option<u64>,
    pub missed: Option<u64>,
    /// Payload that nothing explains.
    pub unexplained: Option<u64>,
    /// Bytes at most that were counted as copied and were not.
    pub cut_short: Option<u64>,
    /// `attached`, `refused` by name.
    pub attached: usize,
    pub methods: BTreeMap<String, usize>,
    pub refused: Vec<String>,
}
