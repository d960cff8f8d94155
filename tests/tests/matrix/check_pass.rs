//! `tracer check`: a target that keeps its promise passes, in every repeat, with numbers that are known.

use anyhow::{Result, ensure};
use serde_json::json;
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::check::{Check, PASS, driver, serving};

use crate::{Check as Trial, EventsLost, check};

pub fn checks() -> Vec<Trial> {
    vec![check("check_pass::sendfile_beside_its_driver", sendfile)]
}

fn sendfile(bench: &Bench) -> Result<()> {
    let policy = json!({
        "version": 1,
        "target": {"command": serving(bench, "sendfile_tcp"), "children": false},
        "driver": {"command": driver()},
        // By then it has said that it is ready, which is a write, on an emulated CPU too.
        "window": {"warmup": "3s", "settle": "200ms", "repeat": 2},
        "require": {"coverage": "complete", "missed_events": 0, "min_payload": "1MiB", "calibrate": true},
        "assertions": [
            {"name": "zero-copy", "path": "sendfile", "metric": "copies_per_byte", "max": 0},
            {"name": "all of it", "path": "sendfile", "metric": "payload_share", "equals": "100%"},
            {"name": "exactly", "path": "sendfile", "metric": "payload_bytes", "equals": MIB},
            {"name": "calls", "path": "sendfile", "metric": "payload_calls", "min": 1, "max": 64},
            {"name": "by name", "process": "workload", "metric": "copied_bytes", "max": 0},
        ],
    });
    let checked = Check::new(bench, &policy)?.run()?;
    ensure!(checked.missed() == 0, EventsLost(checked.missed()));
    checked.expect(PASS)?;
    ensure!(checked.report["calibration"]["state"] == "exact", "{}", checked.report["calibration"]);
    for window in 0..2 {
        let value = checked.value(2, window)?;
        ensure!(*value == MIB as u64, "{value} bytes in window {window}");
    }
    ensure!(checked.outcome.stdout.contains("pass: all 5 assertions hold"), "{}", checked.outcome.stdout);
    // The target's own output passes through.
    ensure!(checked.outcome.stdout.contains("\"ready\":true"), "{}", checked.outcome.stdout);
    let programs = checked.report["programs"].as_array().map_or(0, Vec::len);
    ensure!(programs == 3, "two drivers and a target: {}", checked.report["programs"]);
    Ok(())
}
