//! GitHub's workflow commands: annotations on the lines of the policy.

use std::fmt::Write as _;

use super::{Context, words};
use crate::check::verdict::{Report, Status, Verdict};

/// GitHub shows 10 of a step.
const LIMIT: usize = 10;

struct Annotation {
    level: &'static str,
    line: usize,
    title: String,
    message: String,
}

pub fn render(report: &Report, context: &Context) -> String {
    let mut all = annotations(report, context);
    if all.len() > LIMIT {
        let left = all.len() - (LIMIT - 1);
        all.truncate(LIMIT - 1);
        all.push(Annotation {
            level: "notice",
            line: 1,
            title: "tracer check".to_owned(),
            message: format!("{left} more are in the log and in the job summary"),
        });
    }
    let mut out = String::new();
    for annotation in all {
        let _ = writeln!(
            out,
            "::{} file={},line={},title={}::{}",
            annotation.level,
            property(&context.policy),
            annotation.line,
            property(&annotation.title),
            data(&annotation.message),
        );
    }
    out
}

/// The most important first.
fn annotations(report: &Report, context: &Context) -> Vec<Annotation> {
    let mut all = Vec::new();
    if matches!(report.verdict, Verdict::WorkloadFailed) {
        all.push(Annotation {
            level: "error",
            line: 1,
            title: "tracer check: workload failed".to_owned(),
            message: words::headline(report),
        });
    }
    let wanted = [
        (Status::Violated, true, "error", "violated"),
        (Status::Inconclusive, true, "error", "in doubt"),
        (Status::Violated, false, "warning", "violated (warning)"),
    ];
    for (status, decides, level, word) in wanted {
        for judged in report.assertions.iter().filter(|j| j.status == status && j.decides() == decides) {
            all.push(Annotation {
                level,
                line: judged.assertion.line,
                title: format!("{}: {word}", words::name(judged)),
                message: message(judged, report, context),
            });
        }
    }
    // What is in doubt in general; that of an assertion is on its line already.
    let general = report.findings.iter().filter(|finding| {
        let own = |judged: &crate::check::verdict::Judged| {
            judged.deciding().is_some_and(|window| window.reason == Some(finding.reason))
        };
        !report.assertions.iter().any(own)
    });
    all.extend(general.map(|finding| Annotation {
        level: if report.verdict == Verdict::Inconclusive { "error" } else { "warning" },
        line: 1,
        title: format!("tracer check: {}", finding.reason.name()),
        message: format!("{}\n{}", words::finding(finding), finding.reason.remedy()),
    }));
    all
}

fn message(judged: &crate::check::verdict::Judged, report: &Report, context: &Context) -> String {
    let assertion = &judged.assertion;
    let mut text = format!("{}: {}, {}", assertion.subject(), words::value(judged), assertion.limits());
    for remark in words::remarks(judged) {
        text += &format!("\n{remark}");
    }
    for advice in judged.evidence.iter().flat_map(|evidence| &evidence.advice) {
        text += &format!("\nwhat to do: {advice}");
    }
    if let Some(window) = report.windows.first() {
        text += &format!("\n{}", words::facts(window));
    }
    text + &format!("\nto reproduce: {}", context.reproduce)
}

/// `docs.github.com`, workflow commands: data escapes what would end the line.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property also what would end it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
