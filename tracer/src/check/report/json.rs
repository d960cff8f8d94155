//! The report for scripts: one object, `"schema": "tracer-check/1"`.

use serde_json::{Map, Value, json};

use super::{Context, words};
use crate::check::policy::{Amount, Bound, Change};
use crate::check::verdict::{Calibration, Evidence, InWindow, Judged, Report, Share, Summary};
use crate::output::json::ascii;

pub fn render(report: &Report, context: &Context) -> String {
    let value = json!({
        "schema": "tracer-check/1",
        "tracer": env!("CARGO_PKG_VERSION"),
        "verdict": report.verdict.name(),
        "exit_status": report.verdict.status(),
        "summary": words::headline(report),
        "policy": context.policy,
        "reproduce": context.reproduce,
        "timestamp": context.timestamp,
        "host": context.host,
        "calibration": calibration(&report.calibration),
        "windows": report.windows.iter().map(window).collect::<Vec<_>>(),
        "assertions": report.assertions.iter().map(assertion).collect::<Vec<_>>(),
        "reasons": report.findings.iter().map(|finding| json!({
            "reason": finding.reason.name(),
            "window": finding.window,
            "detail": finding.detail,
            "remedy": finding.reason.remedy(),
        })).collect::<Vec<_>>(),
        "programs": report.programs.iter().map(|program| json!({
            "role": program.role,
            "command": program.command,
            "window": program.window,
            "end": program.end,
            "failed": program.failed,
        })).collect::<Vec<_>>(),
    });
    // Keys are strings and numbers finite: it cannot fail.
    ascii(&serde_json::to_string_pretty(&value).unwrap_or_default()) + "\n"
}

fn calibration(calibration: &Calibration) -> Value {
    match calibration {
        Calibration::Exact => json!({"state": "exact"}),
        Calibration::Skipped => json!({"state": "skipped"}),
        Calibration::AsRecorded => json!({"state": "none"}),
        Calibration::Off(detail) => json!({"state": "off", "detail": detail}),
    }
}

fn window(window: &Summary) -> Value {
    json!({
        "kernel": window.kernel,
        "coverage": window.coverage,
        "seconds": window.seconds,
        "payload_bytes": window.payload,
        "missed_events": window.missed,
        "unexplained_bytes": window.unexplained,
        "cut_short_bytes_at_most": window.cut_short,
        "probes": {"attached": window.attached, "methods": window.methods, "refused": window.refused},
    })
}

fn assertion(judged: &Judged) -> Value {
    let assertion = &judged.assertion;
    let select: Map<String, Value> =
        assertion.select.0.iter().map(|(selector, word)| (selector.name().to_owned(), json!(word))).collect();
    let limits: Map<String, Value> =
        assertion.bounds.iter().map(|bound| (bound.key().to_owned(), limit(bound))).collect();
    json!({
        "name": assertion.name,
        "line": assertion.line,
        "severity": assertion.severity.name(),
        "metric": assertion.metric.name(),
        "select": select,
        "limits": limits,
        "baseline": assertion.baseline,
        "status": judged.status.name(),
        "deciding_window": judged.worst.map(|index| index + 1),
        "windows": judged.windows.iter().map(in_window).collect::<Vec<_>>(),
        "notes": judged.notes,
        "evidence": judged.evidence.as_ref().map(evidence),
    })
}

fn limit(bound: &Bound) -> Value {
    match bound {
        Bound::Min(limit) | Bound::Max(limit) | Bound::Equals(limit) => amount(*limit),
        Bound::MaxIncrease(Change::Relative(factor)) | Bound::MaxDecrease(Change::Relative(factor)) => {
            json!({"relative": factor})
        }
        Bound::MaxIncrease(Change::Absolute(by)) | Bound::MaxDecrease(Change::Absolute(by)) => amount(*by),
    }
}

fn amount(amount: Amount) -> Value {
    match amount {
        Amount::Whole(whole) => json!(whole),
        Amount::Ratio(ratio) => json!(ratio),
    }
}

fn in_window(window: &InWindow) -> Value {
    json!({
        "status": window.status.name(),
        "value": window.value.map(amount),
        "baseline": window.baseline.map(amount),
        "why": window.why,
        "reason": window.reason.map(|reason| reason.name()),
        "allowed": window.allowed,
    })
}

fn evidence(evidence: &Evidence) -> Value {
    let list = |shares: &[Share]| -> Vec<Value> {
        shares
            .iter()
            .map(|share| json!({"name": share.name, "amount": share.amount, "detail": share.detail}))
            .collect()
    };
    json!({
        "of": evidence.of,
        "paths": list(&evidence.paths),
        "processes": list(&evidence.processes),
        "functions": list(&evidence.sites),
        "advice": evidence.advice,
    })
}
