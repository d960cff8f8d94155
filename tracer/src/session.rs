//! From a wish to a running count: facts, plan, load, attach, open the gate; and back to a snapshot.

mod config;
mod reap;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use tracer_ebpf::abi::{self, FIRST_PROCESS, Ledger, Loss, gate};
use tracer_ebpf::table::{Group, PRIMITIVES};

use crate::copy_sizes::{CopySizes, UnnamedSizes};
use crate::coverage::Coverage;
use crate::ended::{self, Ended};
use crate::facts::Facts;
use crate::facts::kallsyms::Kallsyms;
use crate::fault::Fault;
use crate::inflight::{self, Waiting};
use crate::load::{Attached, Kernel};
use crate::names::Names;
use crate::plan::{self, Attach, Wanted};
use crate::preemption::Preemption;
use crate::snapshot::{LossCount, Observed, Probe, Process, Snapshot, plus};
use crate::target::{self, Target};

/// What is to be counted.
#[derive(Clone, Debug)]
pub enum Selection {
    /// These processes, and what they fork if wished.
    Processes { targets: Vec<Target>, children: bool },
    /// One process from its next exec on, and what it forks if wished ([`Session::count_at_exec`]).
    AtExec { children: bool },
    /// Nothing: only to see what attaches.
    Nothing,
}

/// How it is to be counted.
#[derive(Clone, Debug)]
pub struct Options {
    pub attach: Attach,
    /// Count per probe as well.
    pub audit: bool,
    /// Count copies by size as well.
    pub copy_sizes: bool,
    /// Keep run times of the programs.
    pub stats: bool,
    pub fault: Fault,
}

/// A running count.
pub struct Session {
    pub facts: Facts,
    pub kernel: Kernel,
    pub coverage: Coverage,
    targets: BTreeMap<u32, Target>,
    /// When this machine started, read once: what tells processes apart must not change with its clock.
    booted: Option<SystemTime>,
    ended: Ended,
    started: SystemTime,
    opened: Instant,
    closed: Option<Duration>,
    names: Names,
    /// Threads that slept in a call on a pipe before anything was attached.
    waiting: Vec<Waiting>,
    /// Copies in hard interrupts can be told from those of the interrupted process.
    tells_interrupts: bool,
    /// Misses before the gate was opened are not this window's.
    missed_before: Vec<u64>,
    /// Whom preempted programs concern; `None` where the kernel preempts none, or cannot tell.
    preemption: Option<Preemption>,
    _stats: Option<std::os::fd::OwnedFd>,
}

impl Session {
    /// Attaches everything; counts nothing yet.
    pub fn prepare(selection: &Selection, options: &Options) -> Result<Self> {
        let facts = Facts::read()?;
        let (config, sizes, life) = config::configure(selection, &facts, options)?;
        let mut kernel = Kernel::create(config, sizes, &facts, options.fault.clone())?;
        let names = match facts.layout {
            Ok(_) => Names::learn(&mut kernel)?,
            Err(_) => Names::default(),
        };
        let waiting = match selection {
            Selection::Processes { targets, children } => {
                let named: Vec<u32> = targets.iter().map(|t| t.pid).collect();
                let pids = if *children { target::with_children(&named) } else { named };
                pids.into_iter().flat_map(inflight::waiting).collect()
            }
            _ => Vec::new(),
        };
        let mut coverage = Coverage::scan(&options.fault);
        let tells_interrupts = tell_interrupts(&facts, &coverage, &kernel)?;
        kernel.attach(plan::choose(&facts, Wanted { attach: options.attach, life }));
        coverage.cover(&mut kernel, options.attach, facts.check_is_on().err());
        let stats = options.stats.then(crate::sys::enable_stats).and_then(Result::ok);
        let mut session = Session {
            facts,
            kernel,
            coverage,
            targets: BTreeMap::new(),
            booted: target::boot_time(),
            ended: Ended::new(options.fault.kept.unwrap_or(ended::KEPT)),
            started: SystemTime::now(),
            opened: Instant::now(),
            closed: None,
            missed_before: Vec::new(),
            preemption: None,
            names,
            waiting,
            tells_interrupts,
            _stats: stats,
        };
        if let Selection::Processes { targets, children } = selection {
            for target in targets {
                session.admit(target.clone())?;
            }
            if *children {
                session.admit_children()?;
            }
        }
        if !matches!(selection, Selection::Nothing) {
            session.refuse_blindness()?;
        }
        Ok(session)
    }

    /// An error if nothing at all attached.
    fn refuse_blindness(&self) -> Result<()> {
        let blind = self.kernel.rows.iter().all(|row| row.way.is_err() || row.row.group == Group::Mark);
        if blind {
            let why = self.kernel.rows.iter().find_map(|row| row.way.as_ref().err());
            let why = why.map_or_else(String::new, |r| format!("{}\n  {}", r.why, r.hint));
            bail!("no probe attached, so nothing can be counted: {why}\n  `tracer doctor` shows every probe");
        }
        Ok(())
    }

