//! What belongs to no process.

use serde::Serialize;
use tracer_ebpf::abi::{Direction, Ledger, Path};

use super::Named;
use super::buckets::{Buckets, copy_sizes};
use super::ledger::{OtherKinds, by_direction, devices};
use crate::model::size_histogram::CopySizes;
use crate::model::snapshot::{Derived as _, Observed};
use crate::output::{checksummed_in_all, encrypted_in_all};

#[derive(Serialize)]
pub(super) struct Unattributed {
    pub softirq: UnattributedView,
    pub kernel_thread: UnattributedView,
}

/// Empty if nothing was copied, and no device moved anything.
#[derive(Serialize)]
pub(super) struct UnattributedView {
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_bytes: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<Named<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_sizes: Option<Named<Buckets>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_kinds: Option<OtherKinds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_bytes: Option<Named<Named<u64>>>,
}

impl UnattributedView {
    pub fn of(ledger: &Ledger, sizes: &CopySizes, observed: &Observed) -> Self {
        let copied = Direction::ALL.map(|direction| ledger.copied_in(direction));
        let any_copy = observed.copies && copied.iter().any(|count| count.bytes > 0);
        let any_other = observed.copies && checksummed_in_all(ledger) + encrypted_in_all(ledger) > 0;
        UnattributedView {
            copied_bytes: any_copy.then(|| by_direction(&copied, |c| c.bytes)),
            copies: any_copy.then(|| by_direction(&copied, |c| c.calls)),
            copy_sizes: Path::ALL.iter().find_map(|&path| copy_sizes(sizes, path)),
            other_kinds: any_other.then(|| OtherKinds::of(ledger)),
            device_bytes: devices(ledger, observed).filter(|_| ledger.device.iter().any(|bytes| *bytes > 0)),
        }
    }
}
