//! `tracer doctor`: every probe tried by attaching it, every refusal explained, coverage proven.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::{Outcome, status, survey};
use crate::callsites::coverage;
use crate::cli::{Doctor, Format};
use crate::kernel::capabilities::Privilege;
use crate::kernel::netdev::{self, NetDevice};
use crate::kernel::{self, Facts};
use crate::model::attach::Attach;
use crate::model::fault_injection::Fault;
use crate::model::snapshot::{CoverageState, Probe, Snapshot};
use crate::session::{Options, Selection, Session};

pub fn doctor(args: Doctor) -> Outcome {
    if args.survey {
        return survey::compare();
    }
    if !args.calls_of.is_empty() {
        return survey::calls_of(&args.calls_of);
    }
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
            json!({
                "schema": "tracer/1",
                "can_count_copies": false,
                "cause": format!("{error:#}"),
                "environment": environment_as_json(),
            })
        ),
        (_, Format::Table) => {
            let mut text = format!("Nothing can be counted here, and no probe could be tried: {error:#}\n\n");
            environment_as_text(&mut text);
            text
        }
    };
    print(&text, args.quick)?;
    Ok(ExitCode::from(status::FAILED))
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// A refusal in one line goes where errors go.
fn print(text: &str, to_stderr: bool) -> anyhow::Result<()> {
    if to_stderr {
        crate::fmt::say(text.trim_end());
        return Ok(());
    }
    super::print(text)
}

fn quick(snapshot: &Snapshot, can_count: bool) -> String {
    let (kernel, coverage) = (&snapshot.kernel, &snapshot.coverage);
    if can_count {
        return format!("copies can be counted here: kernel {kernel}, coverage {}\n", coverage.state_since());
    }
    let remedy = snapshot.probes.iter().find(|p| p.required && !p.attached).map(|p| p.remedy.as_str());
    let remedy = remedy.filter(|remedy| !remedy.is_empty());
    let remedy = remedy.map_or_else(String::new, |remedy| format!(" (what would help: {remedy})"));
    format!("copies cannot be counted here: kernel {kernel}: {}{remedy}\n", coverage.reasons.join("; "))
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
        ("user", Privilege::read().describe()),
        ("BTF", btf),
        ("kprobes", if kernel::has_kprobes() { "yes".into() } else { "no".into() }),
        ("lockdown", kernel::lockdown().unwrap_or_else(|| "none".into())),
        ("kptr_restrict", read("/proc/sys/kernel/kptr_restrict")),
        ("perf_event_paranoid", read("/proc/sys/kernel/perf_event_paranoid")),
        ("unprivileged_bpf_disabled", read("/proc/sys/kernel/unprivileged_bpf_disabled")),
    ]
}

