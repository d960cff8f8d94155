//! Context switches equal the kernel's own count of them (/proc/PID/status).

use std::sync::Arc;

use anyhow::{Result, ensure};
use tracer_tests::expect::Place;
use tracer_tests::harness::batch::{Batches, Key};
use tracer_tests::harness::bench::Window;
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::ledger;
use tracer_tests::workload::pingpong::TURNS;

use crate::batched::{self, Verdicts};
use crate::{Check, checked, sound};

/// They share a tracer.
const WORKLOADS: [Key; 4] = [
    ("pingpong", Place::Tmpfs),
    ("rw_pipe", Place::Tmpfs),
    ("threads", Place::Tmpfs),
    ("idle", Place::Tmpfs),
];

pub fn checks() -> Vec<Check> {
    let batches = Arc::new(Batches::default());
    let of = |key: Key| {
        let batches = Arc::clone(&batches);
        checked(&format!("context_switches::{}", key.0), move |bench| {
            let judge = |window: &Window| {
                let differences = equal_the_kernels(key.0, window);
                Verdicts { differences, sound: sound(&window.total) }
            };
            batched::judged(bench, &batches, &WORKLOADS, key, judge)
        })
    };
    WORKLOADS.map(of).into()
}

fn equal_the_kernels(workload: &str, window: &Window) -> Result<()> {
    let (ledger, truth) = (ledger::process(&window.total, window.worker)?, window.truth);
    let mut differences = Differences::default();
    for (kind, known) in [("voluntary", truth.voluntary), ("involuntary", truth.involuntary)] {
        differences.equal(kind, ledger.context_switches(kind), known);
    }
    differences.into_result(workload)?;
    if workload == "pingpong" {
        let switches = truth.voluntary + truth.involuntary;
        ensure!(switches >= TURNS as u64, "{switches} switches in {TURNS} turns on one CPU");
    }
    Ok(())
}
