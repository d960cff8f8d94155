//! The sentences under the table: only what follows from the numbers.
//!
//! That what goes out is what came in never follows: a filter, a database or an RPC server may well
//! take in as many bytes as it gives out. What only holds then is said with an "if".

use tracer_ebpf::abi::{Direction, Ledger, Path};

use super::{checksummed_in_all, encrypted_in_all, zero_copied_is_observed};
use crate::fmt::human;
use crate::model::snapshot::{Derived, Explained, NEXT_TO_NONE, Observed, Tally};

/// What the sentences may rely on.
#[derive(Clone, Copy, Debug)]
pub struct Grounds {
    pub observed: Observed,
    /// No copy can have escaped, so that "without a copy" may be said.
    pub all_seen: bool,
    /// The ledger is of one process, so that its input may be its output.
    pub one_process: bool,
}

/// `None` if not even payload was observed.
pub fn sentence(ledger: &Tally, grounds: Grounds) -> Option<String> {
    let observed = grounds.observed;
    if !observed.payload {
        return None;
    }
    if ledger.payload().bytes == 0 {
        return Some(nothing_moved(ledger, &observed));
    }
    if !observed.copies {
        let (moved, calls) = (moved(ledger), human::counted(ledger.payload().calls, "call"));
        return Some(format!("{moved} in {calls}; whether the CPU copied them was not observed."));
    }
    let mut text = how_often(ledger, grounds) + &apart(ledger, "; ", "more ") + ".";
    text += &other_kinds(ledger);
    let is_explained = ledger.unexplained_in_all() == 0;
    if let Some(advice) = (grounds.one_process && is_explained).then(|| Relay::of(ledger)?.advice()).flatten()
    {
        text += " ";
        text += &advice;
    }
    Some(text)
}

/// The table's total in words.
fn how_often(ledger: &Tally, grounds: Grounds) -> String {
    let (mut moved, copied) = (moved(ledger), ledger.copied_with_payload());
    let ratio = ledger.copies_per_byte().unwrap_or(0.0);
    let references = zero_copied_is_observed(&grounds.observed);
    let unexplained = if references { ledger.unexplained_in_all() } else { 0 };
    if unexplained > 0 {
        moved += &match unexplained == ledger.payload().bytes {
            true => ", all of it unexplained".to_owned(),
            false => format!(", of which {} are unexplained", human::bytes(unexplained)),
        };
    }
    let all_seen = grounds.all_seen && unexplained == 0;
    if copied == 0 && unexplained > 0 {
        return format!("{moved}; no CPU copy was seen");
    }
    if copied == 0 && !references {
        return format!("{moved}; no CPU copy was seen, and what is handed on by reference is not observed");
    }
    if copied == 0 && discarded(ledger) == ledger.payload().bytes {
        return format!("{moved}, all of it discarded or made of nothing: there was nothing to copy");
    }
    if copied == 0 {
        let plain = if checksummed_in_all(ledger) > 0 { "plain " } else { "" };
        // What a zero-copy send handed over may be copied later, for a receiver on this machine.
        let during = if ledger.copied(Path::Softirq).bytes > 0 { " during the calls" } else { "" };
        let hedge = if all_seen { "" } else { " that was seen" };
        return format!(
            "{moved} without a {plain}CPU copy{during}{hedge}{}",
            by_other_means(ledger, &grounds.observed)
        );
    }
    let at_least = if all_seen { "" } else { "at least " };
    // Here a ratio would say less than the bytes.
    if ratio < NEXT_TO_NONE {
        return format!("{moved}, {at_least}{} of them copied by the CPU", human::bytes(copied));
    }
    let average = if is_even(ledger) { "" } else { " on average" };
    format!("{moved}, each byte copied {at_least}{} times{average} by the CPU", human::ratio(ratio))
}

fn discarded(ledger: &Tally) -> u64 {
    sum_of(ledger, |explained| explained.discarded)
}

fn sum_of(ledger: &Tally, part: impl Fn(&Explained) -> u64) -> u64 {
    Path::ALL.iter().map(|&path| part(&ledger.explained(path))).sum()
}

