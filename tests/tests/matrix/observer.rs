//! What another observer reads of the subject's memory is not the subject's.

use anyhow::{Context, Result, ensure};
use tracer_tests::exact;
use tracer_tests::expect::Place;
use tracer_tests::harness::bench::{Bench, Observed};
use tracer_tests::harness::observer::{LOOK, Observer};
use tracer_tests::harness::{exactly, ledger};
use tracer_tests::workload::scene::observed;

use crate::{Check, Verdict, checked, sound};

const SCENE: &str = "observed_writes";

pub fn checks() -> Vec<Check> {
    vec![checked("observer::reads_are_not_counted", |bench| {
        let observer = Observer::start()?;
        let verdict = equals(bench)?;
        let (looks, writes) = (observer.looks()?, observed::WRITES as u64);
        ensure!(looks >= writes, "{looks} reads of {LOOK} B beside {writes} writes: it did not observe");
        Ok(verdict)
    })]
}

fn equals(bench: &Bench) -> Result<Verdict> {
    let row = exact::find(&bench.kernel, SCENE).context("every kernel writes")?;
    let window = match bench.observe(SCENE, Place::Tmpfs, &[])? {
        Observed::Skipped(cause) => return Ok(Verdict::Skipped(cause)),
        Observed::Window(window) => window,
    };
    let ledger = ledger::process(&window.total, window.worker)?;
    exactly::differences(row, ledger, &window.books).into_result(SCENE)?;
    sound(&window.total)?;
    Ok(Verdict::Passed)
}
