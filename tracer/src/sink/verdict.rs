//! A verdict per direction: which mechanisms carried the bytes, ranked, and whether the CPU copied them; and
//! where zero-copy was asked for and the kernel copied all the same.

use tracer_ebpf::abi::{DeviceOp, Ledger, Path};

use super::sentence::negligible;
use super::{checksummed, human};
use crate::snapshot::Derived as _;

/// Paths by direction, as the process sees it. What sendfile and its kin move goes out; of io_uring's
/// requests and of process_vm only their sum is known.
const SIDES: [(&str, &[Path]); 4] = [
    ("receive side", &[Path::Read, Path::Recv]),
    (
        "send side",
        &[
            Path::Write,
            Path::Send,
            Path::Sendfile,
            Path::Splice,
            Path::Tee,
            Path::Vmsplice,
            Path::CopyFileRange,
        ],
    ),
    ("io_uring", &[Path::IoUring]),
    ("other processes' memory", &[Path::ProcessVm]),
];

/// One sentence per direction in which bytes moved. `all_seen`: no copy can have escaped.
pub fn verdicts(ledger: &Ledger, all_seen: bool) -> Vec<String> {
    SIDES.iter().filter_map(|(name, paths)| verdict(ledger, name, paths, all_seen)).collect()
}

fn verdict(ledger: &Ledger, name: &str, paths: &[Path], all_seen: bool) -> Option<String> {
    let payload = |path: Path| ledger.payload[path as usize].bytes;
    let mut used: Vec<Path> = paths.iter().copied().filter(|&path| payload(path) > 0).collect();
    used.sort_by_key(|&path| std::cmp::Reverse(payload(path)));
    let total: u64 = used.iter().map(|&path| payload(path)).sum();
    let copied = |path: Path| ledger.copied(path).bytes + checksummed(ledger, path);
    let free: u64 = used.iter().map(|&path| payload(path) - payload(path).min(copied(path))).sum();
    let (first, rest) = used.split_first()?;
    let word = match free {
        _ if negligible(total - free, total) && all_seen => "zero-copy".to_owned(),
        _ if negligible(total - free, total) => "zero-copy as far as was seen".to_owned(),
        _ if negligible(free, total) => {
            let copies = used.iter().map(|&path| copied(path)).sum::<u64>() as f64 / total as f64;
            format!("copied {} times by the CPU", human::ratio(copies))
        }
        _ => format!("{} zero-copy", percent(free, total)),
    };
    let mut text = format!(
        "{name}: {word}, {} of {} by {}",
        percent(payload(*first), total),
        human::bytes(total),
        first.name()
    );
    for &path in rest {
        text += &format!("; {} by {}", human::bytes(payload(path)), path.name());
    }
    Some(text)
}

/// Calls that are made in order not to copy.
const ZERO_COPY: [Path; 5] = [Path::Sendfile, Path::Splice, Path::Tee, Path::Vmsplice, Path::CopyFileRange];

/// Where zero-copy was asked for, and the kernel copied. `linear`: network devices that take packets in one
/// piece only.
pub fn fallbacks(ledger: &Ledger, linear: &[String]) -> Vec<String> {
    let sends = ledger.device[DeviceOp::NetTransmit as usize] > 0;
    let device = (sends && !linear.is_empty()).then(|| {
        let names: Vec<_> = linear.iter().map(|name| human::escape(name)).collect();
        format!("{} takes packets in one piece only (no scatter-gather or checksums)", names.join(", "))
    });
    let mut said = Vec::new();
    for path in ZERO_COPY {
        let moved = ledger.payload[path as usize].bytes;
        let copied = ledger.copied(path).bytes + checksummed(ledger, path);
        if moved == 0 || negligible(copied, moved) {
            continue;
        }
        let why = device.as_deref().or(cause(path)).map_or(String::new(), |why| format!(": {why}"));
        said.push(format!(
            "{} of the {} that {} moved were copied within the kernel all the same{why}.",
            human::bytes(copied),
            human::bytes(moved),
            path.name()
        ));
    }
    let later = ledger.copied(Path::Softirq).bytes + checksummed(ledger, Path::Softirq);
    if later > 0 && !negligible(later, ledger.payload().bytes) {
        let why = device.as_deref().unwrap_or("the receiver is on this machine, and gets pages of its own");
        said.push(format!("{} were copied later, while packets were sent: {why}.", human::bytes(later)));
    }
    said
}

/// Why a path copies on a kernel that works as it should.
fn cause(path: Path) -> Option<&'static str> {
    Some(match path {
        Path::Sendfile | Path::Splice => {
            "pages cannot be moved into a file, nor out of one that has none (procfs, direct I/O)"
        }
        Path::CopyFileRange => "the filesystem does not share blocks between files",
        _ => return None,
    })
}

/// Never rounded up to all.
fn percent(part: u64, whole: u64) -> String {
    if part == whole {
        return "100%".to_owned();
    }
    format!("{:.2}%", (part as f64 / whole as f64 * 1e4).floor() / 1e2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing::{self, LedgerBuilder, MIB};
    use tracer_ebpf::abi::Direction;

    #[test]
    fn a_send_side_with_headers() {
        let ledger = LedgerBuilder::new()
            .moved(Path::Sendfile, 64 * MIB, 64)
            .moved(Path::Write, 12 << 10, 4)
            .copied(Path::Write, Direction::FromUser, 12 << 10, 4)
            .0;
        let expected = "send side: zero-copy, 99.98% of 64.0 MiB by sendfile; 12.0 KiB by write";
        assert_eq!(verdicts(&ledger, true), [expected]);
        assert!(verdicts(&ledger, false)[0].starts_with("send side: zero-copy as far as was seen, "));
        assert!(fallbacks(&ledger, &[]).is_empty());
    }

    #[test]
    fn both_sides_copied() {
        let expected = [
            "receive side: copied 1.00 times by the CPU, 100% of 64.0 MiB by read",
            "send side: copied 1.00 times by the CPU, 100% of 64.0 MiB by send",
        ];
        assert_eq!(verdicts(&testing::read_send(), true), expected);
    }

    #[test]
    fn half_and_half() {
        let ledger = LedgerBuilder::new()
            .moved(Path::Sendfile, 3 * MIB, 3)
            .moved(Path::Send, MIB, 16)
            .copied(Path::Send, Direction::FromUser, MIB, 16)
            .0;
        let expected = "send side: 75.00% zero-copy, 75.00% of 4.00 MiB by sendfile; 1.00 MiB by send";
        assert_eq!(verdicts(&ledger, true), [expected]);
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
}
