//! Bytes that devices moved: the disk's against what the workload asked for, the network's against the
//! driver's own counters; and the copies that a device without scatter-gather costs.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;
use tracer_tests::expect::Place;
use tracer_tests::harness::bench::{Bench, DISK, MIB, watch};
use tracer_tests::harness::ledger::{self, Ledger};
use tracer_tests::harness::nic::{Model, Nic};
use tracer_tests::harness::session::{Session, Started};
use tracer_tests::harness::tracer::Tracer;

use crate::{Check, Verdict, checked, sound};

const N: u64 = MIB as u64;

/// Workload, and what the disk reads and writes for it in units of [`N`].
const BLOCK: [(&str, u64, u64); 4] =
    [("odirect_rw", 1, 1), ("cold_read", 1, 0), ("write_sync", 0, 1), ("rw_file", 0, 0)];

const SENDING: &[&str] = &["rw_nic", "sendfile_nic", "splice_nic", "zerocopy_nic"];
const WITH_ECHO: &[&str] = &["rw_nic", "sendfile_nic", "splice_nic", "zerocopy_nic", "echo_nic"];

/// Many workloads share a tracer, as in [`tracer_tests::harness::batch`].
pub fn checks() -> Vec<Check> {
    vec![
        checked("devices::block", disk),
        checked("devices::net", with_scatter_gather),
        checked("devices::net_without_sg", without),
        checked("devices::net_with_sg_off", switched_off),
    ]
}

