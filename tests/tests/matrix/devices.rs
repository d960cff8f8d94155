//! Bytes that devices moved: the disk's against what the workload asked for, the network's against the
//! driver's own counters; and the copies that a device without scatter-gather costs.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tracer_tests::expect::Place;
use tracer_tests::harness::bench::{Bench, DISK, MIB};
use tracer_tests::harness::ledger;
use tracer_tests::harness::nic::{Model, Nic};
use tracer_tests::harness::seen::{Seen, Worker};

use crate::{ANY_KERNEL, Check, Verdict, checked, checked_on, sound};

const N: u64 = MIB as u64;

/// vmxnet3 copies what lies in a packet of 128 bytes or less (`VMXNET3_HDR_COPY_SIZE`), 62 of them payload. TCP sends so
/// little where the other end's window has no room for more, which is once per window of 64 KiB at most: 1 and 25
/// bytes were seen on 5.10 and 6.12, most often none.
const SHORT: u64 = 62 * N / (64 << 10);

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
        checked_on(ANY_KERNEL, "devices::net_without_sg", without),
        checked_on(ANY_KERNEL, "devices::net_with_sg_off", switched_off),
    ]
}

/// Payload that all sent, as TCP says: what was sent again is in it twice.
fn payload(seen: &Seen) -> u64 {
    seen.workers.iter().map(payload_of).sum()
}

fn payload_of(worker: &Worker) -> u64 {
    worker.books["tcp_sent_bytes"].as_u64().unwrap_or(0)
}

/// What all sent, by the tracer. Each worker's is its payload and no more than a header of 128 bytes per 1448
/// of it.
fn sent(seen: &Seen) -> Result<u64> {
    let [softirq, _] = ledger::unattributed(&seen.total);
    let mut sum = softirq.device("net", "tx").unwrap_or(0);
    for worker in &seen.workers {
        let sent = seen.ledger(worker)?.device("net", "tx")?;
        let payload = payload_of(worker);
        ensure!(payload >= N, "{}: {payload} bytes of payload sent, not {N}", worker.workload);
        let most = payload + (payload / 1448 + 64) * 128;
        ensure!(
            (payload..=most).contains(&sent),
            "{}: {sent} bytes sent, not {payload} and headers",
            worker.workload
        );
        sum += sent;
    }
    Ok(sum)
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
        for (worker, (workload, read, write)) in seen.workers.iter().zip(BLOCK) {
            let ledger = seen.ledger(worker)?;
            let found = (ledger.device("block", "read")?, ledger.device("block", "write")?);
            let expected = (read * N, write * N);
            ensure!(found == expected, "{workload} by {chunk}: {found:?} instead of {expected:?}");
        }
        sound(&seen.total)?;
    }
    Ok(Verdict::Passed)
}

fn with_scatter_gather(bench: &Bench) -> Result<Verdict> {
    let Some(nic) = Nic::up(Model::Vmxnet3)? else {
        return Ok(Verdict::Skipped("this machine has no vmxnet3 device".into()));
    };
    let (seen, ..) = match Seen::of(bench, SENDING, &nic.arguments(bench), || Ok(()))? {
        Ok(seen) => seen,
        Err(cause) => return Ok(Verdict::Skipped(cause)),
    };
    sent(&seen)?;
    let copied = seen.copied_in_kernel()?;
    let short = SHORT * SENDING.len() as u64;
    ensure!(copied <= short, "{copied} bytes copied in the kernel: {}", seen.total);
    sound(&seen.total)?;
    Ok(Verdict::Passed)
}

/// The same device as in [`with_scatter_gather`], and sendfile no longer without a copy.
fn switched_off(bench: &Bench) -> Result<Verdict> {
    let Some(nic) = Nic::up(Model::Vmxnet3)? else {
        return Ok(Verdict::Skipped("this machine has no vmxnet3 device".into()));
    };
    if let Err(error) = nic.switch_scatter_gather_off() {
        return Ok(Verdict::Skipped(format!("{error:#}")));
    }
    let (seen, ..) = match Seen::of(bench, SENDING, &nic.arguments(bench), || Ok(()))? {
        Ok(seen) => seen,
        Err(cause) => return Ok(Verdict::Skipped(cause)),
    };
    sent(&seen)?;
    let (copied, payload) = (seen.copied_in_kernel()?, payload(&seen));
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
    let (seen, before, after) = match Seen::of(bench, WITH_ECHO, &nic.arguments(bench), bytes)? {
        Ok(seen) => seen,
        Err(cause) => return Ok(Verdict::Skipped(cause)),
    };
    let (counted, by_driver) = (sent(&seen)?, after.0 - before.0);
    ensure!(counted == by_driver, "{counted} bytes sent, {by_driver} by the driver: {}", seen.total);
    let (copied, payload) = (seen.copied_in_kernel()?, payload(&seen));
    ensure!(copied == payload, "{copied} bytes copied in the kernel, not {payload}: {}", seen.total);
    let echo = seen.workers.last().context("no echo")?;
    let (received, by_driver) = (seen.ledger(echo)?.device("net", "rx")?, after.1 - before.1);
    ensure!((N..=by_driver).contains(&received), "echo: {received} received, {by_driver} by the driver");
    sound(&seen.total)?;
    Ok(Verdict::Passed)
}
