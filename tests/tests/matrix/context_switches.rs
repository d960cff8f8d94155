//! Context switches equal the kernel's own count of them (/proc/PID/status).

use anyhow::ensure;
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::ledger;
use tracer_tests::workload::pingpong::TURNS;

use crate::{Check, check, sound};

const WORKLOADS: [&str; 4] = ["pingpong", "rw_pipe", "threads", "idle"];

pub fn checks() -> Vec<Check> {
    WORKLOADS.iter().map(|workload| equal_the_kernels(workload)).collect()
}

fn equal_the_kernels(workload: &'static str) -> Check {
    check(&format!("context_switches::{workload}"), move |bench| {
        let window = bench.window(workload, &[])?;
        sound(&window.total)?;
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
    })
}
