//! `cargo xtask dashboards`: Grafana's pages and Prometheus's rules, written from tables.

mod grafana;
mod panels;
mod pictures;
mod plot;
mod rules;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{paths, sh};

/// Writes dashboards/*.json and dashboards/rules.yml.
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail if a file says something else than the tables
    #[arg(long)]
    check: bool,
    /// Draw each page as well, from this data directory of a Prometheus, to docs/pictures/
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    pictures: Option<PathBuf>,
}

pub fn main(args: &Args) -> Result<u8> {
    let mut differing = 0;
    for (path, text) in render()? {
        if fs::read_to_string(&path).unwrap_or_default() == text {
            continue;
        }
        differing += 1;
        if args.check {
            println!("{} is not what `cargo xtask dashboards` writes", path.display());
        } else {
            paths::create(path.parent().unwrap_or(&path))?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            sh::progress(&format!("{} written", path.display()));
        }
    }
    if let Some(data) = &args.pictures {
        pictures::draw(data)?;
    }
    Ok(u8::from(args.check && differing > 0))
}

/// Files and their content.
fn render() -> Result<Vec<(PathBuf, String)>> {
    let dir = paths::repo().join("dashboards");
    let mut files = Vec::new();
    for board in panels::boards() {
        let text = serde_json::to_string_pretty(&grafana::board(&board))? + "\n";
        files.push((dir.join(format!("{}.json", board.uid)), text));
    }
    let rules = serde_norway::to_string(&rules::file()).context("cannot write the rules as YAML")?;
    files.push((
        dir.join("rules.yml"),
        format!("# Written by `cargo xtask dashboards`; do not edit.\n{rules}"),
    ));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_of_the_tables() {
        for (path, text) in render().unwrap() {
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == text, "{} is old: run `cargo xtask dashboards`", path.display());
        }
    }

    #[test]
    fn every_panel_has_a_place_of_its_own() {
        for board in panels::boards() {
            let page = grafana::board(&board);
            let panels = page["panels"].as_array().unwrap();
            let cells = panels.iter().flat_map(|panel| {
                let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
                let (x, y, w, h) = (of("x"), of("y"), of("w"), of("h"));
                assert!(x + w <= 24, "{} is too wide", panel["title"]);
                (x..x + w).flat_map(move |column| (y..y + h).map(move |line| (column, line)))
            });
            let mut seen = std::collections::HashSet::new();
            assert!(cells.into_iter().all(|cell| seen.insert(cell)), "{}: panels overlap", board.title);
        }
    }
}