fn environment_as_json() -> serde_json::Map<String, serde_json::Value> {
    environment().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn environment_as_text(text: &mut String) {
    for (name, value) in environment() {
        line(text, name, &value);
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail; so everywhere below.
    let _ = writeln!(text, "{name:<26} {value}");
}

fn as_text(snapshot: &Snapshot, session: &Session, sites: bool) -> String {
    let mut text = String::new();
    quantities(&mut text, snapshot);
    for note in &snapshot.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text.push('\n');
    environment_as_text(&mut text);
    network_devices(&mut text, &netdev::physical());
    probes(&mut text, snapshot);
    call_sites(&mut text, snapshot, session.coverage.unreadable());
    if sites {
        let _ = writeln!(text, "\nevery call site");
        for (site, coverage) in session.coverage.sites() {
            let _ = writeln!(text, "  {:<10} {}", coverage.name(), coverage::name(site));
        }
        let _ = writeln!(
            text,
            "\nevery call of the usercopy check, and of functions that copy for several purposes"
        );
        for caller in session.coverage.callers() {
            let _ = writeln!(text, "  {:<18} {}", caller.class_name(), caller.name());
        }
    }
    survey::as_text(&mut text, &session.coverage.uncounted());
    let _ = writeln!(text, "\ncoverage of copies: {}", snapshot.coverage.state_since());
    for reason in &snapshot.coverage.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    for note in session.coverage.notes() {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}

/// What can be counted here, before why the rest cannot.
fn quantities(text: &mut String, snapshot: &Snapshot) {
    let observed = snapshot.observed;
    let yes_or_no = |seen: bool| if seen { "counted" } else { "NOT OBSERVED" };
    let coverage = snapshot.coverage.state_since();
    let copies =
        if observed.copies { format!("counted, coverage {coverage}") } else { "NOT OBSERVED".into() };
    line(text, "copies", &copies);
    line(text, "bytes moved without a copy", yes_or_no(observed.references && observed.copies));
    line(text, "payload", yes_or_no(observed.payload));
    let parts = [
        (observed.syscalls, "system calls"),
        (observed.faults, "page faults"),
        (observed.interrupts, "interrupts"),
    ];
    let list = |wanted| parts.iter().filter(move |(seen, _)| *seen == wanted).map(|(_, name)| *name);
    let (seen, unseen) = (list(true).collect::<Vec<_>>(), list(false).collect::<Vec<_>>());
    let switches = match (seen.is_empty(), unseen.is_empty()) {
        (true, _) => "NOT OBSERVED".to_owned(),
        (_, true) => "counted".to_owned(),
        _ => format!("counted by {}; NOT OBSERVED: {}", seen.join(", "), unseen.join(", ")),
    };
    line(text, "mode switches", &switches);
    line(text, "context switches", yes_or_no(observed.context_switches));
    line(text, "bytes of block devices", yes_or_no(observed.block));
    line(text, "bytes of network devices", yes_or_no(observed.net));
}

/// Whether what sendfile hands over can leave as it is.
fn network_devices(text: &mut String, devices: &[NetDevice]) {
    text.push_str("\nnetwork devices that do DMA (of this network namespace)\n");
    if devices.is_empty() {
        text.push_str("  none\n");
    }
    let word = |offload: Option<bool>| match offload {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    for device in devices {
        let _ = writeln!(
            text,
            "  {:<12} scatter-gather {}, transmit checksum {}, TCP segmentation {}: {}",
            crate::fmt::human::escape(&device.name),
            word(device.scatter_gather),
            word(device.transmit_checksum),
            word(device.segmentation),
            match device.sends_without_copy() {
                Some(true) => "sends pages as they are",
                Some(false) =>
                    "the kernel copies each packet before it is sent (`ethtool -K DEVICE sg on tx on`)",
                None => "its driver does not say",
            },
        );
    }
}

/// One line per probe, then each cause once.
fn probes(text: &mut String, snapshot: &Snapshot) {
    let mut causes: Vec<(&str, &str)> = Vec::new();
    let _ = writeln!(text, "\nprobes (MISSING: a gap in the copies; absent: optional, or not about copies)");
    if snapshot.probes.iter().any(|probe| probe.reduced) {
        let _ = writeln!(
            text,
            "  reduced: reads nothing of the kernel's but registers; does not tell what MSG_TRUNC throws away, nor a \
             32-bit call by `int 0x80` from 64-bit code"
        );
    }
    for probe in &snapshot.probes {
        let verdict = match (probe.attached, probe.required) {
            (true, _) if probe.reduced => "reduced",
            (true, _) => "ok",
            (false, true) => "MISSING",
            (false, false) => "absent",
        };
        let how = if probe.attached {
            probe.method.to_owned()
        } else {
            let cause = (probe.cause.as_str(), remedy(probe));
            let known = causes.iter().position(|known| *known == cause);
            let number = known.unwrap_or_else(|| {
                causes.push(cause);
                causes.len() - 1
            });
            format!("cause {}", number + 1)
        };
        let _ = writeln!(text, "  {verdict:<8} {:<24} {how:<15} {}", probe.name, probe.symbol);
    }
    for (i, (cause, remedy)) in causes.iter().enumerate() {
        let _ = writeln!(text, "  cause {}: {cause}", i + 1);
        if !remedy.is_empty() {
            let _ = writeln!(text, "    remedy: {remedy}");
        }
    }
}

fn remedy(probe: &Probe) -> &str {
    match (probe.remedy.as_str(), probe.required) {
        ("", true) => "use a kernel that tracer is tested on: 5.10, 6.1, 6.12 or 7.2",
        (remedy, _) => remedy,
    }
}

fn call_sites(text: &mut String, snapshot: &Snapshot, unreadable: Option<String>) {
    let _ = writeln!(text, "\ncall sites of copy functions in the kernel's live text");
    if snapshot.coverage.sites.is_empty() {
        let why = unreadable.unwrap_or_else(|| "it holds none of them".to_owned());
        let _ = writeln!(text, "  not known: {why}");
        return;
    }
    let _ = writeln!(text, "  {:<34} {:<12} sites", "function", "covered by");
    for count in &snapshot.coverage.sites {
        let note =
            if !count.data && count.coverage == "uncovered" { " (structures of constant size)" } else { "" };
        let _ = writeln!(text, "  {:<34} {:<12} {}{note}", count.primitive, count.coverage, count.sites);
    }
}

fn as_json(snapshot: &Snapshot, session: &Session, can_count: bool, sites: bool) -> serde_json::Value {
    let mut report = json!({
        "schema": "tracer/1",
        "kernel": snapshot.kernel,
        "can_count_copies": can_count,
        "environment": environment_as_json(),
        "uncounted": survey::as_json(&session.coverage.uncounted()),
        "report": crate::output::json::to_json(snapshot),
    });
    if sites {
        let sites: Vec<_> = session
            .coverage
            .sites()
            .iter()
            .map(|(site, coverage)| json!({"site": coverage::name(site), "coverage": coverage.name()}))
            .collect();
        report["call_sites"] = json!(sites);
        let callers = session.coverage.callers().iter();
        let callers = callers.map(|caller| json!({"call": caller.name(), "class": caller.class_name()}));
        report["check_calls"] = callers.collect();
    }
    report
}
