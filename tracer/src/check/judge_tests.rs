use serde_json::{Value, json};

use super::*;
use crate::check::verdict::Program;

const SAMPLE: &str = include_str!("../../testdata/sample.json");
const MIB: u64 = 1 << 20;

/// The contract's sample, changed at some places: `/processes/0/pid`.
pub(super) fn recording(changes: &[(&str, Value)]) -> Recording {
    let mut value: Value = serde_json::from_str(SAMPLE).expect("JSON");
    for (place, new) in changes {
        match value.pointer_mut(place) {
            Some(old) => *old = new.clone(),
            None => {
                let (parent, key) = place.rsplit_once('/').expect("a path");
                value.pointer_mut(parent).expect(place)[key] = new.clone();
            }
        }
    }
    Recording::parse(value.to_string().as_bytes()).expect("valid").recording
}

pub(super) fn policy(assertions: &str, rest: &str) -> Policy {
    let text = format!("version: 1\nassertions: [{assertions}]\n{rest}\n");
    Policy::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"))
}

pub(super) fn seen(recordings: Vec<Recording>) -> Observation {
    let window = |recording| Window { recording, findings: Vec::new() };
    Observation { windows: recordings.into_iter().map(window).collect(), ..Observation::default() }
}

pub(super) fn reasons(report: &Report) -> Vec<Reason> {
    report.findings.iter().map(|finding| finding.reason).collect()
}

const ZERO_COPY: &str = "{path: sendfile, metric: copies_per_byte, max: 0}";
const COPIED: &str = "/processes/0/paths/sendfile/copied_bytes/in_kernel";

#[test]
fn a_sound_window_passes_or_is_violated() {
    let cases = [
        (ZERO_COPY, Verdict::Pass),
        ("{path: sendfile, metric: payload_share, min: 99%}", Verdict::Pass),
        ("{path: read, metric: payload_share, min: 1%}", Verdict::Violated),
        ("{metric: mode_switches_per_mib, max: 40}", Verdict::Pass),
        ("{metric: mode_switches_per_mib, max: 39.9}", Verdict::Violated),
        ("{metric: mode_switches, reason: syscall, equals: 34}", Verdict::Pass),
        ("{metric: mode_switches, reason: syscall, equals: 33}", Verdict::Violated),
        ("{metric: payload_bytes, min: 1MiB, max: 1MiB}", Verdict::Pass),
        ("{metric: payload_bytes, min: 1025KiB}", Verdict::Violated),
        ("{metric: payload_calls, path: sendfile, process: nginx, max: 16}", Verdict::Pass),
        ("{metric: payload_calls, path: sendfile, process: 1234, max: 15}", Verdict::Violated),
        ("{metric: context_switches, kind: voluntary, max: 0}", Verdict::Violated),
        ("{metric: control_bytes, direction: to_user, max: 144}", Verdict::Pass),
        ("{metric: zero_copied_share, path: sendfile, min: 1}", Verdict::Pass),
        ("{metric: device_bytes, device_kind: net, max: 0}", Verdict::Pass),
        ("{metric: missed_events, max: 0}", Verdict::Pass),
        ("{metric: call_sites, coverage: uncovered, max: 0}", Verdict::Pass),
        ("{metric: call_sites, coverage: call_site, max: 5}", Verdict::Violated),
        // Not used at all: a sum is 0, a ratio is nothing.
        ("{metric: copied_bytes, path: read, max: 0}", Verdict::Pass),
        ("{metric: copies_per_byte, path: read, max: 0}", Verdict::Inconclusive),
        ("{metric: copies, process: httpd, max: 0}", Verdict::Inconclusive),
        ("{metric: device_bytes, device_kind: block, op: rx, max: 0}", Verdict::Inconclusive),
        // A warning decides nothing.
        ("{metric: copies, max: 0}, {metric: payload_bytes, max: 0, severity: warn}", Verdict::Pass),
        ("{metric: copies, max: 0}, {metric: copies, process: x, max: 0, severity: warn}", Verdict::Pass),
    ];
    for (assertions, verdict) in cases {
        let report = judge(&policy(assertions, ""), &seen(vec![recording(&[])]));
        assert_eq!(report.verdict, verdict, "{assertions}\n{:#?}", report.assertions);
    }
}

