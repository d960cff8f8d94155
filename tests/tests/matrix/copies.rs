//! Copied bytes per path and direction, payload, calls, and switches equal the
//! table, for each workload, on the working and on the receiving side.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::batch::{Batches, Key};
use tracer_tests::harness::bench::{Bench, Window};
use tracer_tests::harness::{compare, ledger};

use crate::batched::{self, Verdicts};
use crate::{Check, Verdict, checked, sound};

/// Workloads that share a tracer.
const BATCH: usize = 48;

/// One per workload and place; both roles are looked at in the same window.
pub fn checks() -> Vec<Check> {
    let mut seen = Vec::new();
    for row in expect::ROWS {
        let key = (row.workload, row.place);
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    let batches = Arc::new(Batches::default());
    seen.chunks(BATCH)
        .flat_map(|batch| batch.iter().map(|key| of(*key, batch.to_vec(), Arc::clone(&batches))))
        .collect()
}

fn of((workload, place): Key, batch: Vec<Key>, batches: Arc<Batches>) -> Check {
    checked(&format!("copies::{workload}{}", place.suffix()), move |bench| {
        if expect::find(&bench.kernel, workload, place, Role::Worker).is_none() {
            return Ok(Verdict::Skipped(cause_of_absence(workload, place)));
        }
        let here = |key: &Key| expect::find(&bench.kernel, key.0, key.1, Role::Worker).is_some();
        let batch: Vec<Key> = batch.iter().copied().filter(here).collect();
        let judge = |window: &Window| equals_table(bench, workload, place, window);
        batched::judged(bench, &batches, &batch, (workload, place), judge)
    })
}

fn cause_of_absence(workload: &str, place: Place) -> String {
    let row = expect::ROWS.iter().find(|row| row.workload == workload && row.place == place);
    row.map_or(String::new(), |row| row.cause.to_string())
}

pub fn equals_table(bench: &Bench, workload: &str, place: Place, window: &Window) -> Verdicts {
    let differences = differences(bench, workload, place, window);
    Verdicts { differences, sound: sound(&window.total) }
}

fn differences(bench: &Bench, workload: &str, place: Place, window: &Window) -> Result<()> {
    let facts = compare::Facts::new(&window.books);
    for (role, pid) in [(Role::Worker, Some(window.worker)), (Role::Peer, window.peer)] {
        let row = expect::find(&bench.kernel, workload, place, role);
        let (Some(row), Some(pid)) = (row, pid) else { continue };
        let ledger = ledger::process(&window.total, pid)?;
        let differences = compare::row(row, ledger, &facts);
        let about = format!("{workload}, {role:?}");
        differences.into_result(&about).map_err(|error| anyhow!("{error}\nthe tracer's ledger: {ledger}"))?;
    }
    Ok(())
}
