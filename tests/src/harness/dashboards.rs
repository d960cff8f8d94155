//! The queries of dashboards/.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

/// Of all panels of a page in Grafana's JSON, with its variables filled in as for "All".
pub fn queries(page: &str) -> Result<BTreeSet<String>> {
    let page: Value = serde_json::from_str(page)?;
    let panels = page["panels"].as_array().context("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let expr = target["expr"].as_str().context("a target without a query")?;
            let filled = ["$job", "$instance", "$comm"]
                .iter()
                .fold(expr.to_owned(), |expr, name| expr.replace(name, ".*"));
            Ok(filled.replace("$__rate_interval", "1m"))
        })
        .collect()
}
