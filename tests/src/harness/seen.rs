//! Windows of several workloads, one after the other, under one tracer.

use anyhow::Result;
use serde_json::Value;

use super::bench::{Bench, watch};
use super::ledger::{self, Ledger};
use super::session::{Session, Started};
use super::tracer::Tracer;

/// What was seen of them.
pub struct Seen {
    pub total: Value,
    pub workers: Vec<Worker>,
}

pub struct Worker {
    pub workload: &'static str,
    pub pid: u32,
    /// Its own account.
    pub books: Value,
}

impl Seen {
    /// Runs one window of each workload; `read` is called before the first and after the last. `Err` inside:
    /// why there is none.
    pub fn of<T>(
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
        let pids: Vec<u32> = sessions.iter().map(|(_, session)| session.pid).collect();
        let mut tracer = Tracer::start(&bench.tracer, &watch(&pids, &[]))?;
        tracer.wait_counting(&pids)?;
        let before = read()?;
        for (_, session) in &mut sessions {
            session.window()?;
        }
        // What was sent may be told late; the window ended before, and nothing is sent until the workers end.
        let total = tracer.stop()?.total()?;
        let after = read()?;
        let mut workers = Vec::new();
        for (workload, session) in sessions {
            let pid = session.pid;
            workers.push(Worker { workload, pid, books: session.finish()? });
        }
        Ok(Ok((Seen { total, workers }, before, after)))
    }

    pub fn ledger(&self, worker: &Worker) -> Result<Ledger<'_>> {
        ledger::process(&self.total, worker.pid)
    }

    /// Bytes of all copies in the kernel, of whatever kind and wherever they are booked.
    pub fn copied_in_kernel(&self) -> Result<u64> {
        let mut sum = 0;
        for worker in &self.workers {
            sum += copied_in_kernel(self.ledger(worker)?);
        }
        let nobodys = ledger::unattributed(&self.total);
        let nobodys = nobodys.iter().map(|part| part.copied_without_path() + part.other_kind("checksum"));
        Ok(sum + nobodys.sum::<u64>())
    }
}

/// The same of one process.
pub fn copied_in_kernel(ledger: Ledger) -> u64 {
    ledger.copied_in_all("in_kernel") + ledger.other_kind("checksum")
}