    /// Gives a process a slot and enters it into the map.
    fn admit(&mut self, target: Target) -> Result<()> {
        let slot = match self.kernel.free_slots()?.pop(0) {
            Ok(slot) => slot,
            Err(_) => {
                self.kernel.losses.set(
                    Loss::SlotsUsedUp as usize,
                    self.kernel.losses.get(Loss::SlotsUsedUp as usize).unwrap_or(0) + 1,
                );
                abi::OVERFLOW
            }
        };
        let tgid = self.names.tgid(target.pid)?;
        if slot != abi::OVERFLOW {
            self.enter(slot, tgid, &target);
        }
        self.kernel
            .process_map("SLOTS")?
            .insert(tgid, slot, 0)
            .with_context(|| format!("cannot enter process {} into the map of processes", target.pid))?;
        self.targets.insert(target.pid, target);
        Ok(())
    }

    /// Enters the children that the targets have by now; the kernel side enters those to come. It goes on
    /// until it finds no more: a child may have forked before it was entered.
    fn admit_children(&mut self) -> Result<()> {
        loop {
            let known: Vec<u32> = self.targets.keys().copied().collect();
            self.names.refresh(&mut self.kernel)?;
            let mut found = false;
            for pid in target::with_children(&known).into_iter().filter(|pid| !known.contains(pid)) {
                // Gone meanwhile, or a child of a vfork that has nothing of its own yet: no reason to stop.
                let (Ok(target), Ok(tgid)) = (target::resolve(pid), self.names.tgid(pid)) else { continue };
                found = true;
                if self.kernel.process_map("SLOTS")?.get(&tgid, 0).is_ok() {
                    self.targets.insert(pid, target);
                    continue;
                }
                self.admit(target)?;
                // It may have ended before it was entered: its pid must not be counted when another gets it.
                if !target::is_alive(pid) {
                    let _ = self.kernel.process_map("SLOTS")?.remove(&tgid);
                }
            }
            if !found {
                return Ok(());
            }
        }
    }

    /// A slot's entry for a process that userspace selected.
    fn enter(&self, slot: u32, tgid: u32, target: &Target) {
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().take(15).zip(target.comm.bytes()) {
            *to = from;
        }
        let free = self.kernel.processes.get(slot as usize).unwrap_or_default();
        self.kernel.processes.set(slot as usize, abi::Process { tgid, comm, ..free });
    }

    /// What a process is called changes with its exec.
    pub fn describe_again(&mut self, pid: u32) {
        self.targets.insert(pid, target::describe(pid));
    }

    /// Counts a process from its next exec on.
    pub fn count_at_exec(&mut self, target: Target) -> Result<()> {
        let slot = self.kernel.free_slots()?.pop(0).context("no slot is free")?;
        self.names.refresh(&mut self.kernel)?;
        let tgid = self.names.tgid(target.pid)?;
        self.enter(slot, tgid, &target);
        self.kernel.process_map("AT_EXEC")?.insert(tgid, slot, 0)?;
        self.targets.insert(target.pid, target);
        Ok(())
    }

    /// Counting begins.
    pub fn open(&mut self) -> Result<()> {
        if self.facts.watches_preemption() && self.is_attached("sched_switch") {
            self.preemption = Some(Preemption::begin(&mut self.kernel)?);
        }
        self.missed_before = self.kernel.rows.iter().map(|row| self.stats(row).0).collect();
        // Only in the initial namespace are thread ids what the kernel side calls them.
        let waiting = if self.names.is_initial() { std::mem::take(&mut self.waiting) } else { Vec::new() };
        for thread in &waiting {
            self.kernel.mark_in_flight(thread.pid, thread.tid, true)?;
        }
        self.started = SystemTime::now();
        self.opened = Instant::now();
        self.kernel.set_gate(if waiting.is_empty() { gate::OPEN } else { gate::OPEN_WITH_MARKS })?;
        for thread in waiting.iter().filter(|thread| !inflight::still(thread)) {
            self.kernel.mark_in_flight(thread.pid, thread.tid, false)?;
        }
        Ok(())
    }

    /// Counting ends: the maps keep still from here on.
    pub fn close(&mut self) -> Result<()> {
        self.kernel.set_gate(gate::CLOSED)?;
        self.closed.get_or_insert(self.opened.elapsed());
        // Programs that passed the gate before may still run: microseconds, on any CPU.
        std::thread::sleep(Duration::from_millis(2));
        Ok(())
    }

    /// Looks for modules loaded since, and covers their call sites; learns the names of new processes.
    pub fn refresh(&mut self) {
        // Without them a child is shown by the kernel's name for it.
        let _ = self.names.refresh(&mut self.kernel);
        self.coverage.refresh(&mut self.kernel);
    }

