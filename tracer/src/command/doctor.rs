//! `tracer doctor`: every probe tried by attaching it, every refusal explained, coverage proven.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::{Outcome, status};
use crate::cli::{Doctor, Format};
use crate::coverage;
use crate::facts::{self, Facts};
use crate::fault::Fault;
use crate::plan::Attach;
use crate::session::{Options, Selection, Session};
use crate::snapshot::{CoverageState, Snapshot};

pub fn doctor(args: Doctor) -> Outcome {
    let options = Options {
        attach: Attach::Auto,
        audit: false,
        copy_sizes: false,
        stats: false,
        fault: Fault::from_env()?,
    };
    let session = match Session::prepare(&Selection::Nothing, &options) {
        Ok(session) => session,
        Err(error) => return without_session(&args, &error),
    };
    let snapshot = session.snapshot();
    let can_count = snapshot.observed.copies && snapshot.coverage.state != CoverageState::Incomplete;
    let text = match (args.quick, args.format) {
        (true, _) => quick(&snapshot, can_count),
        (_, Format::Json) => format!("{}\n", as_json(&snapshot, &session, can_count, args.sites)),
        (_, Format::Table) => as_text(&snapshot, &session, args.sites),
    };
    print(&text, args.quick && !can_count)?;
    Ok(if can_count { ExitCode::SUCCESS } else { ExitCode::from(status::FAILED) })
}

/// Not even the object loads: say why, and what was not tried.
fn without_session(args: &Doctor, error: &anyhow::Error) -> Outcome {
    let text = match (args.quick, args.format) {
        (true, _) => format!("copies cannot be counted here: {}\n", one_line(error)),
        (_, Format::Json) => format!(
            "{}\n",
            json!({"schema": "tracer/1", "can_count_copies": false, "cause": format!("{error:#}"), "environment": environment()})
        ),
        (_, Format::Table) => {
            let mut text = String::new();
            for (name, value) in environment() {
                let _ = writeln!(text, "{name:<22} {value}");
            }
            let _ = writeln!(text, "\nNo probe could be tried: {error:#}");
            text
        }
    };
    print(&text, args.quick)?;
    Ok(ExitCode::from(status::FAILED))
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A refusal in one line goes where errors go.
fn print(text: &str, to_stderr: bool) -> anyhow::Result<()> {
    let written = if to_stderr {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    written.context("cannot write the output")
}

fn quick(snapshot: &Snapshot, can_count: bool) -> String {
    if can_count {
        return format!(
            "copies can be counted here: kernel {}, coverage {}\n",
            snapshot.kernel,
            snapshot.coverage.state.name()
        );
    }
    let probe = snapshot.probes.iter().find(|p| p.required && !p.attached);
    let cause =
        probe.map_or_else(|| snapshot.coverage.reasons.join("; "), |p| format!("{} ({})", p.cause, p.remedy));
    format!("copies cannot be counted here: kernel {}: {cause}\n", snapshot.kernel)
}

/// What decides whether BPF works at all.
fn environment() -> Vec<(&'static str, String)> {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_or_else(|_| "unreadable".to_owned(), |text| text.trim().to_owned())
    };
    let facts = Facts::read();
    let btf = match &facts {
        Ok(facts) => facts.layout.as_ref().err().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}")),
        Err(error) => format!("unknown: {error:#}"),
    };
    vec![
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("user", if crate::sys::is_root() { "root".into() } else { "not root".into() }),
        ("BTF", btf),
        ("lockdown", facts::lockdown().unwrap_or_else(|| "none".into())),
        ("kptr_restrict", read("/proc/sys/kernel/kptr_restrict")),
        ("perf_event_paranoid", read("/proc/sys/kernel/perf_event_paranoid")),
        ("unprivileged BPF", read("/proc/sys/kernel/unprivileged_bpf_disabled")),
    ]
}

fn as_text(snapshot: &Snapshot, session: &Session, sites: bool) -> String {
    let mut text = String::new();
    for (name, value) in environment() {
        let _ = writeln!(text, "{name:<22} {value}");
    }
    let _ = writeln!(text, "\nprobes");
    for probe in &snapshot.probes {
        let verdict = match (probe.attached, probe.required) {
            (true, _) => "ok",
            (false, true) => "MISSING",
            (false, false) => "absent",
        };
        let _ = writeln!(text, "  {verdict:<8} {:<24} {:<15} {}", probe.name, probe.method, probe.symbol);
        if !probe.attached {
            let _ = writeln!(text, "           cause: {}", probe.cause);
            if !probe.remedy.is_empty() {
                let _ = writeln!(text, "           remedy: {}", probe.remedy);
            }
        }
    }
    let _ = writeln!(text, "\ncall sites of copy functions in the kernel's live text");
    let _ = writeln!(text, "  {:<34} {:<12} sites", "function", "covered by");
    for count in &snapshot.coverage.sites {
        let note =
            if !count.data && count.coverage == "uncovered" { " (structures of constant size)" } else { "" };
        let _ = writeln!(text, "  {:<34} {:<12} {}{note}", count.primitive, count.coverage, count.sites);
    }
    if sites {
        let _ = writeln!(text, "\nevery call site");
        for (site, coverage) in session.coverage.sites() {
            let _ = writeln!(text, "  {coverage:<10} {}", coverage::name(site));
        }
    }
    let _ = writeln!(text, "\ncoverage: {}", snapshot.coverage.state.name());
    for reason in &snapshot.coverage.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    text
}

fn as_json(snapshot: &Snapshot, session: &Session, can_count: bool, sites: bool) -> serde_json::Value {
    let environment: serde_json::Map<_, _> =
        environment().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let mut report = json!({
        "schema": "tracer/1",
        "kernel": snapshot.kernel,
        "can_count_copies": can_count,
        "environment": environment,
        "report": crate::sink::json::to_json(snapshot),
    });
    if sites {
        let sites: Vec<_> = session
            .coverage
            .sites()
            .iter()
            .map(|(site, coverage)| json!({"site": coverage::name(site), "coverage": coverage}))
            .collect();
        report["call_sites"] = json!(sites);
    }
    report
}
