use super::*;
use crate::output::testing::{LedgerBuilder, MIB, everything};

const SURE: Grounds = Grounds { observed: everything(), all_seen: true, one_process: true };

fn said(ledger: LedgerBuilder) -> String {
    said_on(ledger, SURE)
}

fn said_on(ledger: LedgerBuilder, grounds: Grounds) -> String {
    sentence(&ledger.0.into(), grounds).unwrap()
}

/// Moved by pages that change hands.
fn handed_on(path: Path, bytes: u64) -> LedgerBuilder {
    LedgerBuilder::new().moved(path, bytes, 1).referenced(path, bytes)
}

/// As much in as out, copied once on either side.
fn relay(input: Path, output: Path) -> LedgerBuilder {
    LedgerBuilder::new()
        .moved(input, 64 * MIB, 1024)
        .copied(input, Direction::ToUser, 64 * MIB, 1024)
        .moved(output, 64 * MIB, 1024)
        .copied(output, Direction::FromUser, 64 * MIB, 1024)
}

#[test]
fn the_ratio_is_the_tables_and_the_rest_has_an_if() {
    assert_eq!(
        said(relay(Path::Read, Path::Send)),
        "128 MiB moved by read and send, each byte copied 1.00 times by the CPU. \
         If the bytes sent are those read (64.0 MiB by 1,024 calls of read and 1,024 calls of send), each was \
         copied 2.00 times on its way: sendfile or splice would save up to 128 MiB of copies, sendfile also \
         2,048 of 4,096 mode switches."
    );
    assert_eq!(
        said(relay(Path::Read, Path::Write).moved(Path::Read, 832, 1).copied(
            Path::Read,
            Direction::ToUser,
            64 * MIB + 832,
            1025
        )),
        "128 MiB moved by read and write, each byte copied 1.00 times by the CPU. \
         If the bytes written are those read (64.0 MiB by 1,025 calls of read and 1,024 calls of write), each \
         was copied 2.00 times on its way: into a socket or pipe, sendfile or splice would save up to 128 MiB \
         of copies, into a file copy_file_range at least 64.0 MiB; sendfile and copy_file_range also 2,048 of \
         4,098 mode switches."
    );
    assert_eq!(
        said(relay(Path::Recv, Path::Send)),
        "128 MiB moved by recv and send, each byte copied 1.00 times by the CPU. \
         If the bytes sent are those received (64.0 MiB by 1,024 calls of recv and 1,024 calls of send), each \
         was copied 2.00 times on its way: splice would save up to 128 MiB of copies, but no mode switches."
    );
}

#[test]
fn no_advice_where_it_does_not_follow() {
    let advises = |ledger: LedgerBuilder| said(ledger).contains("If ");
    let one_side =
        |path, direction| LedgerBuilder::new().moved(path, 64 * MIB, 1).copied(path, direction, 64 * MIB, 1);
    // The output is not copied: MSG_ZEROCOPY, direct I/O.
    assert!(!advises(one_side(Path::Read, Direction::ToUser).moved(Path::Send, 64 * MIB, 1)));
    // The input is not: direct I/O, /dev/zero.
    assert!(!advises(one_side(Path::Write, Direction::FromUser).moved(Path::Read, 64 * MIB, 1)));
    // A compressor.
    let less = one_side(Path::Read, Direction::ToUser).moved(Path::Write, 32 * MIB, 1).copied(
        Path::Write,
        Direction::FromUser,
        32 * MIB,
        1,
    );
    assert!(!advises(less));
    // Reads or writes alone; a file that is mapped and written.
    assert!(!advises(one_side(Path::Read, Direction::ToUser)));
    assert!(!advises(one_side(Path::Write, Direction::FromUser)));
    assert!(!advises(one_side(Path::Send, Direction::FromUser)));
    // io_uring moves both ways on one path, and sendfile carries a part already.
    assert!(!advises(one_side(Path::IoUring, Direction::ToUser)));
    assert!(!advises(relay(Path::Read, Path::Send).moved(Path::Sendfile, 64 * MIB, 1)));
    // What one process reads another one may write, without ever passing it on.
    let several = Grounds { one_process: false, ..SURE };
    assert!(!said_on(relay(Path::Read, Path::Send), several).contains("If "));
}

#[test]
fn one_path() {
    let write = LedgerBuilder::new().moved(Path::Write, 64 * MIB, 1).copied(
        Path::Write,
        Direction::FromUser,
        64 * MIB,
        16384,
    );
    assert_eq!(said(write), "64.0 MiB moved by write, each byte copied 1.00 times by the CPU.");
    let sendfile = || handed_on(Path::Sendfile, 64 * MIB);
    assert_eq!(
        said_on(sendfile(), Grounds { all_seen: false, ..SURE }),
        "64.0 MiB moved by sendfile without a CPU copy that was seen."
    );
    assert_eq!(said(sendfile()), "64.0 MiB moved by sendfile without a CPU copy.");
}

#[test]
fn several_paths() {
    let two = handed_on(Path::Sendfile, MIB).moved(Path::Splice, MIB, 1).referenced(Path::Splice, MIB);
    assert_eq!(said(two), "2.00 MiB moved by sendfile and splice without a CPU copy.");
    let uneven = || {
        relay(Path::Read, Path::Send).moved(Path::Sendfile, 64 * MIB, 1).referenced(Path::Sendfile, 64 * MIB)
    };
    assert_eq!(
        said(uneven()),
        "192 MiB moved by read, send and sendfile, each byte copied 0.67 times on average by the CPU."
    );
    assert_eq!(
        said_on(uneven(), Grounds { all_seen: false, ..SURE }),
        "192 MiB moved by read, send and sendfile, each byte copied at least 0.67 times on average by the CPU."
    );
    let hardly = handed_on(Path::Sendfile, 64 * MIB).moved(Path::Read, 832, 1).copied(
        Path::Read,
        Direction::ToUser,
        832,
        1,
    );
    assert_eq!(said(hardly), "64.0 MiB moved by sendfile, 832 B of them copied by the CPU.");
}

