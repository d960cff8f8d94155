//! One run of a workload, driven by its protocol.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{LIMIT, process};
use crate::workload::{EXIT_SKIP, signals};

/// Blocks the signals of the protocol. Once, before any thread is started.
pub fn block_signals() {
    signals::Set::of(&[signals::DONE, signals::DRAINED]).block();
}

/// A workload that is ready, or the reason why this kernel has no such thing.
pub enum Started {
    Ready(Session),
    Skipped(String),
}

pub struct Session {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub pid: u32,
    pub peer: Option<u32>,
    peer_notifies: bool,
}

impl Session {
    pub fn start(program: &Path, name: &str, arguments: &[String]) -> Result<Started> {
        let mut child = Command::new(program)
            .arg(name)
            .args(arguments)
            .args(["--notify", &std::process::id().to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let first = read_json(&mut lines)?;
        if let Some(Value::String(cause)) = first.as_ref().and_then(|line| line.get("skip")) {
            ensure!(child.wait()?.code() == Some(EXIT_SKIP), "skipped with another status");
            return Ok(Started::Skipped(cause.clone()));
        }
        let Some(ready) = first else {
            bail!("workload {name} ended before it was ready: {}", child.wait()?);
        };
        let session = Session {
            pid: child.id(),
            child,
            lines,
            peer: ready["peer"].as_u64().map(|pid| pid as u32),
            peer_notifies: ready["peer_notifies"] == true,
        };
        session.rest()?;
        Ok(Started::Ready(session))
    }

    /// Waits until nothing moves any more.
    fn rest(&self) -> Result<()> {
        process::wait_until_waiting(self.pid)?;
        self.peer.map_or(Ok(()), process::wait_until_blocked)
    }

    /// Runs the window once; all its bytes have arrived when this returns.
    pub fn window(&mut self) -> Result<()> {
        self.signal(signals::GO);
        self.wait_window()
    }

    /// The same of a window that somebody else begins.
    pub fn wait_window(&mut self) -> Result<()> {
        let set = signals::Set::of(&[signals::DONE, signals::DRAINED]);
        let (mut done, mut drained) = (false, !self.peer_notifies);
        let deadline = Instant::now() + LIMIT;
        while !(done && drained) {
            match set.wait_for(Duration::from_millis(500))? {
                Some((signals::DONE, pid)) => done |= pid as u32 == self.pid,
                Some((_, pid)) => drained |= Some(pid as u32) == self.peer,
                None => self.complain(deadline)?,
            }
        }
        self.rest()
    }

    /// Nothing came for a while: is the workload still alive?
    fn complain(&mut self, deadline: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the workload ended in its window: {status}");
        }
        ensure!(Instant::now() < deadline, "the window did not end within {} s", LIMIT.as_secs());
        Ok(())
    }

    /// Ends the workload: its verification must pass. Returns its books.
    pub fn finish(mut self) -> Result<Value> {
        self.signal(signals::STOP);
        let report = read_json(&mut self.lines)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the workload's own verification failed: {status}");
        report.context("the workload reported nothing")
    }

    fn signal(&self, signal: i32) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.pid as i32, signal) };
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Already gone in the good case: neither may fail then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_json(lines: &mut impl BufRead) -> Result<Option<Value>> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let value = serde_json::from_str(&line).with_context(|| format!("no JSON: {line:?}"))?;
    Ok(Some(value))
}
