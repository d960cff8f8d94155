//! Rows that are refused in a real session: what they would have told is claimed by no output. (Every row, and every pair
//! of rows, in every output: `tracer/src/session/observed_tests.rs`.)

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::check::{self, uncalibrated};
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{LIMIT, metrics};

use crate::{Check, on_any_kernel};

/// What is not told without some rows.
struct Untold {
    /// Words of the test's name.
    name: &'static str,
    /// Groups of rows, as `tracer probes` has them, or rows.
    refused: &'static [&'static str],
    /// Flags of `observed` that are false.
    unobserved: &'static [&'static str],
    /// Keys that no process's ledger has.
    json: &'static [&'static str],
    /// Parts of lines that the page does not have.
    page: &'static [&'static str],
    /// Metrics of assertions on which `check` is inconclusive, and their path.
    assertions: &'static [(&'static str, &'static str)],
    /// Coverage is not complete.
    is_a_gap: bool,
}

static ALL: [Untold; 3] = [
    Untold {
        name: "copies",
        refused: &["copies", "call_site"],
        unobserved: &["copies"],
        json: &[
            "copied_bytes",
            "copies",
            "copies_per_byte",
            "control_bytes",
            "zero_copied_bytes",
            "unexplained_bytes",
        ],
        page: &["tracer_copied_bytes_total{", "tracer_copies_total{", "tracer_unexplained_bytes_total{"],
        assertions: &[("copied_bytes", "sendfile")],
        is_a_gap: true,
    },
    Untold {
        name: "references_devices_and_switches",
        refused: &[
            "references",
            "block devices",
            "network devices",
            "page_fault",
            "irq_call",
            "sched_switch",
        ],
        unobserved: &["references", "faults", "interrupts", "context_switches"],
        json: &[
            "zero_copied_bytes",
            "unexplained_bytes",
            "discarded_bytes",
            "block",
            "fault",
            "interrupt",
            "context_switches",
        ],
        page: &[
            "tracer_zero_copied_bytes_total{",
            "tracer_unexplained_bytes_total{",
            "device_kind=\"block\"",
            "reason=\"fault\"",
            "reason=\"interrupt\"",
            "tracer_context_switches_total{",
        ],
        assertions: &[
            ("zero_copied_bytes", "sendfile"),
            ("device_bytes", ""),
            ("mode_switches", ""),
            ("context_switches", ""),
        ],
        is_a_gap: false,
    },
    Untold {
        name: "marks_life_check_and_sys_exit",
        refused: &["marks", "processes", "check", "sys_exit"],
        unobserved: &["references", "cut_short", "mode_switches", "payload"],
        json: &[
            "zero_copied_bytes",
            "unexplained_bytes",
            "cut_short",
            "payload_bytes",
            "calls",
            "syscalls",
            "syscall",
        ],
        page: &[
            "tracer_zero_copied_bytes_total{",
            "tracer_payload_bytes_total{",
            "tracer_coverage_complete 1",
            "tracer_syscalls_total{",
            "reason=\"syscall\"",
        ],
        assertions: &[("copied_bytes", "sendfile"), ("syscalls", "sendfile"), ("payload_bytes", "sendfile")],
        is_a_gap: true,
    },
];

/// One tracer each, on one kernel: what the rows came to is all that decides.
pub fn checks() -> Vec<Check> {
    let one = |untold: &'static Untold| {
        on_any_kernel(&format!("refused::{}", untold.name), move |bench| no_claims(bench, untold))
    };
    ALL.iter().map(one).collect()
}

/// The fault that refuses these rows.
fn fault(bench: &Bench, refused: &[&str]) -> Result<String> {
    let outcome = Tracer::start(&bench.tracer, &["probes", "--format", "json"])?.wait(LIMIT)?;
    let table = outcome.last_json()?;
    let rows = table["probes"].as_array().context("no rows")?;
    for word in refused {
        let is_known = rows.iter().any(|row| row["observes"] == *word || row["probe"] == *word);
        ensure!(is_known, "{word} is no row and no group");
    }
    let is_refused = |row: &&Value| {
        let words = [&row["observes"], &row["probe"]];
        words.into_iter().any(|word| word.as_str().is_some_and(|word| refused.contains(&word)))
    };
    let names = rows.iter().filter(is_refused).filter_map(|row| row["probe"].as_str());
    Ok(names.map(|name| format!("refuse:{name}")).collect::<Vec<_>>().join(","))
}

fn no_claims(bench: &Bench, untold: &Untold) -> Result<()> {
    let (total, page) = counted(bench, &fault(bench, untold.refused)?)?;
    for what in untold.unobserved {
        ensure!(total["observed"][*what] == false, "observed.{what}: {}", total["observed"]);
    }
    let state = &total["coverage"]["state"];
    ensure!((*state != "complete") == untold.is_a_gap, "coverage is {state}: {}", total["coverage"]);
    for key in untold.json {
        for part in ["processes", "totals"] {
            ensure!(!has_key(&total[part], key), "{part} have {key}: {}", total[part]);
        }
    }
    for series in untold.page {
        let is_said = page.lines().any(|line| !line.starts_with('#') && line.contains(series));
        ensure!(!is_said, "{series} on the page:\n{page}");
    }
    untold.assertions.iter().try_for_each(|assertion| inconclusive(bench, &total, *assertion))
}

fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get(key).is_some_and(|value| !value.is_null()) || fields.values().any(|v| has_key(v, key))
        }
        Value::Array(values) => values.iter().any(|value| has_key(value, key)),
        _ => false,
    }
}

/// The total and the page of a window of sendfile from a file to TCP.
fn counted(bench: &Bench, fault: &str) -> Result<(Value, String)> {
    let mut session = bench.ready("sendfile_tcp", MIB)?;
    let address = metrics::free_address()?;
    let mut command = Command::new(&bench.tracer);
    command.args(watch(&[session.pid], &["--listen", &address.to_string()])).env("TRACER_FAULT", fault);
    let mut tracer = Tracer::start_command(command)?;
    tracer.wait_counting(&[session.pid])?;
    session.window()?;
    let page = metrics::scrape(address)?;
    let total = tracer.stop()?.total()?;
    session.finish()?;
    Ok((total, page))
}

/// The window, saved, cannot be judged by this.
fn inconclusive(bench: &Bench, total: &Value, (metric, path): (&str, &str)) -> Result<()> {
    let mut assertion = json!({"metric": metric, "max": 1u64 << 40});
    if !path.is_empty() {
        assertion["path"] = path.into();
    }
    let policy = json!({"version": 1, "require": uncalibrated(), "assertions": [assertion]});
    let check = check::Check::new(bench, &policy)?;
    let saved = check.dir().join("saved.json");
    fs::write(&saved, format!("{total}\n"))?;
    let checked = check.args(&["--input".as_ref(), saved.as_os_str()]).run()?;
    checked.expect(check::INCONCLUSIVE).with_context(|| format!("{metric} of {path}"))
}
