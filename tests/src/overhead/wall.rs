//! The same operations in time, on a machine as it is: pairs of one measurement without the tracer and one with
//! it, so that whatever else the machine does is in both.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use super::worker::{Taken, Worker};
use crate::harness::claims::release;
use crate::harness::tracer::Tracer;

const PAIRS: usize = 15;
const ROUNDS: usize = 200;

/// Prints the quartiles of the ratios, by operation. Files are made in `dir`.
pub fn run(tracer: &Path, dir: &Path) -> Result<()> {
    let mut worker = Worker::start(&std::env::current_exe()?, dir)?;
    worker.warm_up()?;
    let mut ratios: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..PAIRS {
        let without = worker.measure(ROUNDS)?;
        let mut tracing = Tracer::start(tracer, &["--pid", &worker.pid().to_string(), "--format", "json"])?;
        tracing.wait_counting(&[worker.pid()])?;
        let with = worker.measure(ROUNDS)?;
        let outcome = tracing.stop()?;
        ensure!(outcome.status.success(), "tracer: {}\n{}", outcome.status, outcome.stderr);
        note(&mut ratios, &without, &with);
    }
    let release = release()?;
    for (op, mut ratios) in ratios {
        ratios.sort_unstable_by(f64::total_cmp);
        let [low, median, high] = [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4]);
        let line = json!({
            "kind": "wall", "release": release, "op": op, "pairs": PAIRS,
            "low": low, "median": median, "high": high,
        });
        println!("{line}");
    }
    Ok(())
}

/// Of the middle round: one that an interrupt made longer is no part of it.
fn note(ratios: &mut Vec<(String, Vec<f64>)>, without: &[Taken], with: &[Taken]) {
    for (without, with) in without.iter().zip(with) {
        let ratio = with.middle / without.middle;
        match ratios.iter_mut().find(|(op, _)| *op == without.op) {
            Some((_, ratios)) => ratios.push(ratio),
            None => ratios.push((without.op.clone(), vec![ratio])),
        }
    }
}
