//! One line per program and way to run it: what was measured, and why it is so.

use anyhow::Result;
use serde_json::json;

use super::Kernels;
use super::books::{Books, Expected};
use crate::harness::compare::Differences;

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
    /// With a mark that a report can be made from.
    fn line(&self, kernel: &str, kernels: Kernels) -> String {
        let per_byte = |bytes: u64| (bytes as f64 / self.bytes as f64 * 100.0).round() / 100.0;
        let mut record = json!({
            "program": self.program,
            "variant": self.variant,
            "kernel": kernel,
            "kernels": kernels.text(),
            "bytes": self.bytes,
            "copies_per_byte": per_byte(self.books.copied()),
            "paths": self.books.json(),
            "explanation": self.explanation,
        });
        let crypto = self.books.sum("crypto_bytes");
        if crypto > 0 {
            record["encrypted_per_byte"] = per_byte(crypto).into();
        }
        format!("programs: {record}")
    }
}

/// Prints a record of each on stdout, then compares each with what is known.
pub fn judge(kernel: &str, kernels: Kernels, cases: &[&Case]) -> Result<()> {
    let lines: Vec<String> = cases.iter().map(|case| case.line(kernel, kernels)).collect();
    // The test's name is on the line already.
    println!("\n{}", lines.join("\n"));
    let mut differences = Differences::default();
    for case in cases {
        case.books.compare(&case.expected, differences.about(&format!("{}, {}", case.program, case.variant)));
    }
    differences.into_result("programs")
}
