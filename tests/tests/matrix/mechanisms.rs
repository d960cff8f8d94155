//! What a mechanism's name promises, held against the kernel's own word.

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tracer_tests::expect::Place;
use tracer_tests::harness::bench::{Bench, MIB, Window};
use tracer_tests::harness::ledger;
use tracer_tests::harness::session::Started;
use tracer_tests::workload::memory::FAULT_AROUND;

use crate::batched::judged_shared;
use crate::{Check, Verdict, checked};

pub fn checks() -> Vec<Check> {
    let of = |name: &str, workload: &'static str, judge: fn(&Window) -> Result<()>| {
        checked(&format!("mechanisms::{name}"), move |bench| judged_shared(bench, workload, judge))
    };
    vec![
        of("zerocopy_tcp_says_it_copied", "zerocopy_tcp", |window| says_it_copied(window, "sendto", 1)),
        // Two entries to a send: the result, and the notification.
        of("uring_sendzc_usage_tcp_says_it_copied", "uring_sendzc_usage_tcp", |window| {
            says_it_copied(window, "io_uring_enter", 2)
        }),
        of("map_write_tcp_faults_in_the_kernel", "map_write_tcp", |window| faults(window, 0)),
        of("map_look_write_tcp_faults_in_the_program", "map_look_write_tcp", |window| {
            faults(window, MIB as u64 / FAULT_AROUND as u64)
        }),
        checked("mechanisms::copy_file_range_across_is_refused", is_refused),
    ]
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
