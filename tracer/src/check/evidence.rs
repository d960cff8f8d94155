//! Where the bytes went: what a person needs to see of a violation.

use super::metric::{Metric, Selector};
use super::policy::Assertion;
use super::verdict::{Evidence, Share};
use crate::fmt::human;
use crate::model::counts::Part;
use crate::model::window::Recording;

/// Lines per list.
const TOP: usize = 5;

pub fn of(assertion: &Assertion, recording: &Recording) -> Evidence {
    let part = match assertion.select.get(Selector::Process) {
        Some(word) => recording.processes_called(word).unwrap_or_default(),
        None => recording.everything(),
    };
    match assertion.metric {
        Metric::Syscalls | Metric::ModeSwitches | Metric::ModeSwitchesPerMib => calls(recording, &part),
        Metric::ContextSwitches
        | Metric::ContextSwitchesPerMib
        | Metric::DeviceBytes
        | Metric::MissedEvents
        | Metric::CallSites => Evidence::default(),
        Metric::UnexplainedBytes => unexplained(recording, &part),
        _ => copies(assertion, recording, &part),
    }
}

fn unexplained(recording: &Recording, part: &Part) -> Evidence {
    let of_path = |path: &str| (path.to_owned(), part.unexplained(Some(path)).unwrap_or(0), String::new());
    let paths = top(part.path_names().map(of_path));
    let processes = top(recording.processes.iter().map(|process| {
        let name = format!("{} {}", process.pid, human::label(&process.comm, 20));
        (name, process.part.unexplained(None).unwrap_or(0), String::new())
    }));
    let advice = vec![
        "`sudo tracer audit --pid PID` looks for what copied them, `sudo tracer doctor` tells what is not covered"
            .to_owned(),
    ];
    Evidence { of: "unexplained", paths, processes, sites: Vec::new(), advice }
}

fn copies(assertion: &Assertion, recording: &Recording, part: &Part) -> Evidence {
    let observed = &recording.observed;
    // Of the direction that the assertion is about; of all paths, as bytes may have moved to another.
    let direction = assertion.select.get(Selector::Direction);
    let paths = top(part.path_names().map(|path| {
        let moved = part.payload(Some(path)).filter(|payload| *payload > 0);
        let moved = moved.map_or_else(String::new, |payload| {
            let calls = part.calls(Some(path)).unwrap_or(0);
            format!("{} moved in {}", human::bytes(payload), human::counted(calls, "call"))
        });
        (path.to_owned(), part.copied(observed, Some(path), direction).unwrap_or(0), moved)
    }));
    let processes = top(recording.processes.iter().map(|process| {
        let name = format!("{} {}", process.pid, human::label(&process.comm, 20));
        (name, process.part.copied(observed, None, direction).unwrap_or(0), String::new())
    }));
    let sites = top(recording.sources.iter().map(|source| {
        let of_interest = |name: &str| direction.is_none_or(|direction| direction == name);
        let counted = source.copied_bytes.iter().filter(|(name, bytes)| **bytes > 0 && of_interest(name));
        let sum = counted.clone().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        let directions: Vec<&str> = counted.map(|(name, _)| name.as_str()).collect();
        let symbol = human::label(&source.symbol, 60);
        (symbol, sum, format!("{} ({})", directions.join(", "), human::label(&source.probe, 40)))
    }));
    let advice = advice(assertion, recording, part);
    Evidence { of: "copied", paths, processes, sites, advice }
}

fn calls(recording: &Recording, part: &Part) -> Evidence {
    let paths = top(part.path_names().map(|path| {
        let moved = part.payload(Some(path)).filter(|payload| *payload > 0);
        let moved = moved.map_or_else(String::new, |payload| format!("{} moved", human::bytes(payload)));
        (path.to_owned(), part.syscalls(Some(path)).unwrap_or(0), moved)
    }));
    let processes = top(recording.processes.iter().map(|process| {
        let name = format!("{} {}", process.pid, human::label(&process.comm, 20));
        (name, process.part.syscalls(None).unwrap_or(0), String::new())
    }));
    let advice = vec!["fewer and larger calls: a larger buffer, writev, sendmmsg or io_uring".to_owned()];
    Evidence { of: "system calls", paths, processes, sites: Vec::new(), advice }
}

