//! `tracer check`: however it ends, its programs are ended and reaped, and nothing is left in the kernel.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::json;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::bpf::Objects;
use tracer_tests::harness::check::{Check, Checked, uncalibrated};
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{LIMIT, until};

use crate::{Check as Trial, on_any_kernel};

/// Seconds that nobody else sleeps.
const MARK: &str = "4242.4242";

pub fn checks() -> Vec<Trial> {
    vec![
        on_any_kernel("check_ends::ctrl_c", |bench| {
            let before = Objects::now()?;
            let (tracer, dir) = running(bench)?;
            let checked = Checked::of(tracer.stop()?, &dir)?;
            checked.expect_reason("interrupted")?;
            nobody_is_left()?;
            before.wait_until_as_before()
        }),
        on_any_kernel("check_ends::timeout", |bench| {
            // Attaching is in this time, 10 s of it on an emulated CPU. If it takes all, nothing was started: the
            // same must hold.
            let checked = endless(bench)?.args(&["--timeout", "30s"]).run()?;
            checked.expect_reason("timed_out")?;
            nobody_is_left()
        }),
        on_any_kernel("check_ends::tracer_is_killed", |bench| {
            let before = Objects::now()?;
            let (tracer, _) = running(bench)?;
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(tracer.pid() as i32, libc::SIGKILL) };
            let outcome = tracer.wait(LIMIT)?;
            ensure!(outcome.status.code().is_none(), "{}", outcome.status);
            nobody_is_left()?;
            before.wait_until_as_before()
        }),
    ]
}

/// A check whose target ignores SIGTERM, and leaves a daemon behind, which has a session of its own; and
/// whose driver goes on for ever.
fn endless(bench: &Bench) -> Result<Check> {
    let target = format!("trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep {MARK}' &) ; sleep {MARK}");
    let policy = json!({
        "version": 1,
        "target": {"command": ["sh", "-c", target]},
        "driver": {"command": ["sh", "-c", format!("sleep {MARK}; true")]},
        "require": uncalibrated(),
        "assertions": [{"path": "vmsplice", "metric": "copied_bytes", "max": 0}],
    });
    Check::new(bench, &policy)
}

/// The same, in its window.
fn running(bench: &Bench) -> Result<(Tracer, PathBuf)> {
    let check = endless(bench)?;
    let dir = check.dir().to_owned();
    let tracer = check.start()?;
    until("three sleep", LIMIT, || {
        let sleep = left()?.iter().filter(|(_, words)| words.starts_with("sleep ")).count();
        Ok((sleep == 3).then_some(()))
    })?;
    Ok((tracer, dir))
}

/// Processes with the mark in their command lines: sleepers, their shells and their keepers.
fn left() -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(words) = fs::read(path.join("cmdline")) else { continue };
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let is_ours =
            words.starts_with("sleep ") || words.starts_with("sh -c") || words.starts_with("tracer __keep");
        if is_ours && words.contains(MARK) {
            found.push((path, words));
        }
    }
    Ok(found)
}

fn nobody_is_left() -> Result<()> {
    let mut last = Vec::new();
    let waited = until("all are ended", LIMIT, || {
        last = left()?;
        Ok(last.is_empty().then_some(()))
    });
    ensure!(waited.is_ok(), "left behind: {last:?}");
    Ok(())
}
