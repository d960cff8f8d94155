//! `tracer check`: a target or driver that fails is no verdict on the policy.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::check::{Check, WORKLOAD_FAILED, serving, uncalibrated};

use crate::{Check as Trial, on_any_kernel};

pub fn checks() -> Vec<Trial> {
    vec![
        on_any_kernel("check_failed::the_driver_fails", |bench| {
            failed(bench, serving(bench, "idle"), json!(["sh", "-c", "exit 7"]), "exit status 7")
        }),
        on_any_kernel("check_failed::the_driver_is_not_found", |bench| {
            failed(bench, serving(bench, "idle"), json!(["/nonexistent/driver"]), "not found")
        }),
        on_any_kernel("check_failed::the_target_fails", |bench| {
            failed(bench, json!(["sh", "-c", "exit 3"]), Value::Null, "exit status 3")
        }),
        on_any_kernel("check_failed::the_target_crashes_under_its_driver", |bench| {
            let target = json!(["sh", "-c", "sleep 1; kill -SEGV $$"]);
            failed(bench, target, json!(["sleep", "infinity"]), "SIGSEGV")
        }),
        on_any_kernel("check_failed::the_target_cannot_be_executed", |bench| {
            failed(bench, json!(["/etc/passwd"]), Value::Null, "cannot be executed")
        }),
    ]
}

fn failed(bench: &Bench, target: Value, driver: Value, said: &str) -> Result<()> {
    let mut policy = json!({
        "version": 1,
        "target": {"command": target},
        "require": uncalibrated(),
        "assertions": [{"metric": "copied_bytes", "max": 0}],
    });
    if !driver.is_null() {
        policy["driver"] = json!({"command": driver});
    }
    let checked = Check::new(bench, &policy)?.run()?;
    checked.expect(WORKLOAD_FAILED)?;
    let programs = checked.report["programs"].to_string();
    ensure!(programs.contains(said), "{said:?} is not in {programs}");
    Ok(())
}
