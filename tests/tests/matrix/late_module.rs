//! A module that is loaded while tracer counts: coverage is complete since then, and not before.

use std::path::Path;

use anyhow::{Result, ensure};
use tracer_tests::harness::bench::{Bench, MIB, run, watch};
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{LIMIT, until};

use crate::{Check, check, on_any_kernel};

/// It calls copy functions on every kernel.
const COPIES: &str = "tun";
/// It uses that one, which cannot be removed before it.
const USER_OF_COPIES: &str = "vhost_net";
/// It calls none.
const COPIES_NOT: &str = "dummy";

pub fn checks() -> Vec<Check> {
    vec![
        check("late_module::makes_coverage_complete_since", |bench| {
            let coverage = loaded_while_counting(bench, COPIES)?;
            ensure!(coverage["state"] == "complete since", "{coverage}");
            let since = coverage["since"].as_str().unwrap_or_default();
            ensure!(since.starts_with("20") && since.ends_with('Z'), "{coverage}");
            let reasons = coverage["reasons"].as_array().map_or(&[][..], Vec::as_slice);
            let named = format!("module {COPIES} was loaded while counting");
            ensure!(
                reasons.len() == 1 && reasons[0].as_str().is_some_and(|r| r.starts_with(&named)),
                "{coverage}"
            );

            Ok(())
        }),
        check("late_module::is_probed_again_when_it_is_loaded_again", |bench| {
            run("modprobe", &["-r", USER_OF_COPIES, COPIES])?;
            let mut session = bench.ready("rw_file", MIB)?;
            let pids = [session.pid];
            let mut tracer = Tracer::start(&bench.tracer, &watch(&pids, &["--interval", "1s"]))?;
            tracer.wait_counting(&pids)?;
            run("modprobe", &[COPIES])?;
            let first = wait_for_probes(1)?;
            run("modprobe", &["-r", COPIES])?;
            // It may lie where it lay before.
            run("modprobe", &[COPIES])?;
            wait_for_probes(first)?;
            session.window()?;
            let total = tracer.stop()?.total()?;
            session.finish()?;
            ensure!(total["coverage"]["state"] == "complete since", "{}", total["coverage"]);
            Ok(())
        }),
        on_any_kernel("late_module::that_copies_nothing_changes_nothing", |bench| {
            let coverage = loaded_while_counting(bench, COPIES_NOT)?;
            ensure!(coverage["state"] == "complete" && coverage["since"].is_null(), "{coverage}");
            Ok(())
        }),
    ]
}

/// Coverage in the total of a window in which the module was loaded, and once more again.
fn loaded_while_counting(bench: &Bench, module: &str) -> Result<serde_json::Value> {
    // An earlier test may have left them.
    run("modprobe", &["-r", USER_OF_COPIES, module])?;
    let mut session = bench.ready("rw_file", MIB)?;
    let pids = [session.pid];
    let mut tracer = Tracer::start(&bench.tracer, &watch(&pids, &["--interval", "1s"]))?;
    tracer.wait_counting(&pids)?;
    for _ in 0..2 {
        run("modprobe", &[module])?;
        run("modprobe", &["-r", module])?;
        run("modprobe", &[module])?;
    }
    session.window()?;
    let total = tracer.stop()?.total()?;
    session.finish()?;
    Ok(total["coverage"].clone())
}

/// Waits until so many of the module's call sites have probes that are alive; how many have.
fn wait_for_probes(least: usize) -> Result<usize> {
    until("call sites of the module have probes", LIMIT, || {
        Ok(Some(probes()?).filter(|found| *found >= least))
    })
}

/// kprobes in the module, but for those that the kernel killed as it was removed.
fn probes() -> Result<usize> {
    let list = Path::new("/sys/kernel/debug/kprobes/list");
    if !list.exists() {
        run("mount", &["-t", "debugfs", "debugfs", "/sys/kernel/debug"])?;
    }
    // `ffffffffc0462601  k  tun_build_skb+0xf1  tun [GONE]`
    let list = std::fs::read_to_string(list)?;
    let is_alive = |line: &&str| !line.contains("[GONE]") && line.split_whitespace().nth(3) == Some(COPIES);
    Ok(list.lines().filter(is_alive).count())
}