/// `; 8.00 MiB of them were moved by devices (DMA)`: what was neither copied nor handed on by reference.
fn by_other_means(ledger: &Tally, observed: &Observed) -> String {
    let means = [
        (
            if observed.block { sum_of(ledger, |explained| explained.dma) } else { 0 },
            "moved by devices (DMA)",
        ),
        (discarded(ledger), "discarded or made of nothing"),
    ];
    let seen = means.into_iter().filter(|(bytes, _)| *bytes > 0);
    seen.map(|(bytes, how)| format!("; {} of them were {how}", human::bytes(bytes))).collect()
}

/// `64.0 MiB moved by read and send`.
fn moved(ledger: &Ledger) -> String {
    format!("{} moved by {}", human::bytes(ledger.payload().bytes), movers(ledger))
}

/// `read, send and sendfile`: the paths that carried more than 1% of the payload.
fn movers(ledger: &Ledger) -> String {
    let names: Vec<String> = carriers(ledger).map(|path| path.name().to_owned()).collect();
    if names.is_empty() { "many calls".to_owned() } else { enumerate(&names) }
}

fn carriers(ledger: &Ledger) -> impl Iterator<Item = Path> + '_ {
    let total = ledger.payload().bytes;
    Path::ALL.into_iter().filter(move |&path| !negligible(ledger.payload[path as usize].bytes, total))
}

/// True if all that moved payload copied it equally often: "each byte" is then each one.
fn is_even(ledger: &Ledger) -> bool {
    let all = ledger.copies_per_byte().unwrap_or(0.0);
    carriers(ledger).all(|path| {
        let this = ledger.path_copies_per_byte(path).unwrap_or(0.0);
        (this - all).abs() <= all / 50.0
    })
}

/// What was copied on paths without payload, by the name of what copied it.
fn apart(ledger: &Ledger, lead: &str, more: &str) -> String {
    let mut parts = Vec::new();
    for (path, bytes) in ledger.copied_without_payload() {
        let (size, place) = (human::bytes(bytes), place(path));
        let verb = if parts.is_empty() { format!(" {more}were copied") } else { String::new() };
        parts.push(format!("{size}{verb} {place}"));
    }
    if parts.is_empty() { String::new() } else { format!("{lead}{}", enumerate(&parts)) }
}

