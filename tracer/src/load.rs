//! The only user of aya's loader: loads what the plan chose, attaches it, and keeps it attached.

mod rows;
mod slots;

use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{HashMap, Map, MapData, Queue, RingBuf};
use aya::programs::{KProbe, ProbeKind, Program};
use aya::{Btf, Ebpf, EbpfLoader};
use tracer_ebpf::abi::{self, Config, FIRST_PROCESS};
use tracer_ebpf::table::{Method, Row, Way};

use self::rows::settle_hosted;
use crate::attachable;
use crate::facts::Facts;
use crate::fault::Fault;
use crate::plan::{Choice, Refusal};
use crate::sys::{self, Mapped};
use crate::text::scan::Site;

pub use self::rows::Attached;

/// The BPF object, embedded by build.rs; empty if it was built without the BPF tools.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-bpf"));

/// [`Config`] for aya's loader.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodConfig(Config);
// SAFETY: `Config` is `repr(C)` and consists of u32 only.
unsafe impl aya::Pod for PodConfig {}

/// How many of what the maps hold.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Processes that can be told apart.
    pub processes: u32,
    /// Shards per slot, a power of two.
    pub shards: u32,
    /// The same for copies by size; 0: they are not counted.
    pub copy_sizes_shards: u32,
}

impl Sizes {
    pub fn slots(self) -> u32 {
        FIRST_PROCESS + self.processes
    }
}

/// Anything that detaches a program when it is dropped.
type Link = Box<dyn Any + Send>;

/// Loaded programs and their maps. Dropping it detaches everything.
pub struct Kernel {
    links: Vec<Link>,
    ebpf: Ebpf,
    functions: Btf,
    fault: Fault,
    pub sizes: Sizes,
    pub rows: Vec<Attached>,
    pub ledgers: Mapped<abi::Ledger>,
    pub processes: Mapped<abi::Process>,
    pub losses: Mapped<u64>,
    /// Only if copies are counted by size.
    pub copy_sizes: Option<Mapped<abi::CopySizes>>,
    ended: RingBuf<MapData>,
}

impl Kernel {
    /// Creates the maps. No program is loaded yet.
    pub fn create(config: Config, sizes: Sizes, facts: &Facts, fault: Fault) -> Result<Self> {
        if OBJECT.is_empty() {
            bail!(
                "this tracer was built without its BPF programs\n  \
                 run `cargo xtask setup` and `cargo xtask build`"
            );
        }
        sys::lift_memlock();
        let functions = attachable::functions(|name| facts.function_id(name));
        let config = PodConfig(Config {
            shard_mask: sizes.shards - 1,
            copy_sizes: (sizes.copy_sizes_shards > 0).into(),
            copy_sizes_shard_mask: sizes.copy_sizes_shards.saturating_sub(1),
            ..config
        });
        let copy_sizes = sizes.slots() * sizes.copy_sizes_shards;
        let mut ebpf = EbpfLoader::new()
            // The programs have nothing to relocate: offsets are in CONFIG.
            .btf(None)
            .override_global("CONFIG", &config, true)
            .map_max_entries("LEDGERS", sizes.slots() * sizes.shards)
            .map_max_entries("COPY_SIZES", copy_sizes.max(1))
            .map_max_entries("PROCESSES", sizes.slots())
            .map_max_entries("SLOTS", (sizes.processes * 4).max(64))
            .map_max_entries("FREE", sizes.processes)
            .map_max_entries("ENDED", slots::ring_bytes(sizes.processes))
            .load(OBJECT)
            .map_err(|error| explain_load(error.into()))?;
        let ledgers = mapped(&ebpf, "LEDGERS", (sizes.slots() * sizes.shards) as usize)?;
        let processes = mapped(&ebpf, "PROCESSES", sizes.slots() as usize)?;
        let losses = mapped(&ebpf, "LOSSES", abi::LOSSES)?;
        let copy_sizes = match copy_sizes {
            0 => None,
            elements => Some(mapped(&ebpf, "COPY_SIZES", elements as usize)?),
        };
        let ended = ebpf.take_map("ENDED").ok_or_else(|| anyhow!("the BPF object has no map ENDED"))?;
        let ended = RingBuf::try_from(ended).context("cannot map ENDED into memory")?;
        let mut free = Queue::try_from(map_mut(&mut ebpf, "FREE")?)?;
        for slot in FIRST_PROCESS..sizes.slots() {
            free.push(slot, 0).context("cannot fill the queue of free slots")?;
        }
        Ok(Kernel {
            links: Vec::new(),
            ebpf,
            functions,
            fault,
            sizes,
            rows: Vec::new(),
            ledgers,
            processes,
            losses,
            copy_sizes,
            ended,
        })
    }

