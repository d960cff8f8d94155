//! The tracer as a script sees it: arguments, both outputs, exit status.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{LIMIT, until};

/// A tracer that runs.
pub struct Tracer {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Receiver<String>,
    /// What stderr has said so far.
    said: Vec<String>,
}

/// A tracer that has ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Tracer {
    pub fn start(program: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::start_command(command)
    }

    /// For tests that set an environment, or go through another program.
    pub fn start_command(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut output = child.stdout.take().expect("piped");
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            // Half an output is shown by the assertion that misses the rest.
            let _ = output.read_to_string(&mut text);
            text
        });
        let (send, stderr) = channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Tracer { child, stdout: Some(stdout), stderr, said: Vec::new() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the tracer says that it counts all of `pids`: in one line,
    /// or one each.
    pub fn wait_counting(&mut self, pids: &[u32]) -> Result<()> {
        for pid in pids {
            let named = format!("pid {pid}");
            self.wait_line(&format!("it counts {named}"), |line| {
                let list = line.strip_prefix("tracer: counting ");
                list.is_some_and(|list| list.split(", ").any(|name| name == named))
            })?;
        }
        Ok(())
    }

    /// Waits until the daemon says that it counts.
    pub fn wait_counting_everybody(&mut self) -> Result<()> {
        self.wait_line("it counts every process", |line| line == "tracer: counting every process")
    }

    /// Waits for a line of stderr, which may have been said already.
    pub fn wait_line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.said.iter().any(|line| wanted(line)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("tracer did not say that {what}, but:\n{}", self.said.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    let said = self.said.join("\n");
                    bail!("tracer ended ({status}) before it said that {what}:\n{said}")
                }
            }
        }
        Ok(())
    }

    /// Has it read its configuration again.
    pub fn hang_up(&self) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGHUP) };
    }

    /// Ends it without a last word.
    pub fn kill(self) -> Result<Outcome> {
        self.signal(libc::SIGKILL)
    }

    /// Ends the window, as Ctrl-C does.
    pub fn stop(self) -> Result<Outcome> {
        self.signal(libc::SIGINT)
    }

    /// Ends it as systemd does.
    pub fn terminate(self) -> Result<Outcome> {
        self.signal(libc::SIGTERM)
    }

    fn signal(self, signal: i32) -> Result<Outcome> {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
        self.wait(LIMIT)
    }

    /// Waits for an end by itself.
    pub fn wait(mut self, limit: Duration) -> Result<Outcome> {
        let status = until("tracer ends", limit, || Ok(self.child.try_wait()?))?;
        let stdout = self.stdout.take().expect("joined once").join().expect("the reader lives");
        while let Ok(line) = self.stderr.recv() {
            self.said.push(line);
        }
        Ok(Outcome { status, stdout, stderr: self.said.join("\n") })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Already gone in the good case: neither may fail then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// The total: the last JSON object of stdout, after an end without error.
    pub fn total(&self) -> Result<Value> {
        ensure!(self.status.success(), "tracer: {}\n{}", self.status, self.stderr);
        self.last_json()
    }

    /// The total of `tracer run`, which leaves stdout to the command: the last
    /// JSON object of stderr.
    pub fn total_of_run(&self) -> Result<Value> {
        ensure!(self.status.success(), "tracer run: {}\n{}", self.status, self.stderr);
        self.last_json_of_run()
    }

    /// The same, whatever the exit status.
    pub fn last_json_of_run(&self) -> Result<Value> {
        let mut objects = self.stderr.lines().filter_map(|line| serde_json::from_str(line).ok());
        let last = objects.rfind(Value::is_object);
        last.with_context(|| format!("no JSON object on stderr:\n{}", self.stderr))
    }

    /// The last JSON object, whatever the exit status.
    pub fn last_json(&self) -> Result<Value> {
        let mut last = None;
        for value in serde_json::Deserializer::from_str(&self.stdout).into_iter::<Value>() {
            last = Some(value.with_context(|| format!("no JSON on stdout:\n{}", self.stdout))?);
        }
        last.with_context(|| format!("tracer printed nothing; stderr:\n{}", self.stderr))
    }
}
