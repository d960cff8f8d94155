//! The report for people, on a terminal or in a log.

use std::fmt::Write as _;

use super::{Context, words};
use crate::check::verdict::{Evidence, Judged, Report, Share, Status};
use crate::fmt::human;

pub fn render(report: &Report, context: &Context) -> String {
    let mut out = Out { text: String::new(), width: context.width };
    out.line(0, &format!("tracer check {}: {}", human::escape(&context.policy), words::headline(report)));
    if let Some(first) = report.windows.first() {
        out.line(2, &words::facts(first));
    }
    for (index, window) in report.windows.iter().enumerate() {
        out.line(2, &words::window(index, window));
    }
    out.line(2, &format!("calibration {}", words::calibration(&report.calibration)));
    for judged in &report.assertions {
        assertion(&mut out, judged, context);
    }
    if !report.findings.is_empty() {
        out.line(0, "\nwhat is in doubt:");
        for finding in &report.findings {
            out.line(2, &words::finding(finding));
            out.line(4, finding.reason.remedy());
        }
    }
    if !report.programs.is_empty() {
        out.line(0, "\nprograms:");
        for program in &report.programs {
            out.line(2, &words::program(program));
        }
    }
    out.line(0, &format!("\nto reproduce: {}", words::shell(&context.reproduce)));
    out.text
}

fn assertion(out: &mut Out, judged: &Judged, context: &Context) {
    let assertion = &judged.assertion;
    let mark = match (judged.status, judged.decides()) {
        (Status::Holds, _) => "ok",
        (Status::Violated, true) => "VIOLATED",
        (Status::Violated, false) => "warning",
        (Status::Inconclusive, _) => "in doubt",
    };
    out.text.push('\n');
    out.line(0, &format!("{mark:<9} {}", words::name(judged)));
    let subject = assertion.subject();
    out.line(10, &format!("{subject}: {}, {}", words::value(judged), assertion.limits()));
    if judged.status == Status::Holds {
        for note in words::remarks(judged) {
            out.line(10, &note);
        }
        return;
    }
    for remark in words::remarks(judged) {
        out.line(10, &remark);
    }
    let place = format!("{}:{}", human::escape(&context.policy), assertion.line);
    let window = words::which_window(judged);
    out.line(10, &if window.is_empty() { place } else { format!("{place}, {window}") });
    if let Some(evidence) = &judged.evidence {
        show(out, evidence);
    }
}

fn show(out: &mut Out, evidence: &Evidence) {
    let is_bytes = evidence.of == "copied";
    let lists = [("path", &evidence.paths), ("process", &evidence.processes), ("function", &evidence.sites)];
    for (title, shares) in lists.into_iter().filter(|(_, shares)| !shares.is_empty()) {
        out.line(10, &format!("{} by {title}", evidence.of));
        let width = shares.iter().map(|share| share.name.chars().count()).max().unwrap_or(0);
        for share in shares {
            let amount = amount(share, is_bytes);
            let detail = if share.detail.is_empty() { String::new() } else { format!("   {}", share.detail) };
            out.line(12, &format!("{:<width$}  {amount:>9}{detail}", share.name));
        }
    }
    for advice in &evidence.advice {
        out.line(10, &format!("what to do: {advice}"));
    }
}

pub fn amount(share: &Share, is_bytes: bool) -> String {
    if is_bytes { human::bytes(share.amount) } else { human::count(share.amount) }
}

/// Lines with an indent, broken at blanks where the terminal ends.
struct Out {
    text: String,
    width: usize,
}

impl Out {
    fn line(&mut self, indent: usize, text: &str) {
        let text = match text.strip_prefix('\n') {
            Some(rest) => {
                self.text.push('\n');
                rest
            }
            None => text,
        };
        let room = if self.width > indent + 20 { self.width - indent } else { usize::MAX };
        let mut rest = text;
        let mut further = 0;
        while rest.chars().count() > room - further {
            let end = rest.char_indices().nth(room - further).map_or(rest.len(), |(i, _)| i);
            let Some(blank) = rest[..end].rfind(' ').filter(|blank| !rest[..*blank].trim().is_empty()) else {
                break;
            };
            let _ = writeln!(self.text, "{:1$}{2}", "", indent + further, rest[..blank].trim_end());
            rest = rest[blank..].trim_start();
            further = 2;
        }
        let _ = writeln!(self.text, "{:1$}{2}", "", indent + further, rest);
    }
}
