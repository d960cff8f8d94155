//! Bad input: one clear message that names the thing, the documented exit
//! status, no panic, nothing left in the kernel.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::bpf::Objects;
use tracer_tests::harness::tracer::{Outcome, Tracer};
use tracer_tests::harness::{LIMIT, ledger, until};

use crate::{Check, check};

const NOBODY: u32 = 65534;
/// clap's for what it can see by itself.
const USAGE: &[i32] = &[2];
const FAILED: &[i32] = &[1];
const EITHER: &[i32] = &[1, 2];

/// Arguments that are wrong on every machine; status; what must be named.
const CASES: [(&str, &[&str], &[i32], &str); 7] = [
    ("pid_0", &["--pid", "0"], EITHER, "0"),
    ("pid_negative", &["--pid=-1"], USAGE, "-1"),
    ("pid_no_number", &["--pid", "nginx"], USAGE, "nginx"),
    ("pid_beyond_pid_max", &["--pid", "4194305"], EITHER, "4194305"),
    ("kernel_thread", &["--pid", "2"], FAILED, "kernel thread"),
    ("duration_0", &["--pid", "1", "--duration", "0"], EITHER, "duration"),
    ("unknown_format", &["--pid", "1", "--format", "xml"], USAGE, "xml"),
];

pub fn checks() -> Vec<Check> {
    let mut checks: Vec<Check> = CASES
        .iter()
        .map(|(name, arguments, statuses, named)| {
            check(&format!("bad_input::{name}"), move |bench| {
                let mut command = Command::new(&bench.tracer);
                command.args(*arguments);
                refused(command, statuses, named)
            })
        })
        .collect();
    checks.extend([
        check("bad_input::pid_not_existing", not_existing),
        check("bad_input::pid_of_a_zombie", zombie),
        check("bad_input::pid_of_another_namespace", other_namespace),
        check("bad_input::listen_on_a_used_port", used_port),
        check("bad_input::no_privilege", no_privilege),
        check("bad_input::output_that_nobody_reads", broken_pipe),
        check("bad_input::hidden_kernel_symbols", hidden_symbols),
    ]);
    checks
}

/// Runs it, and holds it to all that bad input is promised.
fn refused(command: Command, statuses: &[i32], named: &str) -> Result<()> {
    let before = Objects::now()?;
    let outcome = Tracer::start_command(command)?.wait(LIMIT)?;
    complains(&outcome, statuses, named)?;
    before.wait_until_as_before()
}

fn complains(outcome: &Outcome, statuses: &[i32], named: &str) -> Result<()> {
    let said = &outcome.stderr;
    let code = outcome.status.code();
    ensure!(
        code.is_some_and(|code| statuses.contains(&code)),
        "{}, not one of {statuses:?}; stderr:\n{said}",
        outcome.status
    );
    ensure!(said.to_lowercase().contains(named), "stderr does not say {named:?}:\n{said}");
    ensure!(!said.contains("panicked"), "a panic:\n{said}");
    // What, why, and the next command; clap adds its usage.
    let lines = said.lines().filter(|line| !line.trim().is_empty()).count();
    ensure!(lines <= 8, "{lines} lines are not one clear message:\n{said}");
    ensure!(outcome.stdout.is_empty(), "output beside the error:\n{}", outcome.stdout);
    Ok(())
}

fn on_pid(bench: &Bench, pid: u32) -> Command {
    let mut command = Command::new(&bench.tracer);
    command.args(watch(&[pid], &[]));
    command
}

fn not_existing(bench: &Bench) -> Result<()> {
    let mut gone = Command::new("true").spawn()?;
    gone.wait()?;
    refused(on_pid(bench, gone.id()), FAILED, &gone.id().to_string())
}

fn zombie(bench: &Bench) -> Result<()> {
    let mut child = Command::new("true").spawn()?;
    let pid = child.id();
    until("the child is a zombie", LIMIT, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.contains(") Z ").then_some(()))
    })?;
    let result = refused(on_pid(bench, pid), FAILED, &pid.to_string());
    child.wait()?;
    result
}

/// A pid counts in the namespace of the caller: there, ours does not exist.
fn other_namespace(bench: &Bench) -> Result<()> {
    let session = bench.ready("idle", MIB)?;
    let pid = session.pid;
    let mut command = Command::new("unshare");
    command.args(["--fork", "--pid", "--mount-proc"]).arg(&bench.tracer);
    command.args(watch(&[pid], &[]));
    refused(command, FAILED, &pid.to_string())
}

fn used_port(bench: &Bench) -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let session = bench.ready("idle", MIB)?;
    let mut command = Command::new(&bench.tracer);
    command.args(watch(&[session.pid], &["--listen", &address]));
    refused(command, FAILED, &address)
}

fn no_privilege(bench: &Bench) -> Result<()> {
    let session = bench.ready("idle", MIB)?;
    let mut command = on_pid(bench, session.pid);
    command.uid(NOBODY).gid(NOBODY);
    refused(command, FAILED, "root")
}

/// Its reader is gone when it prints: no panic, and an end.
fn broken_pipe(bench: &Bench) -> Result<()> {
    let before = Objects::now()?;
    let session = bench.ready("idle", MIB)?;
    let mut command = on_pid(bench, session.pid);
    let mut tracer = command
        .args(["--duration", "1s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(tracer.stdout.take());
    let status = until("tracer ends", LIMIT, || Ok(tracer.try_wait()?))?;
    let mut said = String::new();
    tracer.stderr.take().context("piped")?.read_to_string(&mut said)?;
    ensure!(!said.contains("panicked"), "a panic ({status}):\n{said}");
    before.wait_until_as_before()
}

/// kptr_restrict=2 hides addresses even from root: the bytes stay right, and
/// the completeness is not claimed without proof.
fn hidden_symbols(bench: &Bench) -> Result<()> {
    const SETTING: &str = "/proc/sys/kernel/kptr_restrict";
    let old = fs::read_to_string(SETTING)?;
    fs::write(SETTING, "2")?;
    let window = bench.window("rw_file", &[]);
    fs::write(SETTING, old)?;
    let window = window?;
    let copied = ledger::process(&window.total, window.worker)?.copied_at_all();
    ensure!(copied == 2 * MIB as u64, "{copied} bytes with kptr_restrict=2");
    let state = &window.total["coverage"]["state"];
    ensure!(*state != "complete", "coverage {state} is claimed without symbols");
    Ok(())
}