#[test]
fn what_is_required_and_not_given_is_its_own_reason() {
    let probes = json!([{"probe": "filemap_read", "method": "fexit", "attached": true, "missed": 3}]);
    let cases = [
        ("/coverage/state", json!("incomplete"), Reason::CoverageIncomplete),
        ("/coverage/state", json!("none"), Reason::UnsupportedKernel),
        ("/coverage/state", json!("unproven"), Reason::CoverageUnproven),
        ("/coverage/state", json!(null), Reason::CoverageUnproven),
        ("/coverage/state", json!("splendid"), Reason::CoverageIncomplete),
        ("/lost_events", json!(1), Reason::EventsMissed),
        ("/lost_events", json!(null), Reason::EventsMissed),
        ("/probes", probes, Reason::EventsMissed),
        ("/losses", json!({"slots_used_up": 2}), Reason::MapFull),
        ("/adds_up", json!(false), Reason::DoesNotAddUp),
        ("/schema", json!("tracer/2"), Reason::UnknownSchema),
        ("/processes/0/paths/sendfile/payload_bytes", json!(0), Reason::TooLittlePayload),
        ("/processes/0/paths", json!({}), Reason::TooLittlePayload),
        ("/processes/0/paths", json!(null), Reason::TooLittlePayload),
        ("/observed/copies", json!(false), Reason::NotObserved),
        ("/processes/0/paths/sendfile/copied_bytes", json!(null), Reason::NotObserved),
        (COPIED, json!(null), Reason::NotObserved),
        ("/calibration", json!({"exact": false, "detail": "read 5, not 4"}), Reason::CalibrationOff),
    ];
    for (place, value, reason) in cases {
        let report = judge(&policy(ZERO_COPY, ""), &seen(vec![recording(&[(place, value.clone())])]));
        assert_eq!(report.verdict, Verdict::Inconclusive, "{place} {value}");
        assert!(reasons(&report).contains(&reason), "{place} {value}: {:?}", report.findings);
    }
}

#[test]
fn copies_without_payload_are_in_no_ratio_of_all_paths() {
    let mapped = json!({"calls": 0, "payload_bytes": 0, "copied_bytes": {"to_user": 0, "from_user": 0, "in_kernel": 77824}});
    let sendfile = json!({"calls": 1, "payload_bytes": 4096, "copied_bytes": {"to_user": 0, "from_user": 0, "in_kernel": 0}});
    let paths = json!({"mmap_fault": mapped, "sendfile": sendfile});
    let cases = [
        ("{metric: copies_per_byte, max: 0}", Verdict::Pass),
        ("{metric: copies_per_byte, path: mmap_fault, max: 0}", Verdict::Inconclusive),
        ("{metric: copied_bytes, max: 0}", Verdict::Violated),
    ];
    for (assertion, verdict) in cases {
        let window = recording(&[("/processes/0/paths", paths.clone())]);
        let report = judge(&policy(assertion, ""), &seen(vec![window]));
        assert_eq!(report.verdict, verdict, "{assertion}\n{:#?}", report.assertions);
        let said = report.assertions[0].windows[0].allowed.join("\n");
        assert_eq!(said.contains("76.0 KiB on mmap_fault"), verdict == Verdict::Pass, "{said}");
    }
}

