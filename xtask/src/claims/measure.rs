//! The VMs, two per kernel: `claims` of the tests crate, and the matrix's tests of real programs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::programs;
use crate::kernels::Kernel;
use crate::test::matrix::{self, Programs};
use crate::vm::{self, VmSpec};
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
    let programs = matrix::prepare(kernels, Some(PROGRAMS), true)?;
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
    vm::output(&spec, "not every row was measured")
}

/// The tests' filter.
const PROGRAMS: &str = "programs::";

fn measure_programs(kernel: &str, programs: &Programs) -> Result<String> {
    let spec = matrix::spec(kernel, programs, Some(PROGRAMS))?;
    Ok(programs::records(&vm::output(&spec, "not every real program was measured")?))
}
