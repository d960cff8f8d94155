//! `hardened_usercopy=off` on the kernel's command line, in any spelling that the kernel takes: up to 6.14 the check is
//! still called and returns at once, since then it is patched out of the live text. Either way every number is the same.

use std::fs;

use anyhow::{Result, ensure};
use tracer_tests::exact::workloads;
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, check, exact};

/// Its calls' arguments are control that is copied by inlined code behind the check, and not counted where that is patched
/// out (docs/coverage.md).
const ARGUMENTS: &str = "compat_socketcall";

pub fn checks() -> Vec<Check> {
    let mut scenes = workloads();
    scenes.retain(|name| *name != ARGUMENTS);
    let mut checks = with_scenes(scenes);
    checks.push(check("usercopy_off::doctor_says_complete", doctor_says_complete));
    checks
}

/// What shows that another spelling is the same.
pub fn checks_of_the_spelling() -> Vec<Check> {
    with_scenes(vec!["own_memory"])
}

fn with_scenes(scenes: Vec<&'static str>) -> Vec<Check> {
    let mut checks = vec![check("usercopy_off::is_in_force", |_| is_in_force())];
    checks.extend(exact::checks_of("usercopy_off", &scenes));
    checks
}

fn is_in_force() -> Result<()> {
    let line = fs::read_to_string("/proc/cmdline")?.to_ascii_lowercase();
    ensure!(line.split_whitespace().any(|word| word == "hardened_usercopy=off"), "{line}");
    Ok(())
}

/// Also without a probe on the check, where no call of it runs: built without it, a kernel is like this one.
fn doctor_says_complete(bench: &Bench) -> Result<()> {
    let is_patched_out = bench.kernel == "7.2";
    for fault in ["", "refuse:check"] {
        let mut command = std::process::Command::new(&bench.tracer);
        command.arg("doctor").env("TRACER_FAULT", fault);
        let outcome = Tracer::start_command(command)?.wait(LIMIT)?;
        let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
        let complete = said.contains("\ncoverage of copies: complete\n");
        ensure!(complete == (fault.is_empty() || is_patched_out), "TRACER_FAULT={fault}: {said}");
    }
    Ok(())
}