#[test]
fn a_process_may_be_among_those_that_are_not_listed() {
    let mut window = recording(&[]);
    window.ended = Some(crate::model::window::Ended { processes: 3, part: window.processes[0].part.clone() });
    let all = judge(&policy("{metric: payload_bytes, equals: 2MiB}", ""), &seen(vec![window.clone()]));
    assert_eq!(all.verdict, Verdict::Pass);
    let one = judge(&policy("{metric: payload_bytes, process: nginx, max: 1MiB}", ""), &seen(vec![window]));
    assert_eq!((one.verdict, reasons(&one)), (Verdict::Inconclusive, vec![Reason::MapFull]));
}

#[test]
fn what_the_run_shows() {
    for reason in [Reason::TargetEndedEarly, Reason::DriverEndedEarly, Reason::TimedOut, Reason::Interrupted]
    {
        let mut observation = seen(vec![recording(&[])]);
        observation.windows[0].findings.push(Finding::new(reason, "so it was"));
        let report = judge(&policy(ZERO_COPY, ""), &observation);
        assert_eq!((report.verdict, reasons(&report)), (Verdict::Inconclusive, vec![reason]));
    }
    let mut nothing = Observation::default();
    assert_eq!(judge(&policy(ZERO_COPY, ""), &nothing).verdict, Verdict::Inconclusive);
    nothing.findings.push(Finding::new(Reason::UnsupportedKernel, "no BPF"));
    let report = judge(&policy(ZERO_COPY, ""), &nothing);
    assert_eq!((report.verdict, reasons(&report)), (Verdict::Inconclusive, vec![Reason::UnsupportedKernel]));
}

#[test]
fn calibration() {
    let required = policy(ZERO_COPY, "require: {calibrate: true}");
    let report = judge(&required, &seen(vec![recording(&[])]));
    assert_eq!(reasons(&report), [Reason::CalibrationMissing]);
    let recorded = recording(&[("/calibration", json!({"exact": true}))]);
    let report = judge(&required, &seen(vec![recorded]));
    assert_eq!((report.verdict, report.calibration), (Verdict::Pass, Calibration::Exact));
    let off = Observation {
        calibration: Calibration::Off("x".into()),
        ..seen(vec![recording(&[(COPIED, json!(9))])])
    };
    // Nothing that a probe says is worth anything then, not even a violation.
    assert_eq!(judge(&required, &off).verdict, Verdict::Inconclusive);
}

#[test]
fn a_violation_that_is_certain_stays_one() {
    let copied = (COPIED, json!(4096));
    let doubts = [
        ("/lost_events", json!(7)),
        ("/coverage/state", json!("incomplete")),
        ("/processes/0/paths/sendfile/payload_bytes", json!(1000)),
    ];
    let required = "require: {min_payload: 1MiB}";
    for doubt in doubts {
        let window = || seen(vec![recording(&[copied.clone(), doubt.clone()])]);
        // More than 0 stays more than 0, whatever was missed.
        for certain in [ZERO_COPY, "{metric: copied_bytes, max: 4095}"] {
            let report = judge(&policy(certain, required), &window());
            assert_eq!(report.verdict, Verdict::Violated, "{certain} {doubt:?}");
            assert!(!report.findings.is_empty(), "the doubt is told as well");
        }
        let report = judge(&policy("{metric: copied_bytes, min: 4097}", required), &window());
        assert_eq!(report.verdict, Verdict::Inconclusive, "{doubt:?}");
        assert_eq!(report.assertions[0].status, Status::Inconclusive);
    }
    // With missed calls the ratio may be lower in truth, with missed copies only higher.
    let ratio = policy("{metric: copies_per_byte, max: 0.001}", "");
    let missed = judge(&ratio, &seen(vec![recording(&[copied.clone(), ("/lost_events", json!(1))])]));
    assert_eq!(missed.verdict, Verdict::Inconclusive);
    let uncovered = [copied, ("/coverage/state", json!("incomplete"))];
    assert_eq!(judge(&ratio, &seen(vec![recording(&uncovered)])).verdict, Verdict::Violated);
}

