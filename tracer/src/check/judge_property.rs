//! The verdict computed two ways: by the judge, and by trying out what the truth may have been.
//!
//! A window in doubt stands for many truths: each has whatever was not seen added. An assertion is violated
//! if it is in every truth, and holds if it does in every truth. The judge reasons about claims instead;
//! both must come to the same.

use std::cmp::Ordering;
use std::fmt::Write as _;

use super::*;
use crate::model::test_rng::Random;

const PATHS: [&str; 3] = ["read", "write", "sendfile"];
/// What may have been missed: nothing, the least, and far more than anything counted.
const MISSED: [u64; 3] = [0, 1, 1 << 40];

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    copied: u64,
    calls: u64,
    payload: u64,
    syscalls: u64,
}

/// Two processes, each with its three paths.
type Truth = [[Counts; 3]; 2];

#[derive(Debug)]
struct Case {
    windows: Vec<(Truth, Trouble)>,
    assertions: Vec<Rule>,
    /// `max_bytes_per_call` of write.
    allow: Option<u64>,
    min_payload: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    lost: bool,
    uncovered: bool,
    merged: bool,
    ended_early: bool,
    broken_books: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    metric: &'static str,
    path: Option<usize>,
    process: Option<usize>,
    bound: &'static str,
    /// In quarters: exact as a float, and as the quotient of counts far below 2^53.
    quarters: u64,
    warn: bool,
}

fn case(random: &mut Random) -> Case {
    let small = |random: &mut Random| random.pick(&[0, 0, 1, 2, 3, 4, 8, 100]);
    let counts = |random: &mut Random| Counts {
        copied: small(random),
        calls: small(random),
        payload: small(random),
        syscalls: small(random),
    };
    let trouble = |random: &mut Random| match random.below(10) {
        0 => Trouble { lost: true, ..Trouble::default() },
        1 => Trouble { uncovered: true, ..Trouble::default() },
        2 => Trouble { merged: true, ..Trouble::default() },
        3 => Trouble { ended_early: true, ..Trouble::default() },
        4 => Trouble { broken_books: true, ..Trouble::default() },
        5 => Trouble { uncovered: true, merged: true, ..Trouble::default() },
        _ => Trouble::default(),
    };
    let rule = |random: &mut Random| {
        let metric = random.pick(&[
            "copied_bytes",
            "copies_per_byte",
            "payload_bytes",
            "payload_calls",
            "payload_share",
            "syscalls",
        ]);
        let quarters = match metric {
            "payload_share" => random.below(5),
            "copies_per_byte" => random.pick(&[0, 0, 1, 2, 4, 8]),
            _ => 4 * small(random),
        };
        Rule {
            metric,
            path: (metric == "payload_share" || !random.one_in(3)).then(|| random.below(3) as usize),
            process: random.one_in(4).then(|| random.below(2) as usize),
            bound: random.pick(&["min", "max", "max", "equals"]),
            quarters,
            warn: random.one_in(8),
        }
    };
    Case {
        windows: (0..=random.below(2))
            .map(|_| ([[(); 3]; 2].map(|paths| paths.map(|()| counts(random))), trouble(random)))
            .collect(),
        assertions: (0..=random.below(3)).map(|_| rule(random)).collect(),
        allow: random.one_in(2).then(|| random.pick(&[1, 2, 50])),
        min_payload: random.pick(&[0, 1, 10]),
    }
}

impl Case {
    fn policy(&self) -> Policy {
        let mut text = format!("version: 1\nrequire: {{min_payload: {}}}\nassertions:\n", self.min_payload);
        for (index, rule) in self.assertions.iter().enumerate() {
            let amount = if rule.quarters.is_multiple_of(4) {
                (rule.quarters / 4).to_string()
            } else {
                (rule.quarters as f64 / 4.0).to_string()
            };
            let _ = write!(text, "  - {{name: n{index}, metric: {}, {}: {amount}", rule.metric, rule.bound);
            let _ = rule.path.map(|path| write!(text, ", path: {}", PATHS[path]));
            let _ = rule.process.map(|process| write!(text, ", process: p{process}"));
            text += if rule.warn { ", severity: warn}\n" } else { "}\n" };
        }
        let _ =
            self.allow.map(|n| writeln!(text, "allow: [{{what: x, path: write, max_bytes_per_call: {n}}}]"));
        Policy::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"))
    }

