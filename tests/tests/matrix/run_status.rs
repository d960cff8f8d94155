//! `tracer run`: the exit status is the command's, and the tracer's own
//! failures have statuses of their own.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, ensure};
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::ledger;
use tracer_tests::harness::tracer::{Outcome, Tracer};

use crate::{Check, check, on_any_kernel, on_each_way, sound};

const NOBODY: u32 = 65534;

/// Command line, and the status that it must give.
const CASES: [(&str, &[&str], i32); 6] = [
    ("success", &["true"], 0),
    ("failure", &["sh", "-c", "exit 7"], 7),
    ("signal", &["sh", "-c", "kill -TERM $$"], 128 + 15),
    ("killed", &["sh", "-c", "kill -KILL $$"], 128 + 9),
    ("not_executable", &["/etc/passwd"], 126),
    ("not_found", &["/nonexistent/command"], 127),
];

pub fn checks() -> Vec<Check> {
    let mut checks: Vec<Check> =
        CASES.iter().map(|(name, command, status)| is(name, command, *status)).collect();
    checks.push(check("run_status::tracer_failed", |bench| {
        let mut command = Command::new(&bench.tracer);
        command.args(["run", "--", "true"]).uid(NOBODY).gid(NOBODY);
        expect_status(&Tracer::start_command(command)?.wait(LIMIT)?, 125)
    }));
    checks.push(on_each_way("run_status::counts_from_exec_on", counts_from_exec_on));
    checks
}

fn is(name: &str, command: &'static [&'static str], status: i32) -> Check {
    on_any_kernel(&format!("run_status::{name}"), move |bench| {
        let mut arguments = vec!["run", "--"];
        arguments.extend(command);
        expect_status(&Tracer::start(&bench.tracer, &arguments)?.wait(LIMIT)?, status)
    })
}

fn expect_status(outcome: &Outcome, status: i32) -> Result<()> {
    let found = outcome.status;
    ensure!(found.code() == Some(status), "{found}, not {status}; stderr:\n{}", outcome.stderr);
    ensure!(!outcome.stderr.contains("panicked"), "a panic:\n{}", outcome.stderr);
    let ours = (125..=127).contains(&status);
    ensure!(!ours || !outcome.stderr.is_empty(), "status {status} without a message");
    Ok(())
}

/// The workload reads the source in its window, and the destination when it
/// verifies; nothing else (it is linked statically).
fn counts_from_exec_on(bench: &Bench) -> Result<()> {
    let mut arguments: Vec<String> = ["run", "--format", "json", "--"].map(String::from).to_vec();
    arguments.push(bench.workload.display().to_string());
    arguments.extend(["rw_file", "--once", "--dir"].map(String::from));
    arguments.push(bench.tmpfs.display().to_string());
    let total = Tracer::start(&bench.tracer, &arguments)?.wait(LIMIT)?.total_of_run()?;
    sound(&total)?;
    let processes = ledger::processes(&total);
    let read: u64 = processes.iter().map(|ledger| ledger.copied("read", "to_user")).sum();
    ensure!(read == 2 * MIB as u64, "read.to_user is {read}, not {}: {total}", 2 * MIB);
    Ok(())
}
