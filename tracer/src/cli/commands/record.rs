//! `tracer record -o FILE`: a window, saved.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::{Outcome, check, output, status};
use crate::check::policy::Policy;
use crate::check::run::{self, Plan, Seen};
use crate::cli::check_args::Record;
use crate::fmt::human;

pub fn record(args: Record) -> Outcome {
    Ok(ExitCode::from(match save(&args) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("tracer: {error:#}");
            status::USAGE
        }
    }))
}

fn save(args: &Record) -> Result<u8> {
    let policy = args.policy.as_deref().map(check::read_policy).transpose()?.unwrap_or_default();
    let mut taken: Vec<PathBuf> = args.policy.iter().cloned().collect();
    let mut output = output::Output::open(&args.output, &mut taken)?;
    let seen = count(&policy, args)?;
    if seen.windows.is_empty() {
        return Ok(explain(&seen));
    }
    output.write(check::saved(&seen).as_bytes())?;
    eprintln!(
        "tracer: {} saved to {}",
        human::counted(seen.windows.len() as u64, "window"),
        args.output.display()
    );
    Ok(explain(&seen))
}

fn count(policy: &Policy, args: &Record) -> Result<Seen> {
    let mut plan = Plan::of(policy, &check::given(&args.trial), args.trial.attach)?;
    plan.calibrate = !args.no_calibrate;
    run::conduct(plan, args.trial.timeout)
}

/// Says what was wrong, and returns the exit status.
pub fn explain(seen: &Seen) -> u8 {
    let in_windows = seen.windows.iter().flat_map(|window| &window.findings);
    for finding in seen.findings.iter().chain(in_windows) {
        eprintln!("tracer: {}: {}\n  {}", finding.reason.name(), finding.detail, finding.reason.remedy());
    }
    let mut status = if seen.windows.is_empty() { status::INCONCLUSIVE } else { 0 };
    for program in seen.programs.iter().filter(|program| program.failed) {
        eprintln!("tracer: {} {}: {}", program.role, program.command, program.end);
        status = status::WORKLOAD_FAILED;
    }
    status
}