    fn observation(&self) -> Observation {
        let window = |(truth, trouble): &(Truth, Trouble)| Window {
            recording: recording(truth, trouble),
            findings: if trouble.ended_early {
                vec![Finding::new(Reason::TargetEndedEarly, "")]
            } else {
                Vec::new()
            },
        };
        Observation { windows: self.windows.iter().map(window).collect(), ..Observation::default() }
    }

    /// The second way.
    fn verdict(&self) -> Verdict {
        let mut worst = Verdict::Pass;
        for (counted, trouble) in &self.windows {
            let unsure = trouble.lost
                || trouble.uncovered
                || trouble.merged
                || trouble.ended_early
                || trouble.broken_books
                || self.too_little(counted);
            if unsure && worst == Verdict::Pass {
                worst = Verdict::Inconclusive;
            }
            for rule in self.assertions.iter().filter(|rule| !rule.warn) {
                match self.is_broken(rule, counted, trouble) {
                    Some(true) => return Verdict::Violated,
                    Some(false) => {}
                    None => worst = Verdict::Inconclusive,
                }
            }
        }
        // A later window may still be violated, which the loop above returns at once.
        worst
    }

    fn too_little(&self, counted: &Truth) -> bool {
        counted.iter().flatten().map(|c| c.payload).sum::<u64>() < self.min_payload
    }

    /// In every truth, in none, or not to be told.
    fn is_broken(&self, rule: &Rule, counted: &Truth, trouble: &Trouble) -> Option<bool> {
        // Nothing to divide by, or books that prove nothing.
        self.order(rule, counted)?;
        if trouble.broken_books {
            return None;
        }
        let any_event = trouble.lost || trouble.ended_early || self.too_little(counted);
        let of_process = trouble.merged && rule.process.is_some();
        let truths = truths(counted, any_event || of_process, trouble.uncovered);
        let orders: Vec<Ordering> = truths.iter().filter_map(|truth| self.order(rule, truth)).collect();
        let all = |wanted: Ordering| orders.iter().all(|order| *order == wanted);
        let none = |unwanted: Ordering| !orders.contains(&unwanted);
        // With truths on both sides there is one in between, though it may not be in the list.
        let (broken, fine) = match rule.bound {
            "min" => (all(Ordering::Less), none(Ordering::Less)),
            "max" => (all(Ordering::Greater), none(Ordering::Greater)),
            _ => (all(Ordering::Less) || all(Ordering::Greater), all(Ordering::Equal)),
        };
        (broken || fine).then_some(broken)
    }

    /// What `allow` leaves of a path's copies.
    fn left(&self, path: usize, bytes: u64, calls: u64) -> u64 {
        let taken = self.allow.is_some_and(|n| path == 1 && calls > 0 && bytes <= n * calls);
        if taken { 0 } else { bytes }
    }

