//! `tracer check` of a target that runs already: by pid, driven by the command on the command line; by name and
//! by cgroup, as the policy says.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::check::{Check, Checked, LIMIT, PASS};
use tracer_tests::harness::session::Session;

use crate::{Check as Trial, EventsLost, on_any_kernel};

pub fn checks() -> Vec<Trial> {
    vec![
        on_any_kernel("check_pid::driven_from_the_command_line", driven),
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
        "require": {"calibrate": false, "min_payload": "1MiB"},
        "assertions": [
            {"metric": "copied_bytes", "max": 0},
            {"metric": "copied_bytes", "process": "workload", "max": 0},
            {"metric": "payload_bytes", "path": "sendfile", "equals": MIB},
            {"metric": "payload_share", "path": "sendfile", "equals": "100%"},
        ],
    });
    let pid = session.pid.to_string();
    let check = Check::new(bench, &policy)?.args(&["--pid", &pid, "--"]).args(&driver(bench, &session));
    passes(bench, check, session)
}

/// A policy that selects the workload, whose pid `target` is given. Its peer may be selected as well: it
/// receives, which is another path.
fn selected(bench: &Bench, target: impl Fn(u32) -> Result<Value>) -> Result<()> {
    let session = bench.ready("sendfile_tcp", MIB)?;
    let policy = json!({
        "version": 1,
        "target": target(session.pid)?,
        "driver": {"command": driver(bench, &session)},
        "require": {"calibrate": false, "min_payload": "1MiB"},
        "assertions": [
            {"metric": "copied_bytes", "path": "sendfile", "max": 0},
            {"metric": "payload_bytes", "path": "sendfile", "equals": MIB},
        ],
    });
    passes(bench, Check::new(bench, &policy)?, session)
}

/// Begins the workload's window, and goes on until [`passes`] has seen its end.
fn driver(bench: &Bench, session: &Session) -> [String; 3] {
    let over = over(bench, session);
    let script = format!("kill -USR1 {}; until [ -e {} ]; do sleep 0.01; done", session.pid, over.display());
    ["sh".into(), "-c".into(), script]
}

/// What is there when the workload rests again.
fn over(bench: &Bench, session: &Session) -> PathBuf {
    bench.tmpfs.join(format!("over-{}", session.pid))
}

fn passes(bench: &Bench, check: Check, mut session: Session) -> Result<()> {
    let dir = check.dir().to_owned();
    let mut tracer = check.start()?;
    tracer.wait_counting(&[session.pid])?;
    session.wait_window()?;
    fs::write(over(bench, &session), "")?;
    let checked = Checked::of(tracer.wait(LIMIT)?, &dir)?;
    ensure!(checked.missed() == 0, EventsLost(checked.missed()));
    checked.expect(PASS)?;
    // It was not tracer's to end.
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
