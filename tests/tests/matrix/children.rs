//! Children, short-lived and gone when the tracer is asked, are all accounted.

use anyhow::{Result, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::ledger;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::workload::children::{CHILD_BYTES, CHILDREN};

use crate::{Check, check, sound};

pub fn checks() -> Vec<Check> {
    vec![
        check("children::are_accounted_after_they_are_gone", |bench| {
            let total = with_children(bench, &["--children"])?;
            let known = (CHILDREN * CHILD_BYTES) as u64;
            let mut differences = Differences::default();
            differences.equal("read.to_user", sum(&total, "read", "to_user"), known);
            differences.equal("write.from_user", sum(&total, "write", "from_user"), known);
            differences.into_result("children")
        }),
        check("children::are_not_counted_unless_asked_for", |bench| {
            let total = with_children(bench, &[])?;
            let mut differences = Differences::default();
            differences.equal("read.to_user", sum(&total, "read", "to_user"), 0);
            differences.equal("write.from_user", sum(&total, "write", "from_user"), 0);
            differences.into_result("children")
        }),
        check("children::of_run_are_counted_by_default", of_run),
    ]
}

fn sum(total: &Value, path: &str, direction: &str) -> u64 {
    let all = ledger::processes(total);
    let of_processes: u64 = all.iter().map(|ledger| ledger.copied(path, direction)).sum();
    of_processes + ledger::overflow(total).copied(path, direction)
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

/// The whole program: in addition its verification reads the file back.
fn of_run(bench: &Bench) -> Result<()> {
    let mut arguments: Vec<String> = ["run", "--format", "json", "--"].map(String::from).to_vec();
    arguments.push(bench.workload.display().to_string());
    arguments.extend(["children", "--once", "--dir"].map(String::from));
    arguments.push(bench.tmpfs.display().to_string());
    let tracer = Tracer::start(&bench.tracer, &arguments)?;
    let total = tracer.wait(2 * tracer_tests::harness::LIMIT)?.total_of_run()?;
    sound(&total)?;
    let known = 2 * (CHILDREN * CHILD_BYTES) as u64;
    let mut differences = Differences::default();
    differences.equal("read.to_user", sum(&total, "read", "to_user"), known);
    differences.into_result("run children")
}
