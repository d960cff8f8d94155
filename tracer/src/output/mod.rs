//! How a [`Snapshot`](crate::model::snapshot::Snapshot) is shown: to people, to scripts, to Prometheus.
//!
//! An output turns one snapshot into text and decides nothing: what was not observed is absent from
//! every one of them, by the rules below.

pub mod devices;
pub mod json;
pub mod prometheus;
mod self_stat;
mod summary;
mod summary_verdict;
pub mod table;
mod table_grid;
#[cfg(test)]
pub(crate) mod testing;

use tracer_ebpf::abi::{Count, Ledger, Path};

use crate::model::snapshot::{Derived, Observed};

/// Paths on which anything was counted, in the table's order.
fn active_paths(ledger: &Ledger) -> impl Iterator<Item = Path> + '_ {
    Path::ALL.into_iter().filter(|&path| {
        let i = path as usize;
        ledger.copied(path) != Count::default()
            || checksummed(ledger, path) > 0
            || ledger.crypto[i] != Count::default()
            || ledger.payload[i] != Count::default()
            || ledger.referenced[i] > 0
            || ledger.discarded[i] > 0
            || ledger.syscalls[i] > 0
    })
}

/// Bytes of one path that were copied by a checksumming copy, in all directions.
fn checksummed(ledger: &Ledger, path: Path) -> u64 {
    ledger.checksum[path as usize].iter().map(|count| count.bytes).sum()
}

fn checksummed_in_all(ledger: &Ledger) -> u64 {
    Path::ALL.iter().map(|&path| checksummed(ledger, path)).sum()
}

fn encrypted_in_all(ledger: &Ledger) -> u64 {
    ledger.crypto.iter().map(|count| count.bytes).sum()
}

/// "Without a copy" can only be said where copies, references and payload are all seen.
fn zero_copied_is_observed(observed: &Observed) -> bool {
    observed.copies && observed.references && observed.payload
}

/// Copies are counted as they were asked for, so that their ends say something only where they are counted.
fn cut_short_is_observed(observed: &Observed) -> bool {
    observed.copies && observed.cut_short
}

/// Of io_uring no return value tells the payload, but what it copies.
fn payload_is_observed(observed: &Observed, path: Path) -> bool {
    observed.payload && (observed.copies || path != Path::IoUring)
}

/// A rate of all crossings can only be said where all are seen.
fn mode_switches_are_observed(observed: &Observed) -> bool {
    observed.syscalls && observed.faults && observed.interrupts
}
