//! Workloads that share a window, each judged by its own numbers.

use anyhow::Result;
use tracer_tests::harness::batch::{Batches, Key};
use tracer_tests::harness::bench::{Bench, Observed, Window};

use crate::{EventsLost, Verdict};

/// Judges `key` by its window in `batch`. Where the kernel skips preempted programs, a window of many rarely passes
/// without: numbers that are right there are right, and what is wrong there is observed once more, alone.
pub fn judged(
    bench: &Bench,
    batches: &Batches,
    batch: &[Key],
    key: Key,
    judge: impl Fn(&Window) -> Verdicts,
) -> Result<Verdict> {
    let window = match batches.observe(bench, batch, key)? {
        Observed::Skipped(cause) => return Ok(Verdict::Skipped(cause)),
        Observed::Window(window) => window,
    };
    match judge(&window) {
        Verdicts { differences: Ok(()), sound: Err(lost) } if is_explained(bench, &lost) => {
            Ok(Verdict::Passed)
        }
        Verdicts { differences: Err(_), sound: Err(lost) } if is_explained(bench, &lost) => {
            match bench.observe(key.0, key.1, &[])? {
                Observed::Skipped(cause) => Ok(Verdict::Skipped(cause)),
                Observed::Window(window) => judge(&window).both().map(|()| Verdict::Passed),
            }
        }
        verdicts => verdicts.both().map(|()| Verdict::Passed),
    }
}

fn is_explained(bench: &Bench, lost: &anyhow::Error) -> bool {
    bench.preempts_programs() && lost.is::<EventsLost>()
}

/// The two verdicts on a window.
pub struct Verdicts {
    /// Between its numbers and those that are known.
    pub differences: Result<()>,
    /// Whether anything was lost, and what holds for every total.
    pub sound: Result<()>,
}

impl Verdicts {
    /// That events were lost explains a difference, so it comes first; the difference is still told.
    pub fn both(self) -> Result<()> {
        match (self.differences, self.sound) {
            (Err(differences), Err(lost)) => Err(lost.context(format!("{differences:#}"))),
            (differences, sound) => sound.and(differences),
        }
    }
}
