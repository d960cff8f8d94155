//! What was counted, taken out of the maps.

use std::ops::Range;
use std::time::Duration;

use tracer_ebpf::abi::{self, Count, DeviceOp, FIRST_PROCESS, Ledger, Loss, PATHS};
use tracer_ebpf::table::Group;

use super::{Session, observed};
use crate::kernel::netdev;
use crate::kernel::process::{self, Target};
use crate::model::size_histogram::{CopySizes, UnnamedSizes};
use crate::model::snapshot::{LossCount, Observed, Probe, Process, Snapshot, plus};
use crate::probes::Attached;
use crate::probes::preemption::Preemption;

/// The type of [`Ledger::payload`].
type Payload = [Count; PATHS];

impl Session {
    /// What was counted since the gate was opened.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { processes: self.processes(), ..self.snapshot_of_machine() }
    }

    /// The same without the processes.
    pub fn snapshot_of_machine(&self) -> Snapshot {
        let observed = self.observed();
        let probes = self.probes();
        Snapshot {
            kernel: self.facts.release.clone(),
            started: self.started,
            window: self.closed.unwrap_or_else(|| self.opened.elapsed()),
            observed,
            coverage: self.coverage.judge(&probes, observed.copies),
            losses: self.losses(),
            processes: Vec::new(),
            total: self.total(),
            overflow: self.ledger(abi::OVERFLOW).into(),
            ended: self.ended.folded().clone(),
            softirq: self.ledger(abi::SOFTIRQ).into(),
            kernel_threads: self.ledger(abi::KERNEL_THREAD).into(),
            unnamed_sizes: UnnamedSizes {
                overflow: self.copy_sizes(abi::OVERFLOW),
                softirq: self.copy_sizes(abi::SOFTIRQ),
                kernel_threads: self.copy_sizes(abi::KERNEL_THREAD),
            },
            linear_devices: self.linear_devices(),
            notes: self.notes(&observed),
            probes,
        }
    }

    /// The kernel side's own total, apart from the ledgers that it is the sum of, unless there is but one.
    fn total(&self) -> Ledger {
        self.ledger(if self.kernel.counts_one { FIRST_PROCESS } else { abi::TOTAL })
    }

    pub(super) fn ledger(&self, slot: u32) -> Ledger {
        // Payload before all else: a call's copies are counted first, so no copy is missing for payload that is read
        // here, while calls return that are not read any more.
        let ledgers = &self.kernel.ledgers;
        let before: Vec<Payload> = self
            .shards(slot)
            .filter_map(|shard| ledgers.field(shard, std::mem::offset_of!(Ledger, payload)))
            .collect();
        let shards = self.shards(slot).filter_map(|shard| ledgers.get(shard)).zip(before);
        shards.fold(Ledger::ZERO, |sum, (shard, payload)| plus(&sum, &Ledger { payload, ..shard }))
    }

    /// Where in `LEDGERS` a slot's are.
    pub(super) fn shards(&self, slot: u32) -> Range<usize> {
        let shards = self.kernel.sizes.shards as usize;
        let first = slot as usize * shards;
        first..first + shards
    }

    fn copy_sizes(&self, slot: u32) -> CopySizes {
        let mut sum = CopySizes::default();
        let Some(sizes) = &self.kernel.copy_sizes else { return sum };
        let shards = self.kernel.sizes.copy_sizes_shards;
        for shard in (0..shards).filter_map(|shard| sizes.get((slot * shards + shard) as usize)) {
            sum.add_shard(&shard);
        }
        sum
    }

    fn processes(&self) -> Vec<Process> {
        let current = (FIRST_PROCESS..self.kernel.sizes.slots())
            .filter_map(|slot| Some((slot, self.kernel.processes.get(slot as usize)?)))
            .filter(|(_, process)| process.tgid != 0)
            .map(|(slot, process)| self.process(slot, &process));
        self.ended.kept().cloned().chain(current).collect()
    }

    pub(super) fn process(&self, slot: u32, process: &abi::Process) -> Process {
        let pid = self.names.pid(process.tgid);
        // The kernel side notes a start only for those that userspace did not select.
        let selected = process.start_boottime == 0;
        let target = match self.targets.get(&pid) {
            Some(target) if selected => target.clone(),
            // Its pid may be another's by now.
            _ if process.exited != 0 => Target::unknown(pid),
            _ => process::describe(pid),
        };
        let comm = process.comm.split(|b| *b == 0).next().unwrap_or_default();
        let started = Duration::from_nanos(process.start_boottime);
        Process {
            pid,
            comm: String::from_utf8_lossy(comm).into_owned(),
            start_time: if selected { target.start_time } else { self.booted.map(|boot| boot + started) },
            exited: process.exited != 0 || !process::is_alive(pid),
            exe: target.exe,
            cgroup: target.cgroup,
            ledger: self.tally(slot),
            copy_sizes: self.copy_sizes(slot),
        }
    }

    fn losses(&self) -> Vec<LossCount> {
        Loss::ALL
            .iter()
            .map(|loss| LossCount {
                reason: loss.name(),
                count: self.kernel.losses.get(*loss as usize).unwrap_or(0),
                loses_events: loss.loses_events(),
            })
            .collect()
    }

    /// `(missed, runs, run time)` of a row's programs.
    pub(super) fn stats(&self, row: &Attached) -> (u64, u64, u64) {
        let Ok(way) = &row.way else { return (0, 0, 0) };
        let stats = self.kernel.stats(way.programs);
        (stats.missed, stats.runs, stats.run_time_ns)
    }

    /// One entry per row of the table that is meant for this kernel, then the call sites.
    pub fn probes(&self) -> Vec<Probe> {
        let mut probes: Vec<_> =
            self.kernel.rows.iter().enumerate().map(|(i, row)| self.probe(i, row)).collect();
        probes.extend(self.coverage.site_probe(&self.kernel));
        probes
    }

    fn probe(&self, index: usize, row: &Attached) -> Probe {
        let (missed, runs, run_time_ns) = self.stats(row);
        let skipped = missed.saturating_sub(self.missed_before.get(index).copied().unwrap_or(missed));
        let (way, refusal) = match &row.way {
            Ok(way) => (Some(*way), None),
            Err(refusal) => (None, Some(refusal.clone())),
        };
        let symbol = way.map_or_else(|| row.row.ways.first().map_or("", |w| w.symbol), |way| way.symbol);
        Probe {
            name: row.row.name,
            method: way.map_or("", |way| self.kernel.method(way)),
            symbol: symbol.to_owned(),
            attached: way.is_some(),
            required: row.is_required() && self.coverage.needs(row.row.name),
            reduced: way.is_some_and(|way| way.reduced),
            missed: if self.skips_concern_nobody(row) { 0 } else { skipped },
            skipped,
            runs,
            run_time_ns,
            cause: refusal.as_ref().map_or_else(String::new, |r| r.why.clone()),
            remedy: refusal.map_or_else(String::new, |r| r.hint),
        }
    }

    /// True if what the kernel skipped of a row was for others. (Softirqs work for counted processes while
    /// any task runs, so of theirs it is not known.)
    fn skips_concern_nobody(&self, row: &Attached) -> bool {
        row.row.loses_nothing_when_skipped()
            || (!row.row.runs_in_softirqs()
                && self.preemption.as_ref().is_some_and(Preemption::concerns_nobody))
    }

    pub fn is_attached(&self, name: &str) -> bool {
        self.kernel.rows.iter().any(|row| row.row.name == name && row.way.is_ok())
    }

    /// Which quantities are observed.
    pub fn observed(&self) -> Observed {
        let without_net =
            !self.kernel.rows.iter().any(|row| row.row.group == Group::Net) && !netdev::any_physical();
        observed::observed(&self.kernel.rows, self.coverage.has_probed_sites(), without_net)
    }

    fn linear_devices(&self) -> Vec<String> {
        if self.total().device[DeviceOp::NetTransmit as usize] == 0 {
            return Vec::new();
        }
        let linear = self.net_devices.iter().filter(|device| device.sends_without_copy() == Some(false));
        linear.map(|device| device.name.clone()).collect()
    }
}
