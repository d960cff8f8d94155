//! Every row, and every pair of rows, is refused: no output then claims what that row would have told.

use std::collections::{HashMap, HashSet};

use tracer_ebpf::abi::{Count, DeviceOp, Direction, Ledger, Path};
use tracer_ebpf::table::{ROWS, Row};

use self::claims::{Claims, Said, say};
use super::*;
use crate::callsites::coverage::Coverage;
use crate::check::verdict::Verdict;
use crate::model::attach::Refusal;
use crate::model::snapshot::{CoverageState, Probe, Snapshot};
use crate::output::testing::{MIB, distinct, process, snapshot};
use crate::probes::{settle, settle_hosted};

#[path = "observed_claims.rs"]
mod claims;

/// How the rows end up if these are refused.
fn rows(refused: &[&str]) -> Vec<Attached> {
    let attach = |row: &'static Row| {
        let refusal = Refusal { why: "refused".into(), hint: "boot another kernel".into() };
        let way = if refused.contains(&row.name) { Err(refusal) } else { Ok(&row.ways[0]) };
        (Attached { row, way, absent: false }, Vec::<()>::new())
    };
    let mut rows: Vec<_> = ROWS.iter().filter(|row| !row.ways.is_empty()).map(attach).collect();
    settle(&mut rows);
    let mut rows: Vec<Attached> = rows.into_iter().map(|(row, _)| row).collect();
    settle_hosted(&mut rows);
    rows
}

fn probe(row: &Attached) -> Probe {
    Probe {
        name: row.row.name,
        method: "",
        symbol: String::new(),
        attached: row.way.is_ok(),
        required: row.is_required(),
        reduced: false,
        missed: 0,
        skipped: 0,
        runs: 0,
        run_time_ns: 0,
        cause: row.way.as_ref().map_or_else(|refusal| refusal.why.clone(), |_| String::new()),
        remedy: String::new(),
    }
}

/// What a process did that copied nothing: by reference, by direct I/O, and into /dev/null.
fn without_copies() -> Ledger {
    let mut ledger = Ledger::ZERO;
    let moved = [(Path::Sendfile, 64), (Path::Read, 8), (Path::Write, 2), (Path::IoUring, 1)];
    for (path, mib) in moved {
        ledger.payload[path as usize] = Count { bytes: mib * MIB, calls: mib };
        ledger.syscalls[path as usize] = mib;
    }
    ledger.referenced[Path::Sendfile as usize] = 64 * MIB;
    ledger.referenced[Path::IoUring as usize] = MIB;
    ledger.direct[0] = 8 * MIB;
    ledger.device[DeviceOp::BlockRead as usize] = 8 * MIB;
    ledger.device[DeviceOp::NetTransmit as usize] = 64 * MIB;
    ledger.discarded[Path::Write as usize] = 2 * MIB;
    (ledger.faults, ledger.interrupts, ledger.voluntary, ledger.involuntary) = (4, 12, 250, 7);
    ledger
}

/// One process that reads a file and sends it.
fn with_copies() -> Ledger {
    let mut ledger = without_copies();
    ledger.copied[Path::Read as usize][Direction::ToUser as usize] = Count { bytes: 8 * MIB, calls: 8 };
    ledger.copied[Path::Sendfile as usize][Direction::InKernel as usize] =
        Count { bytes: 64 * MIB, calls: 64 };
    ledger.cut_short = Count { bytes: 4096, calls: 1 };
    ledger
}

/// A window in which the rows ended up like this.
fn window(rows: &[Attached], ledger: Ledger) -> Snapshot {
    let probes: Vec<Probe> = rows.iter().map(probe).collect();
    let observed = observed(rows, false, false);
    let coverage = Coverage::proven().judge(&probes, observed.copies);
    Snapshot { observed, coverage, probes, ..snapshot(vec![process(1, "x", ledger)]) }
}