fn place(path: Path) -> String {
    match path {
        Path::MmapFault => "by page faults (copy-on-write)".to_owned(),
        // The only copies there that are known to be a process's.
        Path::Softirq => "in softirqs (zero-copy sends, copied after all)".to_owned(),
        Path::KernelThread => "by kernel threads".to_owned(),
        Path::Ioctl => "by ioctl".to_owned(),
        Path::OtherSyscall => "by other system calls".to_owned(),
        // A call that has not returned yet, or that failed after it had copied.
        _ => format!("by {} calls that reported nothing moved", path.name()),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What is not counted as a copy, though the CPU touched every byte.
fn other_kinds(ledger: &Ledger) -> String {
    let kinds = [
        (checksummed_in_all(ledger), "copied while being checksummed"),
        (encrypted_in_all(ledger), "passed through a cipher"),
    ];
    let seen = kinds.into_iter().filter(|(bytes, _)| *bytes > 0);
    seen.map(|(bytes, what)| format!(" {} {what}.", human::bytes(bytes))).collect()
}

fn nothing_moved(ledger: &Ledger, observed: &Observed) -> String {
    let mut text = "No call reported bytes moved".to_owned();
    if observed.syscalls {
        let calls = ledger.syscalls.iter().sum();
        text += &format!(" ({} seen)", human::counted(calls, "system call"));
    }
    if observed.copies {
        text += &apart(ledger, "; ", "");
    }
    text + "."
}

/// A process that takes bytes in by one kind of call and gives about as many out by another.
struct Relay<'a> {
    ledger: &'a Ledger,
    bytes_out: u64,
}

impl<'a> Relay<'a> {
    const IN: [Path; 2] = [Path::Read, Path::Recv];
    const OUT: [Path; 2] = [Path::Write, Path::Send];

    fn of(ledger: &'a Ledger) -> Option<Self> {
        let payload = |paths: [Path; 2]| paths.iter().map(|&p| ledger.payload[p as usize].bytes).sum();
        let (bytes_in, bytes_out): (u64, u64) = (payload(Self::IN), payload(Self::OUT));
        let rest = ledger.payload().bytes - bytes_in - bytes_out;
        let as_many = bytes_out > 0 && about(bytes_in, bytes_out) && negligible(rest, bytes_out);
        as_many.then_some(Relay { ledger, bytes_out })
    }

    /// What moving the bytes within the kernel would save; nothing unless both sides really copied.
    fn advice(&self) -> Option<String> {
        let side = |paths: [Path; 2], direction: Direction| -> u64 {
            paths.iter().map(|&p| self.ledger.copied[p as usize][direction as usize].bytes).sum()
        };
        let (to_user, from_user) = (side(Self::IN, Direction::ToUser), side(Self::OUT, Direction::FromUser));
        if !about(to_user, self.bytes_out) || !about(from_user, self.bytes_out) {
            return None;
        }
        let (took, gave) = (self.only(Self::IN), self.only(Self::OUT));
        let input = match took {
            Some(Path::Read) => "read",
            Some(Path::Recv) => "received",
            _ => "taken in",
        };
        let output = match gave {
            Some(Path::Write) => "written",
            Some(Path::Send) => "sent",
            _ => "given out",
        };
        let copies = to_user + from_user;
        let times = human::ratio(copies as f64 / self.bytes_out as f64);
        Some(format!(
            "If the bytes {output} are those {input} ({} by {}), each was copied {times} times on its way: {}.",
            human::bytes(self.bytes_out),
            enumerate(&self.calls()),
            self.saved(took == Some(Path::Read), gave != Some(Path::Send), copies, to_user)
        ))
    }

    /// `1,024 calls of read`, for each path that carried bytes.
    fn calls(&self) -> Vec<String> {
        let paths = Self::IN.into_iter().chain(Self::OUT);
        let used = paths.map(|path| (path, self.ledger.payload[path as usize])).filter(|(_, p)| p.bytes > 0);
        used.map(|(path, payload)| format!("{} of {}", human::counted(payload.calls, "call"), path.name()))
            .collect()
    }

    /// `copies` on both sides in bytes, and those of `one`: into a file the kernel copies once, unless the
    /// filesystem shares blocks. What comes from a file can go in one call instead of two; splice needs a
    /// pipe between, and so two.
    fn saved(&self, from_file: bool, to_file: bool, copies: u64, one: u64) -> String {
        let (both, one) = (human::bytes(copies), human::bytes(one));
        let calls =
            |paths: [Path; 2]| -> u64 { paths.iter().map(|&p| self.ledger.payload[p as usize].calls).sum() };
        let (taking, giving) = (calls(Self::IN), calls(Self::OUT));
        let fewer = 2 * taking.min(giving);
        let switches =
            format!("{} of {}", human::count(fewer), human::counted(2 * (taking + giving), "mode switch"));
        match (from_file, to_file) {
            (true, false) => {
                format!("sendfile or splice would save up to {both} of copies, sendfile also {switches}")
            }
            (true, true) => format!(
                "into a socket or pipe, sendfile or splice would save up to {both} of copies, into a file \
                 copy_file_range at least {one}; sendfile and copy_file_range also {switches}"
            ),
            (false, false) => format!("splice would save up to {both} of copies, but no mode switches"),
            (false, true) => format!(
                "splice would save up to {both} of copies into a socket or pipe, {one} into a file, but no \
                 mode switches"
            ),
        }
    }

    /// The path that carried all but a negligible part of this side.
    fn only(&self, side: [Path; 2]) -> Option<Path> {
        let bytes = side.map(|path| self.ledger.payload[path as usize].bytes);
        match bytes {
            [a, b] if negligible(b, a) => Some(side[0]),
            [a, b] if negligible(a, b) => Some(side[1]),
            _ => None,
        }
    }
}

/// Equal within 1%: a loader's few reads at start-up must not hide what a process does.
fn about(a: u64, b: u64) -> bool {
    negligible(a.abs_diff(b), a.max(b))
}

/// At most 1%.
pub(super) fn negligible(part: u64, whole: u64) -> bool {
    part <= whole / 100
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
