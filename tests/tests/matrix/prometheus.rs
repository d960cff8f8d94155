//! The endpoint: a page that promtool accepts, and the numbers of the JSON.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::ledger::{self, DIRECTIONS};
use tracer_tests::harness::metrics;
use tracer_tests::harness::tracer::Tracer;

use crate::{ANY_KERNEL, Check, Verdict, checked_on, on_any_kernel, sound};

pub fn checks() -> Vec<Check> {
    vec![
        on_any_kernel("prometheus::values_equal_the_json", |bench| {
            let (page, total, pid) = scrape_of(bench, "rw_tcp", &[])?;
            sound(&total)?;
            equal(&page, &total, pid)
        }),
        checked_on(ANY_KERNEL, "prometheus::promtool_accepts_a_live_scrape", |bench| {
            let (page, ..) = scrape_of(bench, "sendfile_tcp", &[])?;
            promtool_accepts(bench, &page)
        }),
    ]
}

/// `promtool check metrics`, if there is one.
pub fn promtool_accepts(bench: &Bench, page: &str) -> Result<Verdict> {
    let Some(promtool) = &bench.promtool else {
        return Ok(Verdict::Skipped("PROMTOOL is not set".into()));
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", promtool.display()))?;
    child.stdin.take().expect("piped").write_all(page.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool refuses the page:\n{said}\n{page}");
    Ok(Verdict::Passed)
}

/// A page scraped at rest after a window, the total that follows it, and the worker's pid.
pub fn scrape_of(bench: &Bench, workload: &str, extra: &[&str]) -> Result<(String, Value, u32)> {
    let mut session = bench.ready(workload, MIB)?;
    let address: SocketAddr = metrics::free_address()?;
    let listen = ["--listen", &address.to_string()];
    let arguments = watch(&[session.pid], &[&listen, extra].concat());
    let mut tracer = Tracer::start(&bench.tracer, &arguments)?;
    tracer.wait_counting(&[session.pid])?;
    session.window()?;
    let page = metrics::scrape(address)?;
    let total = tracer.stop()?.total()?;
    let pid = session.pid;
    session.finish()?;
    Ok((page, total, pid))
}

fn equal(page: &str, total: &Value, pid: u32) -> Result<()> {
    let (ledger, pid) = (ledger::process(total, pid)?, pid.to_string());
    let mut differences = Differences::default();
    for path in ledger.path_names() {
        for direction in DIRECTIONS {
            let labels = [("pid", pid.as_str()), ("path", path), ("direction", direction), ("kind", "copy")];
            let found = metrics::sum(page, "tracer_copied_bytes_total", &labels);
            let what = format!("copied {path}.{direction}");
            differences.equal(&what, found, ledger.copied(path, direction));
        }
        let labels = [("pid", pid.as_str()), ("path", path)];
        for (metric, field) in [
            ("tracer_payload_bytes_total", "payload_bytes"),
            ("tracer_payload_calls_total", "calls"),
            ("tracer_syscalls_total", "syscalls"),
        ] {
            let found = metrics::sum(page, metric, &labels);
            differences.equal(&format!("{metric} {path}"), found, ledger.of_path(path, field));
        }
    }
    let labels = [("pid", pid.as_str()), ("reason", "syscall")];
    let found = metrics::sum(page, "tracer_mode_switches_total", &labels);
    differences.equal("tracer_mode_switches_total", found, ledger.mode_switches("syscall"));
    let copied = metrics::sum(page, "tracer_copied_bytes_total", &[("pid", pid.as_str())]);
    ensure!(copied >= 2 * MIB as u64, "the page has only {copied} copied bytes:\n{page}");
    differences.into_result("the page against the JSON")
}
