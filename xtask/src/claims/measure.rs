//! The VMs: `claims` of the tests crate, once per kernel.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::kernels::{self, Kernel};
use crate::vm::{self, Stream, VmSpec};
use crate::{build, setup, sh};

/// A few minutes under TCG; the limit is for what hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

struct Programs {
    tracer: PathBuf,
    workload: PathBuf,
    claims: PathBuf,
}

/// What came out of the VMs.
#[derive(Default)]
pub struct Run {
    /// JSON lines.
    pub text: String,
    /// Kernels on which not every row was measured, and why.
    pub failed: Vec<String>,
}

/// One kernel after the other; what fails on one is no reason to lose what the others measured.
pub fn run(kernels: &[Kernel], rows: &[String]) -> Result<Run> {
    setup::ensure_build()?;
    setup::ensure_vm()?;
    for kernel in kernels {
        vm::prepare(&kernels::ensure(kernel)?)?;
    }
    let tracer = build::tracer(false)?;
    let (claims, workload) = build::claims()?;
    let programs = Programs { tracer, workload, claims };
    let mut run = Run::default();
    for kernel in kernels {
        sh::progress(&format!("{}: measuring {} rows", kernel.name, rows.len()));
        if let Err(error) = boot(&kernel.name, &programs, rows, &mut run.text) {
            sh::progress(&format!("{error:#}"));
            run.failed.push(format!("{error:#}"));
        }
    }
    Ok(run)
}

fn boot(kernel: &str, programs: &Programs, rows: &[String], lines: &mut String) -> Result<()> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut spec = VmSpec { timeout: LIMIT, ..VmSpec::new(kernel) };
    spec.command = vec![text(&programs.claims)];
    spec.command.extend(rows.iter().cloned());
    for program in [&programs.tracer, &programs.workload, &programs.claims] {
        vm::cli::reach(&mut spec, program.parent().unwrap_or(program));
    }
    spec.env = vm::cli::test_environment(kernel, &programs.tracer, &programs.workload)?;
    let (out, err) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let outcome = vm::run(&spec, &|stream, bytes| {
        let into = if stream == Stream::Out { &out } else { &err };
        into.lock().unwrap_or_else(|e| e.into_inner()).extend_from_slice(bytes);
    })?;
    let said = |bytes: Mutex<Vec<u8>>| {
        String::from_utf8_lossy(&bytes.into_inner().unwrap_or_else(|e| e.into_inner())).into_owned()
    };
    let err = said(err);
    *lines += &said(out);
    ensure!(outcome.status == 0, "{kernel}: not every row was measured:\n{}", sh::tail(&err, 40));
    Ok(())
}
