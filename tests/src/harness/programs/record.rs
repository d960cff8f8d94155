//! One line per program and way to run it: what was measured, and why it is so.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::books::{Books, DISK, Expected};
use crate::harness::compare::Differences;
use crate::harness::invariant;
use crate::harness::ledger::DIRECTIONS;

/// One way to run a program, and its window.
pub struct Case {
    pub program: &'static str,
    pub variant: &'static str,
    /// Bytes of data that the program passed on.
    pub bytes: u64,
    pub books: Books,
    pub expected: Vec<Expected>,
    pub explanation: &'static str,
}

impl Case {
    /// With a mark that a report can be made from. `lost`: events that the tracer says it lost.
    fn line(&self, kernel: &str, lost: u64) -> String {
        let copied: BTreeMap<_, _> =
            DIRECTIONS.iter().map(|direction| (direction, self.books.copied(direction))).collect();
        let record = json!({
            "program": self.program,
            "variant": self.variant,
            "kernel": kernel,
            "lost_events": lost,
            "bytes": self.bytes,
            "exact": self.expected.iter().all(Expected::is_exact),
            "copied": copied,
            "referenced": self.books.sum("zero_copied_bytes"),
            "encrypted": self.books.sum("crypto_bytes"),
            "disk": self.disk(),
            "paths": self.books.json(),
            "explanation": self.explanation,
        });
        format!("programs: {record}")
    }

    /// What disks moved; `varies` where the kernel writes when it likes.
    fn disk(&self) -> Value {
        let mut disk = self.books.disk();
        for (op, bytes) in disk.as_object_mut().into_iter().flatten() {
            let line = self.expected.iter().find(|line| line.is_of(DISK, op));
            if line.is_some_and(|line| line.room() > self.bytes / 20) {
                *bytes = "varies".into();
            }
        }
        disk
    }
}

/// Prints a record of each on stdout, then compares each with what is known. `total` is the tracer's.
pub fn judge(kernel: &str, cases: &[&Case], total: &Value) -> Result<()> {
    let lost = total["lost_events"].as_u64().unwrap_or(0);
    let lines: Vec<String> = cases.iter().map(|case| case.line(kernel, lost)).collect();
    // The test's name is on the line already.
    println!("\n{}", lines.join("\n"));
    let mut differences = Differences::default();
    for case in cases {
        case.books.compare(&case.expected, differences.about(&format!("{}, {}", case.program, case.variant)));
    }
    differences.into_result("programs")?;
    if lost == 0 { invariant::check(total) } else { Ok(()) }
}
