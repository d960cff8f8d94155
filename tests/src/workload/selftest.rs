//! `workload selftest`: every mechanism, driven as the harness drives it but
//! without a tracer: do the bytes arrive, and is the window free of faults?

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::memory::{FAULT_AROUND, PAGE};
use super::{Options, registry};
use crate::harness::process;
use crate::harness::session::{Session, Started, block_signals};

pub struct Plan {
    /// Only workloads whose name contains it.
    pub filter: Option<String>,
    pub options: Options,
}

pub fn run(plan: &Plan) -> Result<i32> {
    block_signals();
    let filter = plan.filter.as_deref().unwrap_or("");
    let chosen = registry::ALL.iter().filter(|entry| entry.name.contains(filter));
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for entry in chosen {
        match check(entry.name, &plan.options) {
            Ok(Verdict::Passed(detail)) => {
                passed += 1;
                println!("ok   {:<22} {detail}", entry.name);
            }
            Ok(Verdict::Skipped(cause)) => {
                skipped += 1;
                println!("skip {:<22} {cause}", entry.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {:<22} {error:#}", entry.name);
            }
        }
    }
    println!("selftest: {passed} passed; {failed} failed; {skipped} skipped");
    Ok(i32::from(failed > 0))
}

enum Verdict {
    Passed(String),
    Skipped(String),
}

fn check(name: &str, options: &Options) -> Result<Verdict> {
    let arguments = [
        "--bytes".to_string(),
        options.bytes.to_string(),
        "--chunk".into(),
        options.chunk.to_string(),
        "--dir".into(),
        options.dir.display().to_string(),
    ];
    let mut session = match Session::start(Path::new("/proc/self/exe"), name, &arguments)? {
        Started::Ready(session) => session,
        Started::Skipped(cause) => return Ok(Verdict::Skipped(cause)),
    };
    let before = process::truth(session.pid)?;
    session.window()?;
    let first = process::truth(session.pid)? - before;
    // A second one: rewinding must work too.
    session.window()?;
    let books = session.finish()?;
    ensure!(books["windows"] == 2, "{} windows instead of 2", books["windows"]);
    let expected = expected_faults(name, options.bytes);
    if let Some(expected) = expected {
        ensure!(first.faults == expected, "{} faults, not {expected}", first.faults);
    }
    Ok(Verdict::Passed(summary(&books, first.faults)))
}

/// Faults of the first window; `None` where a library's calls are in it.
fn expected_faults(name: &str, bytes: usize) -> Option<u64> {
    match name {
        "children" => None,
        "cow_after_fork" | "private_file_cow" | "fresh_pages" => Some((bytes / PAGE) as u64),
        // By the program or by the kernel for it: each maps as much as it can.
        "map_write_tcp" | "map_look_write_tcp" => Some((bytes / FAULT_AROUND) as u64),
        _ => Some(0),
    }
}

fn summary(books: &Value, faults: u64) -> String {
    let calls: Vec<String> = books["syscalls"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    format!("faults {faults}; {}", calls.join(", "))
}
