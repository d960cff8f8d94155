//! `cargo xtask claims`: every mechanism on every kernel, and the document that compares what was measured
//! with what is said.

mod document;
mod measure;
mod measured;
mod picture;
mod programs;
mod rows;
mod shape;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::kernels::Matrix;
use crate::{paths, sh};
use measured::{Line, Measured};
use rows::Table;

/// Measures each row of tests/claims.toml and the real programs in VMs of each kernel, and writes
/// docs/zero-copy-measured.md and its pictures.
///
/// One VM after the other, some 10 minutes per kernel on an emulated CPU. The measured lines are kept in target/claims.jsonl, from which
/// `--measured target/claims.jsonl --no-vm` draws again without measuring.
#[derive(clap::Args)]
pub struct Args {
    /// Only these kernels of tests/kernels.toml (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    kernel: Vec<String>,
    /// Lines measured before or elsewhere, in the same form (repeatable)
    #[arg(long, value_name = "FILE")]
    measured: Vec<PathBuf>,
    /// Measure nothing: only what --measured has
    #[arg(long, requires = "measured")]
    no_vm: bool,
    /// Write nothing; fail if the document says something else than what was measured (but for its date)
    #[arg(long)]
    check: bool,
}

pub fn main(args: &Args) -> Result<u8> {
    let table = Table::load()?;
    let kernels = Matrix::load()?.select(&args.kernel)?;
    let mut measured = Measured::new(kernels.iter().map(|kernel| kernel.name.clone()).collect());
    for path in &args.measured {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        measured.add(&text).with_context(|| format!("in {}", path.display()))?;
    }
    if !args.no_vm {
        let run = measure::run(&kernels, &table.runs())?;
        keep(&run.text)?;
        ensure!(run.failed.is_empty(), "nothing is written:\n{}", run.failed.join("\n"));
        measured.add(&run.text)?;
    }
    measured.check(&table)?;
    for row in &table.rows {
        let some = row.run.is_none() || !measured.of(row.key()).is_empty();
        ensure!(some, "nothing was measured for {}: leave --no-vm out", row.key());
    }
    let files = render(&table, &measured, &sh::today()?);
    if args.check {
        return compare(&files);
    }
    for (path, text) in &files {
        paths::create(path.parent().unwrap_or(path))?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    sh::progress(&format!("{} files written", files.len()));
    println!("{}", files[0].0.display());
    Ok(0)
}

/// The document first, then its pictures.
fn render(table: &Table, measured: &Measured, date: &str) -> Vec<(PathBuf, String)> {
    let docs = paths::repo().join("docs");
    let mut files = vec![(docs.join("zero-copy-measured.md"), document::write(table, measured, date))];
    for row in &table.rows {
        let shape = row.picture.as_deref().and_then(shape::find);
        let lines: Vec<&Line> = measured.of(row.key());
        if let Some(text) = shape.and_then(|shape| picture::draw(row, shape, &lines)) {
            files.push((docs.join("pictures").join(format!("{}.svg", row.id)), text));
        }
    }
    files
}

/// 1 if a file has other figures. The date is on one line by itself.
fn compare(files: &[(PathBuf, String)]) -> Result<u8> {
    let plain = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.contains("Written by `cargo xtask claims` on "))
            .map(String::from)
            .collect()
    };
    let mut differing = 0;
    for (path, text) in files {
        let known = fs::read_to_string(path).unwrap_or_default();
        if plain(&known) != plain(text) {
            differing += 1;
            println!("{} says something else than what was measured", path.display());
        }
    }
    println!("{} files compared, {differing} differ", files.len());
    Ok(u8::from(differing > 0))
}

fn keep(text: &str) -> Result<()> {
    let target = paths::repo().join("target");
    paths::create(&target)?;
    let path = target.join("claims.jsonl");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    sh::progress(&format!("the measured lines are in {}", show(&path)));
    Ok(())
}

fn show(path: &Path) -> String {
    path.strip_prefix(paths::repo()).unwrap_or(path).display().to_string()
}
