//! The release is a label: under that of another kernel (RHEL, SLES and Android carry newer code under old numbers; a
//! custom kernel may call itself as it likes) the same is attached, and the ledgers are the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, ensure};
use serde_json::{Value, json};
use tracer_tests::expect::Place;
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::batch::{self, Key};
use tracer_tests::harness::bench::{Bench, MIB, Observed};
use tracer_tests::harness::check::{Check as Checking, PASS};
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, Verdict, checked_on, copies, on_any_kernel};

/// Between the kernels of the matrix, older and newer than all; and the one where each is tried.
const LABELS: [(&str, &[&str]); 4] = [
    ("5.14.0-570.el9.x86_64", &["6.12"]),
    ("4.18.0-553.el8_10.x86_64", &["6.1"]),
    ("5.4.0-1.el7uek.x86_64", &["7.2"]),
    ("9.9.0", &["5.10"]),
];

/// What rows count that not all kernels have: pages copied by faults, reads through old iterators, splices.
const WORKLOADS: [&str; 9] = [
    "cow_after_fork",
    "private_file_cow",
    "rw_file",
    "rw_pipe",
    "rw_tcp",
    "sendfile_file",
    "sendfile_pipe",
    "splice_pipe",
    "process_vm_readv",
];

pub fn checks() -> Vec<Check> {
    let mut checks: Vec<Check> = LABELS.into_iter().map(|(label, kernel)| of(label, kernel)).collect();
    checks.push(on_any_kernel("release_label::check_passes", |bench| check_passes(bench, LABELS[0].0)));
    checks
}

fn of(label: &'static str, kernels: &'static [&'static str]) -> Check {
    checked_on(kernels, &format!("release_label::{label}"), move |bench| {
        let tracer = labelled(bench, label)?;
        ensure!(attached(bench, &tracer, label)? == attached(bench, &bench.tracer, &own_release()?)?);
        let keys = WORKLOADS.map(|name| (name, Place::Tmpfs));
        for (key, observed) in batch::observe_by(&tracer, &[], bench, &keys) {
            equals_table(bench, key, observed).with_context(|| format!("as {label}"))?;
        }
        Ok(Verdict::Passed)
    })
}

fn equals_table(bench: &Bench, key: Key, observed: Result<Observed, String>) -> Result<()> {
    let window = observed.map_err(Error::msg)?.window(key.0)?;
    ensure!(window.total["coverage"]["state"] == "complete", "{}", window.total["coverage"]);
    copies::equals_table(bench, key.0, key.1, &window).both()
}

fn own_release() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

/// A program that is tracer in a mount namespace where the kernel's release is this.
fn labelled(bench: &Bench, label: &str) -> Result<PathBuf> {
    let program = bench.tmpfs.join(format!("tracer-as-{label}"));
    let file = bench.tmpfs.join(format!("label-{label}"));
    fs::write(&file, format!("{label}\n"))?;
    let (file, tracer) = (file.display(), bench.tracer.display());
    let script = format!(
        "#!/bin/sh\nexec unshare -m sh -c \
         'mount --bind {file} /proc/sys/kernel/osrelease && exec {tracer} \"$@\"' sh \"$@\"\n"
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

/// Method and function of each probe, as doctor found them; it has to be content, and to read the label.
fn attached(bench: &Bench, tracer: &Path, label: &str) -> Result<BTreeMap<String, Value>> {
    let outcome = Tracer::start(tracer, &["doctor", "--format", "json"])?.wait(LIMIT)?;
    ensure!(outcome.status.success(), "{}: {}\n{}", bench.kernel, outcome.stdout, outcome.stderr);
    let doctor = outcome.last_json()?;
    ensure!(doctor["kernel"] == label, "doctor says {}, not {label}", doctor["kernel"]);
    let report = &doctor["report"];
    ensure!(report["coverage"]["state"] == "complete", "as {label}: {}", report["coverage"]);
    let probes = report["probes"].as_array().context("no `probes`")?.iter();
    let probes = probes.map(|probe| {
        let name = probe["probe"].as_str().unwrap_or_default().to_owned();
        (name, json!([probe["attached"], probe["method"], probe["symbol"]]))
    });
    Ok(probes.collect())
}

/// Reads a file of 1 MiB twice, once to warm up.
fn check_passes(bench: &Bench, label: &str) -> Result<()> {
    let policy = json!({
        "version": 1,
        "require": {"coverage": "complete", "calibrate": false},
        "assertions": [{"name": "read", "path": "read", "metric": "copied_bytes", "equals": 2 * MIB}],
    });
    let target = [&bench.workload.display().to_string(), "rw_file", "--once", "--dir"].map(str::to_owned);
    let dir = bench.tmpfs.display().to_string();
    let arguments: Vec<String> = [vec!["--".to_owned()], target.to_vec(), vec![dir]].concat();
    Checking::by(&labelled(bench, label)?, bench, &policy)?.args(&arguments).run()?.expect(PASS)
}