    /// Measures where registers lie on a stack, and tells tracer's own tgid in the initial namespace.
    pub fn calibrate(&mut self) -> Result<u32> {
        let calibration: Mapped<u64> = mapped(&self.ebpf, "CALIBRATION", 2)?;
        let mark = 0x7472_6163_6572_0000 | u64::from(std::process::id());
        calibration.set(0, mark);
        let Some(Program::RawTracePoint(program)) = self.ebpf.program_mut("calibrate") else {
            bail!("the BPF object has no program calibrate");
        };
        program.load().map_err(|error| explain_load(error.into()))?;
        let link = program.attach("sys_enter").context("cannot attach to raw tracepoint sys_enter")?;
        sys::marked_call(mark);
        program.detach(link)?;
        program.unload()?;
        match calibration.get(1) {
            Some(tgid) if tgid != 0 => Ok(tgid as u32),
            _ => bail!("the kernel ran no BPF program at a system call of this process"),
        }
    }

    /// Attaches every row of the plan, by the first way that works.
    pub fn attach(&mut self, plan: Vec<Choice>) {
        for choice in plan {
            let mut refusal = choice.refused;
            let mut way = None;
            for candidate in choice.ways {
                match self.attach_way(choice.row, candidate) {
                    Ok(()) => {
                        way = Some(candidate);
                        break;
                    }
                    Err(error) => {
                        let this = crate::refusal::explain(candidate, &error);
                        refusal = Some(match refusal {
                            Some(before) => before.and(this),
                            None => this,
                        });
                    }
                }
            }
            let way = way.ok_or_else(|| {
                refusal.unwrap_or(Refusal { why: "no way to observe it".into(), hint: String::new() })
            });
            self.rows.push(Attached { row: choice.row, way });
        }
        settle_hosted(&mut self.rows);
    }

    /// Tries again what a module may have brought since: optional rows without a way.
    pub fn attach_again(&mut self) {
        let absent: Vec<usize> = (0..self.rows.len())
            .filter(|i| self.rows[*i].row.optional && self.rows[*i].way.is_err())
            .collect();
        for index in absent {
            let row = self.rows[index].row;
            for way in row.ways.iter().filter(|way| way.method == Method::Kprobe) {
                if self.attach_way(row, way).is_ok() {
                    self.rows[index].way = Ok(way);
                    break;
                }
            }
        }
    }

    fn attach_way(&mut self, row: &Row, way: &Way) -> Result<()> {
        if self.fault.refuses(row.name) {
            bail!("refused on purpose by TRACER_FAULT");
        }
        let mut links = Vec::new();
        for name in way.programs {
            match self.attach_program(name, way) {
                Ok(link) => links.push(link),
                Err(error) => {
                    drop(links);
                    way.programs.iter().for_each(|name| self.unload(name));
                    return Err(error);
                }
            }
        }
        self.links.append(&mut links);
        Ok(())
    }

