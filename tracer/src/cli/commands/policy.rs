//! `tracer policy init`: a commented policy from an observed run.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{Outcome, check, output, record, status};
use crate::check::draft;
use crate::check::policy::{Driver, Policy};
use crate::check::run::{self, Plan};
use crate::cli::check_args::{self, PolicyCommand, PolicyInit};
use crate::model::window::Recording;

pub fn policy(args: check_args::Policy) -> Outcome {
    let PolicyCommand::Init(args) = args.command;
    Ok(ExitCode::from(match init(&args) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("tracer: {error:#}");
            status::USAGE
        }
    }))
}

fn init(args: &PolicyInit) -> Result<u8> {
    let to_stdout = args.output.as_os_str() == "-";
    if !to_stdout && args.output.exists() {
        bail!("{} exists already\n  name another file with -o, or move it away", args.output.display());
    }
    let command =
        |words: &[std::ffi::OsString]| words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let driver: Option<Vec<String>> =
        args.driver.as_ref().map(|words| words.split_whitespace().map(str::to_owned).collect());
    let mut run = draft::Run { target: command(&args.trial.command), pids: args.trial.pid.clone(), driver };
    let recording = match &args.input {
        Some(file) => Recording::read(file)?.recording,
        None => {
            let driver = run.driver.clone().map(|command| Driver { line: 0, command });
            let policy = Policy { driver, ..Policy::default() };
            let plan = Plan::of(&policy, &check::given(&args.trial), args.trial.attach)?;
            let mut seen = run::conduct(plan, args.trial.timeout)?;
            let status = record::explain(&seen);
            if status != 0 {
                return Ok(status);
            }
            seen.windows.remove(0).recording
        }
    };
    if !run.pids.is_empty() && !run.target.is_empty() {
        run.driver = Some(std::mem::take(&mut run.target));
    }
    let text = draft::policy(&recording, &run);
    let mut output = output::Output::open(&args.output, &mut Vec::new())?;
    output.write(text.as_bytes())?;
    if !to_stdout {
        eprintln!("tracer: wrote {0}; now: sudo tracer check {0}", args.output.display());
    }
    Ok(0)
}
