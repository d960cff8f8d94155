//! Four threads of one process, working on both CPUs at once, are one ledger.

use anyhow::Result;
use tracer_tests::harness::bench::{MIB, Window};
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::ledger;
use tracer_tests::workload::threads::THREADS;

/// In the window in which their context switches are looked at.
pub fn adds_up(window: &Window) -> Result<()> {
    let ledger = ledger::process(&window.total, window.worker)?;
    let known = (THREADS * MIB) as u64;
    let mut differences = Differences::default();
    differences.equal("read.to_user", ledger.copied("read", "to_user"), known);
    differences.equal("write.from_user", ledger.copied("write", "from_user"), known);
    differences.equal("all copies", ledger.copied_at_all(), 2 * known);
    for path in ["read", "write", "other_syscall"] {
        for field in ["syscalls", "payload_bytes"] {
            let booked = window.books["paths"][path][field].as_u64().unwrap_or(0);
            differences.equal(&format!("{path}.{field}"), ledger.of_path(path, field), booked);
        }
    }
    let calls = window.books["calls"].as_u64().unwrap_or(0);
    differences.equal("mode_switches.syscall", ledger.mode_switches("syscall"), 2 * calls);
    differences.into_result("threads")
}
