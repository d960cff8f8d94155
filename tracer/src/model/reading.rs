//! What the maps have of one process.

use tracer_ebpf::abi::{self, Ledger};

use crate::model::snapshot::ByPath;

/// One process as the maps have it, cumulative since its slot was given out.
pub struct Reading {
    pub slot: u32,
    pub process: abi::Process,
    pub ledger: Ledger,
    /// Payload that nothing explains.
    pub unexplained: ByPath,
}