/// What is said depends on what is observed and on the state of coverage: the same is rendered once, and looked through
/// once for each row.
#[derive(Default)]
struct Sayings {
    said: HashMap<String, Vec<Said>>,
    looked_for: HashSet<(String, &'static str)>,
}

impl Sayings {
    fn refuse(&mut self, refused: &[&str]) {
        let rows = rows(refused);
        let missing: Vec<&'static Row> = rows.iter().filter(|r| r.way.is_err()).map(|r| r.row).collect();
        assert!(missing.len() >= refused.len(), "{refused:?}");
        let empty = window(&rows, Ledger::ZERO);
        let key = format!("{:?} {:?}", empty.observed, empty.coverage.state);
        let ledgers = [without_copies(), with_copies(), distinct()];
        let render = || ledgers.map(|ledger| say(&window(&rows, ledger))).into();
        let said = self.said.entry(key.clone()).or_insert_with(render);
        let is_new = |row: &&&'static Row| self.looked_for.insert((key.clone(), row.name));
        let new: Vec<_> = missing.iter().filter(is_new).collect();
        for said in said {
            let mut claims = Claims { said, found: Vec::new() };
            new.iter().for_each(|row| claims.of(row));
            if !new.is_empty() && said.json["observed"]["copies"] == false {
                claims.without_copies();
            }
            assert!(claims.found.is_empty(), "{refused:?} refused:\n{}", claims.found.join("\n"));
        }
    }
}

fn names() -> Vec<&'static str> {
    ROWS.iter().filter(|row| !row.ways.is_empty()).map(|row| row.name).collect()
}

/// So that none of the claims that are looked for is missing by accident.
#[test]
fn with_every_row_all_is_claimed() {
    let rows = rows(&[]);
    let snapshot = window(&rows, without_copies());
    assert_eq!(snapshot.observed, crate::output::testing::everything());
    assert_eq!(snapshot.coverage.state, CoverageState::Complete);
    let said = say(&snapshot);
    for (name, verdict) in &said.verdicts {
        assert_eq!(*verdict, Verdict::Pass, "{name}\n{}", said.table);
    }
    for words in ["without a CPU copy", ": zero-copy", "(DMA)", "discarded", "per MiB", "block ", "net "] {
        assert!(said.table.contains(words), "no `{words}` in\n{}", said.table);
    }
    assert!(say(&window(&rows, with_copies())).table.contains("cut short"));
    for words in ["fault ", "interrupt ", "syscall ", "context switches", "system calls", "zero-"] {
        assert!(said.table.contains(words), "no `{words}` in\n{}", said.table);
    }
}

#[test]
fn whatever_row_is_refused_no_output_claims_what_it_would_have_told() {
    let mut sayings = Sayings::default();
    names().into_iter().for_each(|name| sayings.refuse(&[name]));
}

#[test]
fn whatever_two_rows_are_refused_no_output_claims_what_they_would_have_told() {
    let (mut sayings, names) = (Sayings::default(), names());
    for (index, one) in names.iter().enumerate() {
        names[index + 1..].iter().for_each(|other| sayings.refuse(&[one, other]));
    }
}

/// A function that the kernel does not have does nothing unseen.
#[test]
fn what_is_not_in_the_kernel_is_not_missing() {
    let mut rows = rows(&["nfs_direct_read", "irq_device", "ktls_send"]);
    for row in rows.iter_mut().filter(|row| row.way.is_err()) {
        row.absent = true;
    }
    let snapshot = window(&rows, without_copies());
    assert_eq!(snapshot.observed, crate::output::testing::everything());
    assert_eq!(snapshot.coverage.state, CoverageState::Complete);
}

/// As without BTF, and under lockdown.
#[test]
fn with_nothing_but_system_calls_only_those_are_claimed() {
    let left = ["sys_exit", "exit", "page_fault", "process_vm"];
    let refused: Vec<&str> = names().into_iter().filter(|name| !left.contains(name)).collect();
    let mut sayings = Sayings::default();
    sayings.refuse(&refused);
    let snapshot = window(&rows(&refused), without_copies());
    let seen = unseen(&snapshot.observed);
    let not =
        ["copies", "bytes handed on by reference", "copies that end early", "interrupts", "context switches"];
    assert_eq!(seen, [&not[..], &["bytes of block devices", "bytes of network devices"]].concat());
    // What io_uring moves is told by its copies.
    let said = say(&snapshot);
    let paths = &said.json["processes"][0]["paths"];
    assert!(paths["io_uring"]["payload_bytes"].is_null() && paths["io_uring"]["syscalls"] == 1);
    assert_eq!(paths["sendfile"]["payload_bytes"], 64 * MIB);
}
