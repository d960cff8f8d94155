//! `tracer check --pid`: a target that runs already, driven by the command on the command line.

use anyhow::{Result, ensure};
use serde_json::json;
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::check::{Check, PASS};

use crate::{Check as Trial, EventsLost, check};

pub fn checks() -> Vec<Trial> {
    vec![check("check_pid::driven_from_the_command_line", driven)]
}

fn driven(bench: &Bench) -> Result<()> {
    let session = bench.ready("sendfile_tcp", MIB)?;
    let policy = json!({
        "version": 1,
        // In place of this one.
        "target": {"command": ["false"], "children": false},
        "window": {"settle": "500ms"},
        "require": {"calibrate": false, "min_payload": "1MiB"},
        "assertions": [
            {"metric": "copied_bytes", "max": 0},
            {"metric": "payload_bytes", "path": "sendfile", "equals": MIB},
        ],
    });
    let pid = session.pid.to_string();
    let script = format!("kill -USR1 {pid}; sleep 1");
    let checked = Check::new(bench, &policy)?.args(&["--pid", &pid, "--", "sh", "-c", &script]).run()?;
    ensure!(checked.missed() == 0, EventsLost(checked.missed()));
    checked.expect(PASS)?;
    // It was not tracer's to end.
    session.finish()?;
    Ok(())
}
