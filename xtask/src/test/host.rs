//! `cargo test --workspace`, watched.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{Part, print, results};
use crate::{build, setup, sh};

pub fn run(filter: Option<&str>) -> Result<Part> {
    sh::progress("host: cargo test --workspace");
    let started = Instant::now();
    // On the PATH of cargo's children, with our other tools.
    setup::ensure_prometheus()?;
    setup::ensure_checkers();
    let mut command = build::cargo()?;
    command.args(["test", "--workspace", "--no-fail-fast"]).args(filter);
    // The matrix ignores itself without it; its tests are for VMs, not for this machine.
    command.env_remove("TRACER");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", sh::show(&command)))?;
    let mut lines = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // Bytes, not str: a failing test may print anything.
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            lines.extend(results::parse_line(&line));
            print(&line);
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    let counts = results::judge(&lines, status.success());
    let error = lines.is_empty().then(|| format!("no test result ({status}); see above"));
    Ok(Part { name: "host".into(), counts, seconds: started.elapsed().as_secs_f64(), error })
}