    /// What was counted since the gate was opened.
    pub fn snapshot(&self) -> Snapshot {
        let observed = self.observed();
        let probes = self.probes();
        Snapshot {
            kernel: self.facts.release.clone(),
            started: self.started,
            window: self.closed.unwrap_or_else(|| self.opened.elapsed()),
            observed,
            coverage: self.coverage.judge(&probes, observed.copies),
            losses: self.losses(),
            processes: self.processes(),
            total: self.ledger(abi::TOTAL),
            overflow: self.ledger(abi::OVERFLOW),
            ended: self.ended.folded().clone(),
            softirq: self.ledger(abi::SOFTIRQ),
            kernel_threads: self.ledger(abi::KERNEL_THREAD),
            unnamed_sizes: UnnamedSizes {
                overflow: self.copy_sizes(abi::OVERFLOW),
                softirq: self.copy_sizes(abi::SOFTIRQ),
                kernel_threads: self.copy_sizes(abi::KERNEL_THREAD),
            },
            notes: self.notes(observed),
            probes,
        }
    }

    fn ledger(&self, slot: u32) -> Ledger {
        let shards = self.kernel.sizes.shards;
        (0..shards)
            .filter_map(|shard| self.kernel.ledgers.get((slot * shards + shard) as usize))
            .fold(Ledger::ZERO, |sum, shard| plus(&sum, &shard))
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

    fn process(&self, slot: u32, process: &abi::Process) -> Process {
        let pid = self.names.pid(process.tgid);
        // The kernel side notes a start only for those that userspace did not select.
        let selected = process.start_boottime == 0;
        let target = match self.targets.get(&pid) {
            Some(target) if selected => target.clone(),
            // Its pid may be another's by now.
            _ if process.exited != 0 => Target::unknown(pid),
            _ => target::describe(pid),
        };
        let comm = process.comm.split(|b| *b == 0).next().unwrap_or_default();
        let started = Duration::from_nanos(process.start_boottime);
        Process {
            pid,
            comm: String::from_utf8_lossy(comm).into_owned(),
            start_time: if selected { target.start_time } else { self.booted.map(|boot| boot + started) },
            exited: process.exited != 0 || !target::is_alive(pid),
            exe: target.exe,
            cgroup: target.cgroup,
            ledger: self.ledger(slot),
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
    fn stats(&self, row: &Attached) -> (u64, u64, u64) {
        let Ok(way) = &row.way else { return (0, 0, 0) };
        let stats = self.kernel.stats(way.programs);
        (stats.recursion_misses, stats.runs, stats.run_time_ns)
    }

    /// One entry per row of the table that is meant for this kernel, then the call sites.
    pub fn probes(&self) -> Vec<Probe> {
        let mut probes: Vec<_> =
            self.kernel.rows.iter().enumerate().map(|(i, row)| self.probe(i, row)).collect();
        probes.extend(self.coverage.site_probe().map(|probe| self.with_site_stats(probe)));
        probes
    }

    fn with_site_stats(&self, probe: Probe) -> Probe {
        let programs: BTreeSet<&str> = PRIMITIVES.iter().map(|primitive| primitive.site_program).collect();
        let stats = self.kernel.stats(&programs.into_iter().collect::<Vec<_>>());
        Probe { runs: stats.runs, run_time_ns: stats.run_time_ns, ..probe }
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
            required: !row.row.optional && matches!(row.row.group, Group::Copy | Group::Mark),
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

    fn is_attached(&self, name: &str) -> bool {
        self.kernel.rows.iter().any(|row| row.row.name == name && row.way.is_ok())
    }

    /// Copies count as observed once their main sources are; what is missing then is a gap in coverage.
    pub fn observed(&self) -> Observed {
        let group = |group| {
            self.kernel.rows.iter().any(|row| {
                row.row.group == group && row.way.as_ref().is_ok_and(|way| !way.programs.is_empty())
            })
        };
        Observed {
            copies: group(Group::Copy) || self.coverage.has_probed_sites(),
            references: group(Group::Reference),
            syscalls: self.is_attached("sys_enter"),
            payload: self.is_attached("sys_exit"),
            faults: self.is_attached("page_fault"),
            interrupts: self.is_attached("irq_timer"),
            context_switches: self.is_attached("sched_switch"),
        }
    }

    fn notes(&self, observed: Observed) -> Vec<String> {
        let mut notes = Vec::new();
        if observed.copies && !self.tells_interrupts {
            notes.push(
                "kernel symbols are hidden (kernel.kptr_restrict), so bounce buffers copied in a hard interrupt \
                 are booked to the interrupted process"
                    .to_owned(),
            );
        }
        notes.extend(self.coverage.notes());
        notes
    }

    /// The processes that were named, as they were found.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }
}

/// Tells the kernel side where `preempt_count` is; false if nobody knows.
fn tell_interrupts(facts: &Facts, coverage: &Coverage, kernel: &Kernel) -> Result<bool> {
    let preempt = match coverage.symbols() {
        Some(symbols) => facts.preempt(symbols),
        // The kernel's text could not be read, which does not mean that its symbols cannot.
        None => Kallsyms::read().ok().and_then(|symbols| facts.preempt(&symbols)),
    };
    kernel.set_preempt(preempt.unwrap_or_default())?;
    Ok(preempt.is_some())
}
