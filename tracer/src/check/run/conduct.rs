//! Runs a trial, and ends it in time whatever happens.

use std::time::Duration;

use anyhow::Result;

use super::{Plan, Seen, Trial};
use crate::check::reason::Reason;
use crate::check::verdict::Finding;
use crate::fmt::human;
use crate::session::events::{self, Signals};

/// An error is a mistake of the user's, found before anything runs. Whatever fails later is a finding.
pub fn conduct(plan: Plan, timeout: Duration) -> Result<Seen> {
    let mut trial = Trial::new(plan)?;
    let runtime = events::event_loop()?;
    runtime.block_on(async {
        let mut signals = Signals::install()?;
        let cut = tokio::select! {
            result = trial.run() => result.err().map(failed),
            () = signals.any() => Some(Finding::new(Reason::Interrupted, "by a signal")),
            () = tokio::time::sleep(timeout) => {
                let time = humantime::format_duration(timeout);
                Some(Finding::new(Reason::TimedOut, format!("it took longer than {time}")))
            }
        };
        if let Err(error) = trial.finish(cut).await {
            trial.seen.findings.push(failed(error));
        }
        Ok(trial.seen)
    })
}

fn failed(error: anyhow::Error) -> Finding {
    Finding::new(Reason::TracerFailed, human::label(&format!("{error:#}"), 1000))
}
