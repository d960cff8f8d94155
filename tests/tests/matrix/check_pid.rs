//! `tracer check` of a target that runs already: by pid, driven by the command on the command line; by name and
//! by cgroup, as the policy says.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::check::{Check, PASS};

use crate::{Check as Trial, EventsLost, check, on_any_kernel};

pub fn checks() -> Vec<Trial> {
    vec![
        check("check_pid::driven_from_the_command_line", driven),
        on_any_kernel("check_pid::by_its_name", |bench| {
            selected(bench, |_| Ok(json!({"comm": "workload", "children": false})))
        }),
        on_any_kernel("check_pid::by_its_cgroup", |bench| selected(bench, cgroup)),
    ]
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

/// A policy that selects the workload, whose pid `target` is given. Its peer may be selected as well: it
/// receives, which is another path.
fn selected(bench: &Bench, target: impl Fn(u32) -> Result<Value>) -> Result<()> {
    let session = bench.ready("sendfile_tcp", MIB)?;
    let policy = json!({
        "version": 1,
        "target": target(session.pid)?,
        "driver": {"command": ["sh", "-c", format!("kill -USR1 {}; sleep 1", session.pid)]},
        "window": {"settle": "500ms"},
        "require": {"calibrate": false, "min_payload": "1MiB"},
        "assertions": [
            {"metric": "copied_bytes", "path": "sendfile", "max": 0},
            {"metric": "payload_bytes", "path": "sendfile", "equals": MIB},
        ],
    });
    let checked = Check::new(bench, &policy)?.run()?;
    ensure!(checked.missed() == 0, EventsLost(checked.missed()));
    checked.expect(PASS)?;
    session.finish()?;
    Ok(())
}

/// A cgroup of its own for a process.
fn cgroup(pid: u32) -> Result<Value> {
    const NAME: &str = "/tracer-check";
    let dir = Path::new("/sys/fs/cgroup").join(&NAME[1..]);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("cgroup.procs"), pid.to_string())?;
    Ok(json!({"cgroup": NAME}))
}
