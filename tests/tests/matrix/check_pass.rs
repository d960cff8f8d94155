//! `tracer check`: a target that keeps its promise passes, in every repeat, with numbers that are known.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::check::{Check, PASS, serving};

use crate::{Check as Trial, EventsLost, on_each_way};

pub fn checks() -> Vec<Trial> {
    vec![on_each_way("check_pass::sendfile_beside_its_driver", sendfile)]
}

fn sendfile(bench: &Bench) -> Result<()> {
    let policy = json!({
        "version": 1,
        "target": {"command": serving(bench, "sendfile_tcp"), "children": false},
        "driver": {"command": driver()},
        "window": {"warmup": "2s", "settle": "200ms", "repeat": 2},
        "require": {"coverage": "complete", "missed_events": 0, "min_payload": "1MiB", "calibrate": true},
        // Of sendfile only: on a busy machine the target may still fill its file when the warm-up is over.
        "assertions": [
            {"name": "zero-copy", "path": "sendfile", "metric": "copies_per_byte", "max": 0},
            {"name": "exactly", "path": "sendfile", "metric": "payload_bytes", "equals": MIB},
            {"name": "calls", "path": "sendfile", "metric": "payload_calls", "min": 1, "max": 64},
        ],
    });
    let checked = Check::new(bench, &policy)?.run()?;
    ensure!(checked.missed() == 0, EventsLost(checked.missed()));
    checked.expect(PASS)?;
    ensure!(checked.report["calibration"]["state"] == "exact", "{}", checked.report["calibration"]);
    for window in 0..2 {
        let value = checked.value(1, window)?;
        ensure!(*value == MIB as u64, "{value} bytes in window {window}");
    }
    ensure!(checked.outcome.stdout.contains("pass: all 3 assertions hold"), "{}", checked.outcome.stdout);
    // The target's own output passes through.
    ensure!(checked.outcome.stdout.contains("\"ready\":true"), "{}", checked.outcome.stdout);
    let programs = checked.report["programs"].as_array().map_or(0, Vec::len);
    ensure!(programs == 3, "two drivers and a target: {}", checked.report["programs"]);
    Ok(())
}

/// Runs one window of the workload that serves, and waits until it rests again. By the target's age, the warm-up is
/// over; by what it has written, the whole window is.
fn driver() -> Value {
    let script = format!(
        "pid=$(pgrep -x workload) || exit 9
        [ $(ps -o etimes= -p $pid) -ge 2 ] || exit 8
        rests() {{ grep -q '^128 ' /proc/$pid/syscall; }}
        written() {{ sed -n 's/^wchar: //p' /proc/$pid/io; }}
        until rests; do sleep 0.01; done
        before=$(written)
        kill -USR1 $pid
        until [ $(($(written) - before)) -ge {MIB} ] && rests; do sleep 0.01; done"
    );
    json!(["sh", "-c", script])
}
