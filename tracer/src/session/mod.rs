//! From a wish to a running count: facts, plan, load, attach, open the gate; and back to a snapshot.

pub mod announce;
mod begun;
mod config;
pub mod events;
mod everyone;
pub mod exited;
mod notes;
mod observed;
mod pid_names;
mod read;
mod reap;
mod refuse;
mod resume;
mod workers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use tracer_ebpf::abi::{self, Config, Loss, gate};

use self::exited::Ended;
use self::pid_names::Names;
use crate::callsites::coverage::Coverage;
use crate::kernel::Facts;
use crate::kernel::in_flight::{self, Waiting};
use crate::kernel::kallsyms::Kallsyms;
use crate::kernel::netdev::{self, NetDevice};
use crate::kernel::process::{self, Target};
use crate::model::attach::Attach;
use crate::model::fault_injection::Fault;
use crate::probes::pins::Pins;
use crate::probes::plan::{self, Wanted};
use crate::probes::preemption::Preemption;
use crate::probes::{Kernel, Pinned};

use self::resume::Manifest;

/// What is to be counted.
#[derive(Clone, Debug)]
pub enum Selection {
    /// These processes, and what they fork if wished.
    Processes { targets: Vec<Target>, children: bool },
    /// One process from its next exec on, and what it forks if wished ([`Session::count_at_exec`]).
    AtExec { children: bool },
    /// Every process but this one.
    Everyone,
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
    /// Processes that begin later are to be counted.
    follows_forks: bool,
    /// What calls may still report that had begun before counting did, by slot.
    begun: begun::Begun,
    /// Copies in hard interrupts can be told from those of the interrupted process.
    tells_interrupts: bool,
    /// Those of the start.
    net_devices: Vec<NetDevice>,
    /// Misses before the gate was opened are not this window's.
    missed_before: Vec<u64>,
    /// Whom preempted programs concern; `None` where the kernel preempts none, or cannot tell.
    preemption: Option<Preemption>,
    config: Config,
    attach: Attach,
    /// Where everything stays attached when this process ends.
    pins: Option<Pins>,
    /// Counting began with an earlier process.
    pub resumed: bool,
    /// Slots of processes whose end the earlier process may have been told.
    left_over: Vec<u32>,
    _stats: Option<std::os::fd::OwnedFd>,
}

impl Session {
    /// Attaches everything; counts nothing yet.
    pub fn prepare(selection: &Selection, options: &Options) -> Result<Self> {
        Self::build(selection, options, None)
    }

    /// With `pinned`, maps are in that directory; with a manifest, everything is, and counts already.
    fn build(
        selection: &Selection,
        options: &Options,
        pinned: Option<(&Pins, Option<Manifest>)>,
    ) -> Result<Self> {
        let (pins, manifest) = pinned.unzip();
        let manifest = manifest.flatten();
        let loaded = load(selection, options, pins, manifest.as_ref())?;
        let Loaded { facts, mut kernel, mut coverage, config, life } = loaded;
        let names = names(selection, &facts, &mut kernel)?;
        let waiting = if manifest.is_some() { Vec::new() } else { waiting(selection) };
        let tells_interrupts = tell_interrupts(&facts, &coverage, &kernel)?;
        let net_devices = netdev::physical();
        let begin = if let (Some(pins), Some(manifest)) = (pins, manifest) {
            kernel.adopt(pins, manifest.rows()?)?;
            coverage.resume(manifest.coverage, &mut kernel, &facts, options.attach);
            Some(manifest.begin)
        } else {
            let net = !net_devices.is_empty();
            let softirqs = !(tells_interrupts && facts.counts_softirqs());
            let Options { attach, audit, .. } = *options;
            let wanted = Wanted { attach, life, audit, net, softirqs };
            kernel.attach(plan::choose(&coverage.offered(&facts), wanted));
            coverage.cover(&mut kernel, options.attach);
            None
        };
        let stats = options.stats.then(crate::sys::enable_stats).and_then(Result::ok);
        let mut session = Session {
            facts,
            kernel,
            coverage,
            targets: BTreeMap::new(),
            booted: process::boot_time(),
            ended: Ended::new(options.fault.kept.unwrap_or(exited::KEPT)),
            started: SystemTime::now(),
            opened: Instant::now(),
            closed: None,
            missed_before: Vec::new(),
            preemption: None,
            follows_forks: config::follows_forks(selection),
            names,
            waiting,
            begun: begun::Begun::new(),
            tells_interrupts,
            net_devices,
            config,
            attach: options.attach,
            pins: None,
            resumed: false,
            left_over: Vec::new(),
            _stats: stats,
        };
        match begin {
            Some(begin) => session.resume(begin)?,
            None => session.select(selection)?,
        }
        Ok(session)
    }

    /// Enters those who are to be counted.
    fn select(&mut self, selection: &Selection) -> Result<()> {
        match selection {
            Selection::Processes { targets, children } => {
                for target in targets {
                    self.admit(target.clone())?;
                }
                if *children {
                    self.admit_children()?;
                }
            }
            Selection::Everyone => self.admit_everyone()?,
            Selection::AtExec { .. } => self.refuse_without_exec()?,
            Selection::Nothing => return Ok(()),
        }
        self.admit_workers()?;
        self.refuse_blindness()
    }

