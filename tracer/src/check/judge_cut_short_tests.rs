//! Copies that were cut short: more was counted than copied, by a known number of bytes at most.

use serde_json::json;

use super::tests::{policy, reasons, recording, seen};
use super::*;

const MIB: u64 = 1 << 20;

/// The sample with 1 MiB sent and 2 MiB counted as copied for it, of which `surplus` may not have been.
fn cut(surplus: u64) -> Recording {
    let send = json!({"calls": 16, "payload_bytes": MIB, "zero_copied_bytes": 0, "discarded_bytes": 0,
        "unexplained_bytes": 0, "copies": {"to_user": 0, "from_user": 32, "in_kernel": 0},
        "copied_bytes": {"to_user": 0, "from_user": 2 * MIB, "in_kernel": 0}});
    let cut = json!({"copies": 16, "bytes_at_most": surplus});
    recording(&[
        ("/observed/cut_short", json!(true)),
        ("/processes/0/paths/send", send),
        ("/processes/0/cut_short", cut),
    ])
}

#[test]
fn a_limit_that_turns_on_the_surplus_is_inconclusive() {
    use Verdict::{Inconclusive, Pass, Violated};
    // assertion, verdict with no surplus, with 1 MiB of it
    let cases = [
        ("{metric: copied_bytes, path: send, max: 2MiB}", Pass, Pass),
        ("{metric: copied_bytes, path: send, max: 1MiB}", Violated, Inconclusive),
        ("{metric: copied_bytes, path: send, max: 1023KiB}", Violated, Violated),
        ("{metric: copied_bytes, path: send, max: 0}", Violated, Violated),
        ("{metric: copied_bytes, path: send, min: 1MiB}", Pass, Pass),
        ("{metric: copied_bytes, path: send, min: 2MiB}", Pass, Inconclusive),
        ("{metric: copied_bytes, path: send, min: 3MiB}", Violated, Violated),
        ("{metric: copied_bytes, path: send, equals: 2MiB}", Pass, Inconclusive),
        ("{metric: copied_bytes, path: send, equals: 1536KiB}", Violated, Inconclusive),
        ("{metric: copied_bytes, path: send, equals: 3MiB}", Violated, Violated),
        ("{metric: copies_per_byte, path: send, max: 2}", Pass, Pass),
        ("{metric: copies_per_byte, path: send, max: 1}", Violated, Inconclusive),
        ("{metric: copies_per_byte, path: send, max: 0.9}", Violated, Violated),
        ("{metric: copies, path: send, max: 31}", Violated, Inconclusive),
        ("{metric: copies, path: send, max: 15}", Violated, Violated),
        ("{metric: zero_copied_bytes, path: send, min: 1MiB}", Violated, Inconclusive),
        ("{metric: payload_bytes, path: send, max: 1MiB}", Pass, Pass),
    ];
    for (assertion, without, with) in cases {
        for (surplus, verdict) in [(0, without), (MIB, with)] {
            let mut window = cut(surplus);
            if surplus == 0 {
                window.processes[0].part.cut_short = None;
            }
            window.totals = None;
            let report = judge(&policy(assertion, ""), &seen(vec![window]));
            assert_eq!(report.verdict, verdict, "{assertion}, {surplus}\n{:#?}", report.assertions);
            let expected = [Reason::CopiesCutShort];
            let expected = if verdict == Inconclusive { &expected[..] } else { &[] };
            assert_eq!(reasons(&report), expected, "{assertion}");
        }
    }
}

#[test]
fn a_baseline_is_as_unsure_as_a_window() {
    let against = |baseline: Recording| {
        let policy = policy("{metric: copied_bytes, path: send, max_increase: 50%, baseline: b.json}", "");
        let mut seen = seen(vec![without(cut(0))]);
        seen.baselines.insert("b.json".into(), without(baseline));
        judge(&policy, &seen)
    };
    assert_eq!(against(cut(0)).verdict, Verdict::Pass);
    // 2 MiB are no more than 1.5 times 1.5 MiB, and more than 1.5 times 1 MiB.
    assert_eq!(against(cut(MIB / 2)).verdict, Verdict::Pass);
    assert_eq!(reasons(&against(cut(MIB))), [Reason::CopiesCutShort]);
}

#[test]
fn where_it_is_not_observed_no_copy_is_sure() {
    let mut window = without(cut(0));
    window.observed.cut_short = Some(false);
    let verdict = |limit: &str| {
        let policy = policy(&format!("{{metric: copied_bytes, path: send, {limit}}}"), "");
        judge(&policy, &seen(vec![window.clone()])).verdict
    };
    assert_eq!(verdict("max: 2MiB"), Verdict::Pass);
    assert_eq!(verdict("max: 0"), Verdict::Inconclusive);
    assert_eq!(verdict("min: 1"), Verdict::Inconclusive);
    // Earlier versions did not look, and are judged as they were.
    window.observed.cut_short = None;
    let policy = policy("{metric: copied_bytes, path: send, max: 0}", "");
    assert_eq!(judge(&policy, &seen(vec![window])).verdict, Verdict::Violated);
}

/// Only the processes count.
fn without(mut window: Recording) -> Recording {
    window.totals = None;
    window
}
