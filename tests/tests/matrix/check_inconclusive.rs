//! `tracer check`: whatever cannot be said for certain is inconclusive, with its reason, and never a pass.

use anyhow::Result;
use serde_json::{Value, json};
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::check::{Check, FEED, READERS, once, serving, uncalibrated};

use crate::{Check as Trial, on_any_kernel};

pub fn checks() -> Vec<Trial> {
    vec![
        on_any_kernel("check_inconclusive::a_probe_is_refused", |bench| {
            faulty(bench, "refuse:file_read", "coverage_incomplete")
        }),
        on_any_kernel("check_inconclusive::the_text_cannot_be_read", |bench| {
            faulty(bench, "no-text", "coverage_unproven")
        }),
        on_any_kernel("check_inconclusive::slots_run_out", |bench| {
            let policy = policy(json!({"command": once(bench, "rw_pipe")}), json!({}), uncalibrated());
            Check::new(bench, &policy)?.fault("slots:1").run()?.expect_reason("map_full")
        }),
        on_any_kernel("check_inconclusive::the_calibration_is_off", calibration_off),
        on_any_kernel("check_inconclusive::the_target_is_idle", |bench| {
            let window = json!({"warmup": "200ms", "duration": "500ms"});
            // It says that it is ready, which is a write, perhaps in the window.
            let require = json!({"calibrate": false, "min_payload": "1KiB"});
            let policy = policy(json!({"command": serving(bench, "idle")}), window, require);
            Check::new(bench, &policy)?.run()?.expect_reason("too_little_payload")
        }),
        on_any_kernel("check_inconclusive::too_little_is_moved", |bench| {
            let require = json!({"calibrate": false, "min_payload": "1GiB"});
            let policy = policy(json!({"command": once(bench, "sendfile_file")}), json!({}), require);
            Check::new(bench, &policy)?.run()?.expect_reason("too_little_payload")
        }),
        on_any_kernel("check_inconclusive::the_target_ends_before_its_driver", early_target),
        on_any_kernel("check_inconclusive::the_driver_ends_before_the_duration", |bench| {
            let mut policy =
                policy(json!({"command": serving(bench, "idle")}), json!({"duration": "1h"}), uncalibrated());
            policy["driver"] = json!({"command": ["true"]});
            Check::new(bench, &policy)?.run()?.expect_reason("driver_ended_early")
        }),
        on_any_kernel("check_inconclusive::events_are_missed", missed),
        on_any_kernel("check_inconclusive::without_privilege", |bench| {
            let policy = policy(json!({"command": ["true"]}), json!({}), uncalibrated());
            Check::new(bench, &policy)?.as_nobody()?.run()?.expect_reason("unsupported_kernel")
        }),
    ]
}

/// Holds for every workload that is used here, as long as it is seen.
fn policy(target: Value, window: Value, require: Value) -> Value {
    json!({
        "version": 1,
        "target": target,
        "window": window,
        "require": require,
        "assertions": [{"path": "vmsplice", "metric": "copied_bytes", "max": 0}],
    })
}

fn faulty(bench: &Bench, fault: &str, reason: &str) -> Result<()> {
    let policy = policy(json!({"command": once(bench, "sendfile_file")}), json!({}), uncalibrated());
    Check::new(bench, &policy)?.fault(fault).run()?.expect_reason(reason)
}

/// Neither the function nor its call sites are probed: the built-in workload's reads are not counted.
fn calibration_off(bench: &Bench) -> Result<()> {
    let require = json!({"calibrate": true, "coverage": "complete"});
    let policy = policy(json!({"command": once(bench, "sendfile_file")}), json!({}), require);
    let check = Check::new(bench, &policy)?.fault("refuse:shmem_read,refuse:call_site");
    let dir = check.dir().display().to_string();
    check.env("TMPDIR", &dir).run()?.expect_reason("calibration_off")
}

fn early_target(bench: &Bench) -> Result<()> {
    let mut policy = policy(json!({"command": ["sleep", "0.5"]}), json!({}), uncalibrated());
    policy["driver"] = json!({"command": ["sleep", "infinity"]});
    Check::new(bench, &policy)?.run()?.expect_reason("target_ended_early")
}

fn missed(bench: &Bench) -> Result<()> {
    let dir = bench.tmpfs.join("readers");
    std::fs::create_dir_all(&dir)?;
    let script = format!("cd {}\n{READERS}\n{FEED}\nwait", dir.display());
    let policy = policy(json!({"command": ["sh", "-c", script]}), json!({}), uncalibrated());
    Check::new(bench, &policy)?.args(&["--attach", "kprobe"]).run()?.expect_reason("events_missed")
}
