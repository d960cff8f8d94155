//! Children, short-lived and gone when the tracer is asked, are all accounted.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{invariant, ledger};
use tracer_tests::workload::children::{CHILD_BYTES, SINGLE, WAVES};

use crate::{Check, check, on_any_kernel, on_each_way, sound};

pub fn checks() -> Vec<Check> {
    vec![
        check("children::are_accounted_after_they_are_gone", |bench| {
            let total = with_children(bench, &["--children"])?;
            let known = (SINGLE.children * CHILD_BYTES) as u64;
            let mut differences = Differences::default();
            differences.equal("read.to_user", sum(&total, "read", "to_user"), known);
            differences.equal("write.from_user", sum(&total, "write", "from_user"), known);
            differences.into_result("children")
        }),
        on_any_kernel("children::are_not_counted_unless_asked_for", |bench| {
            let total = with_children(bench, &[])?;
            let mut differences = Differences::default();
            differences.equal("read.to_user", sum(&total, "read", "to_user"), 0);
            differences.equal("write.from_user", sum(&total, "write", "from_user"), 0);
            differences.into_result("children")
        }),
        on_each_way("children::of_run_are_counted_by_default", of_run),
        on_any_kernel("children::of_run_are_not_counted_with_no_children", |bench| {
            let total = run(bench, "children", &["--no-children"], "")?;
            let processes = ledger::processes(&total).len();
            ensure!(processes == 1, "{processes} processes were counted: {}", total["processes"]);
            Ok(())
        }),
        on_any_kernel("children::use_slots_again", slots_are_used_again),
        on_any_kernel("children::too_many_to_list_are_in_a_sum", too_many_to_list),
    ]
}

fn sum(total: &Value, path: &str, direction: &str) -> u64 {
    let all = ledger::processes(total);
    let of_processes: u64 = all.iter().map(|ledger| ledger.copied(path, direction)).sum();
    let others = [ledger::overflow(total), ledger::ended(total)];
    of_processes + others.map(|ledger| ledger.copied(path, direction)).iter().sum::<u64>()
}

fn with_children(bench: &Bench, extra: &[&str]) -> Result<Value> {
    let mut session = bench.ready("children", MIB)?;
    let mut tracer = Tracer::start(&bench.tracer, &watch(&[session.pid], extra))?;
    tracer.wait_counting(&[session.pid])?;
    session.window()?;
    let total = tracer.stop()?.total()?;
    let books = session.finish()?;
    // A loader would read the libraries, by the same path.
    ensure!(books["static"] == true, "WORKLOAD must be linked statically");
    sound(&total)?;
    Ok(total)
}

/// The total of `tracer run OPTIONS WORKLOAD`, with slots as TRACER_FAULT says: enough if they are used again.
fn run(bench: &Bench, workload: &str, options: &[&str], fault: &str) -> Result<Value> {
    let mut command = Command::new(&bench.tracer);
    command.args(["run", "--format", "json"]).args(options).arg("--").arg(&bench.workload);
    command.args([workload, "--once", "--dir"]).arg(&bench.tmpfs).env("TRACER_FAULT", fault);
    let tracer = Tracer::start_command(command)?;
    let total = tracer.wait(2 * tracer_tests::harness::LIMIT)?.total_of_run()?;
    // Also where lost events make the numbers themselves inconclusive.
    invariant::check(&total)?;
    ensure!(total["losses"]["slots_used_up"] == 0, "slots ran out: {}", total["losses"]);
    ensure!(ledger::overflow(&total).copied_at_all() == 0, "overflow: {}", total["overflow"]);
    Ok(total)
}

/// The whole program: in addition its verification reads the file back.
fn of_run(bench: &Bench) -> Result<()> {
    let total = run(bench, "children", &[], "")?;
    sound(&total)?;
    let known = 2 * (SINGLE.children * CHILD_BYTES) as u64;
    let mut differences = Differences::default();
    differences.equal("read.to_user", sum(&total, "read", "to_user"), known);
    differences.into_result("run children")
}

/// Five times as many children as there are slots: each has a row of its own, with its own bytes.
fn slots_are_used_again(bench: &Bench) -> Result<()> {
    let total = run(bench, "children_waves", &[], "slots:64")?;
    let all = ledger::processes(&total);
    ensure!(all.len() > 2 * 64, "only {} processes", all.len());
    sound(&total)?;
    let mut differences = Differences::default();
    differences.equal("processes", all.len() as u64, WAVES.children as u64 + 1);
    let exact = |ledger: &&ledger::Ledger| {
        let bytes = [ledger.copied("read", "to_user"), ledger.copied("write", "from_user")];
        ledger.has_ended() && bytes == [CHILD_BYTES as u64; 2]
    };
    let exact = all.iter().filter(exact).count();
    differences.equal("children with exactly their bytes", exact as u64, WAVES.children as u64);
    differences.into_result("children in waves, 64 slots")
}

/// Few are kept one by one: the others are in one sum, and everything adds up.
fn too_many_to_list(bench: &Bench) -> Result<()> {
    let (slots, kept) = (64, 50);
    let total = run(bench, "children_waves", &[], &format!("slots:{slots},kept:{kept}"))?;
    let (listed, folded) =
        (ledger::processes(&total).len() as u64, ledger::ended(&total).number("processes"));
    ensure!(folded > 0 && listed <= kept + slots, "{listed} listed, {folded} in the sum");
    sound(&total)?;
    let mut differences = Differences::default();
    differences.equal("processes, listed and not", listed + folded, WAVES.children as u64 + 1);
    let written = ledger::ended(&total).copied("write", "from_user");
    differences.equal("written by those in the sum", written, folded * CHILD_BYTES as u64);
    let known = 2 * (WAVES.children * CHILD_BYTES) as u64;
    differences.equal("read.to_user", sum(&total, "read", "to_user"), known);
    differences.into_result("children, few kept")
}
