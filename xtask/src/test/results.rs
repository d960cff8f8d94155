//! `test result:` lines, as libtest and libtest-mimic print them, and their sum.

use std::fmt;
use std::time::Duration;

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
    pub measured: u64,
    pub filtered: u64,
}

impl Counts {
    /// A run that broke before it could count counts as one failure.
    pub const BROKEN: Counts = Counts { passed: 0, failed: 1, ignored: 0, measured: 0, filtered: 0 };

    pub fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.measured += other.measured;
        self.filtered += other.filtered;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failed == 0 { "ok" } else { "FAILED" };
        write!(
            f,
            "{verdict}. {} passed; {} failed; {} ignored; {} measured; {} filtered out",
            self.passed, self.failed, self.ignored, self.measured, self.filtered
        )
    }
}

/// The closing lines: in the form that `cargo test` has, and in words that need no explanation. Tests
/// that a filter left out were not asked for, so they are not skipped.
pub fn closing(total: Counts, took: Duration) -> String {
    format!(
        "test result: {total}; finished in {:.2} s\n{} passed, {} failed, {} skipped",
        took.as_secs_f64(),
        total.passed,
        total.failed,
        total.ignored
    )
}

pub fn parse_line(line: &str) -> Option<Counts> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let rest = rest.strip_prefix("ok. ").or_else(|| rest.strip_prefix("FAILED. "))?;
    let mut counts = Counts::default();
    for part in rest.split(';') {
        let mut words = part.split_whitespace();
        let (Some(number), Some(word)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        match word {
            "passed" => counts.passed = number,
            "failed" => counts.failed = number,
            "ignored" => counts.ignored = number,
            "measured" => counts.measured = number,
            "filtered" => counts.filtered = number,
            _ => {}
        }
    }
    Some(counts)
}

/// The test whose line has no end, because it was running when the output ended.
pub fn begun(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... ").map(str::trim_end)
}

/// What a run amounts to: its result lines, or a failure when there is none, or when the run failed
/// although no test did (a crash after the result, a build error).
pub fn judge(lines: &[Counts], succeeded: bool) -> Counts {
    let mut sum = Counts::default();
    lines.iter().for_each(|counts| sum.add(*counts));
    if lines.is_empty() || (!succeeded && sum.failed == 0) {
        sum.add(Counts::BROKEN);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";

    fn counts(passed: u64, failed: u64, ignored: u64, filtered: u64) -> Counts {
        Counts { passed, failed, ignored, measured: 0, filtered }
    }

    #[test]
    fn lines_of_libtest() {
        assert_eq!(parse_line(LINE), Some(counts(12, 0, 1, 3)));
        let failed = LINE.replace("ok. 12 passed; 0", "FAILED. 11 passed; 1");
        assert_eq!(parse_line(&failed), Some(counts(11, 1, 1, 3)));
    }

    #[test]
    fn other_lines_are_no_results() {
        for line in ["test a ... ok", "test result: maybe", "", "running 3 tests"] {
            assert_eq!(parse_line(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_without_an_end_names_a_test() {
        assert_eq!(begun("test 6.1::copies::rw_tcp     ... "), Some("6.1::copies::rw_tcp"));
        assert_eq!(begun("test 6.1::copies::rw_tcp     ... ok"), None);
        assert_eq!(begun(""), None);
    }

    #[test]
    fn silence_and_crashes_are_failures() {
        assert_eq!(judge(&[], true), Counts::BROKEN);
        assert_eq!(judge(&[], false).failed, 1);
        assert_eq!(judge(&[counts(3, 0, 0, 0)], false).failed, 1);
        assert_eq!(judge(&[counts(3, 2, 0, 0)], false).failed, 2);
        assert_eq!(judge(&[counts(3, 0, 1, 0), counts(2, 0, 0, 1)], true), counts(5, 0, 1, 1));
    }

    #[test]
    fn the_closing_lines_are_ones_that_we_would_read() {
        let total = counts(5, 0, 1, 2);
        let text = closing(total, Duration::from_millis(1500));
        let (line, plain) = text.split_once('\n').unwrap();
        assert!(line.starts_with("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2"));
        assert_eq!(parse_line(line), Some(total));
        assert_eq!(plain, "5 passed, 0 failed, 1 skipped");
    }
}