    fn attach_program(&mut self, name: &str, way: &Way) -> Result<Link> {
        let program =
            self.ebpf.program_mut(name).ok_or_else(|| anyhow!("the BPF object has no program {name}"))?;
        Ok(match (program, way.method) {
            (Program::FEntry(program), Method::Trampoline) => {
                program.load(way.symbol, &self.functions)?;
                let link = program.attach()?;
                Box::new(program.take_link(link)?)
            }
            (Program::FExit(program), Method::Trampoline) => {
                program.load(way.symbol, &self.functions)?;
                let link = program.attach()?;
                Box::new(program.take_link(link)?)
            }
            (Program::KProbe(program), Method::Kprobe) => {
                program.load()?;
                let link = program.attach(way.symbol, 0)?;
                Box::new(program.take_link(link)?)
            }
            (Program::RawTracePoint(program), Method::RawTracepoint) => {
                program.load()?;
                let link = program.attach(way.symbol)?;
                Box::new(program.take_link(link)?)
            }
            (Program::TracePoint(program), Method::Tracepoint) => {
                let (category, event) =
                    way.symbol.split_once('/').ok_or_else(|| anyhow!("no category in {}", way.symbol))?;
                program.load()?;
                let link = program.attach(category, event)?;
                Box::new(program.take_link(link)?)
            }
            _ => bail!("program {name} is not of the kind that its row says"),
        })
    }

