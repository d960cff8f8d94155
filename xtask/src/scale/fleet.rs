//! So many replayed machines, and a real Prometheus that scrapes them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::page::By;
use crate::background::{self, Running};
use crate::{ask, paths};

/// `tracer serve --replay`.
pub struct Replay {
    /// Of the first target.
    pub address: SocketAddr,
    _running: Running,
}

impl Replay {
    pub fn start(tracer: &Path, page: &Path, targets: u16) -> Result<Replay> {
        let address = free_ports(targets)?;
        let mut command = Command::new(tracer);
        command.args(["serve", "--listen", &address.to_string(), "--replay"]).arg(page);
        command.args(["--replay-targets", &targets.to_string()]);
        let running = Running::start(&mut command, &page.with_extension("log"), false)?;
        ask::wait(address, "/-/ready")?;
        Ok(Replay { address, _running: running })
    }
}

/// The first of so many consecutive ports, below those that connections get.
fn free_ports(count: u16) -> Result<SocketAddr> {
    let all_free =
        |first: u16| (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    let first = (20_000..31_000).step_by(500).find(|first| all_free(*first));
    Ok(SocketAddr::from(([127, 0, 0, 1], first.with_context(|| format!("no {count} free ports"))?)))
}

pub struct Plan {
    pub interval: Duration,
    pub scrapes: u64,
    /// Bytes.
    pub memory: u64,
}

/// What Prometheus says of itself at the end.
pub struct Step {
    pub by: By,
    pub processes: usize,
    pub targets: u16,
    pub interval: Duration,
    /// Why it ended before its time.
    pub stopped: Option<String>,
    pub up: f64,
    pub series: f64,
    pub samples_per_second: f64,
    /// Most resident memory.
    pub memory: f64,
    /// Seconds per second.
    pub cpu: f64,
    pub slowest_scrape: f64,
    /// Of the block that is made of everything at the end.
    pub bytes_per_sample: Option<f64>,
    /// Of the log that is written first.
    pub wal_bytes_per_sample: f64,
}

pub fn measure(
    tracer: &Path,
    page: &Path,
    (by, processes, targets): (By, usize, u16),
    plan: &Plan,
) -> Result<Step> {
    let replay = Replay::start(tracer, page, targets)?;
    let dir = paths::TempDir::new_in(&std::env::temp_dir(), "tracer-prometheus-")?;
    let own = ask::free_address()?;
    let _prometheus = prometheus(dir.path(), own, replay.address, targets, plan.interval)?;
    ask::wait(own, "/-/ready")?;
    let (begun, time) = (Instant::now(), plan.interval * u32::try_from(plan.scrapes)?);
    let (mut stopped, mut memory) = (None, 0f64);
    while begun.elapsed() < time {
        std::thread::sleep(Duration::from_secs(2).min(time));
        // One that is too busy to answer is asked again.
        let now = ask::number(own, SELF_MEMORY).ok().flatten().unwrap_or(0.0);
        memory = memory.max(now);
        if memory > plan.memory as f64 {
            stopped = Some(format!("at {} MiB, after {} s", plan.memory >> 20, begun.elapsed().as_secs()));
            break;
        }
    }
    let number = |query: &str| -> Result<f64> {
        ask::number(own, query)?.with_context(|| format!("Prometheus has nothing for {query}"))
    };
    let seconds = begun.elapsed().as_secs_f64();
    let samples = number(
        "prometheus_tsdb_head_samples_appended_total{type='float'} or prometheus_tsdb_head_samples_appended_total",
    )?;
    let mut step = Step {
        by,
        processes,
        targets,
        interval: plan.interval,
        stopped,
        up: number("sum(up{job='fleet'})")?,
        series: number("prometheus_tsdb_head_series")?,
        samples_per_second: number(&rate("prometheus_tsdb_head_samples_appended_total", seconds))?,
        memory,
        cpu: number(&rate("process_cpu_seconds_total{job='prometheus'}", seconds))?,
        slowest_scrape: number("max(scrape_duration_seconds{job='fleet'})")?,
        wal_bytes_per_sample: size(&dir.path().join("data/wal"))? as f64 / samples,
        bytes_per_sample: None,
    };
    // A block needs about as much memory again for a while.
    if step.stopped.is_none() && memory < plan.memory as f64 / 2.0 {
        ask::api(own, "POST", "admin/tsdb/snapshot", &[])?;
        step.bytes_per_sample = Some(size(&dir.path().join("data/snapshots"))? as f64 / samples);
    }
    Ok(step)
}

const SELF_MEMORY: &str = "process_resident_memory_bytes{job='prometheus'}";

/// Over the second half, when all targets are known.
fn rate(metric: &str, seconds: f64) -> String {
    format!("sum(rate({metric}[{}s]))", (seconds / 2.0).max(20.0) as u64)
}

fn prometheus(
    dir: &Path,
    own: SocketAddr,
    first: SocketAddr,
    targets: u16,
    interval: Duration,
) -> Result<Running> {
    let list =
        (0..targets).map(|i| format!("'127.0.0.1:{}'", first.port() + i)).collect::<Vec<_>>().join(", ");
    let config: PathBuf = dir.join("prometheus.yml");
    let seconds = interval.as_secs();
    fs::write(
        &config,
        format!(
            "global: {{scrape_interval: {seconds}s, scrape_timeout: {}s}}\n\
             scrape_configs:\n\
             - job_name: fleet\n  static_configs: [{{targets: [{list}]}}]\n\
             - job_name: prometheus\n  scrape_interval: 2s\n  scrape_timeout: 2s\n  \
               static_configs: [{{targets: ['{own}']}}]\n",
            seconds.min(30)
        ),
    )?;
    let mut command = background::prometheus(&config, &dir.join("data"), own)?;
    command.arg("--web.enable-admin-api");
    Running::start(&mut command, &dir.join("output"), false)
}

/// Bytes of all files below.
fn size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}
