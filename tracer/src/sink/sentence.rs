//! The one sentence under the table: only what follows from the numbers.

use tracer_ebpf::abi::{Direction, Ledger, Path};

use super::{checksummed_in_all, encrypted_in_all, human};
use crate::snapshot::{Derived, Observed};

/// `all_seen`: no copy can have escaped, so that "without a copy" may be said.
pub fn sentence(ledger: &Ledger, observed: &Observed, all_seen: bool) -> Option<String> {
    if !observed.payload {
        return None;
    }
    let moved = ledger.payload();
    if moved.bytes == 0 {
        return Some(nothing_moved(ledger, observed));
    }
    if !observed.copies {
        let (size, calls) = (human::bytes(moved.bytes), human::counted(moved.calls, "call"));
        return Some(format!("{size} moved in {calls}; whether the CPU copied them was not observed."));
    }
    Some(how_often(ledger, all_seen) + &other_kinds(ledger))
}

fn how_often(ledger: &Ledger, all_seen: bool) -> String {
    let (moved, copied) = (ledger.payload().bytes, copied(ledger));
    let size = human::bytes(moved);
    if copied == 0 {
        let plain = if checksummed_in_all(ledger) > 0 { "plain " } else { "" };
        let hedge = if all_seen { "" } else { " that was seen" };
        return format!("{size} moved by {} without a {plain}CPU copy{hedge}.", movers(ledger));
    }
    let at_least = if all_seen { "" } else { "at least " };
    if let Some(relay) = Relay::of(ledger) {
        return relay.sentence(at_least);
    }
    let times = human::ratio(copied as f64 / moved as f64);
    format!("{size} moved, each byte copied {at_least}{times} times by the CPU.")
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
    let mut text = "No bytes moved".to_owned();
    if observed.syscalls {
        let calls = ledger.syscalls.iter().sum();
        text += &format!(": {} seen", human::counted(calls, "system call"));
    }
    if observed.copies && copied(ledger) > 0 {
        text += &format!("; {} copied outside of data-moving calls", human::bytes(copied(ledger)));
    }
    text + "."
}

/// Copied bytes of all paths.
fn copied(ledger: &Ledger) -> u64 {
    Direction::ALL.iter().map(|&direction| ledger.copied_in(direction).bytes).sum()
}

