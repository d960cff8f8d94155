//! The daemon needs no root: its capabilities, and no more, suffice.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::metrics;
use tracer_tests::harness::privilege::become_user;
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, on_each_way};

/// Nobody's.
const USER: u32 = 65_534;
/// CAP_DAC_READ_SEARCH, CAP_SYS_RAWIO (both for /proc/kcore), CAP_SYSLOG, CAP_PERFMON, CAP_BPF.
const CAPABILITIES: u64 = 1 << 2 | 1 << 17 | 1 << 34 | 1 << 38 | 1 << 39;

pub fn checks() -> Vec<Check> {
    vec![on_each_way("serve::needs_no_root", no_root)]
}

/// Debian's kernels begin with 3, at which kprobes ask for CAP_SYS_ADMIN; 2 is what others begin with.
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

fn no_root(bench: &Bench) -> Result<()> {
    let before = fs::read_to_string(PARANOID)?;
    fs::write(PARANOID, "2")?;
    let result = counts(bench);
    fs::write(PARANOID, before)?;
    result
}

fn counts(bench: &Bench) -> Result<()> {
    let address = metrics::free_address()?;
    let mut command = Command::new(&bench.tracer);
    command.args(["serve", "--listen", &address.to_string(), "--group-by", "comm"]);
    // SAFETY: only system calls between fork and exec.
    unsafe { command.pre_exec(|| become_user(USER, CAPABILITIES)) };
    let mut tracer = Tracer::start_command(command)?;
    tracer.wait_counting_everybody()?;
    let (line, status) = metrics::get(address, "/status")?;
    let status: serde_json::Value = serde_json::from_str(&status).with_context(|| line)?;
    ensure!(status["ready"] == true, "{status:#}");
    ensure!(status["coverage"]["state"] == "complete", "{}", status["coverage"]);
    let kept: Vec<&str> =
        status["capabilities"].as_array().context("kept")?.iter().filter_map(|c| c.as_str()).collect();
    let needed: &[&str] = if ["5.10"].contains(&bench.kernel.as_str()) { &["CAP_BPF"] } else { &[] };
    ensure!(kept == needed, "it kept {kept:?}");

    let mut session = bench.ready("rw_file", MIB)?;
    let copied = |page: &str| metrics::sum(page, "tracer_copied_bytes_total", &[("comm", "workload")]);
    let before = copied(&metrics::scrape(address)?);
    session.window()?;
    let page = metrics::scrape(address)?;
    let counted = copied(&page) - before;
    session.finish()?;
    ensure!(counted == 2 * MIB as u64, "{counted} bytes copied, not {}:\n{page}", 2 * MIB);
    let outcome = tracer.terminate()?;
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    Ok(())
}
