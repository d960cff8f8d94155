//! What a scrape costs tracer itself, with as many real processes on this machine.

use std::io::PipeWriter;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::background::Running;
use crate::{ask, paths, sh};

/// Of a scrape, in a daemon that counts so many processes.
pub struct Cost {
    pub processes: f64,
    pub series: f64,
    pub cpu: Duration,
    /// Reading the maps, of that.
    pub reading: Duration,
    pub resident: f64,
    /// The copy probes attach on this machine.
    pub copies: bool,
}

const SCRAPES: u32 = 20;

/// `None`, said, where it cannot be measured.
pub fn measure(tracer: &Path, processes: usize) -> Option<Cost> {
    sh::progress(&format!("{processes} processes of this machine"));
    match try_measure(tracer, processes) {
        Ok(cost) => Some(cost),
        Err(error) => {
            sh::progress(&format!("what a scrape costs is not measured: {error:#}"));
            None
        }
    }
}

/// Processes that wait; once they are let go they read a little, and wait for ever.
struct Sleepers {
    children: Vec<Child>,
    /// What they wait for first.
    gate: Option<PipeWriter>,
}

impl Sleepers {
    fn start(count: usize, dir: &Path) -> Result<Sleepers> {
        let fifo = dir.join("nobody-writes");
        sh::capture(Command::new("mkfifo").arg(&fifo), "make a FIFO")?;
        let (reader, gate) = std::io::pipe().context("no pipe")?;
        let mut sleepers = Sleepers { children: Vec::new(), gate: Some(gate) };
        for _ in 0..count {
            let mut command = Command::new("busybox");
            command.args(["cat", "-", "/etc/hostname"]).arg(&fifo);
            command.stdin(reader.try_clone()?).stdout(Stdio::null());
            sleepers.children.push(command.spawn().context("cannot start busybox")?);
        }
        Ok(sleepers)
    }

    fn let_go(&mut self) {
        drop(self.gate.take());
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

fn try_measure(tracer: &Path, count: usize) -> Result<Cost> {
    ensure!(rustix::process::geteuid().is_root(), "it needs root");
    let dir = paths::TempDir::new_in(&std::env::temp_dir(), "tracer-cost-")?;
    let address = ask::free_address()?;
    // Before the daemon, which makes room for twice as many processes as it finds.
    let mut sleepers = Sleepers::start(count, dir.path())?;
    let mut command = Command::new(tracer);
    command.args([
        "serve",
        "--group-by",
        "pid,comm",
        "--max-series",
        "10000000",
        "--listen",
        &address.to_string(),
    ]);
    let _daemon = Running::start(&mut command, &dir.path().join("log"), false)?;
    let begun = Instant::now();
    while ask::get(address, "/metrics").is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(120), "`tracer serve` does not count on this machine");
        std::thread::sleep(Duration::from_millis(500));
    }
    sleepers.let_go();
    std::thread::sleep(Duration::from_secs(5));
    ask::get(address, "/metrics")?;
    let value = |page: &str, name: &str| -> Result<f64> {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} on the page"))
    };
    let cpu = |page: &str| value(page, "tracer_process_cpu_seconds_total");
    let mut page = ask::get(address, "/metrics")?;
    let (before, mut reading) = (cpu(&page)?, 0.0);
    for _ in 0..SCRAPES {
        page = ask::get(address, "/metrics")?;
        reading += value(&page, "tracer_scrape_duration_seconds")?;
    }
    Ok(Cost {
        processes: value(&page, "tracer_processes")?,
        series: value(&page, "tracer_series")?,
        cpu: Duration::from_secs_f64((cpu(&page)? - before) / f64::from(SCRAPES)),
        reading: Duration::from_secs_f64(reading / f64::from(SCRAPES)),
        resident: value(&page, "tracer_process_resident_memory_bytes")?,
        copies: page.contains("\ntracer_copied_bytes_total{"),
    })
}
