//! `cargo xtask bench`: what tracer costs, in instructions, on every kernel.

mod document;
mod measured;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::kernels::Matrix;
use crate::vm::{self, VmSpec};
use crate::{build, paths, setup, sh};
use measured::Measured;

/// Counts the instructions that operations take untraced, with tracer, and with its peers (bpftrace, perf trace,
/// strace, where the host has them), and writes docs/overhead.md.
///
/// One VM per kernel, one after the other, some minutes each. The measured lines are kept in target/overhead.jsonl,
/// from which `--measured target/overhead.jsonl --no-vm` writes again without measuring.
#[derive(clap::Args)]
pub struct Args {
    /// Only these kernels of tests/kernels.toml (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    kernel: Vec<String>,
    /// Fewer rounds and no peers; prints the figures, and writes no document
    #[arg(long)]
    short: bool,
    /// Lines measured before, in the same form (repeatable)
    #[arg(long, value_name = "FILE")]
    measured: Vec<PathBuf>,
    /// Measure nothing: only what --measured has
    #[arg(long, requires = "measured")]
    no_vm: bool,
}

/// The limit is for what hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

pub fn main(args: &Args) -> Result<u8> {
    let mut measured = Measured::default();
    for path in &args.measured {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        measured.add(&text).with_context(|| format!("in {}", path.display()))?;
    }
    if !args.no_vm {
        let text = measure_all(args)?;
        measured.add(&text)?;
    }
    let text = document::write(&measured, &sh::today()?);
    if args.short {
        print!("{text}");
        return Ok(0);
    }
    let path = paths::repo().join("docs/overhead.md");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(0)
}

/// The lines of all kernels, kept in a file as they come.
fn measure_all(args: &Args) -> Result<String> {
    setup::ensure_build()?;
    let kernels = Matrix::load()?.select(&args.kernel)?;
    let tracer = build::tracer(false)?;
    let (overhead, workload) = build::with_workload("overhead")?;
    let target = paths::repo().join("target");
    paths::create(&target)?;
    let kept = target.join("overhead.jsonl");
    let mut text = String::new();
    for kernel in &kernels {
        sh::progress(&format!("{}: counting instructions", kernel.name));
        text += &measure(&kernel.name, &tracer, &overhead, &workload, args.short)?;
        fs::write(&kept, &text).with_context(|| format!("cannot write {}", kept.display()))?;
    }
    Ok(text)
}

fn measure(kernel: &str, tracer: &Path, overhead: &Path, workload: &Path, short: bool) -> Result<String> {
    let mut spec = VmSpec { timeout: LIMIT, counted: true, ..VmSpec::new(kernel) };
    spec.command = vec![overhead.to_string_lossy().into_owned()];
    spec.command.extend(short.then(|| "--short".into()));
    for program in [tracer, workload, overhead] {
        vm::cli::reach(&mut spec, program.parent().unwrap_or(program));
    }
    spec.env = vm::cli::test_environment(kernel, tracer, workload)?;
    vm::output(&spec, "not everything was measured")
}
