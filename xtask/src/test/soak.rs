//! The installed package for half a minute on one kernel, as one more test.

use std::time::Instant;

use anyhow::Result;

use super::results::Counts;
use super::{Part, print};
use crate::kernels::{Kernel, Matrix};
use crate::soak;

const NAME: &str = "soak::the_installed_package";
const SECONDS: u64 = 30;

/// Nothing if the filter or the choice of kernels leaves it out. After the matrix: the rate of processes that an
/// emulated CPU reaches should not be shared.
pub fn run(kernels: &[Kernel], filter: Option<&str>) -> Result<Option<Part>> {
    let default = Matrix::load()?.default;
    let kernel = kernels.iter().find(|kernel| kernel.name == default);
    let Some(kernel) = kernel.filter(|_| filter.is_none_or(|filter| NAME.contains(filter))) else {
        return Ok(None);
    };
    let started = Instant::now();
    let result = soak::prepare(std::slice::from_ref(kernel)).and_then(|soak| soak.run(kernel, SECONDS));
    let (passed, text) = match &result {
        Ok(figures) => (figures.violations().is_empty(), figures.to_string()),
        Err(error) => (false, format!("{error:#}")),
    };
    text.lines().for_each(|line| print(&format!("[{}] {line}", kernel.name)));
    print(&format!("[{}] test {NAME} ... {}", kernel.name, if passed { "ok" } else { "FAILED" }));
    let counts = if passed { Counts { passed: 1, ..Counts::default() } } else { Counts::BROKEN };
    let error = (!passed).then_some(text);
    Ok(Some(Part { name: "soak".into(), counts, seconds: started.elapsed().as_secs_f64(), error }))
}
