//! A real Prometheus scrapes the daemon over TLS with a password, with the rules of dashboards/; then every query
//! of every panel, and every recording rule, must have data, and every rule must be evaluated.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::programs::client::CURL;
use tracer_tests::harness::programs::files::{self, Dir};
use tracer_tests::harness::programs::no_ktls;
use tracer_tests::harness::prometheus::{Plan, Prometheus};
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{dashboards, metrics, until};

use crate::{ANY_KERNEL, Check, Verdict, checked_on};

const PAGES: [&str; 3] = [
    include_str!("../../../dashboards/tracer-node.json"),
    include_str!("../../../dashboards/tracer-process.json"),
    include_str!("../../../dashboards/tracer-health.json"),
];
const RULES: &str = include_str!("../../../dashboards/rules.yml");

const PASSWORD: &str = "moved-not-copied";
/// bcrypt of it, of the lowest cost.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuwdwWpPykx0Nexs7BhDh7woclGBa1Ncq";

/// Together they have every path, kind and device that a panel shows by name.
const LOAD: [&str; 4] = ["rw_tcp", "sendfile_tcp", "ktls13_write", "write_sync"];

/// An emulated CPU needs most of a minute to start Prometheus alone.
const PATIENCE: Duration = Duration::from_secs(240);

pub fn checks() -> Vec<Check> {
    vec![checked_on(ANY_KERNEL, "dashboards::every_query_has_data", |bench| match &bench.prometheus {
        None => Ok(Verdict::Skipped("PROMETHEUS is not set".into())),
        Some(prometheus) => {
            every_query_has_data(bench, &prometheus.display().to_string()).map(|()| Verdict::Passed)
        }
    })]
}

fn every_query_has_data(bench: &Bench, prometheus: &str) -> Result<()> {
    if let Some(cause) = no_ktls() {
        bail!("{cause}");
    }
    let dir = Dir::new(bench, "dashboards")?;
    let address = metrics::free_address()?;
    let [certificate, key] = files::certificate(&dir)?;
    let web = dir.write(
        "web.yml",
        format!(
            "tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n\
             basic_auth_users: {{prometheus: {HASH}}}\n"
        ),
    )?;
    let mut command = Command::new(&bench.tracer);
    command.args(["serve", "--group-by", "comm", "--listen", &address.to_string(), "--web.config.file"]);
    command.arg(web);
    let mut tracer = Tracer::start_command(command)?;
    tracer.wait_counting_everybody()?;
    curl_scrapes(address, &certificate)?;
    let rules = dir.write("rules.yml", RULES)?.display().to_string();
    // Often, but with time for a scrape over TLS, which takes 0.8 s on an emulated CPU that has nothing else to do.
    let plan = Plan {
        target: &address.to_string(),
        ca: &certificate,
        password: PASSWORD,
        interval: 5,
        rules: Some(&rules),
    };
    let prometheus = Prometheus::start(prometheus, dir.path(), &plan)?;
    let mut lacking = queries()?;
    let all = lacking.len();
    let found = until("every query has data", PATIENCE, || {
        load(bench)?;
        let mut still = BTreeSet::new();
        for query in std::mem::take(&mut lacking) {
            if !has_data(&prometheus, &query)? {
                still.insert(query);
            }
        }
        lacking = still;
        Ok(lacking.is_empty().then_some(()))
    });
    found
        .with_context(|| format!("of {all} queries these have none: {lacking:#?}\n{}", prometheus.said()))?;
    rules_are_evaluated(&prometheus)?;
    let outcome = tracer.terminate()?;
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    Ok(())
}

/// So does curl, compressed or not; without the password, or without TLS, it gets nothing.
fn curl_scrapes(address: SocketAddr, certificate: &str) -> Result<()> {
    let place = format!("localhost:{}", address.port());
    let resolve = format!("{place}:127.0.0.1");
    let user = format!("prometheus:{PASSWORD}");
    let curl = |scheme: &str, options: &[&str]| -> Result<String> {
        let mut command = Command::new(CURL);
        command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "55", "--cacert", certificate]);
        command.args(["--resolve", &resolve, "-w", "\n%{http_code} %{size_download}"]).args(options);
        let output = command.arg(format!("{scheme}://{place}/metrics")).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let end = |said: &str| said.lines().last().unwrap_or_default().to_owned();
    let plain = curl("https", &["--user", &user])?;
    let compressed = curl("https", &["--user", &user, "--compressed"])?;
    for said in [&plain, &compressed] {
        ensure!(end(said).starts_with("200 ") && said.contains("\ntracer_ready 1\n"), "{said}");
    }
    let bytes = |said: &str| end(said).split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
    let (plain, compressed) = (bytes(&plain).context("no size")?, bytes(&compressed).context("no size")?);
    ensure!(compressed * 4 < plain, "{compressed} bytes compressed, {plain} not");
    let denied = curl("https", &[])?;
    ensure!(end(&denied).starts_with("401 "), "without a password: {denied}");
    let open = curl("http", &["--user", &user])?;
    ensure!(end(&open) == "000 0", "without TLS: {open}");
    Ok(())
}

fn load(bench: &Bench) -> Result<()> {
    let dir = bench.ext4.as_ref().map_err(|cause| anyhow::anyhow!("no ext4: {cause}"))?.display().to_string();
    for workload in LOAD {
        let mut command = Command::new(&bench.workload);
        command.args([workload, "--once", "--bytes", "4194304", "--dir", &dir]);
        let output = command.output()?;
        ensure!(output.status.success(), "{workload}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Of all panels, with their variables filled in, and the names of what is recorded.
fn queries() -> Result<BTreeSet<String>> {
    let mut queries = BTreeSet::new();
    for page in PAGES {
        queries.extend(dashboards::queries(page)?);
    }
    let recorded = RULES.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    queries.extend(recorded.map(String::from));
    ensure!(queries.len() > 40, "only {} queries were found", queries.len());
    Ok(queries)
}

fn has_data(prometheus: &Prometheus, query: &str) -> Result<bool> {
    // A ratio of nothing by nothing is no data.
    Ok(prometheus.find(query)?.iter().any(|value| !value.is_nan()))
}

fn rules_are_evaluated(prometheus: &Prometheus) -> Result<()> {
    let data = prometheus.api("rules")?;
    let groups = data["groups"].as_array().context("no groups")?;
    let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
    ensure!(rules.len() >= 18, "only {} rules", rules.len());
    let bad: Vec<&&Value> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    ensure!(bad.is_empty(), "{bad:#?}");
    let firing: Vec<&Value> = rules.into_iter().filter(|rule| rule["state"] == "firing").collect();
    ensure!(firing.is_empty(), "a sound tracer makes alerts fire: {firing:#?}");
    Ok(())
}
