//! Rows of claims that go to a network device: with scatter-gather (`@sg`) and without (`@no-sg`).

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::bench::{Bench, MIB};
use super::claims::release;
use super::nic::{Model, Nic};
use super::seen::{Seen, Worker, copied_in_kernel};
use super::{invariant, ledger};

const N: u64 = MIB as u64;

/// Workload, and how often each byte goes to user memory and from there.
const WORKLOADS: [(&str, u64, u64); 4] =
    [("rw_nic", 1, 1), ("sendfile_nic", 0, 0), ("splice_nic", 0, 0), ("zerocopy_nic", 0, 0)];

const MODELS: [(&str, Model); 2] = [("@sg", Model::Vmxnet3), ("@no-sg", Model::VirtioNet)];

/// Calls that move bytes; the rest of a window waits for packets, as long as it takes.
const MOVERS: [&str; 5] = ["read", "write", "sendfile", "splice", "sendto"];

/// True if a row is one of these.
pub fn is_one(name: &str) -> bool {
    MODELS.iter().any(|(suffix, _)| name.ends_with(suffix))
}

/// Lines of the rows among `names` that end with `suffix`; `None`: events were lost, so nothing is proven.
fn lines(bench: &Bench, names: &[String], (suffix, model): (&str, Model)) -> Result<Option<Vec<Value>>> {
    let wanted: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(suffix)).collect();
    let of = |name: &&str| WORKLOADS.iter().find(|(workload, ..)| workload == name);
    let chosen: Vec<_> = wanted.iter().filter_map(of).collect();
    ensure!(chosen.len() == wanted.len(), "no such row among {wanted:?}");
    if chosen.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let Some(nic) = Nic::up(model)? else { bail!("this machine has no {model:?}") };
    let workloads: Vec<&'static str> = chosen.iter().map(|(workload, ..)| *workload).collect();
    let (seen, ..) = match Seen::of(bench, &workloads, &nic.arguments(bench), || Ok(()))? {
        Ok(seen) => seen,
        Err(cause) => bail!("{cause}"),
    };
    if seen.total["lost_events"].as_u64().unwrap_or(0) > 0 {
        return Ok(None);
    }
    invariant::check(&seen.total)?;
    let nobodys: u64 = ledger::unattributed(&seen.total).iter().map(|part| part.copied_without_path()).sum();
    ensure!(nobodys == 0, "{nobodys} bytes were copied for nobody: {}", seen.total);
    let line = |(worker, (_, to_user, from_user)): (&Worker, &&(&str, u64, u64))| {
        line(bench, &seen, worker, suffix, (*to_user, *from_user))
    };
    seen.workers.iter().zip(&chosen).map(line).collect::<Result<Vec<_>>>().map(Some)
}

fn line(bench: &Bench, seen: &Seen, worker: &Worker, suffix: &str, user: (u64, u64)) -> Result<Value> {
    let ledger = seen.ledger(worker)?;
    let found = (ledger.copied_in_all("to_user"), ledger.copied_in_all("from_user"));
    ensure!(found == (user.0 * N, user.1 * N), "{}{suffix}: {found:?} bytes to and from it", worker.workload);
    let called = |name: &&str| worker.books["syscalls"][*name].as_u64().unwrap_or(0);
    let calls: u64 = MOVERS.iter().map(called).sum();
    Ok(json!({
        "row": format!("{}{suffix}", worker.workload),
        "kernel": bench.kernel,
        "release": release()?,
        "bytes": N,
        "chunk": worker.books["chunk"],
        "worker": {
            "to_user": found.0,
            "from_user": found.1,
            "in_kernel": copied_in_kernel(ledger),
            "device_bytes": ledger.device_bytes().context("device bytes are not observed")?,
            // How many headers there are depends on how packets are cut.
            "open": {"net_tx": {"at_least": 1}},
            "mode_switches": {"syscall": 2 * calls},
        },
    }))
}

/// Prints the lines of all rows of network devices among `names`.
pub fn run(bench: &Bench, names: &[String], attempts: usize) -> Result<()> {
    for model in MODELS {
        let mut attempt = 1;
        loop {
            match lines(bench, names, model)? {
                Some(lines) => break lines.iter().for_each(|line| println!("{line}")),
                None if attempt < attempts => attempt += 1,
                None => bail!("rows {}: events lost", model.0),
            }
        }
    }
    Ok(())
}
