//! The VMs, two per kernel: `claims` of the tests crate, and the matrix's tests of real programs.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::programs;
use crate::kernels::Kernel;
use crate::test::matrix::{self, Programs};
use crate::vm::{self, Stream, VmSpec};
use crate::{build, setup, sh};

/// A few minutes under TCG; the limit is for what hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

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
    // With the real programs, the slow ones on every kernel.
    let programs = matrix::prepare(kernels, Some(PROGRAMS))?;
    let (claims, workload) = build::with_workload("claims")?;
    let mut run = Run::default();
    for Kernel { name, .. } in kernels {
        sh::progress(&format!("{name}: measuring {} rows", rows.len()));
        let outcome = measure_rows(name, &programs.tracer, &claims, &workload, rows);
        run.take(outcome);
        sh::progress(&format!("{name}: measuring real programs"));
        run.take(measure_programs(name, &programs));
    }
    Ok(run)
}

impl Run {
    fn take(&mut self, outcome: Result<String>) {
        match outcome {
            Ok(lines) => self.text += &lines,
            Err(error) => {
                sh::progress(&format!("{error:#}"));
                self.failed.push(format!("{error:#}"));
            }
        }
    }
}

fn measure_rows(
    kernel: &str,
    tracer: &Path,
    claims: &Path,
    workload: &Path,
    rows: &[String],
) -> Result<String> {
    let mut spec = VmSpec { timeout: LIMIT, ..VmSpec::new(kernel) };
    spec.command = vec![claims.to_string_lossy().into_owned()];
    spec.command.extend(rows.iter().cloned());
    for program in [tracer, workload, claims] {
        vm::cli::reach(&mut spec, program.parent().unwrap_or(program));
    }
    spec.env = vm::cli::test_environment(kernel, tracer, workload)?;
    boot(&spec, "not every row was measured")
}

/// The tests' filter.
const PROGRAMS: &str = "programs::";

fn measure_programs(kernel: &str, programs: &Programs) -> Result<String> {
    let mut spec = matrix::spec(kernel, programs, Some(PROGRAMS))?;
    spec.env.retain(|(key, _)| key != "TRACER_PROGRAMS");
    spec.env.push(("TRACER_PROGRAMS".into(), "all".into()));
    Ok(programs::records(&boot(&spec, "not every real program was measured")?))
}

/// What a VM printed; its errors if it failed, after `failure`.
fn boot(spec: &VmSpec, failure: &str) -> Result<String> {
    let (out, err) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let outcome = vm::run(spec, &|stream, bytes| {
        let into = if stream == Stream::Out { &out } else { &err };
        into.lock().unwrap_or_else(|e| e.into_inner()).extend_from_slice(bytes);
    })?;
    let said = |bytes: Mutex<Vec<u8>>| {
        String::from_utf8_lossy(&bytes.into_inner().unwrap_or_else(|e| e.into_inner())).into_owned()
    };
    let (out, err) = (said(out), said(err));
    ensure!(outcome.status == 0, "{}: {failure}:\n{}", spec.kernel, sh::tail(&err, 40));
    Ok(out)
}
