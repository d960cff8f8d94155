//! What tracer adds to operations, in instructions, against tests/overhead.toml: as one more test.

use std::time::Instant;

use anyhow::Result;

use super::results::Counts;
use super::{Part, print};
use crate::bench::{self, Accepted};
use crate::kernels::{Kernel, Matrix};
use crate::sh;

const NAME: &str = "overhead::has_not_risen";

/// Nothing if the filter or the choice of kernels leaves it out.
pub fn run(kernels: &[Kernel], filter: Option<&str>) -> Result<Option<Part>> {
    let default = Matrix::load()?.default;
    let chosen = kernels.iter().any(|kernel| kernel.name == default);
    if !chosen || filter.is_some_and(|filter| !NAME.contains(filter)) {
        return Ok(None);
    }
    let started = Instant::now();
    let (complaints, better) = match judge() {
        Ok(both) => both,
        Err(error) => (vec![format!("{error:#}")], Vec::new()),
    };
    let say = |line: &str| print(&format!("[{default}] {line}"));
    complaints.iter().flat_map(|text| text.lines()).for_each(say);
    better.iter().for_each(|line| say(&format!("cheaper than accepted: {line}")));
    if !better.is_empty() {
        say("`cargo xtask bench --accept` keeps that");
    }
    let passed = complaints.is_empty();
    say(&format!("test {NAME} ... {}", if passed { "ok" } else { "FAILED" }));
    let counts = if passed { Counts { passed: 1, ..Counts::default() } } else { Counts::BROKEN };
    let error = (!passed).then(|| complaints.join("\n"));
    Ok(Some(Part { name: "cost".into(), counts, seconds: started.elapsed().as_secs_f64(), error }))
}

fn judge() -> Result<(Vec<String>, Vec<String>)> {
    let accepted = Accepted::load()?;
    let mut now = bench::measure_guarded()?;
    let first = accepted.complaints(&now);
    if !first.is_empty() {
        // A connection's figures depend on the boot: on 6.1 a sendfile's were 4,141 to 4,459, which is more than 3%.
        // What the programs cost more, they cost in every boot.
        sh::progress(&format!("once more, because: {}", first.join("; ")));
        now.merge(bench::measure_guarded()?, i64::min);
    }
    Ok((accepted.complaints(&now), accepted.better(&now)))
}