    fn unload(&mut self, name: &str) {
        // Not loaded is fine: this tidies up after a failure.
        let _ = match self.ebpf.program_mut(name) {
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::KProbe(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            Some(Program::TracePoint(program)) => program.unload(),
            _ => Ok(()),
        };
    }

    /// Puts a kprobe on one call instruction.
    ///
    /// In the kernel itself the place is named `_stext` plus an offset: function names need not be unique
    /// (6.1 has two `do_fault`), and kernels since 6.6 refuse such names.
    pub fn attach_site(&mut self, program: &str, site: &Site, text_start: u64) -> Result<()> {
        if self.fault.refuses("call_site") {
            bail!("refused on purpose by TRACER_FAULT");
        }
        let program: &mut KProbe = self
            .ebpf
            .program_mut(program)
            .ok_or_else(|| anyhow!("the BPF object has no program {program}"))?
            .try_into()?;
        if program.fd().is_err() {
            program.load()?;
        }
        let link = match &site.module {
            Some(_) => program.attach(&site.function, site.offset)?,
            None => program.attach("_stext", site.addr - text_start)?,
        };
        self.links.push(Box::new(program.take_link(link)?));
        Ok(())
    }

    /// Runs the iterator: pids of this process's namespace, with their tgids in the initial one.
    pub fn namespace_pids(&mut self) -> Result<BTreeMap<u32, u32>> {
        let Some(Program::Iter(program)) = self.ebpf.program_mut("pids") else {
            bail!("the BPF object has no program pids");
        };
        if program.fd().is_err() {
            program.load("task", &self.functions)?;
        }
        let link = program.attach()?;
        let link = program.take_link(link)?;
        std::io::copy(&mut link.into_file()?, &mut std::io::sink())
            .context("cannot run the task iterator")?;
        let map: HashMap<_, u32, u32> = HashMap::try_from(map_mut(&mut self.ebpf, "PIDS")?)?;
        Ok(map.iter().filter_map(Result::ok).collect())
    }

    /// Marks a thread whose call on a pipe began before the probes attached.
    pub fn mark_in_flight(&mut self, tgid: u32, tid: u32, on: bool) -> Result<()> {
        let mut map: HashMap<_, u64, u32> = HashMap::try_from(map_mut(&mut self.ebpf, "IN_FLIGHT")?)?;
        let key = u64::from(tgid) << 32 | u64::from(tid);
        if on {
            map.insert(key, 1, 0)?;
        } else {
            // Already taken by the call's return, or by the next call.
            let _ = map.remove(&key);
        }
        Ok(())
    }

    /// Sets the gate that every program looks at first: one of [`abi::gate`].
    pub fn set_gate(&mut self, gate_state: u64) -> Result<()> {
        let mut gate: aya::maps::Array<_, u64> =
            aya::maps::Array::try_from(map_mut(&mut self.ebpf, ".bss")?)?;
        gate.set(0, gate_state, 0).context("cannot open the gate of the BPF programs")
    }

    /// A map of the object.
    pub fn map_mut(&mut self, name: &str) -> Result<&mut Map> {
        map_mut(&mut self.ebpf, name)
    }

    /// Says where CPUs keep their `preempt_count`.
    pub fn set_preempt(&self, preempt: abi::Preempt) -> Result<()> {
        mapped(&self.ebpf, "PREEMPT", 1)?.set(0, preempt);
        Ok(())
    }

    /// A map of processes: `SLOTS`, `AT_EXEC`.
    pub fn process_map(&mut self, name: &str) -> Result<HashMap<&mut MapData, u32, u32>> {
        Ok(HashMap::try_from(map_mut(&mut self.ebpf, name)?)?)
    }

    /// The queue of free slots.
    pub fn free_slots(&mut self) -> Result<Queue<&mut MapData, u32>> {
        Ok(Queue::try_from(map_mut(&mut self.ebpf, "FREE")?)?)
    }

    /// The object, for programs and maps with a user of their own (the witness).
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Statistics of a row's programs, summed.
    pub fn stats(&self, programs: &[&str]) -> sys::ProgramStats {
        let mut sum = sys::ProgramStats::default();
        for name in programs {
            let Some(Ok(fd)) = self.ebpf.program(name).map(Program::fd) else { continue };
            if let Ok(stats) = sys::program_stats(fd.as_fd()) {
                sum.runs += stats.runs;
                sum.run_time_ns += stats.run_time_ns;
                sum.recursion_misses += stats.recursion_misses;
            }
        }
        sum
    }

    /// `fexit`, `fentry`, `kprobe`, `kretprobe`, `raw_tracepoint`: the strongest of a way's programs.
    pub fn method(&self, way: &Way) -> &'static str {
        let kinds: BTreeMap<_, _> = way
            .programs
            .iter()
            .filter_map(|name| self.ebpf.program(name))
            .map(|program| match program {
                Program::FExit(_) => (0, "fexit"),
                Program::FEntry(_) => (1, "fentry"),
                Program::KProbe(p) if matches!(p.kind(), ProbeKind::Return) => (2, "kretprobe"),
                Program::KProbe(_) => (3, "kprobe"),
                Program::TracePoint(_) => (5, "tracepoint"),
                _ => (4, "raw_tracepoint"),
            })
            .collect();
        kinds.into_values().next().unwrap_or(way.method.name())
    }
}

impl Drop for Kernel {
    /// Detaches in parallel: each detach waits for an RCU grace period (0.06 s for a kprobe, 0.13 s for a
    /// trampoline on 6.1 under emulation), and waiters share it.
    fn drop(&mut self) {
        let mut links = std::mem::take(&mut self.links);
        std::thread::scope(|scope| {
            while !links.is_empty() {
                let some = links.split_off(links.len() - links.len().min(4));
                scope.spawn(move || drop(some));
            }
        });
    }
}

/// Why the kernel refuses BPF altogether, in words.
fn explain_load(error: anyhow::Error) -> anyhow::Error {
    let refusal = crate::refusal::explain_object(&error);
    anyhow!("the kernel refuses tracer's BPF object: {}\n  {}", refusal.why, refusal.hint)
}

fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    ebpf.map_mut(name).ok_or_else(|| anyhow!("the BPF object has no map {name}"))
}

/// Maps an array map into memory.
pub fn mapped<T: Copy>(ebpf: &Ebpf, name: &str, len: usize) -> Result<Mapped<T>> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        bail!("the BPF object has no array map {name}");
    };
    Mapped::new(data.fd().as_fd(), len).with_context(|| format!("cannot map {name} into memory"))
}
