//! Sentences that several reports share.

use crate::check::verdict::{Calibration, Finding, Judged, Program, Report, Status, Summary, Verdict};
use crate::fmt::human;

/// `violated: 1 of 4 assertions`.
pub fn headline(report: &Report) -> String {
    let all = report.assertions.len();
    let count = |status| report.assertions.iter().filter(|j| j.decides() && j.status == status).count();
    match report.verdict {
        Verdict::Pass if all == 1 => "pass: the assertion holds".to_owned(),
        Verdict::Pass => format!("pass: all {all} assertions hold"),
        Verdict::Violated => {
            format!("violated: {} of {}", count(Status::Violated), human::counted(all as u64, "assertion"))
        }
        Verdict::Inconclusive => {
            let mut reasons: Vec<&str> = report.findings.iter().map(|f| f.reason.name()).collect();
            reasons.dedup();
            format!("inconclusive: {}", reasons.join(", "))
        }
        Verdict::WorkloadFailed => {
            let failed = report.programs.iter().find(|program| program.failed);
            let what = failed.map_or_else(String::new, |p| format!(": {} ended with {}", p.role, p.end));
            format!("workload failed{what}")
        }
    }
}

/// `kernel 6.1.0, coverage complete, 58 probes attached (fexit 20, fentry 38)`.
pub fn facts(window: &Summary) -> String {
    let kernel = human::label(&window.kernel, 80);
    let methods: Vec<String> =
        window.methods.iter().map(|(name, n)| format!("{} {n}", human::label(name, 20))).collect();
    let mut text = format!("kernel {kernel}, coverage {}, ", human::label(&window.coverage, 40));
    text += &human::counted(window.attached as u64, "probe");
    text += " attached";
    if !methods.is_empty() {
        text += &format!(" ({})", methods.join(", "));
    }
    if !window.refused.is_empty() {
        text +=
            &format!(", {} not ({})", window.refused.len(), human::label(&window.refused.join(", "), 300));
    }
    text
}

/// `window 1: 64.0 MiB moved in 1.2 s, 0 events missed`.
pub fn window(index: usize, window: &Summary) -> String {
    let moved =
        window.payload.map_or("payload not observed".to_owned(), |p| format!("{} moved", human::bytes(p)));
    let time = window.seconds.map_or_else(String::new, |s| format!(" in {s:.1} s"));
    let missed = window.missed.map_or("unknown".to_owned(), human::count);
    let unexplained = window.unexplained.filter(|bytes| *bytes > 0);
    let unexplained =
        unexplained.map_or_else(String::new, |bytes| format!(", {} unexplained", human::bytes(bytes)));
    let cut_short = window.cut_short.filter(|bytes| *bytes > 0);
    let cut_short = cut_short.map_or_else(String::new, |bytes| {
        format!(", at most {} counted and not copied", human::bytes(bytes))
    });
    format!("window {}: {moved}{time}, {missed} events missed{unexplained}{cut_short}", index + 1)
}

pub fn calibration(calibration: &Calibration) -> String {
    match calibration {
        Calibration::Exact => "exact".to_owned(),
        Calibration::Skipped => "skipped, as told".to_owned(),
        Calibration::AsRecorded => "none in the recording".to_owned(),
        Calibration::Off(detail) => format!("off: {}", human::label(detail, 500)),
    }
}

/// The value that decided.
pub fn value(judged: &Judged) -> String {
    let unit = judged.assertion.metric.row().unit;
    let value = judged.deciding().and_then(|window| window.value);
    value.map_or_else(|| "no value".to_owned(), |value| value.text(unit))
}

pub fn name(judged: &Judged) -> String {
    human::label(&judged.assertion.name, 200)
}

/// `in window 2 of 3`, or nothing if there is one.
pub fn which_window(judged: &Judged) -> String {
    match (judged.windows.len(), judged.worst) {
        (0 | 1, _) | (_, None) => String::new(),
        (all, Some(index)) => format!("window {} of {all}", index + 1),
    }
}

/// Why an assertion is what it is, what `allow` did, and what the baseline is.
pub fn remarks(judged: &Judged) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(window) = judged.deciding() {
        remarks.extend((!window.why.is_empty()).then(|| window.why.clone()));
        remarks.extend(window.allowed.iter().cloned());
    }
    remarks.extend(judged.notes.iter().cloned());
    remarks
}

/// `events_missed (window 2): 3: ...`.
pub fn finding(finding: &Finding) -> String {
    let window = finding.window.map_or_else(String::new, |window| format!(" (window {window})"));
    format!("{}{window}: {}", finding.reason.name(), human::label(&finding.detail, 1000))
}

/// `driver `./load.sh` (window 1): exit status 0`.
pub fn program(program: &Program) -> String {
    let command = shell(&program.command);
    format!("{} `{command}` (window {}): {}", program.role, program.window, program.end)
}

/// A command line, safe to print and still one that a shell takes: backslashes stay.
pub fn shell(line: &str) -> String {
    line.split('\\').map(human::escape).collect::<Vec<_>>().join("\\")
}