    /// Gives a process a slot and enters it into the map.
    fn admit(&mut self, target: Target) -> Result<()> {
        let slot = match self.kernel.free_slots()?.pop(0) {
            Ok(slot) => slot,
            Err(_) => {
                self.kernel.lose(Loss::SlotsUsedUp);
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
            for pid in process::with_children(&known).into_iter().filter(|pid| !known.contains(pid)) {
                // Gone meanwhile, or a child of a vfork that has nothing of its own yet: no reason to stop.
                let (Ok(target), Ok(tgid)) = (process::resolve(pid), self.names.tgid(pid)) else { continue };
                found = true;
                if self.kernel.process_map("SLOTS")?.get(&tgid, 0).is_ok() {
                    self.targets.insert(pid, target);
                    continue;
                }
                self.admit(target)?;
                // It may have ended before it was entered: its pid must not be counted when another gets it.
                if !process::is_alive(pid) {
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
        let comm = abi::Process::name(target.comm.as_bytes());
        let free = self.kernel.processes.get(slot as usize).unwrap_or_default();
        self.kernel.processes.set(slot as usize, abi::Process { tgid, comm, ..free });
    }

    /// What a process is called changes with its exec.
    pub fn describe_again(&mut self, pid: u32) {
        self.targets.insert(pid, process::describe(pid));
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
        if self.resumed {
            return Ok(());
        }
        if self.facts.watches_preemption() && self.is_attached("sched_switch") {
            self.preemption = Some(Preemption::begin(&mut self.kernel)?);
        }
        self.missed_before = self.kernel.rows.iter().map(|row| self.stats(row).0).collect();
        self.coverage.begin(&self.kernel);
        // Only in the initial namespace are thread ids what the kernel side calls them.
        let waiting = if self.names.is_initial() { std::mem::take(&mut self.waiting) } else { Vec::new() };
        self.kernel.mark_in_flight(&waiting)?;
        self.started = SystemTime::now();
        self.opened = Instant::now();
        self.kernel.set_gate(gate::OPEN)?;
        for thread in waiting.iter().filter(|thread| !in_flight::still(thread)) {
            self.kernel.unmark(thread)?;
        }
        self.note_begun();
        Ok(())
    }

    /// Lets an audit's calls that run now come to their end (most take microseconds), while new ones are no
    /// longer compared.
    pub fn drain(&mut self) -> Result<()> {
        self.kernel.set_gate(gate::DRAINING)?;
        std::thread::sleep(Duration::from_millis(300));
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
        self.coverage.refresh(&mut self.kernel, &self.facts);
    }

    /// When counting began.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// The processes that were named, as they were found.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }
}

/// Threads of processes that are to be counted which sleep in a call on a pipe.
fn waiting(selection: &Selection) -> Vec<Waiting> {
    match selection {
        Selection::Processes { targets, children } => {
            let named: Vec<u32> = targets.iter().map(|t| t.pid).collect();
            let pids = if *children { process::with_children(&named) } else { named };
            pids.into_iter().flat_map(in_flight::waiting).collect()
        }
        Selection::Everyone => process::everyone().into_iter().flat_map(in_flight::waiting).collect(),
        _ => Vec::new(),
    }
}

/// What this kernel offers, and the maps.
struct Loaded {
    facts: Facts,
    kernel: Kernel,
    coverage: Coverage,
    /// The programs' constants, before the sizes are in it.
    config: Config,
    /// Forks and exits matter.
    life: bool,
}

fn load(
    selection: &Selection,
    options: &Options,
    pins: Option<&Pins>,
    manifest: Option<&Manifest>,
) -> Result<Loaded> {
    // The live text is read meanwhile: before anything is attached, so that no probe of ours is in it.
    std::thread::scope(|scope| {
        let coverage = scope.spawn(|| Coverage::scan(&options.fault));
        let facts = Facts::read()?;
        let (config, mut sizes, life) = config::configure(selection, &facts, options)?;
        if let Some(manifest) = manifest {
            manifest.fits(&config, options)?;
            sizes = manifest.sizes;
        }
        let pinned = pins.map(|pins| Pinned { pins, adopts: manifest.is_some() });
        let kernel = Kernel::create(config, sizes, &facts, options.fault.clone(), pinned)?;
        let coverage = coverage.join();
        let mut coverage =
            coverage.map_err(|_| anyhow!("the thread that reads the kernel's text panicked"))?;
        if let Some(cause) = facts.reduced() {
            coverage.give_up(&cause.why);
        }
        Ok(Loaded { facts, kernel, coverage, config, life })
    })
}

/// What the kernel side calls the processes.
fn names(selection: &Selection, facts: &Facts, kernel: &mut Kernel) -> Result<Names> {
    match facts.reduced() {
        None => Names::learn(kernel),
        Some(_) if matches!(selection, Selection::Nothing) => Ok(Names::default()),
        Some(cause) => Names::untold(&cause),
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
