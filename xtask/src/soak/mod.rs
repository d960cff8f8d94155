//! `cargo xtask soak`: the installed package over minutes, on every kernel.

mod document;
mod figures;
mod kept;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::kernels::{self, Kernel, Matrix};
use crate::package::{self, Dependencies};
use crate::vm::{self, VmSpec};
use crate::{build, paths, setup, sh};
use figures::Figures;

/// Installs the package in a VM whose first process is systemd, lets a real Prometheus scrape it over TLS with a
/// password while up to 200 processes a second come and go, and compares what was counted with what they did.
///
/// One line per kernel with the figures; exit status 1 if anything was lost, or grew. What was measured on a kernel for
/// the usual time is kept in target/soak; when every kernel's is there docs/soak.md is written from it.
#[derive(clap::Args)]
pub struct Args {
    /// Only this kernel of tests/kernels.toml (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    kernel: Vec<String>,
    /// How long processes come and go, per kernel
    #[arg(long, value_name = "N", default_value_t = USUAL, value_parser = clap::value_parser!(u64).range(10..))]
    seconds: u64,
}

const USUAL: u64 = 300;
/// For all around the load, before it is said to hang: an emulated CPU needs minutes to boot systemd, install, attach and
/// start Prometheus, and several times as long on a busy host.
const AROUND: Duration = Duration::from_secs(30 * 60);

pub fn main(args: &Args) -> Result<u8> {
    let matrix = Matrix::load()?;
    let kernels = matrix.select(&args.kernel)?;
    let soak = prepare(&kernels)?;
    let mut failed = false;
    for kernel in &kernels {
        match soak.run(kernel, args.seconds) {
            Ok(figures) => {
                println!("{}: {figures}", kernel.name);
                let sound = figures.violations().is_empty();
                failed |= !sound;
                if sound && args.seconds >= USUAL {
                    kept::keep(&kernel.name, figures)?;
                }
            }
            Err(error) => {
                println!("{}: FAILED: {error:#}", kernel.name);
                failed = true;
            }
        }
    }
    if args.seconds >= USUAL && !failed {
        publish(&matrix.select(&[])?)?;
    }
    Ok(u8::from(failed))
}

fn publish(kernels: &[Kernel]) -> Result<()> {
    let mut rows = Vec::new();
    for kernel in kernels {
        let Some(row) = kept::find(&kernel.name)? else {
            sh::progress(&format!("docs/soak.md is not written: {} has not been soaked here", kernel.name));
            return Ok(());
        };
        rows.push(row);
    }
    let path = paths::repo().join("docs/soak.md");
    fs::write(&path, document::write(&rows)).with_context(|| format!("cannot write {}", path.display()))?;
    sh::progress("docs/soak.md is written");
    Ok(())
}

/// What the VMs run.
pub struct Soak {
    package: PathBuf,
    program: PathBuf,
    workload: PathBuf,
    prometheus: PathBuf,
}

/// Builds the package and what measures it, and fetches what is missing.
pub fn prepare(kernels: &[Kernel]) -> Result<Soak> {
    setup::ensure_build()?;
    setup::ensure_vm()?;
    setup::ensure_service()?;
    setup::ensure_prometheus()?;
    for kernel in kernels {
        vm::prepare(&kernels::ensure(kernel)?)?;
    }
    let package = package::make(Dependencies::Unlisted)?;
    let (program, workload) = build::with_workload("soak")?;
    let prometheus = setup::tools::find("prometheus")?.context("there is no prometheus")?;
    Ok(Soak { package, program, workload, prometheus })
}

impl Soak {
    /// One VM.
    pub fn run(&self, kernel: &Kernel, seconds: u64) -> Result<Figures> {
        sh::progress(&format!("{}: soaking for {seconds} s, and some minutes around", kernel.name));
        let out = vm::output(&self.spec(&kernel.name, seconds)?, "nothing was measured")?;
        serde_json::from_str(&out)
            .with_context(|| format!("the figures cannot be read: {}", sh::tail(&out, 5)))
    }

    fn spec(&self, kernel: &str, seconds: u64) -> Result<VmSpec> {
        let mut spec = package::with_systemd(kernel)?;
        spec.timeout = AROUND + Duration::from_secs(seconds);
        let programs = [&self.program, &self.package, &self.workload, &self.prometheus];
        for path in programs {
            vm::cli::reach(&mut spec, path.parent().unwrap_or(Path::new("/")));
        }
        spec.command = programs.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        spec.command.push(seconds.to_string());
        Ok(spec)
    }
}
