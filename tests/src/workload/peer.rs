//! The process at the other end. A process of its own, executed anew (a bare
//! fork would share pages with the workload and show its copy-on-write).

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Options;
use super::receive::Receiver;

/// A child in one of the roles of `workload role ...`; killed if dropped.
pub struct Peer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the role with `fds` inherited, and waits until it is ready.
    pub fn start(role: &str, fds: &[OwnedFd], arguments: &[String]) -> Result<Self> {
        let mut inherited = Vec::new();
        let mut command = Command::new("/proc/self/exe");
        command.arg("role").arg(role).args(arguments);
        for fd in fds {
            let copy = inheritable(fd)?;
            command.arg("--fd").arg(copy.as_raw_fd().to_string());
            inherited.push(copy);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the peer")?;
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut peer = Peer { child, lines };
        let ready = peer.line()?;
        ensure!(ready["ready"] == true, "the peer said {ready}");
        Ok(peer)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next JSON line of the peer.
    pub fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            bail!("the peer ended early: {status}");
        }
        serde_json::from_str(&line).with_context(|| format!("the peer said {line:?}"))
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.pid() as i32, signal) };
    }

    /// Waits for its end, which must be a good one.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the peer failed: {status}");
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Already gone in the good case: neither may fail then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of `fd` that survives exec.
fn inheritable(fd: &OwnedFd) -> Result<OwnedFd> {
    // SAFETY: takes no memory; the result is a new descriptor of our own.
    unsafe {
        let copy = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, 3);
        ensure!(copy >= 0, "fcntl(F_DUPFD): {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(copy))
    }
}

/// The peer that receives.
pub struct Drain {
    peer: Peer,
    receiver: Receiver,
}

impl Drain {
    pub fn start(options: &Options, receiver: Receiver, fd: OwnedFd) -> Result<Self> {
        let mut arguments = vec![
            receiver.name().to_string(),
            "--bytes".into(),
            options.bytes.to_string(),
            "--chunk".into(),
            options.chunk.to_string(),
            "--dir".into(),
            options.dir.display().to_string(),
        ];
        if let Some(pid) = options.notify {
            arguments.extend(["--notify".into(), pid.to_string()]);
        }
        if options.in_flight {
            arguments.push("--in-flight".into());
        }
        let peer = Peer::start("drain", &[fd], &arguments)?;
        Ok(Drain { peer, receiver })
    }

    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }

    /// After the end of the stream: did all windows arrive, and unchanged?
    pub fn check(&mut self, windows: u64, bytes: usize, checksum: u64) -> Result<()> {
        let report = self.peer.line()?;
        self.peer.wait()?;
        let expected = windows * bytes as u64;
        ensure!(report["bytes"] == expected, "sent {expected} bytes, the peer has {report}");
        if self.receiver.keeps_content() {
            let sums = report["checksums"].as_array().context("no checksums")?;
            ensure!(sums.len() as u64 == windows, "the peer saw {} windows", sums.len());
            ensure!(sums.iter().all(|sum| *sum == checksum), "the peer received other bytes");
        }
        Ok(())
    }
}
