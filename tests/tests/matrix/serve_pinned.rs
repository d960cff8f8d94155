//! With `--pin` counting goes on while the daemon is down, however it went down, and counters go on after it.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::bpf::Objects;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{LIMIT, metrics};

use crate::serve_exact::{ROUND, counted, nothing_lost, short_lived, status_at_rest};
use crate::{Check, check};

const PINS: &str = "/sys/fs/bpf/tracer-test";

pub fn checks() -> Vec<Check> {
    vec![check("serve::pinned_outlives_its_daemon", outlives)]
}

fn daemon(bench: &Bench, address: SocketAddr) -> Result<Tracer> {
    let mut command = Command::new(&bench.tracer);
    command.args(["serve", "--group-by", "comm", "--listen", &address.to_string()]);
    command.arg(format!("--pin={PINS}"));
    Tracer::start_command(command)
}

fn outlives(bench: &Bench) -> Result<()> {
    let objects = Objects::now()?;
    let address = metrics::free_address()?;
    let mut first = daemon(bench, address)?;
    if bench.kernel == "5.10" {
        let outcome = first.wait(LIMIT)?;
        ensure!(outcome.status.code() == Some(1), "{}: {}", outcome.status, outcome.stderr);
        ensure!(outcome.stderr.contains("--pin needs Linux 5.15 or later"), "{}", outcome.stderr);
        return objects.wait_until_as_before();
    }
    first.wait_counting_everybody()?;
    refused(bench)?;
    short_lived(bench, address)?;
    // One that lives on, and works while there is a daemon and while there is none.
    let mut long = bench.ready("rw_file", MIB)?;
    let mut children = bench.ready("children", MIB)?;
    let page = metrics::scrape(address)?;
    long.window()?;
    first.kill()?;
    children.window()?;
    long.window()?;
    let mut second = daemon(bench, address)?;
    went_on(&mut second)?;
    let next = metrics::scrape(address)?;
    never_back(&page, &next)?;
    counted(&page, &next, ROUND + 2 * MIB)?;
    children.finish()?;
    nothing_lost(bench, &status_at_rest(address)?)?;

    let mut children = bench.ready("children", MIB)?;
    let page = metrics::scrape(address)?;
    let outcome = second.terminate()?;
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    let advice = format!("`rm -r {PINS}` ends it");
    ensure!(outcome.stderr.contains(&advice), "{}", outcome.stderr);
    children.window()?;
    let mut third = daemon(bench, address)?;
    went_on(&mut third)?;
    let next = metrics::scrape(address)?;
    never_back(&page, &next)?;
    counted(&page, &next, ROUND)?;
    children.finish()?;
    short_lived(bench, address)?;
    nothing_lost(bench, &status_at_rest(address)?)?;
    long.finish()?;
    third.terminate()?;

    fs::remove_dir_all(PINS)?;
    objects.wait_until_as_before()
}

/// Counters, and the time of their start: a lower one would be a reset.
fn never_back(before: &str, after: &str) -> Result<()> {
    let samples = |page: &str| -> HashMap<String, f64> {
        let counters = page.lines().filter(|line| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let own = ["tracer_http_", "tracer_scrapes_total", "tracer_process_"];
            let counter = name.ends_with("_total") && !own.iter().any(|own| name.starts_with(own));
            counter || name == "tracer_counting_start_time_seconds"
        });
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        counters.filter_map(sample).collect()
    };
    let (before, after) = (samples(before), samples(after));
    ensure!(before.len() > 20, "only {} counters", before.len());
    for (name, value) in &before {
        let now = after.get(name).with_context(|| format!("{name} is gone"))?;
        ensure!(now >= value, "{name} went back from {value} to {now}");
    }
    let start = "tracer_counting_start_time_seconds";
    ensure!(before.get(start) == after.get(start), "another start");
    Ok(())
}

/// Two daemons would give every slot back twice.
fn refused(bench: &Bench) -> Result<()> {
    let outcome = daemon(bench, metrics::free_address()?)?.wait(LIMIT)?;
    ensure!(outcome.status.code() == Some(1), "{}: {}", outcome.status, outcome.stderr);
    ensure!(outcome.stderr.contains("another tracer counts into"), "{}", outcome.stderr);
    Ok(())
}

fn went_on(daemon: &mut Tracer) -> Result<()> {
    ensure!(Path::new(PINS).exists(), "{PINS} is gone");
    daemon
        .wait_line("it goes on", |line| line.starts_with("tracer: going on with what was counted since "))?;
    daemon.wait_counting_everybody()
}
