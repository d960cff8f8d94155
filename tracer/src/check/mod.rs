//! `tracer check`: a policy, judged.
//!
//! The core is pure: [`policy`] from text, [`judge`] from a policy and recordings to a report, reports to
//! text. What runs programs and counts is in `cli/commands/check.rs` and below `run/`.

mod compare;
pub mod difference;
pub mod draft;
mod evidence;
pub mod judge;
mod measure;
pub mod metric;
mod parse;
mod parse_assertion;
pub mod policy;
pub mod reason;
pub mod report;
pub mod run;
mod uncertainty;
pub mod units;
pub mod verdict;

#[cfg(test)]
mod schema_tests;
