//! A first policy, from what a run showed: limits with headroom, and a comment on each.

use std::fmt::Write as _;

use super::metric::{Metric, Selector};
use crate::fmt::human;
use crate::model::counts::Part;
use crate::model::window::Recording;

/// How the run was made.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub target: Vec<String>,
    pub pids: Vec<u32>,
    pub driver: Option<Vec<String>>,
}

/// Paths with less of the payload than this are not worth an assertion.
const SMALL: f64 = 0.05;
/// A path that carries at least this much is the one that the program is about.
const MAIN: f64 = 0.5;

pub fn policy(recording: &Recording, run: &Run) -> String {
    let part = recording.everything();
    let payload = part.payload(None).unwrap_or(0);
    let mut out = String::new();
    let seconds = recording.window_seconds.unwrap_or(0.0);
    let _ = writeln!(
        out,
        "# Made by `tracer policy init` from a run that moved {} in {seconds:.1} s\n\
         # (kernel {}, coverage {}). Limits are what was seen, with the headroom that each comment states.\n\
         # Look at every one of them: what was seen need not be what is wanted.",
        human::bytes(payload),
        human::label(&recording.kernel, 80),
        human::label(recording.coverage.state.as_deref().unwrap_or("unknown"), 20),
    );
    if let Some(bytes) = part.unexplained(None).filter(|bytes| *bytes > 0) {
        let _ = writeln!(
            out,
            "# {} of the payload were not explained: no probe saw them copied, handed over, moved by a device or\n\
             # discarded. While that is so, every assertion about copies is inconclusive: `sudo tracer doctor`,\n\
             # `sudo tracer audit`.",
            human::bytes(bytes)
        );
    }
    out += "version: 1\n";
    programs(&mut out, recording, run);
    window(&mut out, run);
    require(&mut out, payload);
    assertions(&mut out, recording, &part, payload);
    out
}

fn programs(out: &mut String, recording: &Recording, run: &Run) {
    let list = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    if !run.target.is_empty() {
        let _ = writeln!(
            out,
            "target: {{command: [{}]}}   # its children are followed; `children: false` for not",
            list(&run.target)
        );
    } else if let Some(process) = recording.processes.first() {
        // A pid will not be the same tomorrow.
        let comm = quoted(&process.comm);
        let _ = writeln!(
            out,
            "target: {{comm: {comm}}}   # or command: [./server, ...], which tracer then starts"
        );
    } else {
        out.push_str("# target: {command: [./server, --root, www]}\n");
    }
    match &run.driver {
        Some(driver) => {
            let _ = writeln!(out, "driver: {{command: [{}]}}   # its end closes the window", list(driver));
        }
        None => out.push_str(
            "# driver: {command: [./load.sh]}   # what makes the target work; its end closes the window\n",
        ),
    }
}

fn window(out: &mut String, run: &Run) {
    let text = match (&run.driver, run.target.is_empty()) {
        (Some(_), _) => {
            "window: {warmup: 2s, settle: 200ms, repeat: 3}   # start-up is not counted; every repeat must hold\n"
        }
        (None, true) => "window: {duration: 10s, repeat: 3}   # every repeat must hold\n",
        (None, false) => {
            "window: {repeat: 3}   # three runs, each from its exec to its end; every one must hold\n"
        }
    };
    out.push_str(text);
}

fn require(out: &mut String, payload: u64) {
    // Half of it, in a round number.
    let least = match payload / 2 {
        0 => 0,
        half => 1_u64 << half.ilog2(),
    };
    let _ = writeln!(
        out,
        "require:   # without these it is inconclusive, and never passes\n  \
           coverage: complete      # every data-moving call site of this kernel is covered\n  \
           missed_events: 0\n  \
           min_payload: {}   # the run moved {}; at least half of it, rounded down\n  \
           calibrate: true         # a workload with known copies is counted just before",
        size(least),
        human::bytes(payload),
    );
}

fn assertions(out: &mut String, recording: &Recording, part: &Part, payload: u64) {
    out.push_str("assertions:\n");
    let mut any = false;
    let share = |path: &str| part.payload(Some(path)).unwrap_or(0) as f64 / payload.max(1) as f64;
    // A recording of a later version may have paths that a policy cannot name.
    let known = Selector::Path.words(Metric::CopiedBytes).unwrap_or_default();
    let mut paths: Vec<&str> =
        part.path_names().filter(|path| known.contains(path) && share(path) >= SMALL).collect();
    paths.sort_by(|a, b| share(b).total_cmp(&share(a)));
    for path in &paths {
        any |= of_path(out, recording, part, path, share(path));
    }
    if let Some(switches) = part.switches(Some("syscall")).filter(|_| payload > 0) {
        let rate = switches as f64 / payload as f64 * f64::from(1 << 20);
        let limit = headroom(rate);
        let _ = writeln!(
            out,
            "  # Seen: {} per MiB; half as much again. Only system calls: faults and interrupts vary.\n  \
             - {{name: few system calls, metric: mode_switches_per_mib, reason: syscall, max: {limit}}}",
            human::rate(rate)
        );
        any = true;
    }
    if part.unexplained(None).is_some() && payload > 0 {
        out.push_str(
            "  # Every byte was copied, handed over, moved by a device or discarded, as a probe saw it.\n  \
             - {name: every byte is explained, metric: unexplained_bytes, max: 0}\n",
        );
    }
    if !any {
        out.push_str(
            "  # Nothing was moved in the run: this one is only an example.\n  \
             - {name: nothing is copied, metric: copied_bytes, max: 0}\n",
        );
    }
    out.push_str(
        "# A baseline finds creeping change (tracer record -o main.json --policy THIS-FILE):\n\
         #  - {name: no regression, metric: copied_bytes, baseline: main.json, max_increase: 5%, severity: warn}\n\
         # Copies that are known and accepted are taken out of the numbers:\n\
         # allow:\n\
         #  - {what: response headers, path: write, max_bytes_per_call: 4KiB}\n",
    );
}

