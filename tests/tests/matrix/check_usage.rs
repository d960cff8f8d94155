//! `tracer check`: mistakes are found before anything runs.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::check::{Check, USAGE};

use crate::{Check as Trial, on_any_kernel};

pub fn checks() -> Vec<Trial> {
    vec![
        on_any_kernel("check_usage::a_wrong_policy_names_line_and_word", |bench| {
            let policy = "version: 1\nassertions:\n  - {metric: copied_byte, max: 0}\n";
            refused(bench, policy, &[], &["policy.yaml:3:", "did you mean `copied_bytes`"])
        }),
        on_any_kernel("check_usage::a_report_that_cannot_be_written", |bench| {
            let (policy, mark) = marking(bench)?;
            let check = Check::of_text(bench, &policy)?.args(&["--report", "junit=/nonexistent/report.xml"]);
            let checked = check.run()?;
            checked.expect(USAGE)?;
            ensure!(checked.outcome.stderr.contains("/nonexistent/report.xml"), "{}", checked.outcome.stderr);
            ensure!(!mark.exists(), "the target ran all the same");
            Ok(())
        }),
        on_any_kernel("check_usage::a_missing_baseline", |bench| {
            let policy =
                "version: 1\nassertions:\n  - {metric: copies, baseline: none.json, max_increase: 5%}\n";
            refused(bench, policy, &["--", "true"], &["policy.yaml:3", "none.json", "tracer record"])
        }),
        on_any_kernel("check_usage::a_pid_that_does_not_exist", |bench| {
            let policy = "version: 1\nwindow: {duration: 1s}\nassertions: [{metric: copies, max: 0}]\n";
            refused(bench, policy, &["--pid", "4194303"], &["4194303"])
        }),
        on_any_kernel("check_usage::nothing_to_count", |bench| {
            refused(bench, "version: 1\nassertions: [{metric: copies, max: 0}]\n", &[], &["nothing to count"])
        }),
    ]
}

/// A policy whose target leaves a mark.
fn marking(bench: &Bench) -> Result<(String, std::path::PathBuf)> {
    let mark = bench.tmpfs.join("mark");
    let _ = fs::remove_file(&mark);
    let policy = json!({
        "version": 1,
        "target": {"command": ["touch", mark]},
        "assertions": [{"metric": "copies", "max": 0}],
    });
    Ok((policy.to_string(), mark))
}

fn refused(bench: &Bench, policy: &str, arguments: &[&str], said: &[&str]) -> Result<()> {
    let checked = Check::of_text(bench, policy)?.args(arguments).run()?;
    checked.expect(USAGE)?;
    for words in said {
        ensure!(checked.outcome.stderr.contains(words), "{words:?} is not said: {}", checked.outcome.stderr);
    }
    ensure!(!checked.outcome.stderr.contains("counting pid"), "{}", checked.outcome.stderr);
    Ok(())
}
