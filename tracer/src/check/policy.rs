//! A policy: what must hold, of what, over which window.

use std::time::Duration;

use super::metric::{Metric, Selector, Unit};
use crate::fmt::human;

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Policy {
    pub target: Option<Target>,
    pub driver: Option<Driver>,
    pub window: Window,
    pub require: Require,
    pub assertions: Vec<Assertion>,
    pub allow: Vec<Allow>,
}

/// What is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub line: usize,
    pub what: What,
    /// Also what it forks.
    pub children: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Command(Vec<String>),
    Pids(Vec<u32>),
    Comm(String),
    Cgroup(String),
}

/// What makes the target work. It is not counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Driver {
    pub line: usize,
    pub command: Vec<String>,
}

/// When the window begins and ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// From the start of the target to the first window.
    pub warmup: Duration,
    /// From the end of the driver to the end of its window.
    pub settle: Duration,
    pub repeat: u32,
    /// Ends the window, if nothing else is to.
    pub duration: Option<Duration>,
}

impl Default for Window {
    fn default() -> Self {
        Window { warmup: Duration::ZERO, settle: Duration::ZERO, repeat: 1, duration: None }
    }
}

/// Without these a check is inconclusive.
#[derive(Clone, Debug, PartialEq)]
pub struct Require {
    pub coverage: Coverage,
    /// Events that may be missed.
    pub missed_events: u64,
    /// Bytes that the target must move in each window.
    pub min_payload: u64,
    /// `None`: calibrate a live run; do not ask a saved recording for it.
    pub calibrate: Option<bool>,
}

impl Default for Require {
    fn default() -> Self {
        Require { coverage: Coverage::Complete, missed_events: 0, min_payload: 1, calibrate: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    Complete,
    /// Also where the kernel's text cannot be read, so that completeness cannot be proven.
    Unproven,
}

impl Coverage {
    pub const WORDS: [&str; 2] = ["complete", "unproven"];
}

#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    pub line: usize,
    pub name: String,
    pub metric: Metric,
    pub select: Select,
    pub bounds: Vec<Bound>,
    /// A saved recording to compare with, as written.
    pub baseline: Option<String>,
    pub severity: Severity,
}

impl Assertion {
    /// True if it is about some of the processes only.
    pub fn is_of_a_process(&self) -> bool {
        self.select.get(Selector::Process).is_some()
    }
}

/// What narrows a metric down: checked words, in the order of [`Selector`].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Select(pub Vec<(Selector, String)>);

impl Select {
    pub fn get(&self, selector: Selector) -> Option<&str> {
        self.0.iter().find(|(s, _)| *s == selector).map(|(_, word)| word.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    /// Reported, and decides nothing.
    Warn,
}

impl Severity {
    pub const WORDS: [&str; 2] = ["error", "warn"];

    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    Min(Amount),
    Max(Amount),
    Equals(Amount),
    /// Against the baseline.
    MaxIncrease(Change),
    MaxDecrease(Change),
}

impl Bound {
    pub const KEYS: [&str; 5] = ["min", "max", "equals", "max_increase", "max_decrease"];

    pub fn key(&self) -> &'static str {
        match self {
            Bound::Min(_) => "min",
            Bound::Max(_) => "max",
            Bound::Equals(_) => "equals",
            Bound::MaxIncrease(_) => "max_increase",
            Bound::MaxDecrease(_) => "max_decrease",
        }
    }

    /// `max 4096 B`.
    pub fn text(&self, unit: Unit) -> String {
        let amount = match self {
            Bound::Min(amount) | Bound::Max(amount) | Bound::Equals(amount) => amount.text(unit),
            Bound::MaxIncrease(change) | Bound::MaxDecrease(change) => change.text(unit),
        };
        format!("{} {amount}", self.key())
    }
}

/// A limit or a value: whole for bytes and counts, so that 2^53 + 1 is not 2^53.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Whole(u64),
    Ratio(f64),
}

impl Amount {
    pub fn as_f64(self) -> f64 {
        match self {
            Amount::Whole(whole) => whole as f64,
            Amount::Ratio(ratio) => ratio,
        }
    }