fn of_path(out: &mut String, recording: &Recording, part: &Part, path: &str, share: f64) -> bool {
    let Some(copied) = part.copied(&recording.observed, Some(path), None) else { return false };
    let Some(payload) = part.payload(Some(path)).filter(|payload| *payload > 0) else { return false };
    let ratio = copied as f64 / payload as f64;
    let unexplained = part.unexplained(Some(path)).unwrap_or(0);
    if copied == 0 && unexplained > 0 {
        let _ = writeln!(
            out,
            "  # Seen: {} by {path}, {} of them unexplained: nothing can be said of their copies.",
            human::bytes(payload),
            human::bytes(unexplained)
        );
    } else if copied == 0 && part.discarded(Some(path)) == Some(payload) {
        let _ = writeln!(
            out,
            "  # Seen: {} by {path}, all of it discarded or made of nothing: there was nothing to copy.\n  \
             - {{name: {path} copies nothing, path: {path}, metric: copies_per_byte, max: 0}}",
            human::bytes(payload)
        );
    } else if copied == 0 {
        let _ = writeln!(
            out,
            "  # Seen: no copy of {} by {path}. No headroom: one byte is one too many.\n  \
             - {{name: {path} is zero-copy, path: {path}, metric: copies_per_byte, max: 0}}",
            human::bytes(payload)
        );
    } else {
        let _ = writeln!(
            out,
            "  # Seen: {} copies per byte by {path}; 5 % more is allowed.\n  \
             - {{name: copies by {path}, path: {path}, metric: copies_per_byte, max: {}}}",
            human::ratio(ratio),
            rounded(ratio * 1.05)
        );
    }
    // Above 1: not all of the payload was observed.
    if (MAIN..=1.0).contains(&share) {
        let limit = ((share - 0.05).max(0.0) * 100.0).floor();
        let _ = writeln!(
            out,
            "  # Seen: {:.1} % of all bytes went by {path}; 5 points less is allowed.\n  \
             - {{name: bytes still go by {path}, path: {path}, metric: payload_share, min: {limit}%}}",
            share * 100.0
        );
    }
    true
}

/// Half as much again, in a round number.
fn headroom(seen: f64) -> String {
    let limit = seen * 1.5;
    if limit >= 10.0 { format!("{}", limit.ceil()) } else { rounded(limit) }
}

fn rounded(value: f64) -> String {
    format!("{}", (value * 1000.0).ceil() / 1000.0)
}

/// `64MiB`.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fits = units.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// A word as YAML takes it, whatever is in it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=+".contains(c);
    let is_plain = word.starts_with(|c: char| c.is_ascii_alphabetic() || "./".contains(c))
        && word.chars().all(plain)
        && !["null", "Null", "NULL"].contains(&word);
    if is_plain {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || (c as u32) > 0x7e => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::judge::judge;
    use crate::check::policy::{Policy, What};
    use crate::check::verdict::{Calibration, Observation, Verdict, Window};

    fn recording(text: &str) -> Recording {
        Recording::parse(text.as_bytes()).expect("valid").recording
    }

    #[test]
    fn what_was_seen_passes_and_what_is_worse_does_not() {
        let good = recording(include_str!("../../testdata/sample.json"));
        let bad = recording(include_str!("../../testdata/fallback.json"));
        let run =
            Run { target: vec!["./srv".into(), "a \"b\"\n\u{202e}".into(), "-1".into()], ..Run::default() };
        let verdict = |text: &str, recording: &Recording| {
            let policy =
                Policy::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
            let windows = vec![Window { recording: recording.clone(), findings: Vec::new() }];
            let seen = Observation { windows, calibration: Calibration::Exact, ..Observation::default() };
            (judge(&policy, &seen).verdict, policy)
        };
        for seen in [&good, &bad] {
            let text = super::policy(seen, &run);
            let (passed, policy) = verdict(&text, seen);
            assert_eq!(passed, Verdict::Pass, "{text}");
            assert_eq!(policy.target.map(|t| t.what), Some(What::Command(run.target.clone())));
        }
        assert_eq!(verdict(&super::policy(&good, &run), &bad).0, Verdict::Violated);
    }

    #[test]
    fn an_idle_run_makes_a_policy_all_the_same() {
        let nothing = recording(r#"{"schema":"tracer/1","processes":[{"pid":1,"comm":"a: b"}]}"#);
        for run in [Run::default(), Run { driver: Some(vec!["x".into()]), ..Run::default() }] {
            let text = super::policy(&nothing, &run);
            let policy =
                Policy::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
            assert_eq!(policy.target.map(|t| t.what), Some(What::Comm("a: b".into())));
        }
    }

    #[test]
    fn payload_that_is_known_in_part_has_no_share() {
        let text = include_str!("../../testdata/fallback.json");
        // Of one path only: the sum is unknown.
        let partly = recording(&text.replacen("payload_bytes", "payload_by es", 1));
        assert_eq!(partly.everything().payload(None), None);
        let text = super::policy(&partly, &Run::default());
        Policy::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
        assert!(!text.contains("payload_share"), "{text}");
    }
}
