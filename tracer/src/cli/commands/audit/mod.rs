//! `tracer audit`: the witness beside the probes, on the user's own process.
//!
//! The two are compared where they speak of the same bytes: in a round, the rows all of whose primitives
//! are under a breakpoint, and the call sites of these, path by path. What a breakpoint sees at a call site that no probe
//! covers is metadata of constant size: it is named, and is no residual. In rounds of their own the calls of `memcpy` and
//! the like are watched that the survey knows to carry every byte that moves there.

mod compare;
mod groups;
mod report;
mod surveyed;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use tracer_ebpf::table::{PRIMITIVES, Primitive};

use self::compare::Round;
use self::groups::Group;
use self::report::Report;
use self::surveyed::Place;
use super::{Outcome, status};
use crate::cli::{Audit, Format};
use crate::kernel::kallsyms::Kallsyms;
use crate::kernel::process;
use crate::model::attach::Attach;
use crate::model::fault_injection::Fault;
use crate::probes::Kernel;
use crate::probes::hw_breakpoints::{self, Breakpoints, SLOTS};
use crate::session::announce;
use crate::session::events::{self, Signals};
use crate::session::{Options, Selection, Session};

pub fn audit(args: Audit) -> Outcome {
    match report(&args) {
        Ok(report) => {
            let text = match args.format {
                Format::Json => format!("{}\n", report.to_json()),
                Format::Table => report.to_text(),
            };
            super::print(&text)?;
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(status::RESIDUAL) })
        }
        Err(error) => {
            crate::fmt::say(&format!("could not audit: {error:#}"));
            Ok(ExitCode::from(status::NO_AUDIT))
        }
    }
}

/// An error if there is nothing to compare with.
fn refuse_blindness(session: &Session) -> anyhow::Result<()> {
    for name in ["sys_enter", "sys_exit"] {
        if let Some(probe) = session.probes().iter().find(|probe| probe.name == name && !probe.attached) {
            bail!(
                "probe {name}, which tells whole system calls, is not attached: {}\n  {}",
                probe.cause,
                probe.remedy
            );
        }
    }
    let snapshot = session.snapshot();
    if !snapshot.observed.copies {
        bail!("copies are not observed: {}", snapshot.coverage.reasons.join("; "));
    }
    Ok(())
}

type Watched = (&'static Primitive, u64);

/// What a round has under breakpoints.
enum Points {
    Primitives(Vec<Watched>),
    Calls(Vec<Place>),
}

impl Points {
    fn place(&self, kernel: &mut Kernel) -> Result<Breakpoints> {
        match self {
            Points::Primitives(watched) => hw_breakpoints::place(kernel, watched),
            Points::Calls(places) => {
                let calls = places
                    .iter()
                    .flat_map(|place| place.calls.iter().map(|address| (place.entry.place(), *address)));
                hw_breakpoints::place_calls(kernel, &calls.collect::<Vec<_>>())
            }
        }
    }

    fn compare(&self, session: &mut Session, groups: &[Group]) -> Result<Round> {
        match self {
            Points::Primitives(watched) => {
                let primitives = watched.iter().map(|(primitive, _)| primitive.name).collect();
                Round::of_primitives(session, primitives, groups)
            }
            Points::Calls(places) => Round::of_calls(session, places),
        }
    }
}

fn report(args: &Audit) -> Result<Report> {
    if !cfg!(target_arch = "x86_64") {
        bail!("hardware breakpoints on kernel functions are supported on x86_64 only");
    }
    let target = process::resolve(args.pid)?;
    let options = Options {
        attach: Attach::Auto,
        audit: true,
        copy_sizes: false,
        stats: false,
        fault: Fault::from_env()?,
    };
    let selection = Selection::Processes { targets: vec![target], children: false };
    let mut session = Session::prepare(&selection, &options)?;
    refuse_blindness(&session)?;
    let (groups, rounds) = {
        let Some(symbols) = session.coverage.symbols() else {
            bail!("kernel symbols are needed: {}", session.snapshot().coverage.reasons.join("; "));
        };
        let groups = groups::groups(|name| symbols.address(name).is_some());
        let rounds = rounds(args, symbols, &groups)?;
        (groups, rounds)
    };
    let runtime = events::event_loop()?;
    let share = args.duration / rounds.len() as u32;
    let mut report = Report { kernel: session.facts.release.clone(), rounds: Vec::new() };
    runtime.block_on(async {
        let mut signals = Signals::install()?;
        let mut announced = false;
        for watched in &rounds {
            let points = watched.place(&mut session.kernel)?;
            session.open()?;
            if !std::mem::replace(&mut announced, true) {
                announce::counting(&format!("pid {}", args.pid));
            }
            let go_on = wait(share, &mut signals).await;
            session.drain()?;
            session.close()?;
            points.remove(&mut session.kernel)?;
            report.rounds.push(watched.compare(&mut session, &groups)?);
            if !go_on {
                break;
            }
        }
        Ok(report)
    })
}

/// False if a signal ended the wait.
async fn wait(time: Duration, signals: &mut Signals) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = signals.any() => false,
    }
}

/// What to put under breakpoints, round by round: what is asked for, or all.
fn rounds(args: &Audit, symbols: &Kallsyms, groups: &[Group]) -> Result<Vec<Points>> {
    let is_all = args.primitive.is_empty() && args.memcpy_in.is_empty();
    let mut rounds = Vec::new();
    if is_all || !args.primitive.is_empty() {
        rounds.extend(of_primitives(symbols, groups, &args.primitive)?.into_iter().map(Points::Primitives));
    }
    if is_all || !args.memcpy_in.is_empty() {
        let places = surveyed::places(&args.memcpy_in)?;
        rounds.extend(surveyed::rounds(places).into_iter().map(Points::Calls));
    }
    Ok(rounds)
}

fn of_primitives(symbols: &Kallsyms, groups: &[Group], wanted: &[String]) -> Result<Vec<Vec<Watched>>> {
    let watched = |name: &str| {
        let primitive = PRIMITIVES.iter().find(|p| p.name == name && !p.witness_program.is_empty())?;
        Some((primitive, symbols.address(name)?))
    };
    if wanted.is_empty() {
        let rounds = groups::rounds(groups);
        return Ok(rounds.into_iter().map(|round| round.into_iter().filter_map(watched).collect()).collect());
    }
    let chosen: Vec<Watched> = wanted.iter().filter_map(|name| watched(name)).collect();
    if chosen.len() != wanted.len() || chosen.len() > SLOTS {
        let there = PRIMITIVES.iter().filter(|p| watched(p.name).is_some()).map(|p| p.name);
        bail!("--primitive takes up to {SLOTS} of this kernel's: {}", there.collect::<Vec<_>>().join(", "));
    }
    Ok(vec![chosen])
}
