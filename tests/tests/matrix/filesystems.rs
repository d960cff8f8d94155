//! File systems besides tmpfs and ext4, all in one window of one tracer.

use std::sync::Arc;

use anyhow::Result;
use tracer_tests::expect::{self, Role, files};
use tracer_tests::harness::batch::{Batches, Key};
use tracer_tests::harness::bench::Bench;

use crate::{Check, Verdict, batched, checked, copies};

pub fn checks() -> Vec<Check> {
    let mut keys: Vec<Key> = files::ROWS.iter().map(|row| (row.workload, row.place)).collect();
    keys.dedup();
    let batches = Arc::new(Batches::default());
    keys.iter().map(|key| of(*key, keys.clone(), Arc::clone(&batches))).collect()
}

fn of(key: Key, batch: Vec<Key>, batches: Arc<Batches>) -> Check {
    checked(&format!("filesystems::{}{}", key.0, key.1.suffix()), move |bench| {
        observe(bench, key, &batch, &batches)
    })
}

fn observe(bench: &Bench, key: Key, batch: &[Key], batches: &Batches) -> Result<Verdict> {
    let (workload, place) = key;
    if expect::find(&bench.kernel, workload, place, Role::Worker).is_none() {
        let row = files::ROWS.iter().find(|row| (row.workload, row.place) == key);
        return Ok(Verdict::Skipped(row.map_or(String::new(), |row| row.cause.to_string())));
    }
    let here = |key: &Key| expect::find(&bench.kernel, key.0, key.1, Role::Worker).is_some();
    let batch: Vec<Key> = batch.iter().copied().filter(here).collect();
    batched::judged(bench, batches, &batch, key, |window| {
        copies::equals_table(bench, workload, place, window)
    })
}
