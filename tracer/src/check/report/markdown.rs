//! Markdown, as a job summary or a comment shows it. Below 1 MiB, which is what a job summary may have.

use std::fmt::Write as _;

use super::text::amount;
use super::{Context, words};
use crate::check::verdict::{Judged, Report, Status, Verdict};

/// GitHub refuses a summary of 1 MiB as a whole; other tools add to the same one.
const LIMIT: usize = 900 << 10;
/// What the end needs.
const RESERVE: usize = 64 << 10;

pub fn render(report: &Report, context: &Context) -> String {
    let mut out = String::new();
    let mark = match report.verdict {
        Verdict::Pass => "✅",
        Verdict::Violated | Verdict::WorkloadFailed => "❌",
        Verdict::Inconclusive => "❔",
    };
    let _ = writeln!(out, "## {mark} tracer check `{}`\n", code(&context.policy));
    let _ = writeln!(out, "**{}**\n", escape(&words::headline(report)));
    table(&mut out, report);
    for judged in report.assertions.iter().filter(|judged| judged.status != Status::Holds) {
        if out.len() > LIMIT - RESERVE {
            out += "\nMore is in the log.\n";
            break;
        }
        details(&mut out, judged, context);
    }
    if !report.findings.is_empty() {
        out += "\n### In doubt\n\n";
        for finding in report.findings.iter().take(20) {
            let _ =
                writeln!(out, "- {}. {}", escape(&words::finding(finding)), escape(finding.reason.remedy()));
        }
        more(&mut out, report.findings.len(), 20);
    }
    out += "\n### Run\n\n";
    if let Some(first) = report.windows.first() {
        let _ = writeln!(out, "- {}", escape(&words::facts(first)));
    }
    for (index, window) in report.windows.iter().take(20).enumerate() {
        let _ = writeln!(out, "- {}", escape(&words::window(index, window)));
    }
    more(&mut out, report.windows.len(), 20);
    let _ = writeln!(out, "- calibration {}", escape(&words::calibration(&report.calibration)));
    for program in report.programs.iter().take(20) {
        let (command, end) = (code(&program.command), escape(&program.end));
        let _ = writeln!(out, "- {} `{command}` (window {}): {end}", program.role, program.window);
    }
    more(&mut out, report.programs.len(), 20);
    let _ = writeln!(out, "\nTo reproduce: `{}`", code(&context.reproduce));
    out
}

fn more(out: &mut String, all: usize, shown: usize) {
    if all > shown {
        let _ = writeln!(out, "- and {} more", all - shown);
    }
}

fn table(out: &mut String, report: &Report) {
    *out += "| | assertion | metric | limit | value |\n| --- | --- | --- | --- | --- |\n";
    for (index, judged) in report.assertions.iter().enumerate() {
        if out.len() > LIMIT / 2 {
            let _ = writeln!(out, "| | and {} more | | | |", report.assertions.len() - index);
            return;
        }
        let mark = match (judged.status, judged.decides()) {
            (Status::Holds, _) => "✅ holds",
            (Status::Violated, true) => "❌ violated",
            (Status::Violated, false) => "⚠️ warning",
            (Status::Inconclusive, _) => "❔ in doubt",
        };
        let assertion = &judged.assertion;
        let cells = [words::name(judged), assertion.subject(), assertion.limits(), words::value(judged)];
        let _ = writeln!(out, "| {mark} | {} |", cells.map(|cell| escape(&cell)).join(" | "));
    }
}

fn details(out: &mut String, judged: &Judged, context: &Context) {
    let line = judged.assertion.line;
    let place = format!("{}:{line}", context.policy);
    let _ = writeln!(out, "\n### {}\n", escape(&words::name(judged)));
    let window = words::which_window(judged);
    let window = if window.is_empty() { window } else { format!(", {window}") };
    let _ = writeln!(out, "`{}`{window}\n", code(&place));
    for remark in words::remarks(judged) {
        let _ = writeln!(out, "- {}", escape(&remark));
    }
    let Some(evidence) = &judged.evidence else { return };
    let lists = [("path", &evidence.paths), ("process", &evidence.processes), ("function", &evidence.sites)];
    for (title, shares) in lists.into_iter().filter(|(_, shares)| !shares.is_empty()) {
        let _ = writeln!(out, "\n| {title} | {} | |\n| --- | ---: | --- |", evidence.of);
        for share in shares {
            let cells = [share.name.clone(), amount(share, evidence.of == "copied"), share.detail.clone()];
            let _ = writeln!(out, "| {} |", cells.map(|cell| escape(&cell)).join(" | "));
        }
    }
    for advice in &evidence.advice {
        let _ = writeln!(out, "\nWhat to do: {}", escape(advice));
    }
}

/// Text that is to be shown as it is: no markup, no HTML, no mention, one line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '\n' => out.push(' '),
            '\\' | '`' | '*' | '[' | ']' | '|' | '#' | '!' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // In the middle of a word it is no markup, and metrics are full of it.
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Within backticks nothing else is markup, but in a table a bar is.
fn code(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).map(|c| if c == '`' { '\'' } else { c }).collect()
}
