//! `overhead [--short]`, `overhead cpus COUNT`, `overhead fleet`, `overhead wall TRACER DIR`: see
//! `tracer_tests::overhead`.
//! Environment as for the matrix: TRACER, WORKLOAD, KERNEL; and PEERS, a root that has the peers.

use std::process::ExitCode;

use anyhow::{Result, bail};
use tracer_tests::harness::bench::Bench;
use tracer_tests::overhead::{self, Form, fleet, wall, worker};

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
        [] => overhead::run(&Bench::from_environment()?, Form::Full),
        ["--short"] => overhead::run(&Bench::from_environment()?, Form::Short),
        ["cpus", count] => overhead::with_room_for(&Bench::from_environment()?, count.parse()?),
        ["fleet"] => fleet::run(&Bench::from_environment()?),
        ["wall", tracer, dir] => wall::run(tracer.as_ref(), dir.as_ref()),
        ["worker", dir] => worker::work(dir.as_ref()),
        ["idle"] => worker::idle(),
        _ => bail!("usage: overhead [--short] | cpus COUNT | fleet | wall TRACER DIR"),
    }
}
