//! One ledger.

use serde::Serialize;
use tracer_ebpf::abi::{Count, Direction, Ledger, Path};

use super::Named;
use super::buckets::{Buckets, copy_sizes};
use crate::model::size_histogram::CopySizes;
use crate::model::snapshot::{Derived as _, Observed, Tally};
use crate::output::devices::device_bytes;
use crate::output::{
    active_paths, checksummed, checksummed_in_all, cut_short_is_observed, encrypted_in_all,
    payload_is_observed, zero_copied_is_observed,
};

#[derive(Serialize)]
pub(super) struct LedgerView {
    paths: Named<PathView>,
    /// Over all paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    unexplained_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies_per_byte: Option<f64>,
    /// In `copied_bytes` of their paths, and not in `copies_per_byte`.
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_without_payload_bytes: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_short: Option<CutShort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_kinds: Option<OtherKinds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_bytes: Option<Named<u64>>,
    mode_switches: ModeSwitches,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_switches: Option<ContextSwitches>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_bytes: Option<Named<Named<u64>>>,
}

/// Copies that ended at memory that is not mapped.
#[derive(Serialize)]
struct CutShort {
    copies: u64,
    /// Of `copied_bytes`, how many were not copied.
    bytes_at_most: u64,
}

#[derive(Serialize)]
pub(super) struct OtherKinds {
    checksum: u64,
    crypto: u64,
}

#[derive(Serialize)]
struct ModeSwitches {
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupt: Option<u64>,
}

#[derive(Serialize)]
struct ContextSwitches {
    voluntary: u64,
    involuntary: u64,
}

impl LedgerView {
    pub fn of(ledger: &Tally, sizes: &CopySizes, observed: &Observed) -> Self {
        let ratio_is_observed = observed.copies && observed.payload;
        LedgerView {
            paths: active_paths(ledger)
                .map(|path| (path.name(), PathView::of(ledger, sizes, path, observed)))
                .collect(),
            unexplained_bytes: zero_copied_is_observed(observed).then(|| ledger.unexplained_in_all()),
            copies_per_byte: ledger.sure_copies_per_byte().filter(|_| ratio_is_observed),
            copied_without_payload_bytes: ratio_is_observed.then(|| {
                let paths = ledger.copied_without_payload().into_iter();
                paths.map(|(path, bytes)| (path.name(), bytes)).collect()
            }),
            cut_short: cut_short_is_observed(observed).then(|| {
                let Count { bytes, calls } = ledger.cut_short();
                CutShort { copies: calls, bytes_at_most: bytes }
            }),
            other_kinds: observed.copies.then(|| OtherKinds::of(ledger)),
            control_bytes: observed.copies.then(|| by_direction(&ledger.control, |c| c.bytes)),
            mode_switches: ModeSwitches {
                syscall: observed.syscalls.then(|| ledger.syscall_switches()),
                // In and out again.
                fault: observed.faults.then_some(2 * ledger.faults),
                interrupt: observed.interrupts.then_some(2 * ledger.interrupts),
            },
            context_switches: observed
                .context_switches
                .then_some(ContextSwitches { voluntary: ledger.voluntary, involuntary: ledger.involuntary }),
            device_bytes: devices(ledger, observed),
        }
    }
}

impl OtherKinds {
    pub fn of(ledger: &Ledger) -> Self {
        OtherKinds { checksum: checksummed_in_all(ledger), crypto: encrypted_in_all(ledger) }
    }
}

#[derive(Serialize)]
struct PathView {
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syscalls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zero_copied_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unexplained_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_bytes: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<Named<u64>>,
    /// Absent unless `--sizes` is given and something was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_sizes: Option<Named<Buckets>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_bytes: Option<u64>,
}

impl PathView {
    pub fn of(ledger: &Tally, sizes: &CopySizes, path: Path, observed: &Observed) -> Self {
        let (i, explained) = (path as usize, zero_copied_is_observed(observed));
        let payload = payload_is_observed(observed, path);
        let nonzero = |bytes: u64| (observed.copies && bytes > 0).then_some(bytes);
        PathView {
            calls: payload.then_some(ledger.payload[i].calls),
            payload_bytes: payload.then_some(ledger.payload[i].bytes),
            syscalls: observed.syscalls.then_some(ledger.syscalls[i]),
            zero_copied_bytes: explained.then(|| ledger.zero_copied(path)),
            discarded_bytes: explained.then_some(ledger.discarded[i]),
            unexplained_bytes: explained.then(|| ledger.unexplained(path)),
            copied_bytes: observed.copies.then(|| by_direction(&ledger.copied[i], |c| c.bytes)),
            copies: observed.copies.then(|| by_direction(&ledger.copied[i], |c| c.calls)),
            copy_sizes: copy_sizes(sizes, path),
            checksum_bytes: nonzero(checksummed(ledger, path)),
            crypto_bytes: nonzero(ledger.crypto[i].bytes),
        }
    }
}

/// By kind of device, then by operation.
pub(super) fn devices(ledger: &Ledger, observed: &Observed) -> Option<Named<Named<u64>>> {
    let mut kinds: Vec<(&'static str, Named<u64>)> = Vec::new();
    for (op, bytes) in device_bytes(ledger, observed) {
        let (kind, op) = op.name();
        match kinds.last_mut() {
            Some((last, ops)) if *last == kind => ops.0.push((op, bytes)),
            _ => kinds.push((kind, Named(vec![(op, bytes)]))),
        }
    }
    (!kinds.is_empty()).then_some(Named(kinds))
}

pub(super) fn by_direction(counts: &[Count; 3], value: impl Fn(&Count) -> u64) -> Named<u64> {
    Direction::ALL.iter().map(|&d| (d.name(), value(&counts[d as usize]))).collect()
}
