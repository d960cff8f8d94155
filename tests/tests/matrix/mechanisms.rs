//! What a mechanism's name promises, held against the kernel's own word.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::batch::{Batches, Key};
use tracer_tests::harness::bench::{Bench, MIB, Window};
use tracer_tests::harness::ledger;
use tracer_tests::harness::session::Started;
use tracer_tests::workload::memory::FAULT_AROUND;

use crate::batched::{self, Verdicts};
use crate::{Check, Verdict, checked, sound};

/// They share a window.
const WORKLOADS: [&str; 4] =
    ["zerocopy_tcp", "uring_sendzc_usage_tcp", "map_write_tcp", "map_look_write_tcp"];

pub fn checks() -> Vec<Check> {
    let batches = Arc::new(Batches::default());
    let of = |name: &str, workload: &'static str, judge: fn(&Window) -> Result<()>| {
        let batches = Arc::clone(&batches);
        checked(&format!("mechanisms::{name}"), move |bench| observed(bench, &batches, workload, judge))
    };
    vec![
        of("zerocopy_tcp_says_it_copied", WORKLOADS[0], |window| says_it_copied(window, "sendto", 1)),
        // Two entries to a send: the result, and the notification.
        of("uring_sendzc_usage_tcp_says_it_copied", WORKLOADS[1], |window| {
            says_it_copied(window, "io_uring_enter", 2)
        }),
        of("map_write_tcp_faults_in_the_kernel", WORKLOADS[2], |window| faults(window, 0)),
        of("map_look_write_tcp_faults_in_the_program", WORKLOADS[3], |window| {
            faults(window, MIB as u64 / FAULT_AROUND as u64)
        }),
        checked("mechanisms::copy_file_range_across_is_refused", is_refused),
    ]
}

fn observed(
    bench: &Bench,
    batches: &Batches,
    workload: &'static str,
    judge: fn(&Window) -> Result<()>,
) -> Result<Verdict> {
    let is_here = |name: &&str| expect::find(&bench.kernel, name, Place::Tmpfs, Role::Worker).is_some();
    if !is_here(&workload) {
        return Ok(Verdict::Skipped("this kernel lacks it".into()));
    }
    let keys: Vec<Key> = WORKLOADS.into_iter().filter(is_here).map(|name| (name, Place::Tmpfs)).collect();
    let judge = |window: &Window| Verdicts { differences: judge(window), sound: sound(&window.total) };
    batched::judged(bench, batches, &keys, (workload, Place::Tmpfs), judge)
}

/// On loopback every send is copied after all: the kernel says so of each, and the tracer has the copies.
fn says_it_copied(window: &Window, call: &str, entries: u64) -> Result<()> {
    let sends = number(&window.books["syscalls"][call]) / entries;
    let witness = number(&window.books["zerocopy_copied"]);
    ensure!(sends > 0 && witness == sends, "the kernel says that it copied {witness} of {sends} sends");
    let copied = ledger::process(&window.total, window.worker)?.copied("softirq", "in_kernel");
    ensure!(copied >= MIB as u64, "the kernel says that it copied, the tracer has {copied} bytes of {MIB}");
    Ok(())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The kernel counts all faults; those from user mode alone are mode switches.
fn faults(window: &Window, from_user: u64) -> Result<()> {
    let all = window.truth.faults;
    ensure!(all == MIB as u64 / FAULT_AROUND as u64, "the kernel counts {all} faults");
    let switches = ledger::process(&window.total, window.worker)?.mode_switches("fault");
    ensure!(switches == 2 * from_user, "{switches} mode switches by faults, {from_user} faults known");
    Ok(())
}

/// Linux 5.3 to 5.18 copied between filesystems; 5.19 refuses, and so do later stable releases of 5.10.
fn is_refused(bench: &Bench) -> Result<Verdict> {
    if let Err(cause) = bench.dir(Place::Across) {
        return Ok(Verdict::Skipped(cause));
    }
    match bench.session("copy_file_range", Place::Across, MIB)? {
        Started::Ready(_) => bail!("copied from ext4 to tmpfs"),
        Started::Skipped(cause) => {
            let refused = format!("os error {}", libc::EXDEV);
            ensure!(cause.contains(&refused), "skipped for another reason: {cause}");
            Ok(Verdict::Passed)
        }
    }
}
