use super::*;
use crate::output::testing::{self, LedgerBuilder, MIB};
use tracer_ebpf::abi::{Count, Direction};

const SURE: Sight = Sight { all_seen: true, references: true, block: true };

fn said(ledger: LedgerBuilder) -> Vec<String> {
    verdicts(&ledger.0.into(), SURE)
}

#[test]
fn a_send_side_with_headers() {
    let ledger = LedgerBuilder::new()
        .moved(Path::Sendfile, 64 * MIB, 64)
        .referenced(Path::Sendfile, 128 * MIB)
        .moved(Path::Write, 12 << 10, 4)
        .copied(Path::Write, Direction::FromUser, 12 << 10, 4)
        .0
        .into();
    let expected = "send side: zero-copy, 99.98% of 64.0 MiB by sendfile; 12.0 KiB by write";
    assert_eq!(verdicts(&ledger, SURE), [expected]);
    let unsure = Sight { all_seen: false, ..SURE };
    assert!(verdicts(&ledger, unsure)[0].starts_with("send side: zero-copy as far as was seen, "));
    assert!(fallbacks(&ledger, &[]).is_empty());
    assert_eq!(unexplained(&ledger), None);
}

#[test]
fn both_sides_copied() {
    let expected = [
        "receive side: copied 1.00 times by the CPU, 100% of 64.0 MiB by read",
        "send side: copied 1.00 times by the CPU, 100% of 64.0 MiB by send",
    ];
    assert_eq!(verdicts(&testing::read_send().into(), SURE), expected);
}

#[test]
fn half_and_half() {
    let ledger = LedgerBuilder::new()
        .moved(Path::Sendfile, 3 * MIB, 3)
        .referenced(Path::Sendfile, 3 * MIB)
        .moved(Path::Send, MIB, 16)
        .copied(Path::Send, Direction::FromUser, MIB, 16);
    let expected = "send side: 75.00% zero-copy, 75.00% of 4.00 MiB by sendfile; 1.00 MiB by send";
    assert_eq!(said(ledger), [expected]);
}

/// 2 MiB written in 32 calls.
fn written() -> LedgerBuilder {
    LedgerBuilder::new().moved(Path::Write, 2 * MIB, 32)
}

#[test]
fn the_absence_of_a_copy_is_not_zero_copy() {
    assert_eq!(said(written()), ["send side: 2.00 MiB unexplained (100%), 100% of 2.00 MiB by write"]);
    // However little of it.
    let hardly = written().copied(Path::Write, Direction::FromUser, 2 * MIB - 7, 32);
    assert_eq!(said(hardly), ["send side: 7 B unexplained (less than 0.01%), 100% of 2.00 MiB by write"]);
    let zero_copy = written().moved(Path::Sendfile, 64 * MIB, 1).referenced(Path::Sendfile, 64 * MIB);
    let all = said(zero_copy).join(" ");
    assert!(all.contains("2.00 MiB unexplained (3.03%)") && !all.contains("zero-copy"), "{all}");
    let unseen = verdicts(&written().0.into(), Sight { references: false, all_seen: false, block: true });
    assert_eq!(unseen, ["send side: not seen to be copied as far as was seen, 100% of 2.00 MiB by write"]);
    let sentence = unexplained(&written().0.into()).expect("there is some");
    for part in ["unexplained: 2.00 MiB by write.", "`tracer audit --pid PID`", "`tracer doctor`"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    // A copy in the other direction is none of these bytes.
    let checked = written().copied(Path::Write, Direction::ToUser, 2 * MIB, 32);
    assert!(said(checked)[0].contains("2.00 MiB unexplained (100%)"));
}

#[test]
fn what_is_thrown_away_is_discarded() {
    let mut null = written();
    null.0.discarded[Path::Write as usize] = 2 * MIB;
    assert_eq!(said(null), ["send side: discarded, 100% of 2.00 MiB by write"]);
}

#[test]
fn direct_io_is_moved_by_devices() {
    let mut direct = written();
    (direct.0.direct, direct.0.device) = ([0, 2 * MIB], [0, 2 * MIB, 0, 0]);
    assert_eq!(said(direct), ["send side: moved by devices (DMA), 100% of 2.00 MiB by write"]);
    // A disk of memory copies; it is never DMA.
    let mut pmem = written().copied(Path::Write, Direction::InKernel, 2 * MIB, 32);
    pmem.0.direct = [0, 2 * MIB];
    assert_eq!(said(pmem), ["send side: copied 1.00 times by the CPU, 100% of 2.00 MiB by write"]);
}

#[test]
fn several_means_are_listed() {
    let mut ledger = written().copied(Path::Write, Direction::FromUser, MIB, 16);
    ledger.0.discarded[Path::Write as usize] = MIB / 2;
    ledger.0.crypto[Path::Write as usize] = Count { bytes: MIB / 2, calls: 1 };
    let expected = "send side: 25.00% passed through a cipher, 25.00% discarded, 100% of 2.00 MiB by write";
    assert_eq!(said(ledger), [expected]);
}

#[test]
fn sendfile_that_copies() {
    let mut ledger = LedgerBuilder::new()
        .moved(Path::Sendfile, 64 * MIB, 64)
        .copied(Path::Sendfile, Direction::InKernel, 64 * MIB, 16384)
        .0;
    let [said] = &fallbacks(&ledger, &["eth0".to_owned()])[..] else { panic!() };
    assert!(
        said.contains("64.0 MiB of the 64.0 MiB that sendfile moved") && said.contains("procfs"),
        "{said}"
    );
    ledger.device[DeviceOp::NetTransmit as usize] = 65 * MIB;
    let [said] = &fallbacks(&ledger, &["eth0".to_owned()])[..] else { panic!() };
    assert!(said.contains("eth0 takes packets in one piece"), "{said}");
}

#[test]
fn a_zero_copy_send_on_loopback() {
    let ledger = LedgerBuilder::new()
        .moved(Path::Send, 64 * MIB, 64)
        .copied(Path::Softirq, Direction::InKernel, 64 * MIB, 1024)
        .0;
    let [said] = &fallbacks(&ledger, &[])[..] else { panic!() };
    assert!(said.starts_with("64.0 MiB were copied later") && said.contains("this machine"), "{said}");
}
