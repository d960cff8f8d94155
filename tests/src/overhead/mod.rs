//! What `cargo xtask bench` runs in a VM of each kernel: instructions per operation, with nobody watching and
//! with each observer, as JSON lines. Time in that VM is instructions, so that two runs give the same figures.

pub mod clock;
pub mod observer;
pub mod operations;
pub mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::expect::Place;
use crate::harness::bench::Bench;
use crate::harness::claims::release;
use crate::harness::tracer::Tracer;
use observer::{Observer, Peer, Watching};
use worker::Worker;

/// What the kernel began, at boot or at an attach, has ended by then. Idle time costs nothing here.
const SETTLE: Duration = Duration::from_secs(2);
/// A peer has attached by then: the slowest compiles its program first.
const ATTACH: Duration = Duration::from_secs(30);

struct Stage<'a> {
    bench: &'a Bench,
    tracer: PathBuf,
    worker: Worker,
    other: u32,
    rounds: usize,
}

/// The short form is for the guard: fewer rounds, no peers.
pub fn run(bench: &Bench, short: bool) -> Result<()> {
    clock::check()?;
    // From the host's disk a page would come when the host likes, and idle time passes at once here: a time
    // limit would be over.
    let own = copied(&std::env::current_exe()?, &bench.tmpfs)?;
    let tracer = copied(&bench.tracer, &bench.tmpfs)?;
    let dir = bench.dir(Place::Ext4).map_err(anyhow::Error::msg)?;
    let idle = Command::new(&own).arg("idle").stdin(Stdio::piped()).spawn().context("no bystander")?;
    let bytes = fs::metadata(&tracer)?.len();
    print(bench, json!({"release": release()?, "binary_bytes": bytes, "version": version(&tracer)?}));
    let worker = Worker::start(&own, dir)?;
    let rounds = if short { 10 } else { 30 };
    let mut stage = Stage { bench, tracer, worker, other: idle.id(), rounds };
    std::thread::sleep(SETTLE);
    stage.measure(Observer::Nobody)?;
    for observer in Observer::ALL {
        match observer {
            Observer::Peer(_) if short => {}
            Observer::Peer(peer) => {
                if let Err(error) = stage.peer(observer, peer) {
                    print(bench, json!({"observer": observer.name(), "missing": format!("{error:#}")}));
                }
            }
            observer => stage.observe(observer)?,
        }
    }
    Ok(())
}

fn copied(program: &Path, dir: &Path) -> Result<PathBuf> {
    let to = dir.join(program.file_name().context("a program has a name")?);
    fs::copy(program, &to).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(to)
}

fn version(tracer: &Path) -> Result<String> {
    let output = Command::new(tracer).arg("-V").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn print(bench: &Bench, mut line: Value) {
    line["kernel"] = json!(bench.kernel);
    println!("{line}");
}

impl Stage<'_> {
    fn measure(&mut self, observer: Observer) -> Result<()> {
        for taken in self.worker.measure(self.rounds)? {
            let mut line = json!(taken);
            line["observer"] = json!(observer.name());
            print(self.bench, line);
        }
        Ok(())
    }

    /// Nobody, or the tracer.
    fn observe(&mut self, observer: Observer) -> Result<()> {
        let (worker, other) = (self.worker.pid(), self.other);
        let Some(arguments) = observer.arguments(worker, other) else {
            std::thread::sleep(SETTLE);
            return self.measure(observer);
        };
        let start = Instant::now();
        let mut tracer = Tracer::start(&self.tracer, &arguments)?;
        observer.wait(&mut tracer, worker, other)?;
        let attach = start.elapsed();
        std::thread::sleep(SETTLE);
        self.measure(observer)?;
        let (maps, map_bytes) = maps(tracer.pid())?;
        let rss = resident(tracer.pid())?;
        let start = Instant::now();
        let outcome = tracer.stop()?;
        let detach = start.elapsed();
        anyhow::ensure!(outcome.status.success(), "tracer: {}\n{}", outcome.status, outcome.stderr);
        print(
            self.bench,
            json!({
                "observer": observer.name(),
                "attach_ns": attach.as_nanos() as u64,
                "detach_ns": detach.as_nanos() as u64,
                "maps": maps,
                "map_bytes": map_bytes,
                "resident_bytes": rss,
            }),
        );
        Ok(())
    }

    fn peer(&mut self, observer: Observer, peer: Peer) -> Result<()> {
        let program = peer.program().context("not installed on the host")?;
        // Also brings what it reads from the host's disk into memory.
        let version = peer.version(&program)?;
        let mut watching = Watching::start(peer, &program, self.worker.pid())?;
        watching.settle(ATTACH)?;
        self.measure(observer)?;
        watching.stop()?;
        print(self.bench, json!({"observer": observer.name(), "version": version}));
        Ok(())
    }
}

/// BPF maps that a process holds: how many, and what the kernel charges for them.
fn maps(pid: u32) -> Result<(usize, u64)> {
    let mut held = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed in between.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<u64>().ok())
        };
        if let (Some(_), Some(id), Some(bytes)) = (field("map_type:"), field("map_id:"), field("memlock:")) {
            held.insert(id, bytes);
        }
    }
    Ok((held.len(), held.values().sum()))
}

fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("no VmRSS")? << 10)
}
