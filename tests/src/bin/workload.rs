//! `workload NAME`: see `tracer_tests::workload`.
//!
//! No Rust start-up code (it would poll, and install signal handlers): the
//! children of the workload `children` must make no call but their own.
#![no_main]

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tracer_tests::demo;
use tracer_tests::workload::protocol::Drive;
use tracer_tests::workload::receive::{self, Receiver};
use tracer_tests::workload::scene::feeder;
use tracer_tests::workload::{
    EXIT_SKIP, Options, Skip, children, forks, fuse_daemon, pingpong, process_vm, protocol, registry,
    selftest, signals,
};

const USAGE: &str = "\
usage: workload NAME [--bytes N] [--chunk C] [--dir D] [--to D] [--cold] [--host IP]
                     [--notify PID] [--in-flight] [--once]
       workload --list
       workload selftest [FILTER] [--dir D]
       workload forks [--per-second 200] [--seconds 10]
       workload demo --tracer PATH [--mib 64] [--dir D]";

/// Called by libc; std has the arguments by itself (from .init_array).
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => {
                println!("{}", json!({"skip": skip.to_string()}));
                EXIT_SKIP
            }
            None => {
                eprintln!("workload {}: {error:#}", arguments.join(" "));
                1
            }
        },
    }
}

fn dispatch(arguments: &[String]) -> Result<i32> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // First, and before anything else is parsed: 200 of them are counted.
        ["role", "child", ..] => children::child(&arguments[2..]).map(|()| 0),
        ["role", role, ..] => run_role(role, &arguments[2..]).map(|()| 0),
        ["--list"] => {
            registry::ALL.iter().for_each(|entry| println!("{}", entry.name));
            Ok(0)
        }
        ["forks", ..] => forks::main(&arguments[1..]).map(|()| 0),
        ["selftest", ..] => selftest::run(&Line::parse(&arguments[1..])?.into_selftest()),
        ["demo", ..] => {
            let line = Line::parse(&arguments[1..])?;
            let tracer = line.tracer.context("demo needs --tracer PATH")?;
            demo::run(&tracer, line.mib, &line.options.dir)
        }
        [name, ..] if !name.starts_with('-') => {
            let line = Line::parse(&arguments[1..])?;
            let entry = registry::find(name).with_context(|| format!("no such workload\n{USAGE}"))?;
            let drive = if line.once { Drive::Once } else { Drive::Signals };
            if drive == Drive::Signals {
                // Not under `tracer run`, whose thread that starts us ends at once.
                signals::die_with_parent();
            }
            protocol::run(entry, &line.options, drive).map(|()| 0)
        }
        _ => bail!("what?\n{USAGE}"),
    }
}

fn run_role(role: &str, arguments: &[String]) -> Result<()> {
    signals::die_with_parent();
    let mut line = Line::parse(arguments)?;
    match role {
        "drain" => {
            let receiver = Receiver::named(line.word.as_deref().context("drain RECEIVER")?)?;
            let fd = line.take_fd()?;
            receive::drain(&line.options, receiver, fd)
        }
        "echo" => pingpong::echo(line.take_fd()?, line.take_fd()?),
        "feed" => {
            let wake = line.word.take().context("feed WAKE")?;
            let (sink, memory, pipe) = (line.take_fd()?, line.take_fd()?, line.take_fd()?);
            feeder::feed(&line.options, &wake, sink, memory, pipe)
        }
        "fuse" => {
            let mode = line.word.clone().context("fuse direct|cached|passthrough")?;
            let device = line.take_fd()?;
            fuse_daemon::serve(&line.options, &mode, device)
        }
        "memory" => process_vm::hold(&line.options),
        _ => bail!("no role is called {role}"),
    }
}

/// The command line after the first word.
struct Line {
    options: Options,
    word: Option<String>,
    fds: Vec<OwnedFd>,
    once: bool,
    tracer: Option<PathBuf>,
    mib: usize,
}

impl Line {
    fn parse(arguments: &[String]) -> Result<Self> {
        let options = Options {
            bytes: 1 << 20,
            chunk: 64 << 10,
            dir: "".into(),
            to: None,
            cold: false,
            notify: None,
            in_flight: false,
            host: None,
        };
        let mut line = Line { options, word: None, fds: Vec::new(), once: false, tracer: None, mib: 64 };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--bytes" => line.options.bytes = value()?.parse()?,
                "--chunk" => line.options.chunk = value()?.parse()?,
                "--dir" => line.options.dir = value()?.into(),
                "--to" => line.options.to = Some(value()?.into()),
                "--cold" => line.options.cold = true,
                "--notify" => line.options.notify = Some(value()?.parse()?),
                // SAFETY: handed down by the parent for this role alone.
                "--fd" => line.fds.push(unsafe { OwnedFd::from_raw_fd(value()?.parse()?) }),
                "--host" => line.options.host = Some(value()?.parse()?),
                "--in-flight" => line.options.in_flight = true,
                "--once" => line.once = true,
                "--tracer" => line.tracer = Some(value()?.into()),
                "--mib" => line.mib = value()?.parse()?,
                option if option.starts_with('-') => bail!("unknown option {option}\n{USAGE}"),
                other => line.word = Some(other.into()),
            }
        }
        if line.options.dir.as_os_str().is_empty() {
            line.options.dir = default_dir();
        }
        Ok(line)
    }

    fn take_fd(&mut self) -> Result<OwnedFd> {
        if self.fds.is_empty() {
            bail!("this role needs another --fd");
        }
        Ok(self.fds.remove(0))
    }

    fn into_selftest(self) -> selftest::Plan {
        selftest::Plan { filter: self.word, options: self.options }
    }
}

/// A tmpfs where there is one.
fn default_dir() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { std::env::temp_dir() }
}
