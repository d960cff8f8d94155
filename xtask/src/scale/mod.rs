//! `cargo xtask scale`: what a fleet costs, measured with replayed pages and a real Prometheus.

mod cost;
mod document;
mod fleet;
pub mod page;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{ask, build, paths, setup, sh};
use page::{By, Recorded};

/// Measures how many series and bytes machines have, and what Prometheus needs for so many of them; writes
/// docs/scale.md.
///
/// Machines are replayed (`tracer serve --replay`) from a page that was recorded in a VM, with its processes
/// multiplied. A step ends early when Prometheus needs more memory than --memory. What a scrape costs tracer itself
/// is measured on this machine with as many real processes; that takes root.
#[derive(clap::Args)]
pub struct Args {
    /// A page that was recorded with `--group-by pid,comm`
    #[arg(long, value_name = "FILE", default_value = "tests/recorded/page.txt")]
    page: PathBuf,
    /// Seconds between two scrapes of a target
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    interval: u64,
    /// Scrapes of each target in a step
    #[arg(long, value_name = "N", default_value_t = 3)]
    scrapes: u64,
    /// A step ends when Prometheus has more, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 5500)]
    memory: u64,
    /// Write to this file and not to docs/scale.md
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How machines are grouped, their processes, and how many there are. The last has so few that a thousand fit.
const STEPS: [(By, usize, u16); 6] = [
    (By::PidComm, PROCESSES, 3),
    (By::PidComm, PROCESSES, 10),
    (By::CommPod, PROCESSES, 10),
    (By::Comm, PROCESSES, 30),
    (By::Comm, PROCESSES, 100),
    (By::Unit, 10, 1000),
];

/// Seconds between scrapes, and their number, of one step more: enough to fill a chunk of 120 samples, so that it
/// tells what a sample takes on disk.
const FULL: ((By, usize, u16), u64, u64) = ((By::Comm, PROCESSES, 10), 3, 125);

/// Processes of a machine.
pub const PROCESSES: usize = 1000;
const MANY: usize = 10_000;

/// A page as it is scraped.
pub struct Size {
    pub by: By,
    pub processes: usize,
    pub series: usize,
    pub bytes: usize,
    pub gzip: usize,
}

pub fn main(args: &Args) -> Result<u8> {
    setup::ensure_build()?;
    setup::ensure_prometheus()?;
    let tracer = build::tracer(false)?;
    let text = fs::read_to_string(paths::repo().join(&args.page))
        .with_context(|| format!("cannot read {}", args.page.display()))?;
    let recorded = Recorded::parse(&text)?;
    let dir = paths::TempDir::new_in(&std::env::temp_dir(), "tracer-scale-")?;
    let costs = [PROCESSES, MANY].map(|count| cost::measure(&tracer, count));
    let mut sizes = Vec::new();
    for by in By::ALL {
        for processes in [PROCESSES, MANY] {
            let path = dir.path().join("page.txt");
            fs::write(&path, recorded.page(processes, by))?;
            let replay = fleet::Replay::start(&tracer, &path, 1)?;
            let page = ask::get(replay.address, "/metrics")?;
            let gzip = ask::compressed(replay.address, "/metrics")?;
            sizes.push(Size { by, processes, series: page::series(&page), bytes: page.len(), gzip });
        }
    }
    let mut steps = Vec::new();
    let steps_of = STEPS.map(|step| (step, args.interval, args.scrapes));
    for ((by, processes, targets), interval, scrapes) in steps_of.into_iter().chain([FULL]) {
        sh::progress(&format!("{targets} machines, grouped by {}", by.name()));
        let path = dir.path().join("page.txt");
        fs::write(&path, recorded.page(processes, by))?;
        let plan =
            fleet::Plan { interval: Duration::from_secs(interval), scrapes, memory: args.memory << 20 };
        steps.push(fleet::measure(&tracer, &path, (by, processes, targets), &plan)?);
    }
    let text = document::render(&recorded, args.interval, &costs, &sizes, &steps)?;
    let output = args.output.clone().unwrap_or_else(|| paths::repo().join("docs/scale.md"));
    fs::write(&output, text).with_context(|| format!("cannot write {}", output.display()))?;
    sh::progress(&format!("{} written", output.display()));
    Ok(0)
}
