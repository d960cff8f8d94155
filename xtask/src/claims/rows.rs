//! tests/claims.toml: what is said of each mechanism, and why what was measured is so.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::shape;
use crate::paths;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(rename = "section")]
    pub sections: Vec<Section>,
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub id: String,
    pub title: String,
    pub text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Names the picture and the link.
    pub id: String,
    pub section: String,
    pub title: String,
    /// The workload that `claims` runs; without it the lines come from elsewhere (`--measured`), named by id.
    pub run: Option<String>,
    /// What the textbook says; empty where it has no line.
    #[serde(default)]
    pub said: String,
    #[serde(default)]
    pub claim: Claim,
    /// Devices that the run really has.
    #[serde(default)]
    pub hops: Vec<Hop>,
    pub why: String,
    pub source: Vec<String>,
    #[serde(default)]
    pub needs: String,
    /// The switches of all calls together say more than a ratio.
    #[serde(default)]
    pub in_all: bool,
    pub picture: Option<String>,
}

/// What is said, in numbers: per byte, or per chunk.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub cpu: Option<u64>,
    pub switches: Option<u64>,
    pub disk: Option<u64>,
    pub nic: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hop {
    Disk,
    Nic,
}

impl Row {
    /// What its lines are named.
    pub fn key(&self) -> &str {
        self.run.as_deref().unwrap_or(&self.id)
    }

    pub fn has(&self, hop: Hop) -> bool {
        self.hops.contains(&hop)
    }
}

impl Table {
    pub fn load() -> Result<Table> {
        let path = paths::repo().join("tests/claims.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Table> {
        let table: Table = toml::from_str(text)?;
        for (index, row) in table.rows.iter().enumerate() {
            let unique = |other: &Row| other.id != row.id && other.key() != row.key();
            ensure!(table.rows[..index].iter().all(unique), "row {} is there twice, or what it runs", row.id);
            let known = table.sections.iter().any(|section| section.id == row.section);
            ensure!(known, "row {}: no section is called {}", row.id, row.section);
            let plain =
                row.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte.is_ascii_digit());
            ensure!(plain, "row {}: an id is made of a-z, 0-9 and -", row.id);
            if let Some(name) = &row.picture {
                ensure!(shape::find(name).is_some(), "row {}: no picture has the shape {name}", row.id);
            }
        }
        Ok(table)
    }

    /// What the VMs run.
    pub fn runs(&self) -> Vec<String> {
        self.rows.iter().filter_map(|row| row.run.clone()).collect()
    }

    pub fn of_section<'a>(&'a self, section: &'a Section) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(|row| row.section == section.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_sound() {
        let table = Table::load().unwrap();
        assert!(table.rows.len() > 20);
    }

    #[test]
    fn a_row_of_no_section_is_refused() {
        let text =
            "section = []\n[[row]]\nid = \"a\"\nsection = \"b\"\ntitle = \"\"\nwhy = \"\"\nsource = []\n";
        let error = Table::parse(text).unwrap_err().to_string();
        assert!(error.contains("no section is called b"), "{error}");
    }
}
