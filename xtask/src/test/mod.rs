//! `cargo xtask test`: the tests of this machine, then the matrix, one VM per kernel, then the package as a service, and
//! what it all costs.

mod host;
pub mod matrix;
mod overhead;
mod results;
mod soak;

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::kernels::{Kernel, Matrix};
use crate::{setup, sh};
use results::Counts;

/// Runs every test: those of the workspace here, the matrix in one VM per kernel, and on the default kernel a short
/// `cargo xtask soak` and the short form of `cargo xtask bench` (against tests/overhead.toml).
///
/// Sets up first what is missing. Output of a VM is prefixed with its kernel. The last lines sum
/// up everything, in the form of cargo test's and in words; the exit status is 1 when anything failed.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Only this kernel of tests/kernels.toml (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    kernel: Vec<String>,
    /// No VMs
    #[arg(long, conflicts_with_all = ["kernel", "vm_only"])]
    host_only: bool,
    /// Only the VMs
    #[arg(long)]
    vm_only: bool,
    /// Every test on every kernel, also those that are the same there, and slow
    #[arg(long, conflicts_with = "host_only")]
    everywhere: bool,
    /// How many VMs at a time; each has two CPUs
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only tests with this in their name
    filter: Option<String>,
}

/// The verdict on one part: the host's tests, or one kernel's.
pub struct Part {
    name: String,
    counts: Counts,
    seconds: f64,
    /// When it broke.
    error: Option<String>,
}

pub fn main(args: &Args) -> Result<u8> {
    let started = Instant::now();
    let matrix = Matrix::load()?;
    let kernels = matrix.select(&args.kernel)?;
    setup::ensure_build()?;
    let mut parts = Vec::new();
    if !args.vm_only {
        parts.push(host::run(args.filter.as_deref())?);
    }
    if !args.host_only {
        parts.extend(in_vms(args, &matrix, &kernels)?);
    }
    let mut total = Counts::default();
    let mut text = String::from("\n");
    for part in &parts {
        total.add(part.counts);
        text += &format!("{:<13} {} ({:.0} s)\n", part.name, part.counts, part.seconds);
        if let Some(error) = &part.error {
            text += &format!("              {}\n", error.lines().next().unwrap_or_default());
        }
    }
    text += &results::closing(total, started.elapsed());
    print(&text);
    Ok(u8::from(total.failed > 0))
}

/// One part of the tests, to be run beside others; nothing if it is left out.
type Job<'a> = Box<dyn Fn() -> Result<Option<Part>> + Send + Sync + 'a>;

fn in_vms(args: &Args, matrix: &Matrix, kernels: &[Kernel]) -> Result<Vec<Part>> {
    let filter = args.filter.as_deref();
    let programs = matrix::prepare(kernels, filter, args.everywhere)?;
    let mut jobs = matrix::jobs(matrix, kernels, &programs, filter)?;
    jobs.push(Box::new(|| overhead::run(kernels, filter)));
    let mut parts = run_beside(&jobs, args.jobs.unwrap_or_else(default_jobs).max(1))?;
    parts.extend(soak::run(kernels, filter)?);
    Ok(parts)
}

/// Runs `most` jobs at a time; the parts are in the order of the jobs.
fn run_beside(jobs: &[Job], most: usize) -> Result<Vec<Part>> {
    let next = AtomicUsize::new(0);
    let parts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..most.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { break };
                    let part = job();
                    parts.lock().unwrap_or_else(|e| e.into_inner()).push((index, part));
                }
            });
        }
    });
    let mut parts = parts.into_inner().unwrap_or_else(|e| e.into_inner());
    parts.sort_by_key(|(index, _)| *index);
    let parts: Result<Vec<Option<Part>>> = parts.into_iter().map(|(_, part)| part).collect();
    Ok(parts?.into_iter().flatten().collect())
}

/// One per CPU of this machine, which is what the emulation of a VM takes. Four on two CPUs took 191 s for sixteen
/// windows under `tracer audit`, two at a time 154 s.
fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).clamp(1, 4)
}

/// One line to stdout. The threads of the VMs print whole lines only.
fn print(line: &str) {
    if writeln!(io::stdout(), "{line}").is_err() {
        sh::progress("stdout is closed; the exit status will tell");
    }
}
