//! Who watches while the operations are measured: nobody, the tracer in its ways, its peers on the same job.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::reference::{Body, Place};
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
    /// The least that a program of that kind can take.
    Reference(Place, Body),
    Peer(Peer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Strace,
    PerfTrace,
    Bpftrace,
}

impl Observer {
    pub const OURS: [Observer; 3] = [Observer::Pid, Observer::Bystander, Observer::Serve];

    pub const OTHERS: [Observer; 8] = [
        Observer::Reference(Place::Enter, Body::Empty),
        Observer::Reference(Place::Enter, Body::Counting),
        Observer::Reference(Place::EnterExit, Body::Counting),
        Observer::Reference(Place::Fexit, Body::Empty),
        Observer::Reference(Place::Fexit, Body::Counting),
        Observer::Peer(Peer::Bpftrace),
        Observer::Peer(Peer::PerfTrace),
        Observer::Peer(Peer::Strace),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Observer::Nobody => "nobody",
            Observer::Pid => "tracer --pid",
            Observer::Bystander => "tracer --pid, another process",
            Observer::Serve => "tracer serve",
            Observer::Reference(Place::Enter, Body::Empty) => "empty program at sys_enter",
            Observer::Reference(Place::Enter, Body::Counting) => "counting program at sys_enter",
            Observer::Reference(Place::EnterExit, Body::Empty) => "empty programs at sys_enter, sys_exit",
            Observer::Reference(Place::EnterExit, Body::Counting) => {
                "counting programs at sys_enter, sys_exit"
            }
            Observer::Reference(Place::Fexit, Body::Empty) => "empty fexit program",
            Observer::Reference(Place::Fexit, Body::Counting) => "counting fexit program",
            Observer::Peer(peer) => peer.name(),
        }
    }

    /// The tracer's arguments, if it is the tracer.
    pub fn arguments(self, worker: u32, other: u32) -> Option<Vec<String>> {
        // No line in between: nobody asks for one.
        let pid = |pid: u32| {
            let words = ["--pid", &pid.to_string(), "--format", "json", "--interval", "1h"];
            Some(words.map(String::from).to_vec())
        };
        match self {
            Observer::Pid => pid(worker),
            Observer::Bystander => pid(other),
            Observer::Serve => Some(vec!["serve".into()]),
            _ => None,
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

    fn file(self) -> &'static str {
        self.name().split(' ').next().unwrap_or_default()
    }

    /// `None` where there is none.
    pub fn find(self) -> Option<Program> {
        match std::env::var_os("PEERS") {
            Some(root) => Program::below(root.into(), self.file()),
            None => Program::on_path(self.file()),
        }
    }

    /// What it can of the same counting.
    fn arguments(self, pid: u32) -> Vec<String> {
        let number = pid.to_string();
        let words: &[&str] = match self {
            Peer::Strace => &["-f", "-c", "-p", &number],
            Peer::PerfTrace => &["trace", "-s", "-p", &number],
            Peer::Bpftrace => &["-e", &script(pid)],
        };
        words.iter().map(|word| word.to_string()).collect()
    }
}

/// How many getpid calls there were, by what a peer printed at its end.
pub fn getpid_calls(printed: &str) -> Option<u64> {
    // strace and perf name it, bpftrace has its number; strace has the calls after the times, the others first.
    let line = printed.lines().find(|line| line.contains("@calls[39]") || line.contains("getpid"))?;
    let numbers = line.split_whitespace().filter(|word| !word.contains(['.', '%']));
    let numbers: Vec<u64> = numbers.filter_map(|word| word.parse().ok()).collect();
    let strace = line.trim_end().ends_with("getpid");
    numbers.get(usize::from(strace && numbers.len() > 1)).copied()
}

/// System calls, page faults, context switches, and bytes copied: at the return of the functions around the copies
/// that the operations use, a few of those that the tracer knows (it refuses the copy functions themselves, which
/// ftrace does not know).
fn script(pid: u32) -> String {
    let known = std::fs::read_to_string("/sys/kernel/tracing/available_filter_functions").unwrap_or_default();
    let known: Vec<&str> = known.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // Reading from the page cache has another name before 5.12.
    let wrappers = [
        ("to_user", &["filemap_read", "generic_file_buffered_read", "tcp_recvmsg", "pipe_read"][..]),
        ("from_user", &["generic_perform_write", "tcp_sendmsg", "pipe_write"][..]),
    ];
    let mut script = format!(
        "tracepoint:raw_syscalls:sys_enter /pid == {pid}/ {{ @calls[args->id] = count(); }} \
         tracepoint:exceptions:page_fault_user /pid == {pid}/ {{ @faults = count(); }} \
         tracepoint:sched:sched_switch /pid == {pid}/ {{ @switches = count(); }}"
    );
    for (map, names) in wrappers {
        let names = names.iter().filter(|name| known.contains(name));
        let probes: Vec<String> = names.map(|name| format!("fexit:vmlinux:{name}")).collect();
        let probes = probes.join(", ");
        if !probes.is_empty() {
            script += &format!(" {probes} /pid == {pid}/ {{ @{map} = sum(retval); }}");
        }
    }
    script
}

/// How a program is started.
pub struct Program {
    /// The program, or the loader with its arguments and the program.
    words: Vec<PathBuf>,
}

impl Program {
    fn on_path(name: &str) -> Option<Program> {
        let path = std::env::var_os("PATH")?;
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())?;
        Some(Program { words: vec![found] })
    }

    /// With the libraries of a root of its own, which may be newer than this system's.
    fn below(root: PathBuf, name: &str) -> Option<Program> {
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let program = root.join("usr/bin").join(name);
        let loader = libraries.join("ld-linux-x86-64.so.2");
        (program.is_file() && loader.is_file())
            .then(|| Program { words: vec![loader, "--library-path".into(), libraries, program] })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }

    pub fn version(&self) -> Result<String> {
        let output = self.command().arg("--version").output()?;
        ensure!(
            output.status.success(),
            "it does not start: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().trim().into())
    }

    /// Reads it and all libraries beside it into memory, which stays so: from the host's disk they would come when the host likes,
    /// and idle time passes at once here, so that the time to attach would be over before it has started.
    pub fn read_all(&self) -> Result<()> {
        for word in &self.words {
            let files = if word.is_dir() {
                std::fs::read_dir(word)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?
            } else {
                vec![word.clone()]
            };
            for file in files.iter().filter(|file| file.is_file()) {
                std::io::copy(&mut std::fs::File::open(file)?, &mut std::io::sink())?;
            }
        }
        Ok(())
    }
}

/// A peer that is attached.
pub struct Watching {
    child: Child,
}

impl Watching {
    pub fn start(peer: Peer, program: &Program, pid: u32, log: &Path) -> Result<Watching> {
        let log = std::fs::File::create(log)?;
        let child = program
            .command()
            .args(peer.arguments(pid))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", peer.name()))?;
        Ok(Watching { child })
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "it ended by itself: {ended:?}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_a_peer_counted() {
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n------\n \
            20.00    0.100000           3      7000           getpid\n";
        let perf = "   syscall            calls  errors  total       min\n                                     (msec)\n   \
            getpid              7000      0    35.2     0.0\n";
        let bpftrace = "@calls[1]: 3\n@calls[39]: 7000\n";
        for printed in [strace, perf, bpftrace] {
            assert_eq!(getpid_calls(printed), Some(7000), "{printed}");
        }
        assert_eq!(getpid_calls("LOST 3 events!"), None);
    }
}
