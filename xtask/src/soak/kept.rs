//! The last sound run of each kernel, in target/soak: hours may lie between two kernels.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::figures::Figures;
use crate::{paths, sh};

#[derive(Serialize, Deserialize)]
pub struct Row {
    pub kernel: String,
    pub date: String,
    pub figures: Figures,
}

pub fn keep(kernel: &str, figures: Figures) -> Result<()> {
    let row = Row { kernel: kernel.into(), date: sh::today()?, figures };
    let path = path(kernel);
    paths::create(path.parent().unwrap_or(&path))?;
    fs::write(&path, serde_json::to_string_pretty(&row)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

pub fn find(kernel: &str) -> Result<Option<Row>> {
    let path = path(kernel);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("in {}", path.display())).map(Some),
        Err(_) => Ok(None),
    }
}

fn path(kernel: &str) -> PathBuf {
    paths::repo().join(format!("target/soak/{kernel}.json"))
}