#[test]
fn copies_without_payload_are_named_and_in_no_ratio() {
    let bash =
        || {
            LedgerBuilder::new()
                .moved(Path::Read, 921, 2)
                .copied(Path::Read, Direction::ToUser, 921, 2)
                .copied(Path::MmapFault, Direction::InKernel, 77_824, 19)
        };
    assert_eq!(
        said(bash()),
        "921 B moved by read, each byte copied 1.00 times by the CPU; 76.0 KiB more were copied by page \
         faults (copy-on-write)."
    );
    let three = bash().copied(Path::Ioctl, Direction::FromUser, 4096, 1).copied(
        Path::Sendfile,
        Direction::InKernel,
        10,
        1,
    );
    assert_eq!(
        said(three),
        "921 B moved by read, each byte copied 1.00 times by the CPU; 10 B more were copied by sendfile calls \
         that reported nothing moved, 76.0 KiB by page faults (copy-on-write) and 4.00 KiB by ioctl."
    );
    let zero = handed_on(Path::Sendfile, MIB).copied(Path::MmapFault, Direction::InKernel, 4096, 1);
    assert_eq!(
        said(zero),
        "1.00 MiB moved by sendfile without a CPU copy; 4.00 KiB more were copied by page faults \
         (copy-on-write)."
    );
}

#[test]
fn a_zero_copy_send_that_is_copied_later_is_no_zero_copy() {
    let loopback = LedgerBuilder::new()
        .moved(Path::Send, 64 * MIB, 1024)
        .referenced(Path::Send, 64 * MIB)
        .copied(Path::Softirq, Direction::InKernel, 64 * MIB, 1024);
    assert_eq!(
        said(loopback),
        "64.0 MiB moved by send without a CPU copy during the calls; 64.0 MiB more were copied in softirqs \
         (zero-copy sends, copied after all)."
    );
}

#[test]
fn a_checksumming_copy_is_not_passed_over() {
    let mut udp = LedgerBuilder::new().moved(Path::Recv, MIB, 1024);
    udp.0.checksum[Path::Recv as usize][Direction::ToUser as usize].bytes = MIB;
    assert_eq!(
        said(udp),
        "1.00 MiB moved by recv without a plain CPU copy. 1.00 MiB copied while being checksummed."
    );
}

#[test]
fn nothing_moved_and_nothing_observed() {
    let idle = LedgerBuilder::new().syscalls(Path::OtherSyscall, 1234);
    assert_eq!(said(idle), "No call reported bytes moved (1,234 system calls seen).");
    let fault = LedgerBuilder::new().copied(Path::MmapFault, Direction::InKernel, 4096, 1);
    assert_eq!(
        said(fault),
        "No call reported bytes moved (0 system calls seen); 4.00 KiB were copied by page faults \
         (copy-on-write)."
    );
    let observed = Observed { copies: false, ..everything() };
    let ledger = Tally::of(LedgerBuilder::new().moved(Path::Read, MIB, 2).0);
    assert_eq!(
        sentence(&ledger, Grounds { observed, ..SURE }).unwrap(),
        "1.00 MiB moved by read in 2 calls; whether the CPU copied them was not observed."
    );
    let observed = Observed { payload: false, ..everything() };
    assert_eq!(sentence(&ledger, Grounds { observed, ..SURE }), None);
}

#[test]
fn unexplained_payload_is_never_said_to_be_without_a_copy() {
    let unseen = || LedgerBuilder::new().moved(Path::Write, 2 * MIB, 32);
    assert_eq!(said(unseen()), "2.00 MiB moved by write, all of it unexplained; no CPU copy was seen.");
    let most = unseen().copied(Path::Write, Direction::FromUser, MIB, 16);
    assert_eq!(
        said(most),
        "2.00 MiB moved by write, of which 1.00 MiB are unexplained, each byte copied at least 0.50 times by the CPU."
    );
    let hardly = unseen().copied(Path::Write, Direction::FromUser, 10, 1);
    assert!(said(hardly).contains("at least 10 B of them copied"));
    // Both sides are copied, but not all of it: nothing is advised.
    let relay = relay(Path::Read, Path::Send).moved(Path::Send, 10, 1);
    assert!(!said(relay).contains("If "));
    // Where pages that change hands are not seen, it is not known what is unexplained.
    let observed = Observed { references: false, ..everything() };
    assert_eq!(
        said_on(unseen(), Grounds { observed, ..SURE }),
        "2.00 MiB moved by write; no CPU copy was seen, and what is handed on by reference is not observed."
    );
}

#[test]
fn what_is_neither_copied_nor_handed_on_says_what_became_of_it() {
    let mut null = LedgerBuilder::new().moved(Path::Write, 2 * MIB, 32);
    null.0.discarded[Path::Write as usize] = 2 * MIB;
    assert_eq!(
        said(null),
        "2.00 MiB moved by write, all of it discarded or made of nothing: there was nothing to copy."
    );
    let mut direct = LedgerBuilder::new().moved(Path::Read, 8 * MIB, 8).moved(Path::Write, MIB, 1);
    (direct.0.direct, direct.0.device) = ([8 * MIB, 0], [8 * MIB, 0, 0, 0]);
    direct.0.discarded[Path::Write as usize] = MIB;
    assert_eq!(
        said(direct),
        "9.00 MiB moved by read and write without a CPU copy; 8.00 MiB of them were moved by devices (DMA); \
         1.00 MiB of them were discarded or made of nothing."
    );
}
