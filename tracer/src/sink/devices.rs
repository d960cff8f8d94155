//! What devices moved, for every output.

use tracer_ebpf::abi::{DeviceOp, Ledger};

use crate::snapshot::Observed;

/// `(device_kind, op, bytes)` of what could be observed.
pub fn device_bytes(
    ledger: &Ledger,
    observed: &Observed,
) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    let (block, net) = (observed.block, observed.net);
    let all = DeviceOp::ALL.map(|op| (op.name().0, op.name().1, ledger.device[op as usize]));
    all.into_iter().filter(move |(kind, ..)| if *kind == "block" { block } else { net })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing;

    #[test]
    fn what_was_not_observed_is_absent() {
        let ledger = Ledger { device: [1, 2, 3, 4], ..Ledger::ZERO };
        let some = |block, net| {
            let observed = Observed { block, net, ..testing::everything() };
            device_bytes(&ledger, &observed).collect::<Vec<_>>()
        };
        assert_eq!(some(true, false), [("block", "read", 1), ("block", "write", 2)]);
        assert_eq!(some(false, true), [("net", "rx", 3), ("net", "tx", 4)]);
        assert_eq!(some(false, false), []);
    }
}
