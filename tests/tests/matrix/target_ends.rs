//! A target that ends, ends the window: with its numbers, and without noise.

use std::process::{Child, Command, Stdio};

use anyhow::{Result, ensure};
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::{Bench, watch};
use tracer_tests::harness::bpf::Objects;
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, on_any_kernel, on_each_way};

pub fn checks() -> Vec<Check> {
    vec![
        on_each_way("target_ends::prints_the_total", |bench| {
            let mut target = sleeper()?;
            let mut tracer = Tracer::start(&bench.tracer, &watch(&[target.id()], &[]))?;
            tracer.wait_counting(&[target.id()])?;
            target.kill()?;
            target.wait()?;
            let total = tracer.wait(LIMIT)?.total()?;
            let process = &total["processes"][0];
            ensure!(process["exited"] == true, "not said to have ended: {process}");
            Ok(())
        }),
        on_any_kernel("target_ends::while_probes_are_attached", dies_during_attach),
    ]
}

fn sleeper() -> Result<Child> {
    Ok(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?)
}

/// Whichever comes first: a clear end, nothing left behind.
fn dies_during_attach(bench: &Bench) -> Result<()> {
    let before = Objects::now()?;
    let mut target = sleeper()?;
    let pid = target.id();
    let tracer = Tracer::start(&bench.tracer, &watch(&[pid], &[]))?;
    target.kill()?;
    target.wait()?;
    let outcome = tracer.wait(LIMIT)?;
    let (status, said) = (outcome.status, &outcome.stderr);
    ensure!(matches!(status.code(), Some(0 | 1)), "{status}:\n{said}");
    ensure!(!said.contains("panicked"), "a panic:\n{said}");
    ensure!(said.contains(&pid.to_string()), "the message does not name pid {pid}:\n{said}");
    before.wait_until_as_before()
}
