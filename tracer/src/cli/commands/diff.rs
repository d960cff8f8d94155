//! `tracer diff A B`: what changed between two saved windows.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{Outcome, status};
use crate::check::difference;
use crate::cli::Format;
use crate::cli::check_args::Diff;
use crate::model::window::Recording;

pub fn diff(args: Diff) -> Outcome {
    match compare(&args) {
        Ok(text) => {
            std::io::stdout().write_all(text.as_bytes()).context("cannot write the output")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("tracer: {error:#}");
            Ok(ExitCode::from(status::USAGE))
        }
    }
}

fn compare(args: &Diff) -> Result<String> {
    let read = |path| -> Result<Recording> { Ok(Recording::read(path)?.recording) };
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let names = (args.before.display().to_string(), args.after.display().to_string());
    Ok(match args.format {
        Format::Table => difference::text(&before, &after, &names),
        Format::Json => difference::json(&before, &after, &names),
    })
}