#[test]
fn every_repeat_must_hold() {
    let good = || recording(&[]);
    let bad = || recording(&[(COPIED, json!(1))]);
    let doubtful = || recording(&[("/lost_events", json!(1))]);
    let cases = [
        (vec![good(), good(), good()], Verdict::Pass, Some(0)),
        (vec![good(), bad(), good()], Verdict::Violated, Some(1)),
        (vec![good(), good(), doubtful()], Verdict::Inconclusive, Some(2)),
        (vec![doubtful(), good(), bad()], Verdict::Violated, Some(2)),
    ];
    for (windows, verdict, worst) in cases {
        let report = judge(&policy(ZERO_COPY, ""), &seen(windows));
        assert_eq!((report.verdict, report.assertions[0].worst), (verdict, worst));
    }
}

#[test]
fn a_failed_workload_comes_first() {
    let mut observation = seen(vec![recording(&[(COPIED, json!(1))])]);
    let program = |failed| Program {
        role: "driver",
        command: "./load.sh".into(),
        window: 1,
        end: "exit status 1".into(),
        failed,
    };
    observation.programs = vec![program(false), program(true)];
    assert_eq!(judge(&policy(ZERO_COPY, ""), &observation).verdict, Verdict::WorkloadFailed);
    observation.programs.truncate(1);
    assert_eq!(judge(&policy(ZERO_COPY, ""), &observation).verdict, Verdict::Violated);
}

#[test]
fn allowed_copies_are_taken_out_if_they_are_small() {
    let write = |bytes: u64, calls: u64| {
        let counts = json!({"calls": calls, "payload_bytes": bytes, "syscalls": calls, "zero_copied_bytes": 0,
            "copied_bytes": {"to_user": 0, "from_user": bytes, "in_kernel": 0},
            "copies": {"to_user": 0, "from_user": calls, "in_kernel": 0}});
        recording(&[("/processes/0/paths/write", counts)])
    };
    let allow = "allow: [{what: response headers, path: write, max_bytes_per_call: 4KiB}]";
    let nothing_else = "{metric: copied_bytes, max: 0}";
    let verdict = |window, rules: &str| judge(&policy(nothing_else, rules), &seen(vec![window])).verdict;
    assert_eq!(verdict(write(100 * 200, 100), ""), Verdict::Violated);
    assert_eq!(verdict(write(100 * 200, 100), allow), Verdict::Pass);
    assert_eq!(verdict(write(100 * 4096, 100), allow), Verdict::Pass);
    assert_eq!(verdict(write(100 * 4096 + 1, 100), allow), Verdict::Violated);
    assert_eq!(verdict(write(MIB, 0), allow), Verdict::Violated);
    let to_user = "allow: [{what: x, path: write, direction: to_user, max_bytes_per_call: 4KiB}]";
    assert_eq!(verdict(write(100 * 200, 100), to_user), Verdict::Violated);
    let twice = "allow: [{what: x, path: write, max_bytes_per_call: 4KiB}, {what: y, path: write, max_bytes_per_call: 4KiB}]";
    assert_eq!(verdict(write(100 * 200, 100), twice), Verdict::Pass);
    // 64 KiB a call, but calls were missed: with more of them it would be allowed.
    let mut missed = write(64 * MIB, 1024);
    missed.lost_events = Some(1);
    assert_eq!(verdict(missed, allow), Verdict::Inconclusive);
}

