use super::*;
use crate::check::metric::{Metric, Selector};
use crate::check::policy::{Amount, Bound, Change, Severity};
use std::time::Duration;

/// The policy of the documentation.
const SAMPLE: &str = include_str!("../../../docs/policy.yaml");

fn problems(text: &str) -> Vec<String> {
    match Policy::parse(text.as_bytes()) {
        Ok(policy) => panic!("{text}\nis a policy: {policy:?}"),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

/// An otherwise good policy with this in it; `line` of the addition is 3.
fn with(addition: &str) -> String {
    format!("version: 1\nassertions: [{{metric: copies, max: 0}}]\n{addition}\n")
}

/// A policy with one assertion, in line 2.
fn asserting(keys: &str) -> String {
    format!("version: 1\nassertions: [{{{keys}}}]\n")
}

#[test]
fn the_sample_says_what_it_means() {
    let policy = Policy::parse(SAMPLE.as_bytes()).expect("valid");
    let command = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let target = policy.target.expect("given");
    assert_eq!(target.what, What::Command(command(&["./server", "--root", "www"])));
    assert!(target.children);
    assert_eq!(policy.driver.expect("given").command, command(&["./load.sh", "64MiB"]));
    let window = Window {
        warmup: Duration::from_secs(2),
        settle: Duration::from_millis(200),
        repeat: 3,
        duration: None,
    };
    assert_eq!(policy.window, window);
    let require = Require {
        coverage: Coverage::Complete,
        missed_events: 0,
        min_payload: 64 << 20,
        calibrate: Some(true),
    };
    assert_eq!(policy.require, require);
    assert_eq!(policy.allow[0].max_bytes_per_call, 4096);
    let [zero_copy, no_fallback, switches, regression] = &policy.assertions[..] else { panic!() };
    assert_eq!(zero_copy.name, "static files are zero-copy");
    assert_eq!(
        (zero_copy.metric, zero_copy.select.get(Selector::Path)),
        (Metric::CopiesPerByte, Some("sendfile"))
    );
    assert_eq!(zero_copy.bounds, [Bound::Max(Amount::Ratio(0.0))]);
    assert_eq!(no_fallback.bounds, [Bound::Min(Amount::Ratio(0.99))]);
    assert_eq!(switches.bounds, [Bound::Max(Amount::Ratio(40.0))]);
    assert_eq!(regression.baseline.as_deref(), Some("main.json"));
    assert_eq!(regression.bounds, [Bound::MaxIncrease(Change::Relative(0.05))]);
    assert_eq!((zero_copy.severity, regression.severity), (Severity::Error, Severity::Warn));
    assert!(zero_copy.line < no_fallback.line && no_fallback.line < switches.line);
}

#[test]
fn what_is_not_said_is_strict() {
    let policy = Policy::parse(asserting("metric: copies, max: 0").as_bytes()).expect("valid");
    assert_eq!(policy.require, Require::default());
    assert_eq!(policy.require.min_payload, 1);
    assert_eq!(policy.assertions[0].name, "copies: max 0");
}

#[test]
fn every_mistake_has_its_line_and_a_word_that_helps() {
    let cases = [
        (with("windw: {warmup: 2s}"), "3: unknown key in a policy: `windw`; did you mean `window`?"),
        (with("window: {warm_up: 2s}"), "3: unknown key in window: `warm_up`; did you mean `warmup`?"),
        (with("window: {warmup: 2parsecs}"), "3: warmup: `2parsecs`"),
        (with("window: {warmup: -2s}"), "3: warmup: `-2s` is negative"),
        (with("window: {warmup: 3 years}"), "3: warmup: `3 years` is longer than a day"),
        (with("window: {duration: 0s}"), "3: duration: must be more than 0"),
        (with("window: {repeat: 0}"), "3: repeat: 0 is not between 1 and 1000"),
        (with("window: {repeat: 1.5}"), "3: repeat: `1.5` is no whole number"),
        (with("window: 2s"), "3: window must be a map (key: value), not one value"),
        (with("window: {warmup: [2s]}"), "3: warmup must be one value, not a list"),
        (with("window: {warmup: }"), "3: warmup must be one value, not nothing"),
        (with("require: {coverage: partial}"), "3: coverage: unknown coverage `partial`"),
        (
            with("require: {min_payload: 64Mib}"),
            "3: min_payload: unknown unit of bytes `Mib`; did you mean `MiB`?",
        ),
        (with("require: {min_payload: 64 MiB of it}"), "3: min_payload: unknown unit of bytes"),
        (with("require: {missed_events: -1}"), "3: missed_events: `-1` is negative"),
        (with("require: {calibrate: yes}"), "3: calibrate: `yes` is neither true nor false"),
        (with("target: {}"), "3: target needs one of command, pid, comm, cgroup; here is none"),
        (
            with("target: {pid: 1, comm: x}"),
            "3: target needs one of command, pid, comm, cgroup; here is pid and comm",
        ),
        (with("target: {pid: 0}"), "3: pid: 0 is no pid"),
        (with("target: {pid: []}"), "3: pid: the list is empty"),
        (with("target: {command: ./server}"), "3: command must be a list of words"),
        (with("target: {command: []}"), "3: command: the first word must name a program"),
        (with("target: {command: [a, [b]]}"), "3: command: a word is text, not a list"),
        (with("target: {command: [a, \"b\\0\"]}"), "3: command: a word with a NUL byte"),
        (with("driver: {}"), "3: driver needs `command`"),
        (with("allow: [{path: write, max_bytes_per_call: 4KiB}]"), "3: allow needs `what`"),
        (
            with("allow: [{what: x, path: wriet, max_bytes_per_call: 4KiB}]"),
            "3: path: unknown path `wriet`; did you mean `write`?",
        ),
        (with("allow: [{what: x, path: write}]"), "3: allow needs `max_bytes_per_call`"),
        (with("allow: {what: x}"), "3: allow must be a list, not a map"),
        (
            asserting("metric: copied_byte, max: 0"),
            "2: unknown metric `copied_byte`; did you mean `copied_bytes`?",
        ),
        (
            asserting("metric: copies, path: sendfiles, max: 0"),
            "2: unknown path `sendfiles`; did you mean `sendfile`?",
        ),
        (
            asserting("metric: copies, direction: to-user, max: 0"),
            "2: unknown direction `to-user`; did you mean `to_user`?",
        ),
        (asserting("metric: copied_bytes, kind: csum, max: 0"), "2: unknown kind `csum`"),
        (
            asserting("metric: context_switches, kind: copy, max: 0"),
            "2: unknown kind `copy`; there are: voluntary, involuntary",
        ),
        (
            asserting("metric: mode_switches, path: read, max: 0"),
            "2: mode_switches has no path: it takes reason, process",
        ),
        (
            asserting("metric: copied_bytes, kind: crypto, direction: to_user, max: 0"),
            "2: direction is known for kind copy only",
        ),
        (
            asserting("metric: copies, max: 4KiB"),
            "2: max: `4KiB` is no whole number: write for example 40; copies is a whole number",
        ),
        (asserting("metric: copied_bytes, max: 40ms"), "2: max: unknown unit of bytes `ms`"),
        (asserting("metric: copied_bytes, max: -1"), "2: max: `-1` is negative"),
        (asserting("metric: copies_per_byte, max: .nan"), "2: max: `.nan` is no limit"),
        (asserting("metric: copies_per_byte, max: NaN"), "2: max: `NaN` is no limit"),
        (asserting("metric: copies_per_byte, min: -0.5"), "2: min: `-0.5` is negative"),
        (asserting("metric: payload_share, path: send, min: 99"), "2: min: `99` is more than everything"),
        (asserting("metric: payload_share, min: 0.9"), "2: payload_share needs `path`"),
        (asserting("metric: copies"), "2: an assertion needs a limit"),
        (asserting("metric: copies, maximum: 0"), "2: unknown key in an assertion: `maximum`"),
        (asserting("max: 0"), "2: an assertion needs `metric`"),
        (asserting("metric: copies, min: 2, max: 1"), "2: min is above max"),
        (asserting("metric: copies, equals: 2, max: 1"), "2: equals says it all"),
        (asserting("metric: copies, max_increase: 5%"), "2: max_increase and max_decrease need `baseline`"),
        (asserting("metric: copies, baseline: a.json"), "2: a baseline needs max_increase"),
        (
            asserting("metric: copies, baseline: a.json, max_increase: -5%"),
            "2: max_increase: `-5` is negative",
        ),
        (asserting("metric: copies, max: 0, severity: fatal"), "2: severity: unknown severity `fatal`"),
        (
            asserting("metric: copies, max: 0}, {metric: copies, max: 0"),
            "2: the name `copies: max 0` is taken by the assertion in line 2",
        ),
        ("assertions: [{metric: copies, max: 0}]".into(), "1: a policy needs `version`"),
        ("version: 2\nassertions: [{metric: copies, max: 0}]".into(), "1: version 2 is not known"),
        ("version: 1\n".into(), "1: a policy needs `assertions`"),
        ("version: 1\nassertions: []\n".into(), "2: assertions: an empty list would always pass"),
        ("version: 1\nassertions: {}\n".into(), "2: assertions must be a list, not a map"),
        ("just text".into(), "1: a policy must be a map (key: value), not one value"),
        ("version: 1\nversion: 1\n".into(), "2: `version` is here a second time"),
    ];
    for (text, expected) in cases {
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{text}\n{found:#?}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_lines() {
    let text =
        "version: 1\nwindow: {repeat: 0}\nassertions:\n  - {metric: copy, max: 0}\n  - {metric: copies}\n";
    let found = problems(text);
    let lines: Vec<_> = found.iter().map(|problem| problem.split(':').next().unwrap_or("")).collect();
    assert_eq!(lines, ["2", "4", "5"], "{found:#?}");
}

#[test]
fn words_from_the_file_are_shown_harmlessly() {
    let found = problems(&asserting("metric: \"\\e[31m\\n\", max: 0"));
    assert!(found[0].contains(r"\u{1b}[31m\n"), "{found:?}");
}
