//! `cargo xtask demo`: the main job, here if this kernel lets us, else in a VM.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::kernels::{self, Matrix};
use crate::vm::{self, Stream, VmSpec};
use crate::{build, setup, sh};

/// A server sends a file over TCP by read+write, mmap+write, sendfile and splice, tracer watches it
/// from outside, and the four ledgers are printed side by side.
///
/// Runs on this machine when tracer's copy probes attach here; else says why not and boots a stock
/// kernel in QEMU. Needs nothing but Rust: what is missing is installed or fetched first.
#[derive(clap::Args)]
pub struct Args {
    /// Run in a VM with this kernel of tests/kernels.toml, whatever this machine can do
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// How many MiB to send
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    size: u32,
}

pub fn main(args: &Args) -> Result<u8> {
    let matrix = Matrix::load()?;
    let kernel = matrix.get(args.kernel.as_deref().unwrap_or(&matrix.default))?;
    setup::ensure_build()?;
    let tracer = build::tracer(false)?;
    let workload = build::workload()?;
    let size = args.size.to_string();
    let reason = match &args.kernel {
        Some(name) => Some(format!("kernel {name} was asked for")),
        None => refused_here(&tracer)?,
    };
    let Some(reason) = reason else {
        sh::progress("tracer's probes attach on this kernel: running here");
        let mut command = Command::new(&workload);
        command.arg("demo").arg("--tracer").arg(&tracer).args(["--mib", &size]);
        let status = command.status().with_context(|| format!("cannot start {}", sh::show(&command)))?;
        return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
    };
    sh::progress(&format!("not on this machine: {reason}"));
    setup::ensure_vm()?;
    let cached = kernels::ensure(kernel)?;
    vm::prepare(&cached)?;
    sh::progress(&format!("booting Debian's {} in QEMU", cached.record.release));
    let mut spec = VmSpec { timeout: Duration::from_secs(900), ..VmSpec::new(&kernel.name) };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    spec.command =
        [&text(&workload), "demo", "--tracer", &text(&tracer), "--mib", &size].map(String::from).to_vec();
    for program in [&tracer, &workload] {
        vm::cli::reach(&mut spec, program.parent().unwrap_or(program));
    }
    spec.env = vm::cli::environment(&[])?;
    let outcome = vm::run(&spec, &|stream, bytes| {
        let _ = match stream {
            Stream::Out => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Stream::Err => io::stderr().write_all(bytes),
        };
    })?;
    Ok(outcome.status)
}

/// Why the copy probes do not attach on this machine, as tracer itself says; None if they do.
fn refused_here(tracer: &Path) -> Result<Option<String>> {
    // A demo must not hang on a kernel with which something is wrong: there are VMs.
    let mut command = Command::new("timeout");
    command.arg("60").arg(tracer).args(["doctor", "--quick"]);
    let output = sh::output(&mut command, "ask tracer whether its probes attach here")?;
    Ok((!output.status.success()).then(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        let reason = last.map(|line| line.trim_start_matches("error: ").to_string());
        reason.unwrap_or_else(|| format!("`tracer doctor --quick` failed ({})", output.status))
    }))
}
