//! Pictures of the dashboards, from what a real Prometheus answers to their queries: Grafana is not needed for them,
//! and does not draw them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::grafana;
use super::panels::{self, Board, Kind, Panel, Row};
use super::plot;
use crate::background::{self, Running};
use crate::{ask, paths, sh};

/// Points of a line.
const POINTS: f64 = 150.0;
/// Lines of a table that are shown.
const SHOWN: usize = 7;

/// What a panel shows.
pub struct Shown {
    pub title: &'static str,
    pub unit: &'static str,
    pub kind: Kind,
    pub lines: Vec<Line>,
    /// Seconds between two points.
    pub step: f64,
    /// Of a table: lines that there was no room for.
    pub more: usize,
}

pub struct Line {
    pub name: String,
    /// Seconds and value, in the order of time.
    pub points: Vec<(f64, f64)>,
}

/// A Prometheus at work on data that another one has written.
struct Server {
    address: SocketAddr,
    _running: Running,
}

fn start(data: &Path, dir: &Path) -> Result<Server> {
    ensure!(
        data.join("wal").is_dir(),
        "{} is no data directory of Prometheus: it has no wal",
        data.display()
    );
    let (config, address) = (dir.join("prometheus.yml"), ask::free_address()?);
    // Nothing is scraped: the data stays what it is.
    fs::write(&config, "global: {}\n")?;
    let mut command = background::prometheus(&config, data, address)?;
    command.arg("--storage.tsdb.retention.time=100y");
    let server = Server { address, _running: Running::start(&mut command, &dir.join("output"), false)? };
    ask::wait(address, "/-/ready")?;
    Ok(server)
}

/// One picture per page, into docs/pictures/.
pub fn draw(data: &Path) -> Result<()> {
    let dir = paths::TempDir::new_in(&std::env::temp_dir(), "tracer-pictures-")?;
    let server = start(data, dir.path())?;
    let stats = ask::api(server.address, "GET", "status/tsdb", &[])?;
    let time = |name: &str| {
        let time = stats["headStats"][name].as_f64().with_context(|| format!("no {name} of the data"))?;
        anyhow::Ok(time / 1000.0)
    };
    let span = (time("minTime")?, time("maxTime")?);
    ensure!(span.1 > span.0, "there is no data in {}", data.display());
    for board in panels::boards() {
        let path = paths::repo().join(format!("docs/pictures/{}.svg", board.uid));
        fs::write(&path, picture(&board, server.address, span)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        sh::progress(&format!("{} written", path.display()));
    }
    Ok(())
}

fn picture(board: &Board, address: SocketAddr, span: (f64, f64)) -> Result<String> {
    let page = grafana::board(board);
    // In the order of the page's panels, whose places are Grafana's.
    let mut panels = board.rows.iter().flat_map(|Row { panels, .. }| panels);
    let mut places = Vec::new();
    for drawn in page["panels"].as_array().context("no panels")? {
        let of = |name: &str| drawn["gridPos"][name].as_i64().unwrap_or(0) as i32;
        let place = (of("x"), of("y"), of("w"), of("h"));
        let shown = match drawn["type"].as_str() {
            Some("row") => None,
            _ => Some(shown(panels.next().context("a panel too many")?, address, span)?),
        };
        places.push((place, drawn["title"].as_str().unwrap_or_default().to_owned(), shown));
    }
    Ok(plot::page(board.title, span, &places))
}

fn shown(panel: &Panel, address: SocketAddr, span: (f64, f64)) -> Result<Shown> {
    let mut lines = Vec::new();
    let step = ((span.1 - span.0) / POINTS).max(1.0);
    for query in &panel.queries {
        let expr =
            ["$job", "$instance", "$comm"].iter().fold(query.expr.clone(), |e, name| e.replace(name, ".*"));
        let expr = expr.replace("$__rate_interval", "1m");
        let (end, start, every) = (span.1.to_string(), span.0.to_string(), step.to_string());
        let (call, parameters) = match panel.kind {
            Kind::Table => ("query", vec![("query", expr.as_str()), ("time", &end)]),
            _ => (
                "query_range",
                vec![("query", expr.as_str()), ("start", &start), ("end", &end), ("step", &every)],
            ),
        };
        let answer = ask::api(address, "GET", call, &parameters)?;
        let result = answer["result"].as_array().with_context(|| format!("no result of {expr}"))?;
        lines.extend(result.iter().map(|series| line(series, query.legend)));
    }
    let value = |line: &Line| line.points.last().map_or(0.0, |(_, value)| *value);
    lines.sort_by(|a, b| value(b).total_cmp(&value(a)).then_with(|| a.name.cmp(&b.name)));
    let more = if panel.kind == Kind::Table { lines.len().saturating_sub(SHOWN) } else { 0 };
    lines.truncate(lines.len() - more);
    Ok(Shown { title: panel.title, unit: panel.unit, kind: panel.kind, lines, step, more })
}

fn line(series: &Value, legend: &str) -> Line {
    let labels: Vec<(&str, &str)> = series["metric"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let name = match legend {
        "" => labels
            .iter()
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
            .collect::<Vec<_>>()
            .join("  "),
        _ => labels
            .iter()
            .fold(legend.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value)),
    };
    let one = |point: &Value| Some((point[0].as_f64()?, point[1].as_str()?.parse::<f64>().ok()?));
    let points = match series["values"].as_array() {
        Some(values) => values.iter().filter_map(one).collect(),
        None => one(&series["value"]).into_iter().collect::<Vec<_>>(),
    };
    Line { name, points: points.into_iter().filter(|(_, value)| value.is_finite()).collect() }
}