#[test]
fn baselines() {
    let base = "{metric: copied_bytes, baseline: b, max_increase: 15%}, {metric: payload_calls, baseline: b, max_decrease: 1}";
    let compare = |before: Recording, now: Recording| {
        let mut observation = seen(vec![now]);
        observation.baselines.insert("b".into(), before);
        judge(&policy(base, ""), &observation)
    };
    let with = |bytes: u64| recording(&[(COPIED, json!(bytes))]);
    assert_eq!(compare(with(100), with(115)).verdict, Verdict::Pass);
    assert_eq!(compare(with(100), with(116)).verdict, Verdict::Violated);
    assert_eq!(compare(with(0), with(1)).verdict, Verdict::Violated);
    assert_eq!(compare(with(u64::MAX), with(u64::MAX)).verdict, Verdict::Pass);
    let fewer = |calls: u64| recording(&[("/processes/0/paths/sendfile/calls", json!(calls))]);
    assert_eq!(compare(fewer(16), fewer(15)).verdict, Verdict::Pass);
    assert_eq!(compare(fewer(16), fewer(14)).verdict, Verdict::Violated);
    for unusable in
        [("/lost_events", json!(1)), ("/observed/copies", json!(false)), ("/coverage/state", json!("none"))]
    {
        let report = compare(recording(std::slice::from_ref(&unusable)), with(0));
        assert_eq!(
            (report.verdict, reasons(&report)[0]),
            (Verdict::Inconclusive, Reason::BaselineUnusable),
            "{unusable:?}"
        );
    }
    let other = compare(
        recording(&[("/schema", json!("tracer/2")), ("/kernel", json!("5.10"))]),
        recording(&[("/processes/0/paths/sendfile/payload_bytes", json!(4 * MIB))]),
    );
    assert_eq!(other.verdict, Verdict::Pass);
    let notes = other.assertions[0].notes.join("\n");
    for said in ["tracer/2", "kernel 5.10", "moved 1.00 MiB, this window 4.00 MiB"] {
        assert!(notes.contains(said), "{notes}");
    }
    let absent = judge(&policy(base, ""), &seen(vec![with(0)]));
    assert_eq!(reasons(&absent)[0], Reason::BaselineUnusable);
}

#[test]
fn a_violation_shows_where_the_bytes_went() {
    let read = json!({"calls": 16, "payload_bytes": MIB, "copied_bytes": {"to_user": MIB}, "copies": {"to_user": 16}});
    let sources = json!([{"probe": "file_read", "symbol": "filemap_read", "copied_bytes": {"to_user": MIB}}]);
    let window = recording(&[("/processes/0/paths/read", read), ("/sources", sources)]);
    let report =
        judge(&policy("{metric: copied_bytes, direction: to_user, max: 0}", ""), &seen(vec![window.clone()]));
    let evidence = report.assertions[0].evidence.as_ref().expect("violated");
    assert_eq!((evidence.paths[0].name.as_str(), evidence.paths[0].amount), ("read", MIB));
    assert_eq!(evidence.processes[0].name, "1234 nginx");
    assert_eq!((evidence.sites[0].name.as_str(), evidence.sites[0].amount), ("filemap_read", MIB));
    assert!(evidence.advice[0].contains("sendfile or splice"), "{:?}", evidence.advice);
    let share = judge(&policy("{metric: payload_share, path: splice, min: 1}", ""), &seen(vec![window]));
    let evidence = share.assertions[0].evidence.as_ref().expect("violated");
    assert!(evidence.advice[0].contains("that splice did not"), "{:?}", evidence.advice);
}

/// The sample with another process-path, of which so many bytes are unexplained and copied.
fn with_unexplained(unexplained: u64, copied: u64) -> Recording {
    let read = json!({"calls": 4, "payload_bytes": 4 * MIB, "zero_copied_bytes": 0, "discarded_bytes": 0,
        "unexplained_bytes": unexplained, "copied_bytes": {"to_user": copied, "from_user": 0, "in_kernel": 0}});
    recording(&[
        ("/processes/0/paths/read", read),
        ("/processes/0/paths/sendfile/unexplained_bytes", json!(0)),
        ("/processes/0/paths/sendfile/discarded_bytes", json!(0)),
    ])
}