    pub fn is_zero(self) -> bool {
        self == Amount::Whole(0) || self == Amount::Ratio(0.0)
    }

    /// Compares two of one metric. Neither is ever NaN.
    pub fn compare(self, other: Amount) -> std::cmp::Ordering {
        match (self, other) {
            (Amount::Whole(a), Amount::Whole(b)) => a.cmp(&b),
            (a, b) => a.as_f64().total_cmp(&b.as_f64()),
        }
    }

    /// Exact where people would count: `67,108,864 B (64.0 MiB)`, `40`, `0.015`, `99.2 %`.
    pub fn text(self, unit: Unit) -> String {
        match (self, unit) {
            (Amount::Whole(n), Unit::Bytes) if n >= 1024 => {
                format!("{} B ({})", human::count(n), human::bytes(n))
            }
            (Amount::Whole(n), Unit::Bytes) => format!("{n} B"),
            (Amount::Whole(n), _) => human::count(n),
            (Amount::Ratio(r), Unit::Share) => format!("{} %", decimal(r * 100.0)),
            (Amount::Ratio(r), _) => decimal(r),
        }
    }
}

/// Up to 6 significant decimals, no trailing zeros; what is not 0 is never shown as 0.
fn decimal(value: f64) -> String {
    if value > 0.0 && value < 0.000_001 {
        return format!("{value:e}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How far a value may move away from the baseline's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// A factor: 0.05 is 5 %.
    Relative(f64),
    Absolute(Amount),
}

impl Change {
    fn text(&self, unit: Unit) -> String {
        match self {
            Change::Relative(factor) => format!("{} %", decimal(factor * 100.0)),
            Change::Absolute(amount) => amount.text(unit),
        }
    }
}

/// Copies that are known and accepted: taken out of what the assertions see.
#[derive(Clone, Debug, PartialEq)]
pub struct Allow {
    pub line: usize,
    pub what: String,
    pub path: String,
    pub direction: Option<String>,
    pub max_bytes_per_call: u64,
}

impl Assertion {
    /// `copied_bytes of path sendfile, direction to_user`.
    pub fn subject(&self) -> String {
        let mut text = self.metric.name().to_owned();
        for (index, (selector, word)) in self.select.0.iter().enumerate() {
            text += if index == 0 { " of " } else { ", " };
            text += &format!("{} {}", selector.name(), human::escape(word));
        }
        text
    }

    /// `min 0.99, max 1`.
    pub fn limits(&self) -> String {
        let unit = self.metric.row().unit;
        self.bounds.iter().map(|bound| bound.text(unit)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_where_people_count() {
        let cases = [
            (Amount::Whole(67_108_864), Unit::Bytes, "67,108,864 B (64.0 MiB)"),
            (Amount::Whole(144), Unit::Bytes, "144 B"),
            (Amount::Whole(1_234), Unit::Count, "1,234"),
            (Amount::Ratio(2.0), Unit::Ratio, "2"),
            (Amount::Ratio(0.992), Unit::Share, "99.2 %"),
            (Amount::Ratio(1e-9), Unit::Ratio, "1e-9"),
            (Amount::Ratio(0.0), Unit::Ratio, "0"),
        ];
        for (amount, unit, text) in cases {
            assert_eq!(amount.text(unit), text);
        }
    }

    #[test]
    fn whole_numbers_compare_exactly() {
        use std::cmp::Ordering::{Equal, Greater};
        assert_eq!(Amount::Whole((1 << 53) + 1).compare(Amount::Whole(1 << 53)), Greater);
        assert_eq!(Amount::Ratio(2.0).compare(Amount::Ratio(2.0)), Equal);
    }
}
