//! `overhead [--short]`: see `tracer_tests::overhead`. Environment as for the matrix: TRACER, WORKLOAD, KERNEL.

use std::process::ExitCode;

use anyhow::{Result, bail};
use tracer_tests::harness::bench::Bench;
use tracer_tests::overhead::{self, worker};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overhead: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => overhead::run(&Bench::from_environment()?, false),
        ["--short"] => overhead::run(&Bench::from_environment()?, true),
        ["worker", dir] => worker::work(dir.as_ref()),
        ["idle"] => worker::idle(),
        _ => bail!("usage: overhead [--short]"),
    }
}
