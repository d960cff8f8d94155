//! The judge: a pure function from a policy and what was seen to a report.

use super::compare;
use super::evidence;
use super::policy::{Assertion, Coverage, Policy, Require, Severity};
use super::reason::{Doubt, Reason};
use super::verdict::{
    Calibration, Finding, InWindow, Judged, Observation, Report, Status, Summary, Verdict, Window,
};
use crate::fmt::human;
use crate::model::window::Recording;

pub fn judge(policy: &Policy, seen: &Observation) -> Report {
    let calibration = calibration(&policy.require, seen);
    let mut findings = seen.findings.clone();
    findings.extend(calibration.1);
    // Doubts about the run are doubts about every window.
    let general: Vec<Doubt> = findings.iter().map(Finding::doubt).collect();
    let mut doubts = Vec::new();
    for (index, window) in seen.windows.iter().enumerate() {
        let own = of_window(policy, window);
        doubts.push(general.iter().copied().chain(own.iter().map(Finding::doubt)).collect());
        findings.extend(own.into_iter().map(|finding| finding.in_window(index + 1)));
    }
    let assertions: Vec<Judged> =
        policy.assertions.iter().map(|assertion| one(assertion, policy, seen, &doubts)).collect();
    findings.extend(assertions.iter().filter(|judged| judged.decides()).filter_map(own_reason));
    if seen.windows.is_empty() && findings.is_empty() {
        findings.push(Finding::new(Reason::NothingToJudge, "there is no window"));
    }
    Report {
        verdict: verdict(seen, &assertions, &findings),
        assertions,
        findings,
        programs: seen.programs.clone(),
        windows: seen.windows.iter().map(|window| summary(&window.recording)).collect(),
        calibration: calibration.0,
    }
}