#[test]
fn unexplained_payload_never_passes_for_copies_and_hides_no_violation() {
    let explained = with_unexplained(0, 4 * MIB);
    let hole = with_unexplained(MIB, 3 * MIB);
    let unseen = with_unexplained(4 * MIB, 0);
    // assertion; if all is explained; with a hole; if nothing was seen.
    use Verdict::{Inconclusive, Pass, Violated};
    let cases = [
        ("{metric: unexplained_bytes, max: 0}", Pass, Violated, Violated),
        ("{metric: unexplained_bytes, path: read, max: 1MiB}", Pass, Pass, Violated),
        ("{metric: unexplained_bytes, path: sendfile, max: 0}", Pass, Pass, Pass),
        ("{metric: copied_bytes, max: 4MiB}", Pass, Inconclusive, Inconclusive),
        ("{metric: copied_bytes, path: read, max: 2MiB}", Violated, Violated, Inconclusive),
        ("{metric: copies_per_byte, path: read, max: 1}", Pass, Inconclusive, Inconclusive),
        ("{metric: copies_per_byte, path: read, max: 0}", Violated, Violated, Inconclusive),
        ("{metric: copies_per_byte, path: read, max: 0.7}", Violated, Violated, Inconclusive),
        ("{metric: zero_copied_share, path: sendfile, min: 99%}", Pass, Inconclusive, Inconclusive),
        // Not about copies.
        ("{metric: payload_share, path: sendfile, min: 10%}", Pass, Pass, Pass),
        ("{metric: mode_switches, max: 1000}", Pass, Pass, Pass),
        ("{metric: copied_bytes, max: 0, severity: warn}", Pass, Pass, Pass),
    ];
    for (assertion, all, some, none) in cases {
        for (window, verdict) in [(&explained, all), (&hole, some), (&unseen, none)] {
            let report = judge(&policy(assertion, ""), &seen(vec![window.clone()]));
            assert_eq!(
                report.verdict, verdict,
                "{assertion}\n{:#?}\n{:#?}",
                report.findings, report.assertions
            );
            if verdict == Inconclusive {
                assert!(reasons(&report).contains(&Reason::UnexplainedBytes), "{assertion}");
            }
            // No value says that there was none.
            let none = report.assertions[0].windows[0].value.is_none_or(|value| value.as_f64() > 0.0);
            assert!(none || !assertion.contains("copies_per_byte"), "{assertion}");
        }
    }
    let report = judge(&policy("{metric: copies, max: 99}", ""), &seen(vec![hole]));
    let detail = &report.findings[0].detail;
    assert!(detail.starts_with("1.00 MiB of payload") && detail.ends_with("1.00 MiB by read"), "{detail}");
    assert_eq!(report.windows[0].unexplained, Some(MIB));
}

#[test]
fn a_recording_that_does_not_tell_is_judged_as_it_was() {
    let report = judge(&policy(ZERO_COPY, ""), &seen(vec![recording(&[])]));
    assert_eq!((report.verdict, report.windows[0].unexplained), (Verdict::Pass, None));
    let asked = judge(&policy("{metric: unexplained_bytes, max: 0}", ""), &seen(vec![recording(&[])]));
    assert_eq!((asked.verdict, reasons(&asked)), (Verdict::Inconclusive, vec![Reason::NotObserved]));
}

#[test]
fn a_baseline_with_a_hole_is_no_baseline_for_copies() {
    let against = |metric: &str, baseline: Recording| {
        let mut seen = seen(vec![with_unexplained(0, 4 * MIB)]);
        seen.baselines.insert("b.json".to_owned(), baseline);
        let assertion = format!("{{metric: {metric}, baseline: b.json, max_increase: 5%}}");
        judge(&policy(&assertion, ""), &seen)
    };
    let hole = || with_unexplained(MIB, 4 * MIB);
    assert_eq!(reasons(&against("copied_bytes", hole())), [Reason::BaselineUnusable]);
    assert_eq!(against("payload_bytes", hole()).verdict, Verdict::Pass);
    assert_eq!(against("copied_bytes", with_unexplained(0, 4 * MIB)).verdict, Verdict::Pass);
}
