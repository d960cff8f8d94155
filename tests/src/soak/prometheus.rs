//! A real Prometheus that scrapes the installed service, and what it knows.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::harness::programs::server::Server;
use crate::harness::{metrics, until};

/// Between two scrapes, in seconds; and how long one may take, which is Prometheus's default.
pub const INTERVAL: u64 = 10;

pub struct Prometheus {
    server: Server,
    own: SocketAddr,
}

impl Prometheus {
    /// `client` has ca.crt and password.
    pub fn start(program: &str, client: &Path, target: &str) -> Result<Prometheus> {
        let config = client.join("prometheus.yml");
        let dir = client.display();
        let text = format!(
            "global: {{scrape_interval: {INTERVAL}s, scrape_timeout: {INTERVAL}s}}\n\
             scrape_configs:\n\
             - job_name: tracer\n  \
               scheme: https\n  \
               tls_config: {{ca_file: {dir}/ca.crt}}\n  \
               basic_auth: {{username: prometheus, password_file: {dir}/password}}\n  \
               static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let own = metrics::free_address()?;
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={dir}/data"));
        command.arg(format!("--web.listen-address={own}"));
        let mut server = Server::start(command, &client.join("prometheus.output"))?;
        server.wait_for("Prometheus is ready", |_| {
            std::thread::sleep(Duration::from_millis(200));
            let (status, _) = metrics::get(own, "/-/ready").ok()?;
            status.contains(" 200 ").then_some(())
        })?;
        Ok(Prometheus { server, own })
    }

    /// The sum of what a query finds; an error if that is nothing.
    pub fn ask(&self, query: &str) -> Result<f64> {
        let found = self.find(query)?;
        found.with_context(|| format!("{query}: no data; Prometheus said:\n{}", self.server.said()))
    }

    fn find(&self, query: &str) -> Result<Option<f64>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (status, body) = metrics::get(self.own, &format!("/api/v1/query?query={encoded}"))?;
        ensure!(status.contains(" 200 "), "{query}: {status}: {body}");
        let answer: Value = serde_json::from_str(&body).with_context(|| format!("{query}: {body}"))?;
        let samples = answer["data"]["result"].as_array().with_context(|| format!("{query}: {body}"))?;
        let values = samples.iter().map(|sample| {
            let text = sample["value"][1].as_str().context("a sample without a value")?;
            text.parse::<f64>().with_context(|| format!("{query}: {text:?} is no number"))
        });
        let values = values.collect::<Result<Vec<f64>>>()?;
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }

    /// Waits for a scrape that began after now.
    pub fn wait_for_scrape(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        // Its first answer takes an emulated CPU long.
        until("a scrape by Prometheus", Duration::from_secs(120), || {
            std::thread::sleep(Duration::from_millis(200));
            Ok(self.find(r#"timestamp(up{job="tracer"})"#)?.filter(|time| *time > now).map(drop))
        })
        .with_context(|| self.server.said())
    }
}
