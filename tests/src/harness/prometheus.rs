//! A real Prometheus that scrapes a tracer over TLS with a password, and what it knows.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::metrics;
use super::programs::server::Server;

pub struct Prometheus {
    server: Server,
    own: SocketAddr,
}

/// What it scrapes, and how often.
pub struct Plan<'a> {
    /// `host:port`.
    pub target: &'a str,
    /// What signed the target's certificate, which is for `localhost`.
    pub ca: &'a str,
    /// Of the user `prometheus`.
    pub password: &'a str,
    /// Seconds between two scrapes, which is also how long one may take. (Rules are evaluated each second.)
    pub interval: u64,
    /// A file of rules.
    pub rules: Option<&'a str>,
}

impl Prometheus {
    /// Waits until it answers. Its files are in `dir`.
    pub fn start(program: &str, dir: &Path, plan: &Plan<'_>) -> Result<Prometheus> {
        let Plan { target, ca, password, interval, rules } = plan;
        let config = dir.join("prometheus.yml");
        let rules = rules.map_or_else(String::new, |rules| format!("rule_files: [{rules}]\n"));
        let text = format!(
            "global: {{scrape_interval: {interval}s, scrape_timeout: {interval}s, evaluation_interval: 1s}}\n\
             {rules}\
             scrape_configs:\n\
             - job_name: tracer\n  \
               scheme: https\n  \
               tls_config: {{ca_file: {ca}, server_name: localhost}}\n  \
               basic_auth: {{username: prometheus, password: {password}}}\n  \
               static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let own = metrics::free_address()?;
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}/data", dir.display()));
        command.arg(format!("--web.listen-address={own}"));
        let mut server = Server::start(command, &dir.join("prometheus.output"))?;
        server.wait_for("Prometheus is ready", |_| {
            std::thread::sleep(Duration::from_millis(200));
            let (status, _) = metrics::get(own, "/-/ready").ok()?;
            status.contains(" 200 ").then_some(())
        })?;
        Ok(Prometheus { server, own })
    }

    /// The `data` of an answer of its API.
    pub fn api(&self, path: &str) -> Result<Value> {
        let (status, body) = metrics::get(self.own, &format!("/api/v1/{path}"))?;
        ensure!(status.contains(" 200 "), "{path}: {status}: {body}");
        let mut answer: Value = serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))?;
        Ok(answer["data"].take())
    }

    /// The values that a query finds.
    pub fn find(&self, query: &str) -> Result<Vec<f64>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let data = self.api(&format!("query?query={encoded}"))?;
        let samples = data["result"].as_array().with_context(|| format!("{query}: {data}"))?;
        let values = samples.iter().map(|sample| {
            let text = sample["value"][1].as_str().context("a sample without a value")?;
            text.parse().with_context(|| format!("{query}: {text:?} is no number"))
        });
        values.collect()
    }

    /// What it says of itself.
    pub fn said(&self) -> String {
        self.server.said()
    }
}
