//! The installed service over minutes, in a VM whose first process is systemd: processes come and go, a real
//! Prometheus scrapes over TLS with a password; what was counted, and what it took. Measures only: `cargo xtask
//! soak` judges.

mod daemon;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::harness::prometheus::{self, Prometheus};
use crate::harness::{LIMIT, metrics, until};
use daemon::{property, said};

/// Where the service listens by default, by the name that is in its certificate.
const TARGET: &str = "localhost:9435";
const CLIENT: &str = "/run/soak";
/// The systemd unit of the load, and the name of its processes.
const UNIT: &str = "soak.service";
const COMM: &str = "workload";
/// At most so many processes a second.
const RATE: u64 = 200;
/// Seconds between two scrapes; and how long one may take, which is Prometheus's default.
const INTERVAL: u64 = 10;
/// Between two looks at what the service takes. In half a minute a third has ten, one or two of them during a scrape.
const LOOKS: Duration = Duration::from_secs(1);

pub struct Plan {
    pub package: String,
    pub workload: String,
    pub prometheus: String,
    pub seconds: u64,
}

/// One JSON object.
pub fn run(plan: &Plan) -> Result<Value> {
    let mut command = Command::new("sh");
    command.args(["-c", include_str!("setup.sh"), "setup", &plan.package, CLIENT]);
    let output = command.output().context("cannot start sh")?;
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "setting up: {}: {err}", output.status);
    let result = soak(plan);
    result.with_context(|| {
        let log = said("journalctl", &["--no-pager", "--lines=30", "--unit=tracer"]);
        format!("the service's log:\n{}", log.unwrap_or_default())
    })
}

fn soak(plan: &Plan) -> Result<Value> {
    until("the service is ready", LIMIT, || {
        std::thread::sleep(Duration::from_millis(500));
        Ok(page("-/ready").ok().map(drop))
    })?;
    let status: Value = serde_json::from_str(&page("status")?)?;
    let (ca, password) = (format!("{CLIENT}/ca.crt"), password()?);
    let scraping =
        prometheus::Plan { target: TARGET, ca: &ca, password: &password, interval: INTERVAL, rules: None };
    let prometheus = Prometheus::start(&plan.prometheus, Path::new(CLIENT), &scraping)?;
    wait_for_scrape(&prometheus)?;
    wait_for_scrape(&prometheus)?;
    let pid: u32 = property("MainPID")?.parse()?;
    let before = page("metrics")?;

    let work = || {
        let load = load(plan)?;
        // What the last processes did has to be in it.
        wait_for_scrape(&prometheus)?;
        Ok(load)
    };
    let (load, resources) = daemon::watch(pid, LOOKS, work)?;

    let after = page("metrics")?;
    let window = format!("{}s", load["seconds"].as_f64().context("no seconds")?.ceil());
    let ask = |query: &str| {
        sum(&prometheus, &query.replace("WINDOW", &window).replace("UP", r#"up{job="tracer"}"#))
    };
    let rose = |name: &str| metrics::sum(&after, name, &[]) as i64 - metrics::sum(&before, name, &[]) as i64;
    Ok(json!({
        "load": load,
        "bytes_on_the_page": read_by_load(&after),
        "bytes_in_prometheus": ask(&selector())?,
        "copies_on_the_page": metrics::sum(&after, "tracer_copies_total", &LABELS),
        "ended": rose("tracer_processes_ended_total"),
        "missed": missed(&after),
        "missed_in_prometheus": ask("sum(tracer_probe_missed_total) + sum(tracer_events_lost_total)")?,
        "merged": metrics::sum(&after, "tracer_events_merged_total", &[])
            + metrics::sum(&after, "tracer_groups_merged_total", &[("into", "overflow")]),
        "scrapes": ask("count_over_time(UP[WINDOW])")?,
        "scrapes_up": ask("sum_over_time(UP[WINDOW])")?,
        "scrape_seconds": ask(r#"max_over_time(scrape_duration_seconds{job="tracer"}[WINDOW])"#)?,
        "interval": INTERVAL,
        "starts": ask("changes(tracer_counting_start_time_seconds[WINDOW])")?,
        "restarts": property("NRestarts")?.parse::<u64>()?,
        "same_process": property("MainPID")? == pid.to_string(),
        "resources": resources,
        "cpu_seconds": rose("tracer_process_cpu_seconds_total"),
        "identity": daemon::identity(pid)?,
        "coverage": status["coverage"]["state"],
        "exposure": exposure()?,
    }))
}

/// The sum of what a query finds; an error if that is nothing.
fn sum(prometheus: &Prometheus, query: &str) -> Result<f64> {
    let found = prometheus.find(query)?;
    ensure!(!found.is_empty(), "{query}: no data; Prometheus said:\n{}", prometheus.said());
    Ok(found.iter().sum())
}

/// Waits for a scrape that began after now.
fn wait_for_scrape(prometheus: &Prometheus) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    until("a scrape by Prometheus", LIMIT, || {
        std::thread::sleep(Duration::from_millis(200));
        let found = prometheus.find(r#"timestamp(up{job="tracer"})"#)?;
        Ok(found.into_iter().find(|time| *time > now).map(drop))
    })
    .with_context(|| prometheus.said())
}

/// Of the user `prometheus`.
fn password() -> Result<String> {
    std::fs::read_to_string(format!("{CLIENT}/password")).context("no password was made")
}

/// Runs in a unit of its own; what it says about itself.
fn load(plan: &Plan) -> Result<Value> {
    let (rate, seconds) = (RATE.to_string(), plan.seconds.to_string());
    let unit = format!("--unit={UNIT}");
    let forks = [&plan.workload, "forks", "--per-second", &rate, "--seconds", &seconds];
    // The process that systemd makes has read files of its own before it became what it is: so that is another one.
    let mut words =
        vec!["--quiet", "--wait", "--pipe", "--collect", &unit, "sh", "-c", r#""$@"; exit $?"#, "sh"];
    words.extend(forks);
    let text = said("systemd-run", &words)?;
    serde_json::from_str(&text).with_context(|| format!("the load said {text:?}"))
}

/// What the load did, and nothing else: its only `read`s are those of the children.
const LABELS: [(&str, &str); 5] =
    [("comm", COMM), ("unit", UNIT), ("path", "read"), ("direction", "to_user"), ("kind", "copy")];

fn read_by_load(page: &str) -> u64 {
    metrics::sum(page, "tracer_copied_bytes_total", &LABELS)
}

fn selector() -> String {
    let labels: Vec<String> = LABELS.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    format!("tracer_copied_bytes_total{{{}}}", labels.join(","))
}

/// Every event that is known to be lost.
fn missed(page: &str) -> u64 {
    ["tracer_probe_missed_total", "tracer_events_lost_total"]
        .map(|name| metrics::sum(page, name, &[]))
        .iter()
        .sum()
}

/// A page of the service, by another client than Prometheus.
fn page(path: &str) -> Result<String> {
    let (ca, user) = (format!("{CLIENT}/ca.crt"), format!("prometheus:{}", password()?));
    let url = format!("https://{TARGET}/{path}");
    said(
        "curl",
        &["--silent", "--show-error", "--fail", "--max-time", "20", "--cacert", &ca, "--user", &user, &url],
    )
}

/// What systemd thinks of the unit, from 0 to 10.
fn exposure() -> Result<f64> {
    let text = said("systemd-analyze", &["security", "--no-pager", "tracer.service"])?;
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or(&text);
    let number = line.split_whitespace().find_map(|word| word.parse().ok());
    number.with_context(|| format!("no number in {line:?}"))
}
