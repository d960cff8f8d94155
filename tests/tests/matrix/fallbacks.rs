//! Every way to attach counts the same bytes.

use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::{compare, ledger};

use crate::{Check, check, sound};

const METHODS: [&str; 2] = ["callsite", "kprobe"];
const WORKLOADS: [&str; 8] = [
    "rw_file",
    "sendfile_file",
    "splice_file",
    "rw_tcp",
    "mmap_write_tcp",
    "sendfile_tcp",
    "rw_pipe",
    "rw_unix",
];

pub fn checks() -> Vec<Check> {
    METHODS
        .iter()
        .flat_map(|method| WORKLOADS.iter().map(move |workload| same_bytes(method, workload)))
        .collect()
}

fn same_bytes(method: &'static str, workload: &'static str) -> Check {
    check(&format!("fallbacks::{method}::{workload}"), move |bench| {
        let window = bench.window(workload, &["--attach", method])?;
        sound(&window.total)?;
        let facts = compare::Facts::new(&window.books);
        for (role, pid) in [(Role::Worker, Some(window.worker)), (Role::Peer, window.peer)] {
            let row = expect::find(&bench.kernel, workload, Place::Tmpfs, role);
            let (Some(row), Some(pid)) = (row, pid) else { continue };
            let ledger = ledger::process(&window.total, pid)?;
            let about = format!("--attach {method}, {workload}, {role:?}");
            compare::bytes(row, ledger, &facts).into_result(&about)?;
        }
        Ok(())
    })
}