/// `sendfile and splice`: the paths that carried at least 1% of the payload.
fn movers(ledger: &Ledger) -> String {
    let total = ledger.payload().bytes;
    let names: Vec<_> = Path::ALL
        .into_iter()
        .filter(|&path| !negligible(ledger.payload[path as usize].bytes, total))
        .map(Path::name)
        .collect();
    match names.as_slice() {
        [] => "many calls".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A process that takes bytes in by one kind of call and gives the same number out by another.
/// Payload counts such bytes twice, once on each side; "each byte" means each byte passed on.
struct Relay<'a> {
    ledger: &'a Ledger,
    bytes_in: u64,
    bytes_out: u64,
}

impl<'a> Relay<'a> {
    const IN: [Path; 2] = [Path::Read, Path::Recv];
    const OUT: [Path; 2] = [Path::Write, Path::Send];

    fn of(ledger: &'a Ledger) -> Option<Self> {
        let payload = |paths: [Path; 2]| paths.iter().map(|&p| ledger.payload[p as usize].bytes).sum();
        let relay = Relay { ledger, bytes_in: payload(Self::IN), bytes_out: payload(Self::OUT) };
        let rest = ledger.payload().bytes - relay.bytes_in - relay.bytes_out;
        let passes_on = relay.bytes_out > 0 && about(relay.bytes_in, relay.bytes_out);
        (passes_on && negligible(rest, relay.bytes_out)).then_some(relay)
    }

    fn sentence(&self, at_least: &str) -> String {
        let (input, output) = match (self.only(Self::IN), self.only(Self::OUT)) {
            (Some(Path::Recv), Some(Path::Send)) => ("received", "sent"),
            (Some(Path::Recv), Some(Path::Write)) => ("received", "written"),
            (Some(Path::Recv), _) => ("received", "passed on"),
            (_, Some(Path::Send)) => ("read", "sent"),
            (_, Some(Path::Write)) => ("read", "written"),
            _ => ("read", "passed on"),
        };
        let size = human::bytes(self.bytes_out);
        let copies = copied(self.ledger) as f64 / self.bytes_out as f64;
        let times = human::ratio(copies);
        // The table's rows are per byte of payload, which has each byte on both sides.
        let side = |paths: [Path; 2]| {
            let copied: u64 = paths.iter().map(|&path| self.ledger.copied(path).bytes).sum();
            human::ratio(copied as f64 / self.bytes_out as f64)
        };
        let (on_input, on_output) = (side(Self::IN), side(Self::OUT));
        let mut text = format!(
            "{size} {input} and {output}, each byte copied {at_least}{times} times by the CPU \
             ({on_input} in, {on_output} out)."
        );
        if let Some(advice) = self.advice(copies) {
            text += " ";
            text += &advice;
        }
        text
    }

    /// What moving the bytes within the kernel would save; nothing unless both sides really copied.
    fn advice(&self, copies: f64) -> Option<String> {
        let side = |paths: [Path; 2], direction: Direction| -> u64 {
            paths.iter().map(|&p| self.ledger.copied[p as usize][direction as usize].bytes).sum()
        };
        let (to_user, from_user) = (side(Self::IN, Direction::ToUser), side(Self::OUT, Direction::FromUser));
        if !about(to_user, self.bytes_in) || !about(from_user, self.bytes_out) {
            return None;
        }
        // sendfile takes its input from a file, never from a socket.
        let call = if self.only(Self::IN) == Some(Path::Read) { "sendfile or splice" } else { "splice" };
        let both = human::ratio((to_user + from_user) as f64 / self.bytes_out as f64);
        // A page cannot be moved into a file by reference: there the kernel copies once.
        let one = human::ratio(to_user as f64 / self.bytes_out as f64);
        let saved = match self.only(Self::OUT) {
            Some(Path::Send) => format!("save up to {both} of {}", human::ratio(copies)),
            _ => format!("save up to {both} to a socket or pipe, {one} to a file"),
        };
        Some(format!("If they pass unchanged, {call} would {saved}."))
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
fn negligible(part: u64, whole: u64) -> bool {
    part <= whole / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::testing::{LedgerBuilder, MIB, everything};

    fn said(ledger: LedgerBuilder) -> String {
        sentence(&ledger.0, &everything(), true).unwrap()
    }

    #[test]
    fn a_relay_counts_each_byte_once() {
        let copy = |input, output| {
            LedgerBuilder::new()
                .moved(input, 64 * MIB, 1024)
                .copied(input, Direction::ToUser, 64 * MIB, 1024)
                .moved(output, 64 * MIB, 1024)
                .copied(output, Direction::FromUser, 64 * MIB, 1024)
        };
        assert_eq!(
            said(copy(Path::Read, Path::Send)),
            "64.0 MiB read and sent, each byte copied 2.00 times by the CPU (1.00 in, 1.00 out). \
             If they pass unchanged, sendfile or splice would save up to 2.00 of 2.00."
        );
        assert_eq!(
            said(copy(Path::Read, Path::Write).moved(Path::Read, 832, 1)),
            "64.0 MiB read and written, each byte copied 2.00 times by the CPU (1.00 in, 1.00 out). \
             If they pass unchanged, sendfile or splice would save up to 2.00 to a socket or pipe, 1.00 to a file."
        );
        assert_eq!(
            said(copy(Path::Recv, Path::Send)),
            "64.0 MiB received and sent, each byte copied 2.00 times by the CPU (1.00 in, 1.00 out). \
             If they pass unchanged, splice would save up to 2.00 of 2.00."
        );
    }

    #[test]
    fn no_advice_where_it_does_not_follow() {
        let half_copied = LedgerBuilder::new()
            .moved(Path::Read, 64 * MIB, 1)
            .copied(Path::Read, Direction::ToUser, 64 * MIB, 1)
            .moved(Path::Send, 64 * MIB, 1);
        assert_eq!(
            said(half_copied),
            "64.0 MiB read and sent, each byte copied 1.00 times by the CPU (1.00 in, 0.00 out)."
        );
        let filtered = LedgerBuilder::new()
            .moved(Path::Read, 64 * MIB, 1)
            .copied(Path::Read, Direction::ToUser, 64 * MIB, 1)
            .moved(Path::Write, 32 * MIB, 1)
            .copied(Path::Write, Direction::FromUser, 32 * MIB, 1);
        assert_eq!(said(filtered), "96.0 MiB moved, each byte copied 1.00 times by the CPU.");
    }

    #[test]
    fn one_sided_and_zero_copy() {
        let mmap_write = LedgerBuilder::new().moved(Path::Write, 64 * MIB, 1).copied(
            Path::Write,
            Direction::FromUser,
            64 * MIB,
            16384,
        );
        assert_eq!(said(mmap_write), "64.0 MiB moved, each byte copied 1.00 times by the CPU.");
        let sendfile = LedgerBuilder::new().moved(Path::Sendfile, 64 * MIB, 1);
        assert_eq!(
            sentence(&sendfile.0, &everything(), false).unwrap(),
            "64.0 MiB moved by sendfile without a CPU copy that was seen."
        );
        assert_eq!(said(sendfile), "64.0 MiB moved by sendfile without a CPU copy.");
        let two = LedgerBuilder::new().moved(Path::Sendfile, MIB, 1).moved(Path::Splice, MIB, 1);
        assert_eq!(said(two), "2.00 MiB moved by sendfile and splice without a CPU copy.");
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
        assert_eq!(said(idle), "No bytes moved: 1,234 system calls seen.");
        let fault = LedgerBuilder::new().copied(Path::MmapFault, Direction::InKernel, 4096, 1);
        assert_eq!(
            said(fault),
            "No bytes moved: 0 system calls seen; 4.00 KiB copied outside of data-moving calls."
        );
        let blind = Observed { copies: false, ..everything() };
        let ledger = LedgerBuilder::new().moved(Path::Read, MIB, 2).0;
        assert_eq!(
            sentence(&ledger, &blind, false).unwrap(),
            "1.00 MiB moved in 2 calls; whether the CPU copied them was not observed."
        );
    }
}