/// What was seen of windows, one after the other, under one tracer.
struct Seen {
    total: Value,
    workers: Vec<(&'static str, u32)>,
}

impl Seen {
    /// Runs one window of each workload; `read` is called before the first and after the last.
    fn of<T>(
        bench: &Bench,
        workloads: &[&'static str],
        arguments: &[String],
        read: impl Fn() -> Result<T>,
    ) -> Result<Result<(Seen, T, T), String>> {
        let mut sessions = Vec::new();
        for workload in workloads {
            match Session::start(&bench.workload, workload, arguments)? {
                Started::Ready(session) => sessions.push((*workload, session)),
                Started::Skipped(cause) => return Ok(Err(format!("{workload}: {cause}"))),
            }
        }
        let workers: Vec<_> = sessions.iter().map(|(workload, session)| (*workload, session.pid)).collect();
        let pids: Vec<u32> = workers.iter().map(|(_, pid)| *pid).collect();
        let mut tracer = Tracer::start(&bench.tracer, &watch(&pids, &[]))?;
        tracer.wait_counting(&pids)?;
        let before = read()?;
        for (_, session) in &mut sessions {
            session.window()?;
        }
        let after = read()?;
        let total = tracer.stop()?.total()?;
        for (_, session) in sessions {
            session.finish()?;
        }
        Ok(Ok((Seen { total, workers }, before, after)))
    }

    fn workers(&self) -> Result<Vec<(&'static str, Ledger<'_>)>> {
        let of = |(workload, pid): &(&'static str, u32)| Ok((*workload, ledger::process(&self.total, *pid)?));
        self.workers.iter().map(of).collect()
    }

    /// Bytes of all copies in the kernel, of whatever kind and wherever they are booked.
    fn copied_in_kernel(&self) -> Result<u64> {
        let workers = self.workers()?.into_iter();
        let theirs =
            workers.map(|(_, worker)| worker.copied_in_all("in_kernel") + worker.other_kind("checksum"));
        let nobodys = ledger::unattributed(&self.total);
        let nobodys = nobodys.iter().map(|part| part.copied_without_path() + part.other_kind("checksum"));
        Ok(theirs.sum::<u64>() + nobodys.sum::<u64>())
    }

    /// What all sent, by the tracer. Each worker's is its payload and no more than a header of 128 bytes per
    /// 1448 of it.
    fn sent(&self) -> Result<u64> {
        let [softirq, _] = ledger::unattributed(&self.total);
        let mut sum = softirq.device("net", "tx").unwrap_or(0);
        for (workload, worker) in self.workers()? {
            let sent = worker.device("net", "tx")?;
            let most = N + (N / 1448 + 64) * 128;
            ensure!((N..=most).contains(&sent), "{workload}: {sent} bytes sent, not {N} and headers");
            sum += sent;
        }
        Ok(sum)
    }
}

fn disk(bench: &Bench) -> Result<Verdict> {
    if !Path::new(DISK).exists() {
        return Ok(Verdict::Skipped("this machine has no scratch disk".into()));
    }
    let dir = match bench.dir(Place::Ext4) {
        Ok(dir) => dir.display().to_string(),
        Err(cause) => return Ok(Verdict::Skipped(cause)),
    };
    // A chunk of 1 MiB in pages is more than the disk takes at once: the kernel splits it.
    for chunk in [64 << 10, MIB] {
        let arguments = ["--bytes", &MIB.to_string(), "--chunk", &chunk.to_string(), "--dir", &dir];
        let workloads = BLOCK.map(|(workload, ..)| workload);
        let seen = Seen::of(bench, &workloads, &arguments.map(str::to_owned), || Ok(()))?;
        let seen = match seen {
            Ok((seen, ..)) => seen,
            Err(cause) => return Ok(Verdict::Skipped(cause)),
        };
        for ((workload, worker), (_, read, write)) in seen.workers()?.into_iter().zip(BLOCK) {
            let found = (worker.device("block", "read")?, worker.device("block", "write")?);
            let expected = (read * N, write * N);
            ensure!(found == expected, "{workload} by {chunk}: {found:?} instead of {expected:?}");
        }
        sound(&seen.total)?;
    }
    Ok(Verdict::Passed)
}

fn to_host(bench: &Bench, nic: &Nic) -> Vec<String> {
    let dir = bench.tmpfs.display().to_string();
    ["--bytes", &MIB.to_string(), "--dir", &dir, "--host", &nic.host()].map(str::to_owned).to_vec()
}

fn with_scatter_gather(bench: &Bench) -> Result<Verdict> {
    let Some(nic) = Nic::up(Model::E1000e)? else {
        return Ok(Verdict::Skipped("this machine has no e1000e device".into()));
    };
    let packets = || nic.statistic("tx_packets");
    let (seen, before, after) = match Seen::of(bench, SENDING, &to_host(bench, &nic), packets)? {
        Ok(seen) => seen,
        Err(cause) => return Ok(Verdict::Skipped(cause)),
    };
    seen.sent()?;
    // e1000e pulls 4 bytes of data up to the header of each packet that its device segments (a workaround in
    // e1000_xmit_frame, drivers/net/ethernet/intel/e1000e/netdev.c).
    let (copied, packets) = (seen.copied_in_kernel()?, after - before);
    ensure!(
        copied <= 4 * packets && copied.is_multiple_of(4),
        "{copied} bytes copied in the kernel with {packets} packets: {}",
        seen.total
    );
    sound(&seen.total)?;
    Ok(Verdict::Passed)
}

/// The same device as in [`with_scatter_gather`], and sendfile no longer without a copy.
fn switched_off(bench: &Bench) -> Result<Verdict> {
    let Some(nic) = Nic::up(Model::E1000e)? else {
        return Ok(Verdict::Skipped("this machine has no e1000e device".into()));
    };
    if let Err(error) = nic.switch_scatter_gather_off() {
        return Ok(Verdict::Skipped(format!("{error:#}")));
    }
    let (seen, ..) = match Seen::of(bench, SENDING, &to_host(bench, &nic), || Ok(()))? {
        Ok(seen) => seen,
        Err(cause) => return Ok(Verdict::Skipped(cause)),
    };
    seen.sent()?;
    let (copied, payload) = (seen.copied_in_kernel()?, N * SENDING.len() as u64);
    ensure!(copied == payload, "{copied} bytes copied in the kernel, not {payload}: {}", seen.total);
    sound(&seen.total)?;
    Ok(Verdict::Passed)
}

/// The driver counts each packet's bytes, as the tracer does. Each byte is copied once before it is sent,
/// however it came into the socket.
fn without(bench: &Bench) -> Result<Verdict> {
    let Some(nic) = Nic::up(Model::VirtioNet)? else {
        return Ok(Verdict::Skipped("this machine has no virtio-net device".into()));
    };
    let bytes = || nic.settled_bytes();
    let (seen, before, after) = match Seen::of(bench, WITH_ECHO, &to_host(bench, &nic), bytes)? {
        Ok(seen) => seen,
        Err(cause) => return Ok(Verdict::Skipped(cause)),
    };
    let (sent, by_driver) = (seen.sent()?, after.0 - before.0);
    ensure!(sent == by_driver, "{sent} bytes sent, {by_driver} by the driver: {}", seen.total);
    let (copied, payload) = (seen.copied_in_kernel()?, N * WITH_ECHO.len() as u64);
    ensure!(copied == payload, "{copied} bytes copied in the kernel, not {payload}: {}", seen.total);
    for (workload, worker) in seen.workers()?.into_iter().filter(|(workload, _)| *workload == "echo_nic") {
        let (received, by_driver) = (worker.device("net", "rx")?, after.1 - before.1);
        ensure!(
            (N..=by_driver).contains(&received),
            "{workload}: {received} received, {by_driver} by the driver"
        );
    }
    sound(&seen.total)?;
    Ok(Verdict::Passed)
}
