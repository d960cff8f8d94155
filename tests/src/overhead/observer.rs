//! Who watches while the operations are measured: nobody, the tracer in its ways, its peers on the same job.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::harness::tracer::Tracer;
use crate::harness::{LIMIT, until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observer {
    Nobody,
    /// `tracer --pid` on the worker.
    Pid,
    /// `tracer --pid` on another process.
    Bystander,
    /// `tracer serve`: every process.
    Serve,
    Peer(Peer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Strace,
    PerfTrace,
    Bpftrace,
}

impl Observer {
    pub const ALL: [Observer; 7] = [
        Observer::Pid,
        Observer::Bystander,
        Observer::Serve,
        Observer::Peer(Peer::Bpftrace),
        Observer::Peer(Peer::PerfTrace),
        Observer::Peer(Peer::Strace),
        // Once more at the end: what the others left behind would show.
        Observer::Nobody,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Observer::Nobody => "nobody",
            Observer::Pid => "tracer --pid",
            Observer::Bystander => "tracer --pid, another process",
            Observer::Serve => "tracer serve",
            Observer::Peer(peer) => peer.name(),
        }
    }

    /// The tracer's arguments, if it is the tracer.
    pub fn arguments(self, worker: u32, other: u32) -> Option<Vec<String>> {
        let pid = |pid: u32| Some(vec!["--pid".into(), pid.to_string(), "--format".into(), "json".into()]);
        match self {
            Observer::Pid => pid(worker),
            Observer::Bystander => pid(other),
            Observer::Serve => Some(vec!["serve".into()]),
            Observer::Nobody | Observer::Peer(_) => None,
        }
    }

    /// Waits until the tracer counts.
    pub fn wait(self, tracer: &mut Tracer, worker: u32, other: u32) -> Result<()> {
        match self {
            Observer::Pid => tracer.wait_counting(&[worker]),
            Observer::Bystander => tracer.wait_counting(&[other]),
            _ => tracer.wait_counting_everybody(),
        }
    }
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Strace => "strace -f -c",
            Peer::PerfTrace => "perf trace -s",
            Peer::Bpftrace => "bpftrace",
        }
    }

    /// As found on PATH; `None` if it is not installed on the host.
    pub fn program(self) -> Option<PathBuf> {
        let name = self.name().split(' ').next().unwrap_or_default();
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    }

    pub fn version(self, program: &Path) -> Result<String> {
        let output = Command::new(program).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().trim().into())
    }

    /// What it can of the same counting.
    fn arguments(self, pid: u32) -> Vec<String> {
        let pid = pid.to_string();
        let words: &[&str] = match self {
            Peer::Strace => &["-f", "-c", "-p", &pid],
            Peer::PerfTrace => &["trace", "-s", "-p", &pid],
            Peer::Bpftrace => return vec!["-e".into(), SCRIPT.replace("PID", &pid)],
        };
        words.iter().map(|word| word.to_string()).collect()
    }
}

/// System calls, page faults, context switches, and bytes copied by the functions around the copies that the
/// operations use (a few of those that the tracer counts). A function that this kernel lacks is left out.
const SCRIPT: &str = "tracepoint:raw_syscalls:sys_enter /pid == PID/ { @calls[args->id] = count(); } \
    tracepoint:exceptions:page_fault_user /pid == PID/ { @faults = count(); } \
    tracepoint:sched:sched_switch /pid == PID/ { @switches = count(); } \
    kretprobe:_copy_to_iter, kretprobe:copy_page_to_iter /pid == PID/ { @to_user = sum(retval); } \
    kretprobe:_copy_from_iter, kretprobe:FROM /pid == PID/ { @from_user = sum(retval); }";

/// A peer that is attached.
pub struct Watching {
    child: Child,
}

impl Watching {
    pub fn start(peer: Peer, program: &Path, pid: u32) -> Result<Watching> {
        let mut arguments = peer.arguments(pid);
        arguments.iter_mut().for_each(|word| *word = word.replace("FROM", from_atomic()));
        let child = Command::new(program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Watching { child })
    }

    /// Gives it time to attach: the peers do not tell when they count. Whether it did is seen in the figures.
    pub fn settle(&mut self, time: Duration) -> Result<()> {
        std::thread::sleep(time);
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "it ended before anything was measured: {ended:?}");
        Ok(())
    }

    pub fn stop(mut self) -> Result<()> {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        until("the peer ends", LIMIT, || Ok(self.child.try_wait()?)).map(drop)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Already gone in the good case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The function that buffered writes copy with: another name since 5.14, an inline one before a function since 6.10.
fn from_atomic() -> &'static str {
    const NAMES: [&str; 2] = ["copy_page_from_iter_atomic", "iov_iter_copy_from_user_atomic"];
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let known = |name: &&&str| symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(**name));
    NAMES.iter().find(known).copied().unwrap_or("_copy_from_iter_nocache")
}
