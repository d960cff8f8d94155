//! FUSE: the program that reads and writes, and the daemon that serves it. One copy a byte at each.

use anyhow::{Result, ensure};
use tracer_tests::harness::bench::{Bench, MIB, run, watch};
use tracer_tests::harness::ledger::{self, DIRECTIONS, Ledger};
use tracer_tests::harness::session::{Session, Started};
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::workload::fuse_daemon::{WRITTEN, exchanged};

use crate::{Check, Verdict, checked, sound};

/// What is read; half as much is written.
const N: u64 = 4 * MIB as u64;
const CHUNK: u64 = 64 << 10;

pub fn checks() -> Vec<Check> {
    vec![checked("filesystems::fuse", both_sides)]
}

/// Workloads, and the kernels that lack what they are about: passthrough came with 6.9, io_uring with 6.14.
const WORKLOADS: [(&str, &[&str]); 4] = [
    ("fuse_direct", &[]),
    ("fuse_cached", &[]),
    ("fuse_passthrough", &["5.10", "6.1"]),
    ("fuse_uring", &["5.10", "6.1", "6.12"]),
];

/// Direct I/O, the page cache, passthrough and io_uring, each with a daemon of its own, under one tracer.
fn both_sides(bench: &Bench) -> Result<Verdict> {
    // Built in from 6.12 on; what is missing is said by the workload.
    let _ = run("modprobe", &["fuse"]);
    let mut sessions = Vec::new();
    let here = WORKLOADS.iter().filter(|(_, lacking)| !lacking.contains(&bench.kernel.as_str()));
    for (name, _) in here.clone() {
        let arguments = ["--bytes", &N.to_string(), "--dir", &bench.tmpfs.display().to_string()];
        match Session::start(&bench.workload, name, &arguments.map(String::from))? {
            Started::Ready(session) => sessions.push(session),
            Started::Skipped(cause) => return Ok(Verdict::Skipped(cause)),
        }
    }
    let pids: Vec<u32> =
        sessions.iter().flat_map(|session| [Some(session.pid), session.peer]).flatten().collect();
    ensure!(pids.len() == 2 * here.count(), "a daemon is missing, or one is too many: {pids:?}");
    let mut tracer = Tracer::start(&bench.tracer, &watch(&pids, &[]))?;
    tracer.wait_counting(&pids)?;
    for session in &mut sessions {
        session.window()?;
    }
    let total = tracer.stop()?.total()?;
    for session in sessions {
        session.finish()?;
    }
    let of = |pid| ledger::process(&total, pid);
    direct(of(pids[0])?, of(pids[1])?)?;
    cached(of(pids[2])?, of(pids[3])?)?;
    if let [client, daemon, ..] = pids[4..] {
        passed_through(of(client)?, of(daemon)?)?;
    }
    if let Some(&[client, daemon]) = pids.get(6..) {
        by_ring(of(client)?, of(daemon)?)?;
    }
    sound(&total)?;
    Ok(Verdict::Passed)
}

/// The client's pages are handed over, and copied by the daemon's calls.
fn direct(client: Ledger, daemon: Ledger) -> Result<()> {
    let (requests, replies) = exchanged(N, CHUNK);
    expect("client", client, &[("read", N, [0; 3]), ("write", N / 2, [0; 3])])?;
    ensure!(client.of_path("read", "zero_copied_bytes") == N, "the client's pages are handed over");
    ensure!(client.of_path("write", "zero_copied_bytes") == N / 2, "the client's pages are handed over");
    let to_and_fro = [("read", requests, [requests, 0, 0]), ("write", replies, [0, replies, 0])];
    expect("daemon", daemon, &to_and_fro)
}

/// Through the page cache of the client, whose readahead decides how many requests there are.
fn cached(client: Ledger, daemon: Ledger) -> Result<()> {
    expect("client", client, &[("read", N, [N, 0, 0]), ("write", N / 2, [0, N / 2, 0])])?;
    let moved = |path| daemon.of_path(path, "payload_bytes");
    let (requests, replies) = (moved("read"), moved("write"));
    ensure!(requests > N / 2 && replies > N, "requests of {requests} bytes, replies of {replies}");
    expect("daemon", daemon, &[("read", requests, [requests, 0, 0]), ("write", replies, [0, replies, 0])])
}

/// As [`direct`], but headers are structures of constant size in buffers of their own.
fn by_ring(client: Ledger, daemon: Ledger) -> Result<()> {
    let (requests, replies) = (N / 2, N + N / 2 / CHUNK * WRITTEN);
    expect("client", client, &[("read", N, [0; 3]), ("write", N / 2, [0; 3])])?;
    expect("daemon", daemon, &[("io_uring", requests + replies, [requests, replies, 0])])
}

/// One copy a byte, by the file system that it is passed through to; the daemon sees nothing of it.
fn passed_through(client: Ledger, daemon: Ledger) -> Result<()> {
    expect("client", client, &[("read", N, [N, 0, 0]), ("write", N / 2, [0, N / 2, 0])])?;
    expect("daemon", daemon, &[])
}

/// Path, payload, and what is copied in each direction. All other paths have neither.
fn expect(who: &str, ledger: Ledger, paths: &[(&str, u64, [u64; 3])]) -> Result<()> {
    let mut names = ledger.path_names();
    names.extend(paths.iter().map(|(path, ..)| *path));
    for path in names {
        let known = paths.iter().find(|(name, ..)| *name == path);
        let (payload, copied) = known.map_or((0, [0; 3]), |(_, payload, copied)| (*payload, *copied));
        let found = ledger.of_path(path, "payload_bytes");
        ensure!(found == payload, "{who}: payload of {path} is {found}, known are {payload}");
        for (direction, known) in DIRECTIONS.iter().zip(copied) {
            let found = ledger.copied(path, direction);
            ensure!(found == known, "{who}: {path}.{direction} is {found}, known are {known}");
        }
        let unexplained = ledger.of_path(path, "unexplained_bytes");
        ensure!(unexplained == 0, "{who}: {unexplained} bytes of {path} are unexplained");
    }
    Ok(())
}
