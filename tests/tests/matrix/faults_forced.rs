//! What is made to fail is reported, never silent: a probe that is refused, a
//! map that is too small.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::tracer::{Outcome, Tracer};
use tracer_tests::harness::{invariant, ledger};

use crate::{Check, on_any_kernel};

/// The function of the page-cache read: the second is its name in 5.10.
const READ_FUNCTIONS: [&str; 2] = ["filemap_read", "generic_file_buffered_read"];

pub fn checks() -> Vec<Check> {
    vec![
        on_any_kernel("faults_forced::refused_probe_is_reported", refused_probe),
        on_any_kernel("faults_forced::full_map_costs_detail_not_truth", full_map),
    ]
}

/// One window of `workload` under a tracer in which something fails.
fn with_fault(bench: &Bench, workload: &str, fault: &str) -> Result<(Outcome, Value)> {
    let mut session = bench.ready(workload, MIB)?;
    let pids: Vec<u32> = [Some(session.pid), session.peer].into_iter().flatten().collect();
    let mut command = Command::new(&bench.tracer);
    command.args(watch(&pids, &[])).env("TRACER_FAULT", fault);
    let mut tracer = Tracer::start_command(command)?;
    tracer.wait_counting(&pids)?;
    session.window()?;
    let outcome = tracer.stop()?;
    Ok((outcome, session.finish()?))
}

/// The probe of the page-cache read, whatever this kernel calls its function.
fn read_probe(total: &Value) -> Result<&Value> {
    let probes = total["probes"].as_array().context("no `probes`")?;
    let is_read = |probe: &&Value| READ_FUNCTIONS.iter().any(|name| probe["symbol"] == *name);
    probes.iter().find(is_read).context("no probe of the page-cache read")
}

fn refused_probe(bench: &Bench) -> Result<()> {
    let healthy = bench.window("rw_file", &[])?.total;
    ensure!(healthy["coverage"]["state"] == "complete", "{}", healthy["coverage"]);
    let probe = read_probe(&healthy)?;
    ensure!(probe["attached"] == true, "not attached even without a fault: {probe}");
    let name = probe["probe"].as_str().context("a probe without a name")?;
    let (outcome, _) = with_fault(bench, "rw_file", &format!("refuse:{name}"))?;
    let total = outcome.last_json()?;
    let probes = total["probes"].as_array().context("no `probes`")?;
    let refused = probes.iter().find(|probe| probe["probe"] == name);
    let refused = refused.with_context(|| format!("{name} is not in `probes`"))?;
    ensure!(refused["attached"] == false, "{name} is said to be attached: {refused}");
    let state = &total["coverage"]["state"];
    ensure!(*state != "complete", "coverage is {state} without {name}");
    ensure!(outcome.stderr.contains(name), "stderr does not name {name}:\n{}", outcome.stderr);
    Ok(())
}

/// One slot, two processes: one has no row of its own, but none of its bytes
/// is lost.
fn full_map(bench: &Bench) -> Result<()> {
    let (outcome, _) = with_fault(bench, "rw_pipe", "slots:1")?;
    let total = outcome.last_json()?;
    invariant::check(&total)?;
    let (all, overflow) = (ledger::totals(&total), ledger::overflow(&total));
    ensure!(all.exists() && overflow.exists(), "no `totals` or `overflow` in {total}");
    ensure!(overflow.copied_at_all() > 0, "nothing overflowed one slot: {total}");
    // Read from the file, written to the pipe, read from the pipe.
    let mut differences = Differences::default();
    differences.equal("totals, all copies", all.copied_at_all(), 3 * MIB as u64);
    differences.into_result("a map of one slot")
}
