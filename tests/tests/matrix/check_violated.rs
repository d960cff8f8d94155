//! `tracer check`: a copy where none may be violates the policy, with its bytes and where they went.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::check::{Check, PASS, VIOLATED, once, uncalibrated};

use crate::{Check as Trial, on_any_kernel};

pub fn checks() -> Vec<Trial> {
    vec![
        on_any_kernel("check_violated::read_and_write_with_their_numbers", read_write),
        on_any_kernel("check_violated::although_the_window_is_in_doubt", certain),
        on_any_kernel("check_violated::a_warning_decides_nothing", warning),
    ]
}

/// The workload reads the file in its window, and its copy when it verifies.
const READ: u64 = 2 * MIB as u64;

fn read_write(bench: &Bench) -> Result<()> {
    let policy = json!({
        "version": 1,
        "target": {"command": once(bench, "rw_file")},
        "require": uncalibrated(),
        "assertions": [
            {"name": "nothing is read", "path": "read", "metric": "copied_bytes", "direction": "to_user", "max": 0},
            {"name": "known", "path": "read", "metric": "copied_bytes", "min": 0, "max": "2MiB"},
        ],
    });
    let check = Check::new(bench, &policy)?;
    let dir = check.dir().to_owned();
    let place = |name: &str| dir.join(name).display().to_string();
    let reports =
        ["junit", "markdown", "github"].map(|format| format!("--report={format}={}", place(format)));
    let checked = check.args(&reports).run()?;
    checked.expect(VIOLATED)?;
    let value = checked.value(0, 0)?;
    ensure!(*value == READ, "{value}, not {READ}");
    let evidence = &checked.report["assertions"][0]["evidence"];
    ensure!(evidence["paths"][0]["name"] == "read", "{evidence}");
    let functions = evidence["functions"].to_string();
    ensure!(functions.contains("shmem_file_read_iter"), "where it was read is not said: {evidence}");
    let junit = fs::read_to_string(dir.join("junit"))?;
    ensure!(junit.contains("<failure") && junit.contains("2,097,152 B"), "{junit}");
    let annotations = fs::read_to_string(dir.join("github"))?;
    ensure!(annotations.starts_with("::error file="), "{annotations}");
    for name in ["junit", "markdown", "github"] {
        let text = fs::read_to_string(dir.join(name))?;
        ensure!(text.contains("coverage complete"), "{name} does not tell the coverage: {text}");
    }
    Ok(())
}

/// A probe is missing: what was seen to be copied was copied all the same.
fn certain(bench: &Bench) -> Result<()> {
    let policy = json!({
        "version": 1,
        "target": {"command": once(bench, "rw_file")},
        "require": uncalibrated(),
        "assertions": [{"path": "read", "metric": "copied_bytes", "max": 0}],
    });
    let checked = Check::new(bench, &policy)?.fault("refuse:file_write").run()?;
    checked.expect(VIOLATED)?;
    ensure!(checked.has_reason("coverage_incomplete"), "{}", checked.report["reasons"]);
    Ok(())
}

fn warning(bench: &Bench) -> Result<()> {
    let policy = json!({
        "version": 1,
        "target": {"command": once(bench, "rw_file")},
        "require": {"calibrate": false, "missed_events": 1_000_000},
        "assertions": [
            {"path": "read", "metric": "copied_bytes", "max": 0, "severity": "warn"},
            {"path": "splice", "metric": "payload_bytes", "max": 0},
        ],
    });
    let checked = Check::new(bench, &policy)?.run()?;
    checked.expect(PASS)?;
    ensure!(checked.report["assertions"][0]["status"] == "violated", "{}", checked.report);
    Ok(())
}
