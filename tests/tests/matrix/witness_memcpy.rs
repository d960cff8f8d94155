//! `tracer audit` on calls of `memcpy`: breakpoints agree with the rows that count them, and name those that nothing
//! counts.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tracer_tests::expect::Place;
use tracer_tests::harness::bench::{Bench, MIB, watch};
use tracer_tests::harness::session::{Session, Started};
use tracer_tests::harness::tracer::{Outcome, Tracer};
use tracer_tests::workload::fuse_daemon::{READ, REQUEST, exchanged};
use tracer_tests::workload::scene::{traced, xdp};

use crate::{Check, EACH_WAY, Verdict, checked_on, on_each_way};

pub fn checks() -> Vec<Check> {
    let counted = |kernels, name: &'static str, function: &'static str, bytes: usize| {
        checked_on(kernels, &format!("witness::{name}"), move |bench| {
            let mut session = scene(bench, name)?;
            let audited = session.pid;
            agrees(&audit(bench, &mut session, audited, function)?, bytes as u64)?;
            Ok(Verdict::Passed)
        })
    };
    vec![
        on_each_way("witness::fuse_daemon", fuse_daemon),
        counted(EACH_WAY, "xdp_copy", "skb_store_bits", xdp::FRAME * xdp::FRAMES),
        // Up to 6.12 the compiler put the copy into the function.
        counted(&["7.2"], "ptrace", "__access_remote_vm", 2 * traced::WORD * traced::WORDS),
        on_each_way("witness::memcpy_that_nothing_counts_is_a_residual", uncounted),
    ]
}

fn scene(bench: &Bench, name: &str) -> Result<Session> {
    ready(bench.session(name, Place::Tmpfs, MIB)?, name)
}

fn ready(started: Started, name: &str) -> Result<Session> {
    match started {
        Started::Ready(session) => Ok(session),
        Started::Skipped(cause) => bail!("{name} was skipped: {cause}"),
    }
}

/// One window under breakpoints on the calls in one function.
fn audit(bench: &Bench, session: &mut Session, pid: u32, function: &str) -> Result<Outcome> {
    // Ended by the signal.
    let arguments = watch(&[pid], &["audit", "--duration", "1h", "--memcpy-in", function]);
    let mut tracer = Tracer::start(&bench.tracer, &arguments)?;
    tracer.wait_counting(&[pid])?;
    session.window()?;
    tracer.stop()
}

fn agrees(outcome: &Outcome, known: u64) -> Result<()> {
    let report = report(outcome, 0)?;
    let [seen] = report["memcpy"].as_array().context("no `memcpy`")?.as_slice() else {
        bail!("not one place: {report}");
    };
    let expected = [("witness", known as i64), ("counted", known as i64), ("residual", 0)];
    for (side, bytes) in expected {
        ensure!(seen[side] == bytes, "{side} is {}, known are {known}: {report}", seen[side]);
    }
    Ok(())
}

/// The report of an audit that ended so.
fn report(outcome: &Outcome, status: i32) -> Result<Value> {
    ensure!(
        outcome.status.code() == Some(status),
        "{}: {}\n{}",
        outcome.status,
        outcome.stdout,
        outcome.stderr
    );
    outcome.last_json()
}

/// A client that reads 4 MiB and writes half of it, by direct I/O, in requests of 64 KiB.
fn fuse_daemon(bench: &Bench) -> Result<()> {
    let (bytes, chunk) = (4 * MIB as u64, 64 << 10);
    // Built in from 6.12 on; what is missing is said by the workload.
    let _ = tracer_tests::harness::bench::run("modprobe", &["fuse"]);
    let mut session = ready(bench.session("fuse_direct", Place::Tmpfs, bytes as usize)?, "fuse_direct")?;
    let daemon = session.peer.context("no daemon")?;
    let outcome = audit(bench, &mut session, daemon, "fuse_copy_do")?;
    let (requests, replies) = exchanged(bytes, chunk);
    // An audit compares calls that it sees from their begin, and the daemon waited in the first.
    agrees(&outcome, requests + replies - (REQUEST + READ))
}

/// SCTP puts its chunks into packets.
fn uncounted(bench: &Bench) -> Result<()> {
    let mut session = scene(bench, "sctp")?;
    let audited = session.pid;
    let report = report(&audit(bench, &mut session, audited, "sctp_packet_transmit")?, 1)?;
    let bytes = report["uncounted_memcpy"][0]["bytes"].as_u64().unwrap_or(0);
    ensure!(bytes > 0, "{report}");
    let reason = report["reasons"][0].as_str().unwrap_or_default();
    ensure!(reason.contains("SCTP") && reason.contains("nothing counts it"), "{report}");
    Ok(())
}
