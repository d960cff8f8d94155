//! Plain data: what was counted, and what follows from it. No input or output.

pub mod attach;
pub mod counts;
mod derived;
mod explained;
pub mod fault_injection;
pub mod reading;
pub mod site_coverage;
pub mod size_histogram;
pub mod snapshot;
mod tally;
#[cfg(test)]
pub mod test_rng;
pub mod window;
