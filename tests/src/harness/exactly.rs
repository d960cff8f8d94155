//! One row of [`exact`](crate::exact) against one process of the tracer's total.

use serde_json::Value;

use super::compare::Differences;
use super::ledger::{DIRECTIONS, Ledger};
use crate::exact::{Bytes, Cell, Payload, Row};

/// All that differs.
pub fn differences(row: &Row, ledger: Ledger, books: &Value) -> Differences {
    let mut differences = Differences::default();
    let mut paths = ledger.path_names();
    paths.extend(row.cells.iter().map(|cell| cell.path));
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        differences.about(path);
        match row.cells.iter().find(|cell| cell.path == path) {
            Some(cell) => named(cell, ledger, books, &mut differences),
            None => all_zero(path, ledger, &mut differences),
        }
        // That there is such a number holds of every window (`invariant`).
        differences.equal("unexplained", ledger.of_path(path, "unexplained_bytes"), 0);
    }
    differences.about("all");
    if let Some((to_user, from_user)) = row.control {
        differences.equal("control to_user", ledger.control("to_user"), to_user);
        differences.equal("control from_user", ledger.control("from_user"), from_user);
    }
    let (least, most) = row.cut_short();
    differences.between("copies cut short", ledger.cut_short("copies"), least, most);
    for kind in ["checksum", "crypto"] {
        differences.equal(kind, ledger.other_kind(kind), 0);
    }
    differences
}

fn named(cell: &Cell, ledger: Ledger, books: &Value, differences: &mut Differences) {
    let found = ledger.of_path(cell.path, "payload_bytes");
    let payload = match cell.payload {
        Payload::Is(bytes) => bytes,
        Payload::Booked => books["paths"][cell.path]["payload_bytes"].as_u64().unwrap_or(0),
        Payload::Any => found,
    };
    differences.equal("payload", found, payload);
    for (direction, bytes) in [("to_user", cell.to_user), ("from_user", cell.from_user)] {
        let copied = ledger.copied(cell.path, direction);
        // More was counted, and what was surely copied is not more than was.
        let surely = copied.saturating_sub(ledger.cut_short("bytes_at_most"));
        match bytes {
            Bytes::Is(bytes) => differences.equal(direction, copied, bytes),
            Bytes::Payload => differences.equal(direction, copied, payload),
            Bytes::CutShort(bytes) => {
                differences.equal(&format!("{direction} less what is cut short"), surely, bytes);
                differences.between(direction, copied, bytes + 1, u64::MAX);
            }
            Bytes::CutShortAtMost(bytes) => {
                differences.between(&format!("{direction} less what is cut short"), surely, 0, bytes);
                differences.between(direction, copied, bytes, u64::MAX);
            }
        }
    }
    differences.equal("in_kernel", ledger.copied(cell.path, "in_kernel"), cell.in_kernel);
    differences.equal("discarded", ledger.of_path(cell.path, "discarded_bytes"), cell.discarded);
    differences.equal("zero_copied", ledger.of_path(cell.path, "zero_copied_bytes"), cell.zero_copied);
}

fn all_zero(path: &str, ledger: Ledger, differences: &mut Differences) {
    for direction in DIRECTIONS {
        differences.equal(direction, ledger.copied(path, direction), 0);
    }
    for field in ["payload_bytes", "discarded_bytes", "zero_copied_bytes"] {
        differences.equal(field, ledger.of_path(path, field), 0);
    }
}
