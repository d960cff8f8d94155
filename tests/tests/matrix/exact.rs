//! Payload, copies, control bytes and what is discarded equal the table of scenes to the byte.

use std::sync::Arc;

use tracer_tests::exact::{self, Row};
use tracer_tests::expect::Place;
use tracer_tests::harness::batch::{Batches, Key};
use tracer_tests::harness::bench::Window;
use tracer_tests::harness::{exactly, ledger};

use crate::batched::{self, Verdicts};
use crate::{Check, Verdict, checked, sound_but_for_cut_short};

/// Scenes that share a tracer.
const BATCH: usize = 48;

pub fn checks() -> Vec<Check> {
    checks_of("exact", &exact::workloads())
}

/// The same of some scenes under another name, for a kernel with other parameters.
pub fn checks_of(group: &'static str, scenes: &[&'static str]) -> Vec<Check> {
    let batches = Arc::new(Batches::default());
    scenes.chunks(BATCH).flat_map(|batch| batch.iter().map(|name| of(group, name, batch, &batches))).collect()
}

fn of(group: &str, name: &'static str, batch: &[&'static str], batches: &Arc<Batches>) -> Check {
    let (batch, batches) = (batch.to_vec(), Arc::clone(batches));
    checked(&format!("{group}::{name}"), move |bench| {
        let Some(row) = exact::find(&bench.kernel, name) else {
            return Ok(Verdict::Skipped(cause_of_absence(name)));
        };
        let here = batch.iter().filter(|name| exact::find(&bench.kernel, name).is_some());
        let place = |name: &str| exact::find(&bench.kernel, name).map_or(Place::Tmpfs, |row| row.place);
        let keys: Vec<Key> = here.map(|name| (*name, place(name))).collect();
        batched::judged(bench, &batches, &keys, (name, row.place), |window| equals(row, window))
    })
}

fn cause_of_absence(name: &str) -> String {
    let row = exact::ROWS.iter().find(|row| row.workload == name);
    row.map_or(String::new(), |row| row.cause.to_string())
}

fn equals(row: &Row, window: &Window) -> Verdicts {
    let differences = ledger::process(&window.total, window.worker)
        .and_then(|ledger| exactly::differences(row, ledger, &window.books).into_result(row.workload));
    // Those of this process are among the differences; others in its window are meant to have some.
    Verdicts { differences, sound: sound_but_for_cut_short(&window.total) }
}
