//! A server: an ordinary process, with its output in a file, killed when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::harness::{LIMIT, metrics, process, until};

pub struct Server {
    child: Child,
    output: PathBuf,
}

impl Server {
    /// Starts it; `output` gets what it says.
    pub fn start(mut command: Command, output: &Path) -> Result<Server> {
        let file = File::create(output).with_context(|| format!("cannot create {}", output.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Server { child, output: output.into() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until `probe` has an answer, as long as the server lives.
    pub fn wait_for<T>(&mut self, what: &str, mut probe: impl FnMut(&Server) -> Option<T>) -> Result<T> {
        let waited = until(what, LIMIT, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            Ok(probe(self))
        });
        waited.with_context(|| format!("{what}; the server said:\n{}", self.said()))
    }

    /// Waits until somebody listens on a port: without connecting, which some servers take ill.
    pub fn wait_listening(&mut self, port: u16) -> Result<()> {
        self.wait_for(&format!("the server listens on port {port}"), |_| listens(port).then_some(()))
    }

    /// Its only child, such as nginx's worker.
    pub fn only_child(&self) -> Result<u32> {
        let pid = self.pid();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        text.trim().parse().with_context(|| format!("process {pid} has not one child, but {text:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's worker ends when its master asks, or else lives on.
        for pid in self.only_child().into_iter().chain([self.pid()]) {
            // SAFETY: takes no memory of ours; the parent is our own child, not yet waited for.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

/// A TCP port of the loopback that nobody listens on.
pub fn free_port() -> Result<u16> {
    Ok(metrics::free_address()?.port())
}

fn listens(port: u16) -> bool {
    let read = |name: &str| fs::read_to_string(name).unwrap_or_default();
    let (local, listen) = (format!(":{port:04X}"), "0A");
    [read("/proc/net/tcp"), read("/proc/net/tcp6")].iter().flat_map(|table| table.lines()).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|word| word.ends_with(&local)) && words.nth(1) == Some(listen)
    })
}

/// Waits until a server whose client has all it asked for is back where it waits for the next one:
/// then all its calls have returned, and are counted.
pub fn rest(pid: u32) -> Result<()> {
    process::wait_until_blocked(pid)
}
