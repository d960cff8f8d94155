//! A command that is started, and does nothing until it is let go: so that the tracer can be attached
//! to a process that does its work at once.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A shell that waits for a line and becomes the command, with the same pid.
pub struct Gated {
    child: Child,
    name: String,
}

impl Gated {
    pub fn new(command: &[&str]) -> Result<Gated> {
        let child = Command::new("/usr/bin/dash")
            .args(["-c", "read -r go && exec \"$@\"", "gate"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start /usr/bin/dash")?;
        Ok(Gated { child, name: command.join(" ") })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go, waits for its end, and returns its output, which must be little.
    pub fn run(&mut self) -> Result<String> {
        let mut gate = self.child.stdin.take().context("it has been let go already")?;
        gate.write_all(b"go\n").with_context(|| format!("cannot let go {}", self.name))?;
        drop(gate);
        let (mut output, mut errors) = (String::new(), String::new());
        self.child.stdout.take().context("no stdout")?.read_to_string(&mut output)?;
        self.child.stderr.take().context("no stderr")?.read_to_string(&mut errors)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{}: {status}\n{output}{errors}", self.name);
        Ok(output)
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // Already gone in the good case: neither may fail then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
