//! The daemon: many short-lived processes are counted to the byte, hostile names are harmless, a reload loses
//! nothing, and nothing is left behind. One session, because attaching takes its time.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::{Bench, MIB};
use tracer_tests::harness::bpf::Objects;
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{metrics, until};
use tracer_tests::workload::children::{CHILD_BYTES, SINGLE};

use crate::prometheus::promtool_accepts;
use crate::{Check, check};

/// Bytes that one round of children reads, and writes.
pub const ROUND: usize = SINGLE.children * CHILD_BYTES;

pub fn checks() -> Vec<Check> {
    vec![check("serve::counts_everybody_exactly", exactly)]
}

fn exactly(bench: &Bench) -> Result<()> {
    let objects = Objects::now()?;
    let address = metrics::free_address()?;
    let config = bench.tmpfs.join("tracer.yml");
    fs::write(&config, "version: 1\ngroup_by: [comm]\n")?;
    let mut command = Command::new(&bench.tracer);
    command.args(["serve", "--listen", &address.to_string(), "--config"]).arg(&config);
    let mut tracer = Tracer::start_command(command)?;
    tracer.wait_counting_everybody()?;
    let (status, why) = metrics::get(address, "/-/ready")?;
    ensure!(status.contains(" 200 "), "{status}: {why}");

    short_lived(bench, address)?;
    let status = status_at_rest(address)?;
    nothing_lost(bench, &status)?;
    hostile_name(bench, address)?;

    hangup(&tracer, address)?;
    let fence = fs::read_to_string("/sys/kernel/security/lsm")?;
    ensure!(status["landlock"] == fence.contains("landlock"), "{} with {fence}", status["landlock"]);

    let before = copied(&metrics::scrape(address)?, &[]);
    fs::write(&config, "version: 1\ngroup_by: [pid, comm, cgroup]\nmax_series: 600\n")?;
    let mut page = String::new();
    until("the configuration is read again", Duration::from_secs(20), || {
        page = metrics::scrape(address)?;
        Ok(page.contains("\ntracer_series_limit 600\n").then_some(()))
    })?;
    ensure!(!page.contains("comm=\"tracer\""), "it counts itself:\n{page}");
    ensure!(copied(&page, &[]) >= before, "counts were lost: {before}, now {}", copied(&page, &[]));
    ensure!(page.contains("pid=\"ended\""), "no group of what was counted before:\n{page}");
    short_lived(bench, address)?;
    let page = metrics::scrape(address)?;
    let series = metrics::sum(&page, "tracer_series", &[]);
    ensure!(series <= 600, "{series} series");
    promtool_accepts(bench, &page)?;
    status_at_rest(address)?;

    let outcome = tracer.terminate()?;
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    objects.wait_until_as_before()
}

fn copied(page: &str, labels: &[(&str, &str)]) -> u64 {
    metrics::sum(page, "tracer_copied_bytes_total", labels)
}

/// SIGHUP reads the configuration again, changed or not.
fn hangup(tracer: &Tracer, address: SocketAddr) -> Result<()> {
    let read_at = |page: &str| {
        let name = "tracer_config_last_reload_success_timestamp_seconds ";
        page.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok())
    };
    let before = read_at(&metrics::scrape(address)?).context("no time of the last reload")?;
    tracer.hang_up();
    until("SIGHUP is obeyed", Duration::from_secs(20), || {
        let now = read_at(&metrics::scrape(address)?);
        Ok(now.filter(|now| *now > before).map(drop))
    })
}

/// Children of a workload, a hundred and more a second, each reading and writing the same number of bytes.
pub fn short_lived(bench: &Bench, address: SocketAddr) -> Result<()> {
    let mut session = bench.ready("children", MIB)?;
    let before = metrics::scrape(address)?;
    let begun = Instant::now();
    session.window()?;
    let rate = SINGLE.children as f64 / begun.elapsed().as_secs_f64();
    let after = metrics::scrape(address)?;
    println!("    {rate:.0} processes a second");
    session.finish()?;
    counted(&before, &after, ROUND)
}

/// Between two pages workloads and their children read so many bytes, and wrote as many.
pub fn counted(before: &str, after: &str, known: usize) -> Result<()> {
    // The children execute /proc/self/exe, and are called so.
    let of = |page: &str, path, direction| -> u64 {
        let by = |comm| [("comm", comm), ("path", path), ("direction", direction), ("kind", "copy")];
        ["workload", "exe"].iter().map(|comm| copied(page, &by(comm))).sum()
    };
    let mut differences = Differences::default();
    for (path, direction) in [("read", "to_user"), ("write", "from_user")] {
        let counted = of(after, path, direction).checked_sub(of(before, path, direction));
        let counted = counted.with_context(|| format!("{path} went back:\n{before}\n{after}"))?;
        differences.equal(&format!("{path}.{direction}"), counted, known as u64);
    }
    differences.into_result("the children, by comm")
}

/// A status taken while nothing was counted between its parts.
pub fn status_at_rest(address: SocketAddr) -> Result<Value> {
    let mut status = Value::Null;
    let rest = until("the groups add up to the total", Duration::from_secs(20), || {
        let (line, body) = metrics::get(address, "/status")?;
        ensure!(line.contains(" 200 "), "/status answered {line}");
        status = serde_json::from_str(&body)?;
        Ok((status["totals"]["adds_up"] == true).then_some(()))
    });
    rest.with_context(|| format!("{}", status["totals"]))?;
    Ok(status)
}

pub fn nothing_lost(bench: &Bench, status: &Value) -> Result<()> {
    let losses = status["losses"].as_object().context("no losses")?;
    ensure!(losses.values().all(|count| count == 0), "{losses:?}");
    ensure!(status["coverage"]["state"] == "complete", "{}", status["coverage"]);
    ensure!(bench.preempts_programs() || status["missed_events"] == 0, "{}", status["probes"]);
    let ended = status["processes"]["ended"].as_u64().context("no processes")?;
    ensure!(ended >= SINGLE.children as u64, "only {ended} processes ended");
    Ok(())
}

/// A program whose name would break lines, labels and terminals.
fn hostile_name(bench: &Bench, address: SocketAddr) -> Result<()> {
    let name = OsString::from_vec(b"a\n\"}\\\x1b[2J\xff".to_vec());
    let program = bench.tmpfs.join(name);
    std::os::unix::fs::symlink(&bench.workload, &program)?;
    let dir = bench.tmpfs.display().to_string();
    // The kernel names it after the file; what it calls itself is text.
    let status = Command::new(&program)
        .arg0("workload")
        .args(["rw_file", "--once", "--bytes", "4096", "--dir", &dir])
        .status()?;
    ensure!(status.success(), "{status}");
    let page = metrics::scrape(address)?;
    // Escaped once for people, and the backslashes of that once more by the format.
    let shown = r#"comm="a\\n\"}\\\\\\u{1b}[2J"#;
    ensure!(page.contains(shown), "{shown} is not in:\n{page}");
    let bad = page.chars().find(|c| c.is_control() && *c != '\n');
    ensure!(bad.is_none(), "the page has {bad:?}");
    ensure!(page.lines().all(|line| line.starts_with('#') || line.starts_with("tracer_")), "{page}");
    Ok(())
}
