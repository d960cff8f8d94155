//! Context switches equal the kernel's own count of them (/proc/PID/status).

use anyhow::{Result, ensure};
use tracer_tests::harness::bench::Window;
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::ledger;
use tracer_tests::workload::pingpong::TURNS;

use crate::batched::judged_shared;
use crate::{Check, checked, threads};

const WORKLOADS: [&str; 4] = ["pingpong", "rw_pipe", "threads", "idle"];

pub fn checks() -> Vec<Check> {
    let of = |workload: &'static str| {
        checked(&format!("context_switches::{workload}"), move |bench| {
            judged_shared(bench, workload, |window| equal_the_kernels(workload, window))
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
    if workload == "threads" {
        threads::adds_up(window)?;
    }
    if workload == "pingpong" {
        let switches = truth.voluntary + truth.involuntary;
        ensure!(switches >= TURNS as u64, "{switches} switches in {TURNS} turns on one CPU");
    }
    Ok(())
}
