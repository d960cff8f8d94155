//! `tracer record`, `check --input`, `diff`, `policy init`: a window is saved once, and judged, compared and
//! turned into a policy without privilege.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::check::{Check, NOBODY, VIOLATED};

use crate::{Check as Trial, EventsLost, on_any_kernel};

pub fn checks() -> Vec<Trial> {
    vec![
        on_any_kernel("check_record::a_saved_window_is_judged_without_privilege", judged),
        on_any_kernel("check_record::diff_tells_what_changed", compared),
        on_any_kernel("check_record::policy_init_makes_a_policy_that_passes", drafted),
        on_any_kernel("check_record::the_saved_windows_of_a_check", saved_by_check),
        on_any_kernel("check_record::a_full_disk_takes_no_verdict_away", full_disk),
    ]
}

/// Records one run of a workload, if that has not been done; nobody (the user) may read it.
fn record(bench: &Bench, name: &str) -> Result<String> {
    let file = directory(bench, "recorded")?.join(format!("{name}.json")).display().to_string();
    if Path::new(&file).exists() {
        return Ok(file);
    }
    let workload = bench.workload.display().to_string();
    let tmpfs = bench.tmpfs.display().to_string();
    let arguments = ["record", "-o", &file, "--", &workload, name, "--once", "--dir", &tmpfs];
    let output = Command::new(&bench.tracer).args(arguments).output()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let saved: Value =
        serde_json::from_str(std::fs::read_to_string(&file)?.lines().last().context("empty")?)?;
    ensure!(saved["schema"] == "tracer/1" && saved["calibration"]["exact"] == true, "{saved}");
    let missed = saved["lost_events"].as_u64().unwrap_or(0);
    if missed > 0 {
        std::fs::remove_file(&file)?;
        bail!(EventsLost(missed));
    }
    Ok(file)
}

/// tracer without any privilege.
fn as_nobody(bench: &Bench, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(&bench.tracer).args(arguments).uid(NOBODY).gid(NOBODY).output()?)
}

fn directory(bench: &Bench, name: &str) -> Result<std::path::PathBuf> {
    let dir = bench.tmpfs.join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn judged(bench: &Bench) -> Result<()> {
    let saved = record(bench, "rw_file")?;
    let policy = directory(bench, "judged")?.join("p.yaml").display().to_string();
    std::fs::write(
        &policy,
        "version: 1\nrequire: {calibrate: true}\nassertions: [{metric: copied_bytes, path: read, max: 0}]\n",
    )?;
    let output = as_nobody(bench, &["check", &policy, "--input", &saved])?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(VIOLATED), "{}: {text}", output.status);
    let known = "2,097,152 B";
    ensure!(text.contains(known) && 2 * MIB == 2_097_152, "{known} is not in {text}");
    Ok(())
}

fn compared(bench: &Bench) -> Result<()> {
    let (before, after) = (record(bench, "sendfile_file")?, record(bench, "rw_file")?);
    let output = as_nobody(bench, &["diff", &before, &after, "--format", "json"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout)?;
    let changes = value["changes"].as_array().context("no changes")?;
    let find = |path: &str, what: &str| changes.iter().find(|c| c["path"] == path && c["what"] == what);
    let gone = find("sendfile", "payload").context("sendfile did not change")?;
    ensure!(gone["before"] == MIB && gone["after"] == 0, "{gone}");
    Ok(())
}

fn drafted(bench: &Bench) -> Result<()> {
    let dir = directory(bench, "drafted")?;
    let saved = record(bench, "sendfile_file")?;
    let policy = dir.join("draft.yaml").display().to_string();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let output = as_nobody(bench, &["policy", "init", "--input", &saved, "-o", &policy])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = as_nobody(bench, &["check", &policy, "--input", &saved])?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {text}", output.status);
    let again = as_nobody(bench, &["policy", "init", "--input", &saved, "-o", &policy])?;
    ensure!(again.status.code() == Some(2), "it overwrote {policy}");
    Ok(())
}

fn saved_by_check(bench: &Bench) -> Result<()> {
    let policy = "version: 1\nwindow: {repeat: 2}\nrequire: {calibrate: false, missed_events: 100000}\n\
                  assertions: [{metric: payload_bytes, path: sendfile, equals: 1MiB}]\n";
    let check = Check::of_text(bench, policy)?;
    let saved = check.dir().join("saved.json");
    let (workload, tmpfs) = (bench.workload.display().to_string(), bench.tmpfs.display().to_string());
    let save = format!("--save={}", saved.display());
    let arguments = [save.as_str(), "--", &workload, "sendfile_file", "--once", "--dir", &tmpfs];
    let checked = check.args(&arguments).run()?;
    checked.expect(0)?;
    let lines = std::fs::read_to_string(&saved)?.lines().count();
    ensure!(lines == 2, "{lines} windows were saved");
    Ok(())
}

/// Opened before the run, it takes nothing after it.
fn full_disk(bench: &Bench) -> Result<()> {
    let policy = "version: 1\nrequire: {calibrate: false}\nassertions: [{metric: syscalls, max: 0}]\n";
    let arguments = ["--save=/dev/full", "--", "true"];
    let checked = Check::of_text(bench, policy)?.args(&arguments).run()?;
    checked.expect(VIOLATED)?;
    ensure!(!checked.report.is_null(), "no report:\n{}", checked.outcome.stdout);
    ensure!(checked.outcome.stderr.contains("cannot write /dev/full"), "{}", checked.outcome.stderr);
    Ok(())
}
