//! Runs a workload under the tracer, from outside: what the demo, the
//! selftest and the kernel matrix share.

pub mod batch;
pub mod bench;
pub mod bpf;
pub mod check;
pub mod claims;
pub mod claims_nic;
pub mod compare;
pub mod dashboards;
pub mod disk_trace;
pub mod exactly;
pub mod hidden_btf;
pub mod invariant;
pub mod ledger;
pub mod metrics;
pub mod mounts;
pub mod nfs;
pub mod nic;
pub mod observer;
pub mod privilege;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod seen;
pub mod session;
pub mod tiny;
pub mod tracer;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What takes longer hangs: no test waits until it is over. Detaching alone takes an emulated CPU of a busy machine a
/// minute.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Polls until `probe` has an answer. A poll with a limit, not a guess at how
/// long something takes.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