/// The largest that are not 0.
fn top(shares: impl Iterator<Item = (String, u64, String)>) -> Vec<Share> {
    let shares = shares.map(|(name, amount, detail)| Share { name, amount, detail });
    let mut shares: Vec<Share> = shares.filter(|share| share.amount > 0).collect();
    shares.sort_by(|a, b| b.amount.cmp(&a.amount).then_with(|| a.name.cmp(&b.name)));
    shares.truncate(TOP);
    shares
}

/// What to do, by path and direction of the copies.
const ADVICE: [(&str, &str, &str); 13] = [
    (
        "read",
        "to_user",
        "read brings the bytes into the program's memory: sendfile or splice would leave them in the kernel. \
         Is it switched off, or is a filter (compression, templates, TLS in user space) in the way?",
    ),
    (
        "write",
        "from_user",
        "write takes the bytes from the program's memory: sendfile or splice sends a file without",
    ),
    (
        "send",
        "from_user",
        "send takes the bytes from the program's memory: sendfile for files, MSG_ZEROCOPY for large buffers",
    ),
    ("recv", "to_user", "recv brings the bytes into the program's memory: splice moves them on without"),
    (
        "sendfile",
        "in_kernel",
        "sendfile copied within the kernel: its destination is a file, a pipe (before 5.12), or software kTLS",
    ),
    ("splice", "in_kernel", "splice copied within the kernel: its destination takes no pages (a file)"),
    (
        "copy_file_range",
        "in_kernel",
        "copy_file_range copied: source and destination share no reflink filesystem",
    ),
    ("vmsplice", "to_user", "vmsplice out of a pipe copies into user memory"),
    (
        "mmap_fault",
        "in_kernel",
        "pages were copied on write: a fork, or a private mapping that is written to",
    ),
    ("io_uring", "to_user", "io_uring reads into memory: splice operations move pages instead"),
    (
        "io_uring",
        "from_user",
        "io_uring writes from memory: IORING_OP_SEND_ZC or splice operations do not copy",
    ),
    ("process_vm", "to_user", "process_vm_readv copies between processes: shared memory would not"),
    ("process_vm", "from_user", "process_vm_writev copies between processes: shared memory would not"),
];

fn advice(assertion: &Assertion, recording: &Recording, part: &Part) -> Vec<String> {
    let wanted = assertion.select.get(Selector::Direction);
    let mut cells: Vec<(u64, &str)> = ADVICE
        .iter()
        .filter(|(_, direction, _)| wanted.is_none_or(|wanted| wanted == *direction))
        .filter_map(|(path, direction, text)| {
            Some((part.copied(&recording.observed, Some(path), Some(direction))?, *text))
        })
        .collect();
    let all = part.copied(&recording.observed, None, None).unwrap_or(0);
    // Not about headers.
    cells.retain(|(bytes, _)| *bytes > 0 && *bytes >= all / 10);
    cells.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let mut advice: Vec<String> = cells.into_iter().take(3).map(|(_, text)| text.to_owned()).collect();
    if let (Metric::PayloadShare, Some(path)) = (assertion.metric, assertion.select.get(Selector::Path)) {
        let others = top(part
            .path_names()
            .filter(|other| *other != path)
            .map(|other| (other.to_owned(), part.payload(Some(other)).unwrap_or(0), String::new())));
        if let Some(other) = others.first() {
            let size = human::bytes(other.amount);
            advice.insert(0, format!("{} moved {size} that {path} did not", other.name));
        }
    }
    advice
}
