//! `tracer audit`: hardware breakpoints on the primitives agree with the
//! probes, and both with what is known.

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tracer_tests::expect::{self, Amount, Place, Role};
use tracer_tests::harness::LIMIT;
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::ledger::DIRECTIONS;
use tracer_tests::harness::session::Started;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::workload::scene::pages;

use crate::{Check, check, on_any_kernel, on_each_way};

/// The primitives that a workload's bytes go through: at most four, which is
/// how many breakpoints there are, so that one round sees all windows.
type Case = (&'static str, &'static [Primitive]);

/// Two of the four primitives, on every kernel.
const CASES: [Case; 1] = [("rw_tcp", &[PageToUser, Checked])];

/// The others, and the same from other calls.
const OTHER_CALLS: [Case; 2] =
    [("rw_unix", &[PageFromUser, Checked]), ("splice_file", &[PageToUser, FilePage])];

/// What a primitive does; its name depends on the kernel.
#[derive(Clone, Copy)]
enum Primitive {
    PageToUser,
    PageFromUser,
    /// Into the page cache.
    FilePage,
    /// Those behind the hardened-usercopy check: all of the direction, since
    /// the check cannot tell one from another.
    Checked,
}

use Primitive::*;

impl Primitive {
    fn names(self, kernel: &str) -> &'static [&'static str] {
        match (self, kernel) {
            (PageToUser, _) => &["copy_page_to_iter"],
            (PageFromUser, _) => &["copy_page_from_iter"],
            (FilePage, "5.10") => &["iov_iter_copy_from_user_atomic"],
            (FilePage, "7.2") => &["copy_folio_from_iter_atomic"],
            (FilePage, _) => &["copy_page_from_iter_atomic"],
            (Checked, "5.10") => &["_copy_from_user", "_copy_from_iter", "_copy_from_iter_full"],
            (Checked, _) => &["_copy_from_user", "_copy_from_iter"],
        }
    }
}

const WINDOWS: u64 = 3;

pub fn checks() -> Vec<Check> {
    let name = |workload: &str| format!("witness::{workload}");
    let mut checks = Vec::new();
    for (workload, primitives) in CASES {
        checks.push(check(&name(workload), |bench| agrees(bench, workload, primitives)));
    }
    for (workload, primitives) in OTHER_CALLS {
        checks.push(on_any_kernel(&name(workload), |bench| agrees(bench, workload, primitives)));
    }
    checks.push(on_each_way("witness::every_round_as_documented", every_round));
    checks.push(on_any_kernel("witness::pages_that_nothing_counts_are_a_residual", uncounted_pages));
    checks
}

fn agrees(bench: &Bench, workload: &str, primitives: &[Primitive]) -> Result<()> {
    let report = audit(bench, workload, primitives)?;
    for direction in DIRECTIONS {
        // A direction that no primitive was audited for is absent.
        let residual = report["residual"][direction].as_i64().unwrap_or(0);
        ensure!(residual == 0, "{direction}: a residual of {residual}: {report}");
        let Some(witnessed) = report["witness"][direction].as_u64() else { continue };
        let known = known_bytes(bench, workload, direction);
        ensure!(witnessed == known, "{direction}: {witnessed} witnessed, {known} known: {report}");
    }
    ensure!(report["witness"].is_object(), "no `witness` in {report}");
    Ok(())
}

/// `UFFDIO_COPY`, which copies by pages of constant size, counted and not counted.
fn uncounted_pages(bench: &Bench) -> Result<()> {
    for (fault, status) in [("", 0), ("refuse:call_site", 1)] {
        let mut session = match bench.session("uffd_copy", Place::Tmpfs, MIB)? {
            Started::Ready(session) => session,
            Started::Skipped(cause) => bail!("uffd_copy was skipped: {cause}"),
        };
        let mut command = std::process::Command::new(&bench.tracer);
        command.args(["audit", "--duration", "1h", "--primitive", "_copy_from_user", "--pid"]);
        command.args([&session.pid.to_string(), "--format", "json"]).env("TRACER_FAULT", fault);
        let mut tracer = Tracer::start_command(command)?;
        tracer.wait_counting(&[session.pid])?;
        session.window()?;
        let outcome = tracer.stop()?;
        session.finish()?;
        let report = outcome.last_json()?;
        ensure!(outcome.status.code() == Some(status), "{fault}: {}: {report}", outcome.status);
        let pages = report["uncounted_pages"].as_array().into_iter().flatten();
        let uncounted: u64 = pages.filter_map(|page| page["bytes"].as_u64()).sum();
        let expected = if status == 0 { 0 } else { pages::BYTES as u64 };
        ensure!(uncounted == expected, "{fault}: {uncounted} of {expected}: {report}");
        let reasons = report["reasons"].as_array().map_or(0, Vec::len);
        ensure!((reasons > 0) == (status != 0), "{fault}: {report}");
    }
    Ok(())
}

