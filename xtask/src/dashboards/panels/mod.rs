//! What the dashboards show, as data.

mod health;
mod node;
mod process;

use super::rules::{DATA_PATHS, NOT_ENDED};

/// One dashboard.
pub struct Board {
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// Beside datasource, job and instance.
    pub variables: &'static [Variable],
    pub rows: Vec<Row>,
}

/// A choice on top of the page, by the values of a label.
pub struct Variable {
    pub name: &'static str,
    pub metric: &'static str,
    pub several: bool,
}

pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    pub title: &'static str,
    pub kind: Kind,
    /// As Grafana calls it.
    pub unit: &'static str,
    /// What it tells, for the panel's help.
    pub help: &'static str,
    pub queries: Vec<Query>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Lines,
    /// Lines on top of each other: parts of a whole.
    Stacked,
    Number,
    /// One line per series, with its labels.
    Table,
}

pub struct Query {
    pub expr: String,
    pub legend: &'static str,
}

fn query(expr: &str, legend: &'static str) -> Query {
    // `$of`: the machine; `$all`: its processes; `$who`: those of the page; `$data`: paths that have payload.
    let of = "job=~'$job', instance=~'$instance'";
    let expr = expr.replace("$who", &format!("$of, comm=~'$comm', {NOT_ENDED}"));
    let expr = expr.replace("$all", &format!("$of, {NOT_ENDED}")).replace("$of", of);
    Query { expr: expr.replace("$data", &format!("path=~'{DATA_PATHS}'")), legend }
}

fn panel(
    kind: Kind,
    title: &'static str,
    unit: &'static str,
    help: &'static str,
    queries: &[(&str, &'static str)],
) -> Panel {
    let queries = queries.iter().map(|(expr, legend)| query(expr, legend)).collect();
    Panel { title, kind, unit, help, queries }
}

const BYTES: &str = "Bps";
const SHARE: &str = "percentunit";

pub fn boards() -> Vec<Board> {
    vec![node::board(), process::board(), health::board()]
}
