//! What counts the copies of one call site.

use serde::{Deserialize, Serialize};

/// What counts the copies that one call site makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Covered {
    Wrapper,
    Checked,
    CallSite,
    Uncovered,
    /// It cannot be told: code that cannot be read or decoded.
    Unknown,
}

impl Covered {
    /// The label in `tracer_copy_call_sites`.
    pub fn name(self) -> &'static str {
        match self {
            Covered::Wrapper => "wrapper",
            Covered::Checked => "checked",
            Covered::CallSite => "call_site",
            Covered::Uncovered => "uncovered",
            Covered::Unknown => "unknown",
        }
    }
}
