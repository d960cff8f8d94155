//! JUnit XML: one test case per assertion, and one each for the window and the programs.
//!
//! An assertion in doubt is an `error`, so that no CI system takes it for a pass.

use std::fmt::Write as _;

use super::text::amount;
use super::{Context, words};
use crate::check::verdict::{Judged, Report, Status};

/// One test case, as far as XML goes.
struct Case {
    name: String,
    outcome: Option<Outcome>,
}

struct Outcome {
    /// `failure` or `error`.
    element: &'static str,
    kind: &'static str,
    message: String,
    text: String,
}

pub fn render(report: &Report, context: &Context) -> String {
    let mut cases: Vec<Case> = report.assertions.iter().map(|judged| assertion(judged, context)).collect();
    cases.push(conclusive(report));
    cases.push(programs(report));
    let count =
        |element| cases.iter().filter_map(|c| c.outcome.as_ref()).filter(|o| o.element == element).count();
    let (failures, errors) = (count("failure"), count("error"));
    let seconds: f64 = report.windows.iter().filter_map(|window| window.seconds).sum();
    let class = format!("tracer.{}", class_name(&context.policy));
    let (tests, time) = (cases.len(), format!("{seconds:.3}"));
    // A second has no fraction here, and the schema wants no zone.
    let timestamp = context.timestamp.trim_end_matches('Z');
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" package=\"tracer\" id=\"0\" timestamp=\"{}\" hostname=\"{}\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"{errors}\" time=\"{time}\">",
        attribute(&format!("tracer check {}", context.policy)),
        attribute(timestamp),
        attribute(&context.host),
    );
    properties(&mut out, report, context);
    for case in &cases {
        write(&mut out, case, &class);
    }
    let _ = writeln!(out, "    <system-out>{}</system-out>", content(&output(report, context)));
    out += "    <system-err></system-err>\n  </testsuite>\n</testsuites>\n";
    out
}

fn properties(out: &mut String, report: &Report, context: &Context) {
    let mut all = vec![
        ("tracer", env!("CARGO_PKG_VERSION").to_owned()),
        ("verdict", report.verdict.name().to_owned()),
        ("calibration", words::calibration(&report.calibration)),
        ("reproduce", context.reproduce.clone()),
    ];
    if let Some(window) = report.windows.first() {
        all.push(("kernel", window.kernel.clone()));
        all.push(("coverage", window.coverage.clone()));
        all.push(("probes", words::facts(window)));
    }
    out.push_str("    <properties>\n");
    for (name, value) in all {
        let value = if value.is_empty() { "unknown".to_owned() } else { attribute(&value) };
        let _ = writeln!(out, "      <property name=\"{name}\" value=\"{value}\"/>");
    }
    out.push_str("    </properties>\n");
}

fn assertion(judged: &Judged, context: &Context) -> Case {
    let assertion = &judged.assertion;
    let line = format!("{}: {}, {}", assertion.subject(), words::value(judged), assertion.limits());
    let mut text = line.clone();
    for remark in words::remarks(judged) {
        let _ = write!(text, "\n{remark}");
    }
    let _ = write!(text, "\n{}:{}", context.policy, assertion.line);
    let window = words::which_window(judged);
    if !window.is_empty() {
        let _ = write!(text, ", {window}");
    }
    for evidence in judged.evidence.iter() {
        let lists =
            [("path", &evidence.paths), ("process", &evidence.processes), ("function", &evidence.sites)];
        for (title, share) in lists.iter().flat_map(|(title, shares)| shares.iter().map(move |s| (title, s)))
        {
            let amount = amount(share, evidence.of == "copied");
            let _ = write!(text, "\n{} by {title} {}: {amount} {}", evidence.of, share.name, share.detail);
        }
        for advice in &evidence.advice {
            let _ = write!(text, "\nwhat to do: {advice}");
        }
    }
    let _ = write!(text, "\nto reproduce: {}", context.reproduce);
    let (element, kind) = match (judged.status, judged.decides()) {
        (Status::Violated, true) => ("failure", "violated"),
        (Status::Inconclusive, true) => ("error", "inconclusive"),
        _ => return Case { name: words::name(judged), outcome: None },
    };
    Case { name: words::name(judged), outcome: Some(Outcome { element, kind, message: line, text }) }
}

/// What no test case has room for: the stricter of the two schemas in use wants no output in one.
fn output(report: &Report, context: &Context) -> String {
    let mut text = words::headline(report);
    for (index, window) in report.windows.iter().enumerate() {
        let _ = write!(text, "\n{}", words::window(index, window));
    }
    for judged in &report.assertions {
        let warned = judged.status == Status::Violated && !judged.decides();
        let word = if warned { "warning" } else { judged.status.name() };
        let (subject, value) = (judged.assertion.subject(), words::value(judged));
        let _ = write!(text, "\n{word}: {}: {subject}: {value}", words::name(judged));
        let _ =
            write!(text, ", {} ({}:{})", judged.assertion.limits(), context.policy, judged.assertion.line);
    }
    for program in &report.programs {
        let _ = write!(text, "\n{}", words::program(program));
    }
    text
}

fn conclusive(report: &Report) -> Case {
    let text: Vec<String> = report
        .findings
        .iter()
        .map(|finding| format!("{}\n  {}", words::finding(finding), finding.reason.remedy()))
        .collect();
    let outcome = report.findings.first().map(|first| Outcome {
        element: "error",
        kind: "inconclusive",
        message: words::finding(first),
        text: text.join("\n"),
    });
    Case { name: "the window is conclusive".to_owned(), outcome }
}

fn programs(report: &Report) -> Case {
    let failed: Vec<String> = report.programs.iter().filter(|p| p.failed).map(words::program).collect();
    let outcome = failed.first().map(|first| Outcome {
        element: "error",
        kind: "workload_failed",
        message: first.clone(),
        text: failed.join("\n"),
    });
    Case { name: "the workload ends well".to_owned(), outcome }
}

fn write(out: &mut String, case: &Case, class: &str) {
    let name = attribute(&case.name);
    let _ = writeln!(out, "    <testcase name=\"{name}\" classname=\"{}\" time=\"0\">", attribute(class));
    if let Some(Outcome { element, kind, message, text }) = &case.outcome {
        let (message, text) = (attribute(message), content(text));
        let _ = writeln!(out, "      <{element} type=\"{kind}\" message=\"{message}\">{text}</{element}>");
    }
    out.push_str("    </testcase>\n");
}

/// `policies/zero-copy.yaml` is `policies.zero-copy`: a dot divides for those who show a tree.
fn class_name(policy: &str) -> String {
    let stem = policy.trim_end_matches(".yaml").trim_end_matches(".yml");
    stem.replace(['/', '\\', ' '], ".").trim_matches('.').to_owned()
}

fn attribute(text: &str) -> String {
    content(text).replace('"', "&quot;").replace('\n', "&#10;")
}

/// Characters that XML 1.0 cannot hold become `?`.
fn content(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}
