//! Every way to attach counts the same bytes.

use anyhow::{Context as _, Error, Result, ensure};
use serde_json::Value;
use tracer_tests::expect::Place;
use tracer_tests::harness::batch::{self, Key};
use tracer_tests::harness::bench::{Bench, Observed, Window};

use crate::{Check, EventsLost, check, copies, sound};

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
        .map(|method| check(&format!("fallbacks::{method}"), move |bench| same_bytes(bench, method)))
        .into()
}

fn same_bytes(bench: &Bench, method: &str) -> Result<()> {
    for (workload, window) in lossless(bench, method)? {
        let about = format!("--attach {method}, {workload}");
        match out_of_reach(&bench.kernel, method, workload) {
            Some(site) => is_reported(&window.total, site),
            None => copies::equals_table(bench, workload, Place::Tmpfs, &window).both(),
        }
        .context(about)?;
    }
    Ok(())
}

/// A kprobe that hits while another one's program runs, which takes an interrupt at that moment, is skipped and counted
/// as lost (1 window of 37 on 6.12, on a host that was busy). Such a window proves nothing; one of these does.
const WINDOWS: usize = 5;

/// All workloads under one tracer.
fn lossless(bench: &Bench, method: &str) -> Result<Vec<(&'static str, Window)>> {
    let keys = WORKLOADS.map(|workload| (workload, Place::Tmpfs));
    for _ in 1..WINDOWS {
        let windows = windows(bench, method, &keys)?;
        match sound(&windows[0].1.total) {
            Err(error) if error.is::<EventsLost>() => continue,
            sound => return sound.map(|()| windows),
        }
    }
    windows(bench, method, &keys)
}

fn windows(bench: &Bench, method: &str, keys: &[Key]) -> Result<Vec<(&'static str, Window)>> {
    let observed = batch::observe_by(&bench.tracer, &["--attach", method], bench, keys);
    let window = |(key, observed): (Key, Result<Observed, String>)| {
        Ok((key.0, observed.map_err(Error::msg)?.window(key.0)?))
    };
    observed.into_iter().map(window).collect()
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
