//! A worker, somebody else, and one observer after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::observer::{Observer, Peer, Watching, getpid_calls};
use super::worker::Worker;
use super::{SETTLE, clock, operations, print, reference};
use crate::expect::Place;
use crate::harness::bench::Bench;
use crate::harness::bpf::{self, Objects};
use crate::harness::process;
use crate::harness::tracer::Tracer;

/// A peer that does not show by then does not count: instructions, because idle time passes at once, and a peer that
/// waits for the host's disk needs the host's time.
const ATTACH: u64 = 30_000_000_000;
/// How long a tracer is watched that nobody asks.
const IDLE: Duration = Duration::from_secs(60);

pub struct Stage<'a> {
    bench: &'a Bench,
    tracer: PathBuf,
    worker: Worker,
    /// Does nothing.
    other: Child,
    rounds: usize,
    /// What the kernel holds when nobody observes.
    nothing: Objects,
    /// The peers' libraries are in memory.
    peers_read: bool,
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // Gone with us in any case.
        let _ = self.other.kill();
        let _ = self.other.wait();
    }
}

impl<'a> Stage<'a> {
    /// `own` is this program, `tracer` the tracer, both where reading them again needs no I/O.
    pub fn new(bench: &'a Bench, own: &Path, tracer: PathBuf, rounds: usize) -> Result<Stage<'a>> {
        let dir = bench.dir(Place::Ext4).map_err(anyhow::Error::msg)?;
        let other = Command::new(own).arg("idle").stdin(Stdio::piped()).spawn().context("no bystander")?;
        let nothing = Objects::now()?;
        let mut stage = Stage {
            bench,
            tracer,
            worker: Worker::start(own, dir)?,
            other,
            rounds,
            nothing,
            peers_read: false,
        };
        std::thread::sleep(SETTLE);
        stage.worker.warm_up()?;
        Ok(stage)
    }

    pub fn measure(&mut self, observer: Observer) -> Result<()> {
        for taken in self.worker.measure(self.rounds)? {
            let mut line = json!(taken);
            line["observer"] = json!(observer.name());
            print(self.bench, "taken", line);
        }
        Ok(())
    }

    /// The tracer in one of its ways.
    pub fn observe(&mut self, observer: Observer) -> Result<()> {
        let start = Instant::now();
        let tracer = self.start(observer)?;
        let attach = start.elapsed();
        std::thread::sleep(SETTLE);
        self.measure(observer)?;
        let (maps, map_bytes) = maps(tracer.pid())?;
        let rss = resident(tracer.pid())?;
        if observer == Observer::Serve {
            self.verified()?;
        }
        let (detach, ended) = self.stop(tracer)?;
        let line = json!({
            "observer": observer.name(),
            "attach_ns": attach.as_nanos() as u64,
            "detach_ns": detach.as_nanos() as u64,
            "ended_ns": ended.as_nanos() as u64,
            "maps": maps,
            "map_bytes": map_bytes,
            "resident_bytes": rss,
        });
        print(self.bench, "held", line);
        std::thread::sleep(SETTLE);
        Ok(())
    }

    fn start(&self, observer: Observer) -> Result<Tracer> {
        let (worker, other) = (self.worker.pid(), self.other.id());
        let arguments = observer.arguments(worker, other).context("it is not the tracer")?;
        let mut tracer = Tracer::start(&self.tracer, &arguments)?;
        observer.wait(&mut tracer, worker, other)?;
        Ok(tracer)
    }

    /// Until the kernel holds nothing of it any more, which may be later than its end; and until its end.
    fn stop(&self, tracer: Tracer) -> Result<(Duration, Duration)> {
        let start = Instant::now();
        let outcome = tracer.stop()?;
        let ended = start.elapsed();
        ensure!(outcome.status.success(), "tracer: {}\n{}", outcome.status, outcome.stderr);
        self.nothing.wait_until_as_before()?;
        Ok((start.elapsed(), ended))
    }

    /// What the verifier made of each program.
    fn verified(&self) -> Result<()> {
        for program in bpf::programs()? {
            let line = json!({
                "program": program.name,
                "instructions": program.instructions,
                "machine_bytes": program.machine_bytes,
                "verified": program.verified,
            });
            print(self.bench, "program", line);
        }
        Ok(())
    }

    /// Somebody else; why it was not measured if it cannot be.
    pub fn other(&mut self, observer: Observer) -> Result<()> {
        let result = match observer {
            Observer::Peer(peer) => self.peer(observer, peer),
            Observer::Reference(place, body) => match reference::attach(place, body, self.worker.pid()) {
                Ok(_attached) => self.measure(observer),
                Err(error) => Err(error),
            },
            _ => unreachable!("the tracer is observed"),
        };
        if let Err(error) = result {
            let line = json!({"observer": observer.name(), "missing": format!("{error:#}")});
            print(self.bench, "missing", line);
        }
        // What it began to take down.
        self.nothing.wait_until_as_before()?;
        std::thread::sleep(SETTLE);
        Ok(())
    }

    fn peer(&mut self, observer: Observer, peer: Peer) -> Result<()> {
        let program = peer.find().context("it is not there")?;
        if !std::mem::replace(&mut self.peers_read, true) {
            program.read_all()?;
        }
        let version = program.version()?;
        let log = self.bench.tmpfs.join("peer.log");
        let before = self.getpid()?;
        let mut watching = Watching::start(peer, &program, self.worker.pid(), &log)?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        self.wait_until_it_counts(&mut watching, before).with_context(|| short(&said()))?;
        self.measure(observer)?;
        watching.stop()?;
        let (counted, least) = (getpid_calls(&said()), self.rounds * operations::GETPIDS);
        ensure!(
            counted >= Some(least as u64),
            "it counted {counted:?} of {least} calls:\n{}",
            short(&said())
        );
        print(self.bench, "peer", json!({"observer": observer.name(), "version": version}));
        Ok(())
    }

    fn getpid(&mut self) -> Result<f64> {
        Ok(self.worker.measure_these(3, &["getpid"])?[0].least)
    }

    /// The peers do not tell when they count, but getpid takes longer then.
    fn wait_until_it_counts(&mut self, watching: &mut Watching, before: f64) -> Result<()> {
        const SHOWS: f64 = 30.0;
        const POLL: u64 = 3_000_000;
        let start = clock::now();
        while self.getpid()? < before + SHOWS {
            watching.check()?;
            ensure!(clock::now() - start < ATTACH, "it does not count");
            clock::spin(POLL);
        }
        // What it attaches after that.
        clock::spin(ATTACH / 20);
        std::thread::sleep(SETTLE);
        watching.check()
    }

    /// How often the tracer wakes up by itself.
    pub fn idle(&mut self) -> Result<()> {
        for observer in Observer::OURS {
            let tracer = self.start(observer)?;
            std::thread::sleep(SETTLE);
            let before = process::truth(tracer.pid())?.voluntary;
            std::thread::sleep(IDLE);
            let wake_ups = process::truth(tracer.pid())?.voluntary - before;
            self.stop(tracer)?;
            let line = json!({"observer": observer.name(), "wake_ups": wake_ups, "seconds": IDLE.as_secs()});
            print(self.bench, "idle", line);
        }
        Ok(())
    }
}

/// The beginning of what a peer printed.
fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

/// How many BPF maps a process holds, and what the kernel charges for them.
pub fn maps(pid: u32) -> Result<(usize, u64)> {
    let held = process::maps(pid)?;
    Ok((held.len(), held.values().sum()))
}

pub fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(process::number(&text, "VmRSS:")? << 10)
}
