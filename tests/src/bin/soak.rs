//! `soak PACKAGE WORKLOAD PROMETHEUS SECONDS`: see `tracer_tests::soak`. Prints one JSON object.

use std::process::ExitCode;

use anyhow::{Result, bail};
use tracer_tests::soak::{self, Plan};

fn main() -> ExitCode {
    match measure(std::env::args().skip(1).collect()) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: Vec<String>) -> Result<serde_json::Value> {
    let Ok([package, workload, prometheus, seconds]) = <[String; 4]>::try_from(words) else {
        bail!("usage: soak PACKAGE WORKLOAD PROMETHEUS SECONDS");
    };
    soak::run(&Plan { package, workload, prometheus, seconds: seconds.parse()? })
}
