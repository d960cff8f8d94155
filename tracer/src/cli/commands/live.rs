//! `tracer --pid PID`: the ledger of processes that run already.

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow, bail};

use super::{Outcome, status, watch};
use crate::cli::commands::watch::{OnSignal, Watch};
use crate::cli::{Live, Select};
use crate::fmt::say;
use crate::kernel::process::{self, Target};
use crate::model::fault_injection::Fault;
use crate::session::announce;
use crate::session::events::{self, Signals};
use crate::session::{Options, Selection, Session};

pub fn live(args: Live) -> Outcome {
    if args.select.is_empty() {
        say(
            "nothing to count\n  name a process (tracer --pid PID) or a command (tracer run -- CMD); see tracer --help",
        );
        return Ok(ExitCode::from(status::USAGE));
    }
    let targets = select(&args.select)?;
    let mut ends = pidfds(&targets)?;
    let server = watch::bind(&args.output)?;
    let options = Options {
        attach: args.output.attach,
        audit: false,
        copy_sizes: args.output.sizes,
        stats: server.is_some(),
        fault: Fault::from_env()?,
    };
    let selection = Selection::Processes { targets: targets.clone(), children: args.select.children };
    let mut session = Session::prepare(&selection, &options)?;
    for target in &targets {
        if !process::is_alive(target.pid) {
            bail!("{}", ended_early(target));
        }
    }
    let named = |pid| targets.iter().any(|target| target.pid == pid);
    // A child that is gone already needs no waiting for.
    ends.extend(session.targets().filter(|t| !named(t.pid)).filter_map(|t| crate::sys::pidfd(t.pid).ok()));
    session.open()?;
    announce::warn(&session);
    let runtime = events::event_loop()?;
    let session = Arc::new(Mutex::new(session));
    runtime.block_on(async {
        let _serving = watch::serve(server, &session)?;
        let signals = Signals::install()?;
        for target in &targets {
            announce::counting(&format!("pid {}", target.pid));
        }
        let watch = Watch {
            session: Arc::clone(&session),
            format: args.output.format,
            interval: args.interval,
            duration: args.duration,
            blocks: true,
            on_signal: OnSignal::End,
            to_stderr: false,
        };
        watch.until(signals, events::all_ended(ends)).await
    })?;
    for target in targets.iter().filter(|t| !process::is_alive(t.pid)) {
        say(&format!("process {} has ended", target.label()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The processes that the options name; each must exist, and each option must find one. Their children are
/// found once the probes are attached, so that none is born in between.
fn select(select: &Select) -> Result<Vec<Target>> {
    let mut targets = select.pid.iter().map(|pid| process::resolve(*pid)).collect::<Result<Vec<_>>>()?;
    for comm in &select.comm {
        targets.extend(process::by_comm(comm)?);
    }
    for cgroup in &select.cgroup {
        targets.extend(process::by_cgroup(cgroup)?);
    }
    targets.sort_unstable_by_key(|target| target.pid);
    targets.dedup_by_key(|target| target.pid);
    Ok(targets)
}

fn ended_early(target: &Target) -> String {
    format!(
        "process {} ended before counting could begin\n  \
         `tracer run -- CMD` counts a command from its start to its end",
        target.label()
    )
}

/// Opened before anything is attached: a pid that is given to another process later cannot fool them.
fn pidfds(targets: &[Target]) -> Result<Vec<OwnedFd>> {
    targets.iter().map(|t| crate::sys::pidfd(t.pid).map_err(|error| pidfd_refused(t, &error))).collect()
}

fn pidfd_refused(target: &Target, error: &std::io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::ESRCH) => anyhow!("{}", ended_early(target)),
        _ => anyhow!("process {} cannot be watched for its end: {error}", target.label()),
    }
}
