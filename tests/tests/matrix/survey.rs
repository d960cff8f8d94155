//! Copies that nothing counts: the kernel's text has them where the survey says, and where they are in use no coverage is
//! complete.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::{Bench, run};
use tracer_tests::harness::tracer::{Outcome, Tracer};

use crate::{Check, check, on_any_kernel};

pub fn checks() -> Vec<Check> {
    vec![
        on_any_kernel("survey::what_is_in_use_refuses_complete", what_is_in_use_refuses_complete),
        check("survey::text_is_as_surveyed", text_is_as_surveyed),
    ]
}

/// A zram disk, on which nothing counts what moves.
struct Zram;

impl Zram {
    fn new() -> Result<Self> {
        run("modprobe", &["zram", "num_devices=1"])?;
        fs::write("/sys/block/zram0/disksize", "16M").context("no size for /dev/zram0")?;
        Ok(Zram)
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        // Best effort at the end.
        let _ = fs::write("/sys/block/zram0/reset", "1");
        let _ = run("modprobe", &["-r", "zram"]);
    }
}

fn what_is_in_use_refuses_complete(bench: &Bench) -> Result<()> {
    let is_complete = |outcome: Outcome| {
        ensure!(outcome.status.success(), "{}\n{}", outcome.status, outcome.stdout);
        ensure!(!outcome.stdout.contains("incomplete"), "{}", outcome.stdout);
        Ok(())
    };
    is_complete(doctor(bench)?)?;
    {
        let _zram = Zram::new()?;
        let disk = ["if=/dev/zero", "of=/dev/zram0", "bs=64k", "count=16", "conv=fsync"];
        let command = [&["run", "--format", "json", "--", "dd"][..], &disk].concat();
        let total = Tracer::start(&bench.tracer, &command)?.wait(LIMIT)?.total_of_run()?;
        let coverage = &total["coverage"];
        ensure!(coverage["state"] == "incomplete", "zram was written to: {coverage}");
        let reasons = coverage["reasons"].as_array().context("no reasons")?;
        let of_zram =
            reasons.iter().filter_map(|reason| reason.as_str()).filter(|reason| reason.contains("zram"));
        ensure!(of_zram.count() == 1 && reasons.len() == 1, "{coverage}");

        let read = Tracer::start(&bench.tracer, &["run", "--format", "json", "--", "true"])?;
        let coverage = &read.wait(LIMIT)?.total_of_run()?["coverage"];
        ensure!(coverage["state"] == "complete", "nothing moved to or from zram: {coverage}");

        let outcome = doctor(bench)?;
        ensure!(outcome.status.code() == Some(1), "doctor: {}\n{}", outcome.status, outcome.stdout);
        for said in ["coverage of copies: incomplete", "IN USE   zram"] {
            ensure!(outcome.stdout.contains(said), "doctor does not say {said:?}:\n{}", outcome.stdout);
        }
    }
    is_complete(doctor(bench)?)
}

fn doctor(bench: &Bench) -> Result<Outcome> {
    Tracer::start(&bench.tracer, &["doctor"])?.wait(LIMIT)
}

/// Modules that were loaded for a test.
struct Loaded(Vec<String>);

impl Drop for Loaded {
    fn drop(&mut self) {
        for module in &self.0 {
            let _ = Command::new("modprobe").args(["-q", "-r", module]).status();
        }
    }
}

/// `VERDICT FOUND MODULE FUNCTION -> WHAT`, one a line.
fn text_is_as_surveyed(bench: &Bench) -> Result<()> {
    let first = Tracer::start(&bench.tracer, &["doctor", "--survey"])?.wait(LIMIT)?;
    let absent = first.stdout.lines().filter(|line| line.contains(" absent "));
    let modules: BTreeSet<&str> = absent.filter_map(module).collect();
    ensure!(modules.len() > 10, "only {modules:?} are not loaded:\n{}", first.stdout);
    let loads = |module: &&&str| {
        let status = Command::new("modprobe").args(["-q", module]).status();
        status.is_ok_and(|status| status.success())
    };
    let loaded = Loaded(modules.iter().filter(loads).map(|module| (*module).to_owned()).collect());
    let outcome = Tracer::start(&bench.tracer, &["doctor", "--survey"])?.wait(LIMIT)?;
    let differs = |line: &&str| {
        let module = module(line);
        // A module that does not load, as a driver without its device, cannot be looked at.
        let is_there =
            module.is_none_or(|module| !modules.contains(module) || loaded.0.iter().any(|l| l == module));
        line.starts_with("DIFFERS") && is_there
    };
    let differing: Vec<&str> = outcome.stdout.lines().filter(differs).collect();
    let lines = outcome.stdout.lines().count();
    println!("survey: {lines} places, {} modules loaded of {}", loaded.0.len(), modules.len());
    ensure!(differing.is_empty() && lines > 80, "not as surveyed:\n{}", differing.join("\n"));
    Ok(())
}

/// The module's column of a line, which is before the function, the arrow and what it calls.
fn module(line: &str) -> Option<&str> {
    line.split_whitespace().rev().nth(3).filter(|module| *module != "-")
}
