//! Workloads that share a window, each judged by its own numbers.

use std::sync::LazyLock;

use anyhow::Result;
use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::batch::{Batches, Key};
use tracer_tests::harness::bench::{Bench, Observed, Window};

use crate::{EventsLost, Verdict, sound};

/// What the tests of mechanisms and of context switches look at, in one window.
const SHARED: [&str; 8] = [
    "zerocopy_tcp",
    "uring_sendzc_usage_tcp",
    "map_write_tcp",
    "map_look_write_tcp",
    "pingpong",
    "rw_pipe",
    "threads",
    "idle",
];
static WINDOW: LazyLock<Batches> = LazyLock::new(Batches::default);

/// Judges one of [`SHARED`].
pub fn judged_shared(
    bench: &Bench,
    workload: &'static str,
    judge: impl Fn(&Window) -> Result<()>,
) -> Result<Verdict> {
    let is_here = |name: &&str| {
        let has_rows = expect::ROWS.iter().any(|row| row.workload == *name);
        !has_rows || expect::find(&bench.kernel, name, Place::Tmpfs, Role::Worker).is_some()
    };
    if !is_here(&workload) {
        return Ok(Verdict::Skipped("this kernel lacks it".into()));
    }
    let keys: Vec<Key> = SHARED.into_iter().filter(is_here).map(|name| (name, Place::Tmpfs)).collect();
    judged(bench, &WINDOW, &keys, (workload, Place::Tmpfs), |window| Verdicts {
        differences: judge(window),
        sound: sound(&window.total),
    })
}

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
