//! Hand-made snapshots for the outputs' tests, and their patience.

use std::time::{Duration, UNIX_EPOCH};

use tracer_ebpf::abi::{Count, Direction, Ledger, Path};

use crate::model::size_histogram::{CopySizes, UnnamedSizes};
use crate::model::snapshot::{
    Coverage, CoverageState, Folded, LossCount, Observed, Probe, Process, SiteCount, Snapshot, Tally, plus,
    words_mut,
};

pub const MIB: u64 = 1 << 20;

/// For an answer of a server. No test waits until it is over: it ends one that would hang for ever.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A name that would move the cursor, break lines, end a label and reorder text.
pub const HOSTILE: &str = "a\n\x1b[2J\"}\\\u{9b}\u{202e}\u{7f}";

pub struct LedgerBuilder(pub Ledger);

impl LedgerBuilder {
    pub fn new() -> Self {
        LedgerBuilder(Ledger::ZERO)
    }

    /// Data-moving calls, each of them a system call.
    pub fn moved(mut self, path: Path, bytes: u64, calls: u64) -> Self {
        self.0.payload[path as usize].bytes += bytes;
        self.0.payload[path as usize].calls += calls;
        self.syscalls(path, calls)
    }

    pub fn copied(mut self, path: Path, direction: Direction, bytes: u64, calls: u64) -> Self {
        self.0.copied[path as usize][direction as usize] = Count { bytes, calls };
        self
    }

    pub fn referenced(mut self, path: Path, bytes: u64) -> Self {
        self.0.referenced[path as usize] += bytes;
        self
    }

    pub fn syscalls(mut self, path: Path, calls: u64) -> Self {
        self.0.syscalls[path as usize] += calls;
        self
    }

    pub fn switches(mut self, faults: u64, interrupts: u64, voluntary: u64, involuntary: u64) -> Self {
        (self.0.faults, self.0.interrupts) = (faults, interrupts);
        (self.0.voluntary, self.0.involuntary) = (voluntary, involuntary);
        self
    }
}

pub const fn everything() -> Observed {
    Observed {
        copies: true,
        references: true,
        cut_short: true,
        syscalls: true,
        payload: true,
        faults: true,
        interrupts: true,
        context_switches: true,
        block: true,
        net: true,
    }
}

/// 64 MiB from a file to a TCP socket, 64 KiB at a time, after which read says 0 once.
pub fn read_send() -> Ledger {
    LedgerBuilder::new()
        .moved(Path::Read, 64 * MIB, 1024)
        .syscalls(Path::Read, 1)
        .copied(Path::Read, Direction::ToUser, 64 * MIB, 1024)
        .moved(Path::Send, 64 * MIB, 1024)
        .copied(Path::Send, Direction::FromUser, 64 * MIB, 16384)
        .syscalls(Path::OtherSyscall, 3)
        .switches(4, 12, 250, 7)
        .0
}

pub fn sendfile() -> Ledger {
    LedgerBuilder::new()
        .moved(Path::Sendfile, 64 * MIB, 64)
        .referenced(Path::Sendfile, 128 * MIB)
        .syscalls(Path::OtherSyscall, 3)
        .switches(4, 12, 60, 2)
        .0
}

/// A ledger in which no two counters are equal.
pub fn distinct() -> Ledger {
    let mut ledger = Ledger::ZERO;
    for (i, word) in words_mut(&mut ledger).iter_mut().enumerate() {
        *word = 1_000_003 + 7919 * i as u64;
    }
    ledger
}

pub fn process(pid: u32, comm: &str, ledger: Ledger) -> Process {
    Process {
        pid,
        comm: comm.to_owned(),
        start_time: Some(UNIX_EPOCH + Duration::from_secs(1_795_386_740)),
        exited: false,
        exe: "/usr/sbin/nginx".to_owned(),
        cgroup: String::new(),
        ledger: ledger.into(),
        copy_sizes: CopySizes::default(),
    }
}

/// Everything observed, nothing lost, coverage complete.
pub fn snapshot(processes: Vec<Process>) -> Snapshot {
    let sites = |primitive, data, coverage, sites| SiteCount { primitive, data, coverage, sites };
    Snapshot {
        kernel: "6.1.0-56-amd64".to_owned(),
        started: UNIX_EPOCH + Duration::from_secs(1_795_386_745),
        window: Duration::from_secs(10),
        observed: everything(),
        coverage: Coverage {
            state: CoverageState::Complete,
            since: None,
            reasons: Vec::new(),
            sites: vec![
                sites("_copy_to_iter", true, "wrapper", 40),
                sites("_copy_from_iter", true, "checked", 30),
                sites("_copy_to_user", false, "uncovered", 50),
            ],
        },
        probes: vec![probe("filemap_read", true), probe("do_wp_page", false)],
        losses: vec![
            LossCount { reason: "call_map_full", count: 0, loses_events: true },
            LossCount { reason: "slots_used_up", count: 0, loses_events: false },
        ],
        total: processes.iter().fold(Ledger::ZERO, |sum, p| plus(&sum, &p.ledger)),
        processes,
        overflow: Tally::ZERO,
        ended: Folded::default(),
        softirq: Tally::ZERO,
        kernel_threads: Tally::ZERO,
        unnamed_sizes: UnnamedSizes::default(),
        linear_devices: Vec::new(),
        notes: Vec::new(),
    }
}

/// As on a kernel that refuses every probe but tracepoints.
pub fn blind(processes: Vec<Process>) -> Snapshot {
    let mut snapshot = snapshot(processes);
    snapshot.observed.copies = false;
    (snapshot.observed.references, snapshot.observed.cut_short) = (false, false);
    (snapshot.observed.block, snapshot.observed.net) = (false, false);
    snapshot.coverage = Coverage {
        state: CoverageState::None,
        since: None,
        reasons: vec![
            "12 probes are not attached (check, file_read and 10 more): kprobe: this kernel has no kprobes"
                .to_owned(),
        ],
        sites: Vec::new(),
    };
    snapshot
}

fn probe(name: &'static str, attached: bool) -> Probe {
    Probe {
        name,
        method: if attached { "fexit" } else { "" },
        symbol: name.to_owned(),
        attached,
        required: attached,
        reduced: false,
        missed: 0,
        skipped: 0,
        runs: u64::from(attached) * 1025,
        run_time_ns: u64::from(attached) * 51_250,
        cause: if attached { String::new() } else { "not in this kernel".to_owned() },
        remedy: String::new(),
    }
}
