//! Programs that share a window: each is a process with a ledger of its own, and a tracer's start
//! costs seconds on an emulated CPU.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::books::{Books, Expected};
use super::conclusive::conclusive;
use super::record::Case;
use crate::harness::bench::{Bench, watch};
use crate::harness::ledger;
use crate::harness::tracer::Tracer;

/// A program that waits for its load.
pub struct Ready {
    /// The test that judges it.
    pub test: &'static str,
    pub program: &'static str,
    /// How it is run.
    pub variant: &'static str,
    pub explanation: &'static str,
    pub pid: u32,
    /// Gives it its load, and returns when it is at rest again, or has ended.
    pub drive: Box<dyn FnOnce() -> Result<Load>>,
}

/// What its books must say, asked once counting has ended; some of it may follow from other parts of them.
pub type Known = Box<dyn FnOnce(&Books) -> Result<Vec<Expected>>>;

/// What a program did.
pub struct Load {
    /// Data that it passed on.
    pub bytes: u64,
    pub expected: Known,
    /// Servers and files, which live until counting has ended.
    pub keep: Box<dyn std::any::Any>,
}

impl Load {
    pub fn new(bytes: u64, expected: Vec<Expected>, keep: impl std::any::Any) -> Load {
        Load { bytes, expected: Box::new(|_| Ok(expected)), keep: Box::new(keep) }
    }
}

/// Starts programs.
pub type Start = fn(&Bench) -> Result<Vec<Ready>>;

/// Measured once, whichever test asks first.
pub struct Batch {
    start: Start,
    measured: OnceLock<Result<Measured, String>>,
}

pub struct Measured {
    /// The tracer's.
    pub total: Value,
    cases: Cases,
}

/// Each with its test.
type Cases = Vec<(&'static str, Result<Case, String>)>;

impl Batch {
    pub fn new(start: Start) -> Batch {
        Batch { start, measured: OnceLock::new() }
    }

    pub fn measured(&self, bench: &Bench) -> Result<&Measured> {
        let measure = || conclusive(bench, || measure(bench, (self.start)(bench)?));
        let measured = self.measured.get_or_init(|| match measure() {
            Ok((cases, total)) => Ok(Measured { total, cases }),
            Err(error) => Err(format!("{error:#}")),
        });
        measured.as_ref().map_err(|error| anyhow!("{error}"))
    }
}

impl Measured {
    pub fn cases(&self, test: &str) -> Result<Vec<&Case>> {
        let of_test = self.cases.iter().filter(|(of, _)| *of == test);
        of_test.map(|(_, case)| case.as_ref().map_err(|error| anyhow!("{error}"))).collect()
    }
}

fn measure(bench: &Bench, programs: Vec<Ready>) -> Result<(Cases, Value)> {
    let pids: Vec<u32> = programs.iter().map(|ready| ready.pid).collect();
    let mut tracer = Tracer::start(&bench.tracer, &watch(&pids, &[]))?;
    tracer.wait_counting(&pids)?;
    let mut driven = Vec::new();
    for Ready { test, program, variant, explanation, pid, drive } in programs {
        driven.push((test, program, variant, explanation, pid, drive()));
    }
    let total = tracer.stop()?.total()?;
    let cases = driven.into_iter().map(|(test, program, variant, explanation, pid, load)| {
        let case = load.and_then(|load| {
            let books = Books::of(ledger::process(&total, pid)?);
            let expected = (load.expected)(&books)?;
            Ok(Case { program, variant, bytes: load.bytes, books, expected, explanation })
        });
        (test, case.map_err(|error| format!("{program}, {variant}: {error:#}")))
    });
    let cases = cases.collect();
    Ok((cases, total))
}
