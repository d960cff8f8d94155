//! Calls that had begun when counting began: their payload is counted as they return, their copies in part.
//!
//! So a process may have payload that nothing explains, once, and no more than these calls moved.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use tracer_ebpf::abi::{FIRST_PROCESS, Path};

use super::Session;
use crate::model::snapshot::{ByPath, Tally};

/// No call moves more: `MAX_RW_COUNT`, include/linux/fs.h.
const MOST: u64 = 0x7fff_f000;

/// How long a thread that runs may take to return from its call: it copies, and does not sleep.
const RETURNS: Duration = Duration::from_millis(20);

/// Payload that calls may still report which had begun before counting did, by slot.
pub(super) type Begun = HashMap<u32, ByPath>;

impl Session {
    /// Notes what is in progress in the processes that were selected, right after counting has begun.
    pub(super) fn note_begun(&mut self) {
        let slots: Vec<u32> = (FIRST_PROCESS..self.kernel.sizes.slots())
            .filter(|slot| self.kernel.processes.get(*slot as usize).is_some_and(|process| process.tgid != 0))
            .collect();
        let mut running = Vec::new();
        for slot in slots {
            let Some(process) = self.kernel.processes.get(slot as usize) else { continue };
            let state = in_progress(self.names.pid(process.tgid));
            if state.runs {
                running.push(slot);
            }
            if state.sleeping.iter().any(|bytes| *bytes > 0) {
                self.begun.insert(slot, state.sleeping);
            }
        }
        if running.is_empty() {
            return;
        }
        std::thread::sleep(RETURNS);
        for slot in running {
            let found = Tally::of(self.ledger(slot)).unexplained;
            let begun = self.begun.entry(slot).or_default();
            begun.iter_mut().zip(found).for_each(|(all, more)| *all = all.saturating_add(more));
        }
    }

    /// What was counted for a slot's process, without what may be of such calls.
    pub(super) fn tally(&self, slot: u32) -> Tally {
        let mut tally = Tally::of(self.ledger(slot));
        if let Some(begun) = self.begun.get(&slot) {
            tally
                .unexplained
                .iter_mut()
                .zip(begun)
                .for_each(|(left, most)| *left = left.saturating_sub(*most));
        }
        tally
    }
}

/// What the threads of a process are doing.
#[derive(Default, Debug, PartialEq, Eq)]
struct InProgress {
    /// At least one runs; in which call is not known.
    runs: bool,
    /// At most so much is moved by those that sleep in a call which copies before it sleeps.
    sleeping: ByPath,
}

fn in_progress(pid: u32) -> InProgress {
    let mut all = InProgress::default();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return all };
    for task in tasks.flatten() {
        let Ok(call) = fs::read_to_string(task.path().join("syscall")) else { continue };
        if call.starts_with("running") {
            all.runs = true;
        } else if let Some((path, bytes)) = sleeps_in(&call) {
            let sum = &mut all.sleeping[path as usize];
            *sum = sum.saturating_add(bytes);
        }
    }
    all
}

/// `/proc/.../syscall`: number and arguments (x86-64). A receive that waits for all copies before it sleeps; any other
/// read or receive sleeps first, and is counted whole.
fn sleeps_in(call: &str) -> Option<(Path, u64)> {
    const MSG_WAITALL: u64 = 0x100;
    let mut words = call.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let arguments: Vec<u64> =
        words.map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).collect();
    let argument = |n: usize| arguments.get(n).copied().unwrap_or(MOST).min(MOST);
    let waits = |n: usize| arguments.get(n).is_some_and(|flags| flags & MSG_WAITALL != 0);
    Some(match number {
        1 | 18 => (Path::Write, argument(2)),
        20 | 296 | 328 => (Path::Write, MOST),
        44 => (Path::Send, argument(2)),
        46 | 307 => (Path::Send, MOST),
        45 if waits(3) => (Path::Recv, argument(2)),
        47 if waits(2) => (Path::Recv, MOST),
        40 => (Path::Sendfile, argument(3)),
        275 => (Path::Splice, argument(4)),
        326 => (Path::CopyFileRange, argument(4)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_copy_before_they_sleep() {
        let cases = [
            ("1 0x5 0x7ffd 0x10000 0x0 0x0 0x0 0x7ffd 0x7f00", Some((Path::Write, 0x10000))),
            ("44 0x5 0x7ffd 0xffffffffff 0x0 0x0 0x0 0x7ffd 0x7f00", Some((Path::Send, MOST))),
            ("46 0x5 0x7ffd 0x0 0x0 0x0 0x0 0x7ffd 0x7f00", Some((Path::Send, MOST))),
            ("40 0x5 0x6 0x0 0x400 0x0 0x0 0x7ffd 0x7f00", Some((Path::Sendfile, 0x400))),
            ("45 0x5 0x7ffd 0x400 0x100 0x0 0x0 0x7ffd 0x7f00", Some((Path::Recv, 0x400))),
            ("45 0x5 0x7ffd 0x400 0x0 0x0 0x0 0x7ffd 0x7f00", None),
            ("0 0x5 0x7ffd 0x400 0x0 0x0 0x0 0x7ffd 0x7f00", None),
            ("-1 0x7ffd 0x7f00", None),
            ("running", None),
            ("", None),
        ];
        for (call, expected) in cases {
            assert_eq!(sleeps_in(call), expected, "{call}");
        }
    }

    #[test]
    fn the_thread_that_asks_runs() {
        assert!(in_progress(std::process::id()).runs);
        assert_eq!(in_progress(u32::MAX), InProgress::default());
    }
}
