//! `tracer audit`: hardware breakpoints on the primitives agree with the
//! probes, and both with what is known.

use anyhow::{Result, ensure};
use serde_json::Value;
use tracer_tests::expect::{self, Amount, Place, Role};
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::ledger::DIRECTIONS;
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, check};

const WORKLOADS: [&str; 9] = [
    "rw_file",
    "readv_writev_file",
    "sendfile_file",
    "splice_file",
    "rw_tcp",
    "mmap_write_tcp",
    "sendfile_tcp",
    "rw_pipe",
    "rw_unix",
];
const WINDOWS: u64 = 3;

pub fn checks() -> Vec<Check> {
    WORKLOADS.iter().map(|workload| agrees(workload)).collect()
}

fn agrees(workload: &'static str) -> Check {
    check(&format!("witness::{workload}"), move |bench| {
        let report = audit(bench, workload)?;
        for direction in DIRECTIONS {
            // A direction that no primitive was audited for is absent.
            let residual = report["residual"][direction].as_i64().unwrap_or(0);
            ensure!(residual == 0, "{direction}: a residual of {residual}: {report}");
            let Some(witnessed) = report["witness"][direction].as_u64() else { continue };
            let known = known_bytes(bench, workload, direction);
            ensure!(witnessed == known, "{direction}: {witnessed} witnessed, {known} known: {report}");
        }
        ensure!(report["witness"].is_object(), "no `witness` in {report}");
        Ok(())
    })
}

/// Several windows of the workload under the audit, at rest at both its ends.
fn audit(bench: &Bench, workload: &str) -> Result<Value> {
    let mut session = bench.ready(workload, MIB)?;
    let mut arguments = vec!["audit".to_string(), "--duration".into(), "60s".into()];
    arguments.extend(watch(&[session.pid], &[]));
    let mut tracer = Tracer::start(&bench.tracer, &arguments)?;
    tracer.wait_counting(&[session.pid])?;
    for _ in 0..WINDOWS {
        session.window()?;
    }
    let outcome = tracer.stop()?;
    session.finish()?;
    // 0 is no residual, 1 a residual, 3 could not audit.
    ensure!(outcome.status.code() == Some(0), "audit: {}\n{}", outcome.status, outcome.stderr);
    outcome.last_json()
}

fn known_bytes(bench: &Bench, workload: &str, direction: &str) -> u64 {
    let row = expect::find(&bench.kernel, workload, Place::Tmpfs, Role::Worker);
    let cells = row.map_or(&[][..], |row| row.cells);
    let times: u64 = cells
        .iter()
        .map(|cell| match (direction, cell.in_kernel) {
            ("to_user", _) => cell.to_user,
            ("from_user", _) => cell.from_user,
            (_, Amount::Times(times)) => times,
            (_, Amount::Any) => 0,
        })
        .sum();
    times * WINDOWS * MIB as u64
}
