//! What devices moved, for every output.

use tracer_ebpf::abi::{DeviceOp, Ledger};

use crate::model::snapshot::Observed;

/// Bytes of what could be observed.
pub fn device_bytes(ledger: &Ledger, observed: &Observed) -> impl Iterator<Item = (DeviceOp, u64)> {
    let (block, net) = (observed.block, observed.net);
    let all = DeviceOp::ALL.map(|op| (op, ledger.device[op as usize]));
    all.into_iter().filter(move |(op, _)| match op {
        DeviceOp::BlockRead | DeviceOp::BlockWrite => block,
        DeviceOp::NetReceive | DeviceOp::NetTransmit => net,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing;

    #[test]
    fn what_was_not_observed_is_absent() {
        let ledger = Ledger { device: [1, 2, 3, 4], ..Ledger::ZERO };
        let some = |block, net| {
            let observed = Observed { block, net, ..testing::everything() };
            device_bytes(&ledger, &observed).collect::<Vec<_>>()
        };
        assert_eq!(some(true, false), [(DeviceOp::BlockRead, 1), (DeviceOp::BlockWrite, 2)]);
        assert_eq!(some(false, true), [(DeviceOp::NetReceive, 3), (DeviceOp::NetTransmit, 4)]);
        assert_eq!(some(false, false), []);
    }
}