/// A failed workload says nothing of the policy. A certain violation stays one, whatever else is in doubt.
/// And without a finding, everything that decides must hold.
fn verdict(seen: &Observation, assertions: &[Judged], findings: &[Finding]) -> Verdict {
    let any = |status| assertions.iter().any(|judged| judged.decides() && judged.status == status);
    if seen.programs.iter().any(|program| program.failed) {
        Verdict::WorkloadFailed
    } else if any(Status::Violated) {
        Verdict::Violated
    } else if !findings.is_empty() || any(Status::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}

fn calibration(require: &Require, seen: &Observation) -> (Calibration, Option<Finding>) {
    let recorded = || seen.windows.iter().map(|window| window.recording.calibration.as_ref());
    let known = match &seen.calibration {
        Calibration::AsRecorded => {
            let off = recorded().flatten().find(|calibration| !calibration.exact);
            match off {
                Some(off) => Calibration::Off(off.detail.clone()),
                None if recorded().all(|c| c.is_some()) && !seen.windows.is_empty() => Calibration::Exact,
                None => Calibration::AsRecorded,
            }
        }
        other => other.clone(),
    };
    let finding = match &known {
        Calibration::Off(detail) => Some(Finding::new(Reason::CalibrationOff, detail.clone())),
        Calibration::AsRecorded if require.calibrate == Some(true) && !seen.windows.is_empty() => {
            Some(Finding::new(Reason::CalibrationMissing, "the recording has no calibration"))
        }
        _ => None,
    };
    (known, finding)
}

/// What the policy requires of a window, and does not get.
fn of_window(policy: &Policy, window: &Window) -> Vec<Finding> {
    let (require, recording) = (&policy.require, &window.recording);
    let mut findings = window.findings.clone();
    let mut find = |reason, detail: String| findings.push(Finding::new(reason, detail));
    if !recording.is_known_schema() {
        let schema = human::label(&recording.schema, 40);
        find(Reason::UnknownSchema, format!("{schema} is not {}", crate::model::window::SCHEMA));
    }
    if recording.adds_up == Some(false) {
        find(
            Reason::DoesNotAddUp,
            "the sum over processes is not the total that the kernel side kept".into(),
        );
    }
    for (reason, detail) in of_trust(require, recording) {
        find(reason, detail);
    }
    let about_copies =
        |assertion: &Assertion| assertion.severity == Severity::Error && is_about_copies(assertion);
    if let Some((reason, detail)) =
        unexplained(recording).filter(|_| policy.assertions.iter().any(about_copies))
    {
        find(reason, detail);
    }
    if recording.merged_events() > 0 {
        let count = human::count(recording.merged_events());
        find(Reason::MapFull, format!("no slot was left for {count} processes: they share one row"));
    }
    if recording.unlisted() > 0 && policy.assertions.iter().any(Assertion::is_of_a_process) {
        let count = human::counted(recording.unlisted(), "process");
        find(Reason::MapFull, format!("{count} ended long before the window did, and are only in the sums"));
    }
    let payload = recording.everything().payload(None);
    match payload {
        Some(payload) if payload < require.min_payload => {
            let (moved, wanted) = (human::bytes(payload), human::bytes(require.min_payload));
            find(Reason::TooLittlePayload, format!("{moved} were moved, {wanted} are required"));
        }
        None if require.min_payload > 0 => {
            find(Reason::TooLittlePayload, "payload is not observed, and some is required".into());
        }
        _ => {}
    }
    findings
}

fn is_about_copies(assertion: &Assertion) -> bool {
    assertion.metric.is_about_copies()
}

/// Payload of which it is not known whether it was copied. (A recording that does not tell, of an earlier version, is
/// judged as it was then.)
fn unexplained(recording: &Recording) -> Option<(Reason, String)> {
    let part = recording.everything();
    if recording.observed.copies && recording.observed.references == Some(false) {
        let detail =
            "what is handed on by reference is not observed, so payload cannot be explained".to_owned();
        return Some((Reason::UnexplainedBytes, detail));
    }
    let bytes = part.unexplained(None).filter(|bytes| *bytes > 0)?;
    let paths = part.path_names().filter_map(|path| {
        let bytes = part.unexplained(Some(path)).filter(|bytes| *bytes > 0)?;
        Some(format!("{} by {}", human::bytes(bytes), human::label(path, 40)))
    });
    let paths: Vec<String> = paths.collect();
    let detail = format!(
        "{} of payload were not seen copied, handed over, moved by a device or discarded: {}",
        human::bytes(bytes),
        paths.join(", ")
    );
    Some((Reason::UnexplainedBytes, detail))
}

/// Coverage and missed events: what a baseline must satisfy as well.
fn of_trust(require: &Require, recording: &Recording) -> Vec<(Reason, String)> {
    let mut found = Vec::new();
    const SHOWN: usize = 3;
    let because = |text: &str| {
        let reasons = &recording.coverage.reasons;
        let shown = reasons.iter().take(SHOWN).map(|reason| human::label(reason, 300)).collect::<Vec<_>>();
        match reasons.len() {
            0 => text.to_owned(),
            1..=SHOWN => format!("{text}: {}", shown.join("; ")),
            all => format!("{text}: {}; and {} more", shown.join("; "), all - SHOWN),
        }
    };
    match (recording.coverage.state.as_deref(), require.coverage) {
        (Some("complete"), _) | (Some("unproven"), Coverage::Unproven) => {}
        (Some("unproven"), _) => found.push((Reason::CoverageUnproven, because("coverage is unproven"))),
        (Some("none"), _) => {
            found.push((Reason::UnsupportedKernel, because("copies cannot be observed on this kernel")));
        }
        (Some(state), _) => {
            let state = human::label(state, 40);
            found.push((Reason::CoverageIncomplete, because(&format!("coverage is {state}"))));
        }
        (None, _) => {
            found.push((Reason::CoverageUnproven, "the recording does not tell its coverage".to_owned()));
        }
    }
    match recording.missed_events() {
        Some(missed) if missed <= require.missed_events => {}
        Some(missed) => {
            let detail = format!("{}: {}", human::count(missed), recording.losses().join(", "));
            found.push((Reason::EventsMissed, human::label(&detail, 1000)));
        }
        None => found.push((Reason::EventsMissed, "the recording does not tell what it missed".to_owned())),
    }
    found
}

fn one(assertion: &Assertion, policy: &Policy, seen: &Observation, doubts: &[Vec<Doubt>]) -> Judged {
    let baseline = assertion.baseline.as_ref().and_then(|name| seen.baselines.get(name));
    let unusable = baseline.and_then(|baseline| {
        let unexplained = unexplained(baseline).filter(|_| is_about_copies(assertion));
        of_trust(&policy.require, baseline).into_iter().next().or(unexplained)
    });
    let windows: Vec<InWindow> = seen
        .windows
        .iter()
        .zip(doubts)
        .map(|(window, doubts)| {
            let mut result = compare::compare(assertion, &window.recording, baseline, &policy.allow, doubts);
            if let Some((_, why)) = &unusable {
                result.status = Status::Inconclusive;
                result.why = format!("the baseline cannot be trusted: {why}");
                result.reason = Some(Reason::BaselineUnusable);
            }
            result
        })
        .collect();
    let position = |status| windows.iter().position(|window| window.status == status);
    let worst = position(Status::Violated)
        .or_else(|| position(Status::Inconclusive))
        .or((!windows.is_empty()).then_some(0));
    let status = worst.map_or(Status::Inconclusive, |index| windows[index].status);
    let evidence = worst
        .filter(|_| status == Status::Violated)
        .map(|index| evidence::of(assertion, &seen.windows[index].recording));
    let notes = match (baseline, worst) {
        (Some(baseline), Some(index)) => compare::notes(baseline, &seen.windows[index].recording),
        _ => Vec::new(),
    };
    Judged { assertion: assertion.clone(), status, windows, worst, notes, evidence }
}

/// An assertion that is inconclusive by itself.
fn own_reason(judged: &Judged) -> Option<Finding> {
    let (index, window) = judged.windows.iter().enumerate().find(|(_, window)| window.reason.is_some())?;
    let name = human::label(&judged.assertion.name, 80);
    Some(Finding::new(window.reason?, format!("{name}: {}", window.why)).in_window(index + 1))
}

fn summary(recording: &Recording) -> Summary {
    let mut methods = std::collections::BTreeMap::new();
    let attached = recording.probes.iter().filter(|probe| probe.attached);
    for probe in attached.clone() {
        *methods.entry(probe.method.clone()).or_insert(0) += 1;
    }
    Summary {
        kernel: recording.kernel.clone(),
        coverage: recording.coverage.state.clone().unwrap_or_else(|| "unknown".to_owned()),
        seconds: recording.window_seconds.filter(|s| s.is_finite()),
        payload: recording.everything().payload(None),
        missed: recording.missed_events(),
        unexplained: recording.everything().unexplained(None),
        cut_short: recording.everything().cut_short(),
        attached: attached.count(),
        methods,
        refused: recording.probes.iter().filter(|p| !p.attached).map(|p| p.probe.clone()).collect(),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "judge_cut_short_tests.rs"]
mod cut_short_tests;

#[cfg(test)]
#[path = "judge_property.rs"]
mod property;
