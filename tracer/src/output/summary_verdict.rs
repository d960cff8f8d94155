//! A verdict per direction: which mechanisms carried the bytes, ranked, and whether the CPU copied them; and
//! where zero-copy was asked for and the kernel copied all the same.

use tracer_ebpf::abi::{Count, DeviceOp, Ledger, Path};

use super::checksummed;
use super::summary::negligible;
use crate::fmt::human;
use crate::model::snapshot::{Derived as _, Explained, Tally};

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

/// How much was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// No copy can have escaped.
    pub all_seen: bool,
    /// Bytes that are handed on by reference are observed.
    pub references: bool,
    /// Bytes that block devices move are observed.
    pub block: bool,
}

/// One sentence per direction in which bytes moved.
pub fn verdicts(ledger: &Tally, sight: Sight) -> Vec<String> {
    SIDES.iter().filter_map(|(name, paths)| verdict(ledger, name, paths, sight)).collect()
}

fn verdict(ledger: &Tally, name: &str, paths: &[Path], sight: Sight) -> Option<String> {
    let payload = |path: Path| ledger.payload[path as usize].bytes;
    let mut used: Vec<Path> = paths.iter().copied().filter(|&path| payload(path) > 0).collect();
    used.sort_by_key(|&path| std::cmp::Reverse(payload(path)));
    let total: u64 = used.iter().map(|&path| payload(path)).sum();
    let (first, rest) = used.split_first()?;
    let mut text = format!(
        "{name}: {}, {} of {} by {}",
        word(ledger, &used, total, sight),
        percent(payload(*first), total),
        human::bytes(total),
        first.name()
    );
    for &path in rest {
        text += &format!("; {} by {}", human::bytes(payload(path)), path.name());
    }
    Some(text)
}

/// What became of the `total` bytes that these paths moved.
fn word(ledger: &Tally, used: &[Path], total: u64, sight: Sight) -> String {
    let explained: Vec<Explained> = used.iter().map(|&path| ledger.explained(path)).collect();
    let sum = |part: fn(&Explained) -> u64| -> u64 { explained.iter().map(part).sum() };
    let unexplained = sum(|e| e.unexplained);
    let copied: u64 = used.iter().map(|&path| ledger.copied(path).bytes + checksummed(ledger, path)).sum();
    if unexplained > 0 && sight.references {
        return format!("{} unexplained ({})", human::bytes(unexplained), percent(unexplained, total));
    }
    // Each byte is in one of them, or was copied.
    // Of what is observed in part nothing is said but that it was not copied.
    let (referenced, discarded, dma) = (sum(|e| e.referenced), sum(|e| e.discarded), sum(|e| e.dma));
    let seen = |bytes: u64, is_observed: bool| if is_observed { bytes } else { 0 };
    let untold = [(referenced, sight.references), (discarded, sight.references), (dma, sight.block)];
    let untold: u64 = untold.iter().filter(|(_, is_observed)| !is_observed).map(|(bytes, _)| bytes).sum();
    let mut means = [
        (seen(referenced, sight.references), "zero-copy"),
        (seen(dma, sight.block), "moved by devices (DMA)"),
        (sum(|e| e.encrypted), "passed through a cipher"),
        (seen(discarded, sight.references), "discarded"),
        (unexplained + untold, "not seen to be copied"),
    ];
    means.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let hedge = if sight.all_seen { "" } else { " as far as was seen" };
    let free: u64 = means.iter().map(|(bytes, _)| bytes).sum();
    match means {
        [(most, how), ..] if negligible(total - most, total) => format!("{how}{hedge}"),
        _ if negligible(free, total) => {
            format!("copied {} times by the CPU", human::ratio(copied as f64 / total as f64))
        }
        _ => {
            let parts = means.iter().filter(|(bytes, _)| !negligible(*bytes, total));
            let parts: Vec<_> =
                parts.map(|(bytes, how)| format!("{} {how}", percent(*bytes, total))).collect();
            parts.join(", ") + hedge
        }
    }
}

/// What unexplained payload means, and what tells more; `None` if there is none.
pub fn unexplained(ledger: &Tally) -> Option<String> {
    let paths = Path::ALL.into_iter().filter(|&path| ledger.unexplained(path) > 0);
    let parts: Vec<_> =
        paths.map(|path| format!("{} by {}", human::bytes(ledger.unexplained(path)), path.name())).collect();
    (!parts.is_empty()).then(|| {
        format!(
            "unexplained: {}. No probe saw these bytes copied, handed on by reference, moved by a device or \
             discarded, so nothing follows about copies: something here is not known to tracer. \
             `tracer audit --pid PID` looks for what copied them, `tracer doctor` tells what is not covered.",
            parts.join(", ")
        )
    })
}

/// What copies that ended before what was asked mean for the numbers; `None` if there are none.
pub fn cut_short(ledger: &Ledger) -> Option<String> {
    let Count { bytes, calls } = ledger.cut_short();
    let copies = if calls == 1 { "copy" } else { "copies" };
    (calls > 0).then(|| {
        format!(
            "cut short: {} {copies} ended at memory that is not mapped. Of the bytes that are counted as copied, at most {} \
             were not.",
            human::count(calls),
            human::bytes(bytes)
        )
    })
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

/// Never rounded up to all, nor down to nothing.
fn percent(part: u64, whole: u64) -> String {
    if part == whole {
        return "100%".to_owned();
    }
    if part > 0 && part < whole / 10_000 {
        return "less than 0.01%".to_owned();
    }
    format!("{:.2}%", (part as f64 / whole as f64 * 1e4).floor() / 1e2)
}

#[cfg(test)]
#[path = "summary_verdict_tests.rs"]
mod tests;