/// Several windows of the workload under the audit, at rest at both its ends.
fn audit(bench: &Bench, workload: &str, primitives: &[Primitive]) -> Result<Value> {
    let mut session = bench.ready(workload, MIB)?;
    // Ended by the signal.
    let mut arguments = vec!["audit".to_string(), "--duration".into(), "1h".into()];
    for name in primitives.iter().flat_map(|primitive| primitive.names(&bench.kernel)) {
        arguments.extend(["--primitive".into(), name.to_string()]);
    }
    arguments.extend(watch(&[session.pid], &[]));
    let mut tracer = Tracer::start(&bench.tracer, &arguments)?;
    tracer.wait_counting(&[session.pid])?;
    for _ in 0..WINDOWS {
        session.window()?;
    }
    let outcome = tracer.stop()?;
    session.finish()?;
    // 0 is no residual, 1 a residual, 3 could not audit.
    ensure!(outcome.status.code() == Some(0), "audit: {}\n{}", outcome.status, outcome.stderr);
    outcome.last_json()
}

/// `tracer audit --pid PID`, which needs each breakpoint again in each round, while the workload repeats its window.
fn every_round(bench: &Bench) -> Result<()> {
    let mut session = bench.ready("rw_file", MIB)?;
    let mut tracer = Tracer::start(&bench.tracer, &["audit", "--pid", &session.pid.to_string()])?;
    tracer.wait_counting(&[session.pid])?;
    let mut windows = 0;
    let outcome = std::thread::scope(|scope| {
        let ended = scope.spawn(|| tracer.wait(LIMIT));
        while !ended.is_finished() {
            session.window()?;
            windows += 1;
        }
        ended.join().expect("the waiting thread lives")
    })?;
    session.finish()?;
    let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
    ensure!(outcome.status.code() == Some(0), "audit: {}\n{said}", outcome.status);
    ensure!(outcome.stdout.contains("\nno residual\n"), "{said}");
    ensure!(outcome.stdout.matches("breakpoints on ").count() > 1, "one round only:\n{said}");
    // Each primitive is in one round, so no byte is witnessed twice. A call moves 64 KiB or less, in whole pages. (What
    // the workload says on its pipe goes through other primitives.)
    for (direction, primitive) in [("to_user", "copy_page_to_iter"), ("from_user", "_atomic")] {
        let of_files = |line: &&str| line.trim_start().starts_with(direction) && line.contains(primitive);
        let witnessed: u64 = outcome.stdout.lines().filter(of_files).filter_map(witnessed).sum();
        let known = windows * MIB as u64;
        ensure!(witnessed > 0 && witnessed <= known, "{direction}: {witnessed} of {known}\n{said}");
        ensure!(witnessed.is_multiple_of(4096), "{direction}: {witnessed} are no whole pages\n{said}");
    }
    Ok(())
}

/// Bytes of a line of the report.
fn witnessed(line: &str) -> Option<u64> {
    let number = line.split_once("witness")?.1.split_once(" B")?.0;
    number.trim().replace(',', "").parse().ok()
}

fn known_bytes(bench: &Bench, workload: &str, direction: &str) -> u64 {
    let row = expect::find(&bench.kernel, workload, Place::Tmpfs, Role::Worker);
    let cells = row.map_or(&[][..], |row| row.cells);
    let times: u64 = cells
        .iter()
        .map(|cell| match (direction, cell.in_kernel) {
            ("to_user", _) => cell.to_user,
            ("from_user", _) => cell.from_user,
            (_, Amount::Times(times) | Amount::AtLeast(times)) => times,
            (_, Amount::Any) => 0,
        })
        .sum();
    times * WINDOWS * MIB as u64
}
