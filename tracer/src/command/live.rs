//! `tracer --pid PID`: the ledger of processes that run already.

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};

use super::{Outcome, watch};
use crate::cli::{Live, Select};
use crate::command::watch::{OnSignal, Signals, Watch};
use crate::fault::Fault;
use crate::session::{Options, Selection, Session};
use crate::target::{self, Target};

pub fn live(args: Live) -> Outcome {
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
        if !target::is_alive(target.pid) {
            bail!("process {} ({}) ended before counting could begin", target.pid, target.comm);
        }
    }
    let named = |pid| targets.iter().any(|target| target.pid == pid);
    // A child that is gone already needs no waiting for.
    ends.extend(session.targets().filter(|t| !named(t.pid)).filter_map(|t| crate::sys::pidfd(t.pid).ok()));
    session.open()?;
    watch::warn(&session);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let session = Arc::new(Mutex::new(session));
    runtime.block_on(async {
        let _serving = watch::serve(server, &session)?;
        let signals = Signals::install()?;
        for target in &targets {
            watch::announce(&format!("pid {}", target.pid));
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
        watch.until(signals, watch::all_ended(ends)).await
    })?;
    for target in targets.iter().filter(|t| !target::is_alive(t.pid)) {
        eprintln!("tracer: process {} ({}) has ended", target.pid, crate::sink::human::escape(&target.comm));
    }
    Ok(ExitCode::SUCCESS)
}

/// The processes that the options name; each must exist, and there must be one. Their children are found
/// once the probes are attached, so that none is born in between.
fn select(select: &Select) -> Result<Vec<Target>> {
    let mut pids = select.pid.clone();
    for comm in &select.comm {
        let found = target::by_comm(comm);
        if found.is_empty() {
            bail!(
                "no process is called `{comm}`\n  `ps -e -o pid,comm` lists names (at most 15 bytes of them)"
            );
        }
        pids.extend(found);
    }
    for cgroup in &select.cgroup {
        let found = target::by_cgroup(cgroup)?;
        if found.is_empty() {
            bail!("cgroup {cgroup} has no processes to count");
        }
        pids.extend(found);
    }
    if pids.is_empty() {
        bail!(
            "nothing to count: name a process\n  tracer --pid PID, or tracer run -- CMD; tracer --help tells more"
        );
    }
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().map(target::resolve).collect()
}

/// Opened before anything is attached: a pid that is given to another process later cannot fool them.
fn pidfds(targets: &[Target]) -> Result<Vec<OwnedFd>> {
    targets
        .iter()
        .map(|t| {
            crate::sys::pidfd(t.pid)
                .with_context(|| format!("process {} ({}) ended before counting could begin", t.pid, t.comm))
        })
        .collect()
}
