//! Every way to attach counts the same bytes.

use anyhow::{Result, ensure};
use serde_json::Value;
use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::bench::{Bench, Window};
use tracer_tests::harness::{compare, ledger};

use crate::{Check, EventsLost, check, sound};

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
        let window = lossless(bench, method, workload)?;
        if let Some(site) = out_of_reach(&bench.kernel, method, workload) {
            return is_reported(&window.total, site);
        }
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

/// A kprobe that hits while another one's program runs, which takes an interrupt at that moment, is skipped and counted
/// as lost (1 window of 37 on 6.12, on a host that was busy). Such a window proves nothing; one of these does.
const WINDOWS: usize = 5;

fn lossless(bench: &Bench, method: &str, workload: &str) -> Result<Window> {
    let mut windows = 1;
    loop {
        let window = bench.window(workload, &["--attach", method])?;
        match sound(&window.total) {
            Err(error) if error.is::<EventsLost>() && windows < WINDOWS => windows += 1,
            sound => return sound.map(|()| window),
        }
    }
}

/// A call site that refuses every probe. On 5.10 TCP copies in `skb_do_copy_data_nocache`, an inline
/// function emitted out of line: notrace, so a kprobe on its call instruction is refused.
fn out_of_reach(kernel: &str, method: &str, workload: &str) -> Option<&'static str> {
    let sends_by_copy = matches!(workload, "rw_tcp" | "mmap_write_tcp");
    (kernel == "5.10" && method == "callsite" && sends_by_copy).then_some("skb_do_copy_data_nocache")
}

/// What a way cannot see is said: by name, and by a coverage that is not complete.
fn is_reported(total: &Value, site: &str) -> Result<()> {
    let coverage = &total["coverage"];
    ensure!(coverage["state"] == "incomplete", "coverage is {}", coverage["state"]);
    let reasons = coverage["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    let named = reasons.iter().any(|reason| reason.as_str().is_some_and(|reason| reason.contains(site)));
    ensure!(named, "no reason names {site}: {coverage}");
    Ok(())
}