    /// The value against the limit; `None` if there is nothing to divide by.
    fn order(&self, rule: &Rule, truth: &Truth) -> Option<Ordering> {
        let selected = |count: fn(&Counts) -> u64, path: Option<usize>| -> u64 {
            let processes = truth.iter().enumerate().filter(|(p, _)| rule.process.is_none_or(|q| q == *p));
            let cells = processes.flat_map(|(_, paths)| paths.iter().enumerate());
            cells.filter(|(p, _)| path.is_none_or(|q| q == *p)).map(|(_, c)| count(c)).sum()
        };
        let copied = || -> u64 {
            let paths = (0..3).filter(|p| rule.path.is_none_or(|q| q == *p));
            paths.map(|p| self.left(p, selected(|c| c.copied, Some(p)), selected(|c| c.calls, Some(p)))).sum()
        };
        let payload = || selected(|c| c.payload, rule.path);
        // Without a path: copies on paths that moved nothing are in no ratio.
        let apart = || -> u64 {
            let paths = (0..3).filter(|p| rule.path.is_none() && selected(|c| c.payload, Some(*p)) == 0);
            paths.map(|p| self.left(p, selected(|c| c.copied, Some(p)), selected(|c| c.calls, Some(p)))).sum()
        };
        let (above, below) = match rule.metric {
            "copied_bytes" => (copied(), 1),
            "copies_per_byte" => (copied() - apart(), payload()),
            "payload_bytes" => (payload(), 1),
            "payload_calls" => (selected(|c| c.calls, rule.path), 1),
            "payload_share" => (payload(), selected(|c| c.payload, None)),
            _ => (selected(|c| c.syscalls, rule.path), 1),
        };
        // In whole numbers: above / below against quarters / 4.
        let (value, limit) = (4 * u128::from(above), u128::from(rule.quarters) * u128::from(below));
        (below > 0).then(|| value.cmp(&limit))
    }
}

/// Truths with which this was counted.
fn truths(counted: &Truth, events: bool, copies: bool) -> Vec<Truth> {
    let mut truths = vec![*counted];
    let mut add = |apply: &dyn Fn(&mut Counts, u64)| {
        for base in truths.clone() {
            for cell in 0..6 {
                for missed in &MISSED[1..] {
                    let mut truth = base;
                    apply(&mut truth[cell / 3][cell % 3], *missed);
                    truths.push(truth);
                }
            }
        }
    };
    if events || copies {
        add(&|c, n| c.copied += n);
    }
    if events {
        add(&|c, n| c.payload += n);
        add(&|c, n| (c.calls, c.syscalls) = (c.calls + n, c.syscalls + n));
    }
    truths
}

fn recording(truth: &Truth, trouble: &Trouble) -> Recording {
    let path = |c: &Counts| {
        format!(
            r#"{{"calls":{},"payload_bytes":{},"syscalls":{},"copied_bytes":{{"to_user":{},"from_user":0,"in_kernel":0}}}}"#,
            c.calls, c.payload, c.syscalls, c.copied
        )
    };
    let process = |index: usize| {
        let [read, write, sendfile] = truth[index].each_ref().map(path);
        format!(
            r#"{{"pid":{index},"comm":"p{index}","paths":{{"read":{read},"write":{write},"sendfile":{sendfile}}}}}"#
        )
    };
    let text = format!(
        r#"{{"schema":"tracer/1","observed":{{"copies":true}},"coverage":{{"state":"{}"}},"lost_events":{},
            "losses":{{"slots_used_up":{}}},"adds_up":{},"processes":[{},{}]}}"#,
        if trouble.uncovered { "incomplete" } else { "complete" },
        u8::from(trouble.lost),
        u8::from(trouble.merged),
        !trouble.broken_books,
        process(0),
        process(1),
    );
    Recording::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}\n{error:#}")).recording
}

#[test]
fn two_ways_agree() {
    let mut random = Random(20_261_122);
    let mut verdicts = std::collections::BTreeMap::new();
    for number in 0..2000 {
        let case = case(&mut random);
        let report = judge(&case.policy(), &case.observation());
        assert_eq!(report.verdict, case.verdict(), "case {number}: {case:#?}\n{report:#?}");
        *verdicts.entry(report.verdict.name()).or_insert(0) += 1;
    }
    // Each verdict has its share, or the cases prove nothing.
    assert!(["pass", "violated", "inconclusive"].iter().all(|v| verdicts.get(v) > Some(&80)), "{verdicts:?}");
}
