//! A call that began before the probes came: its bytes are counted, or what is
//! missing is said. Never neither.

use anyhow::{Result, ensure};
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::ledger;
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, on_any_kernel, on_each_way};

pub fn checks() -> Vec<Check> {
    vec![
        on_each_way("in_flight::rw_pipe", |bench| is_never_silent(bench, "rw_pipe")),
        on_any_kernel("in_flight::rw_tcp", |bench| is_never_silent(bench, "rw_tcp")),
        on_any_kernel("in_flight::rw_unix", |bench| is_never_silent(bench, "rw_unix")),
    ]
}

/// The reader sleeps in read(2) when the tracer comes.
fn is_never_silent(bench: &Bench, workload: &str) -> Result<()> {
    let mut session = bench.ready_in_flight(workload, MIB)?;
    let reader = session.peer.expect("it has a peer");
    let mut tracer = Tracer::start(&bench.tracer, &watch(&[reader], &[]))?;
    tracer.wait_counting(&[reader])?;
    session.window()?;
    let total = tracer.stop()?.total()?;
    session.finish()?;
    let copied = ledger::process(&total, reader)?.copied_at_all();
    let losses = total["losses"].as_object().into_iter().flatten();
    let lost: u64 = losses.filter_map(|(_, count)| count.as_u64()).sum();
    let said = lost > 0 || total["notes"].as_array().is_some_and(|notes| !notes.is_empty());
    ensure!(
        copied == MIB as u64 || said,
        "{copied} of {MIB} bytes are counted, and no loss is reported: {} {}",
        total["losses"],
        total["notes"]
    );
    Ok(())
}
