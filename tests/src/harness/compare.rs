//! One row of the table against one process of the tracer's total. Every
//! difference is named with both numbers; nothing is tolerated that the table
//! does not say.

use serde_json::Value;

use super::ledger::{DIRECTIONS, Ledger};
use crate::expect::{Amount, Cell, Role, Row};
use crate::workload::memory::PAGE;

/// What a window moved, by the workload's own books.
pub struct Facts<'a> {
    pub books: &'a Value,
    /// The unit of the row's amounts.
    pub bytes: u64,
}

impl<'a> Facts<'a> {
    pub fn new(books: &'a Value) -> Self {
        // A generated file is as long as it is: the payload is the unit.
        let bytes = match books["name"].as_str() {
            Some("sendfile_proc") => &books["paths"]["sendfile"]["payload_bytes"],
            _ => &books["bytes"],
        };
        Facts { books, bytes: bytes.as_u64().unwrap_or(0) }
    }

    fn booked(&self, path: &str, field: &str) -> u64 {
        self.books["paths"][path][field].as_u64().unwrap_or(0)
    }
}

/// Collects differences.
#[derive(Default)]
pub struct Differences {
    about: String,
    found: Vec<String>,
}

impl Differences {
    /// Names whose differences come next.
    pub fn about(&mut self, what: &str) -> &mut Self {
        self.about = format!("{what}: ");
        self
    }

    pub fn equal(&mut self, what: &str, found: u64, expected: u64) {
        if found != expected {
            let delta = i128::from(found) - i128::from(expected);
            let about = &self.about;
            self.found.push(format!("{about}{what}: tracer says {found}, known are {expected} ({delta:+})"));
        }
    }

    pub fn between(&mut self, what: &str, found: u64, least: u64, most: u64) {
        if least == most {
            self.equal(what, found, least);
        } else if found < least || found > most {
            let about = &self.about;
            self.found.push(format!("{about}{what}: tracer says {found}, known are {least} to {most}"));
        }
    }

    pub fn into_result(self, about: &str) -> anyhow::Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        anyhow::bail!("{about}:\n  {}", self.found.join("\n  "))
    }
}

/// Only copied and moved bytes: what every way to attach must agree on.
pub fn bytes(row: &Row, ledger: Ledger, facts: &Facts) -> Differences {
    let mut differences = Differences::default();
    copies(row, ledger, facts, &mut differences);
    differences
}

/// All that the row says of the process.
pub fn row(row: &Row, ledger: Ledger, facts: &Facts) -> Differences {
    let mut differences = Differences::default();
    copies(row, ledger, facts, &mut differences);
    crypto(row, ledger, facts, &mut differences);
    if row.role == Role::Worker {
        calls(ledger, facts, &mut differences);
        modes(row, ledger, facts, &mut differences);
        control(ledger, facts, &mut differences);
    }
    differences
}

/// Copied and moved bytes: of the paths of the row, and no others.
fn copies(row: &Row, ledger: Ledger, facts: &Facts, differences: &mut Differences) {
    for cell in row.cells {
        let expected = [Amount::Times(cell.to_user), Amount::Times(cell.from_user), cell.in_kernel];
        for (direction, amount) in DIRECTIONS.iter().zip(expected) {
            let what = format!("{}.{direction}", cell.path);
            let found = ledger.copied(cell.path, direction);
            match amount {
                Amount::Times(times) => differences.equal(&what, found, times * facts.bytes),
                Amount::AtLeast(times) if found < times * facts.bytes => {
                    differences.equal(&what, found, times * facts.bytes);
                }
                Amount::AtLeast(_) | Amount::Any => {}
            }
        }
        if let Amount::Times(times) = cell.zero_copied {
            let found = ledger.of_path(cell.path, "zero_copied_bytes");
            differences.equal(&format!("{}.zero_copied", cell.path), found, times * facts.bytes);
        }
    }
    for path in ledger.path_names() {
        if row.cells.iter().any(|cell: &Cell| cell.path == path) {
            continue;
        }
        for direction in DIRECTIONS {
            differences.equal(&format!("{path}.{direction}"), ledger.copied(path, direction), 0);
        }
        let found = ledger.of_path(path, "zero_copied_bytes");
        differences.equal(&format!("{path}.zero_copied"), found, 0);
    }
}

/// The cipher also sees each record's type byte, and pads its blocks: up to
/// one percent more than the payload.
fn crypto(row: &Row, ledger: Ledger, facts: &Facts, differences: &mut Differences) {
    let found = ledger.other_kind("crypto");
    let least = row.crypto * facts.bytes;
    if found < least || found > least + least / 100 {
        differences.equal("other_kinds.crypto", found, least);
    }
    differences.equal("other_kinds.checksum", ledger.other_kind("checksum"), 0);
}

/// What return values tell: system calls and payload. Known even where no copy is seen.
pub fn returns(ledger: Ledger, facts: &Facts) -> Differences {
    let mut differences = Differences::default();
    calls(ledger, facts, &mut differences);
    let calls = facts.books["calls"].as_u64().unwrap_or(0);
    differences.equal("mode_switches.syscall", ledger.mode_switches("syscall"), 2 * calls);
    differences
}

/// System calls, payload calls and payload of every path.
fn calls(ledger: Ledger, facts: &Facts, differences: &mut Differences) {
    let mut paths = ledger.path_names();
    let booked = facts.books["paths"].as_object();
    paths.extend(booked.into_iter().flatten().map(|(name, _)| name.as_str()));
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        for field in ["syscalls", "calls", "payload_bytes"] {
            if compared(path, field, facts) {
                let what = format!("{path}.{field}");
                differences.equal(&what, ledger.of_path(path, field), facts.booked(path, field));
            }
        }
    }
}

/// io_uring_enter, sendmmsg and recvmmsg return a number of things: what they
/// moved is not in the value, so that the books do not know it either.
fn compared(path: &str, field: &str, facts: &Facts) -> bool {
    let batched = !facts.books["syscalls"]["sendmmsg"].is_null();
    match path {
        "io_uring" => field == "syscalls",
        "send" if batched => field == "syscalls",
        _ => true,
    }
}

fn modes(row: &Row, ledger: Ledger, facts: &Facts, differences: &mut Differences) {
    let calls = facts.books["calls"].as_u64().unwrap_or(0);
    differences.equal("mode_switches.syscall", ledger.mode_switches("syscall"), 2 * calls);
    // None where there is none to a page.
    let faults = (facts.bytes / PAGE as u64).checked_div(row.pages_per_fault).unwrap_or(0);
    differences.equal("mode_switches.fault", ledger.mode_switches("fault"), 2 * faults);
}

/// Structs that a copy of variable size moved, where the books know of some.
fn control(ledger: Ledger, facts: &Facts, differences: &mut Differences) {
    for direction in ["to_user", "from_user"] {
        let expected = facts.books["control"][direction].as_u64().unwrap_or(0);
        if expected > 0 {
            let what = format!("control_bytes.{direction}");
            differences.equal(&what, ledger.control(direction), expected);
        }
    }
}
