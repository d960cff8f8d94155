//! The only user of aya's loader: loads what the plan chose, attaches it, and keeps it attached.

mod attach;
pub mod attach_btf;
pub mod attach_error;
#[cfg(feature = "log")]
pub mod bpf_log;
mod detach;
pub mod hw_breakpoints;
mod links;
mod pairs;
pub mod pins;
pub mod plan;
pub mod preemption;
mod rows;
mod slots;
pub mod state_map;

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{HashMap, Map, MapData, Queue, RingBuf};
use aya::programs::Program;
use aya::{Btf, Ebpf, EbpfLoader};
use serde::{Deserialize, Serialize};
use tracer_ebpf::abi::{self, Config, FIRST_PROCESS, Loss, gate};
use tracer_ebpf::table::AUDITED;

use self::detach::Detached;
use self::links::Links;
use self::pins::Pins;
use self::state_map::Kept;
use crate::kernel::Facts;
use crate::kernel::in_flight::Waiting;
use crate::model::fault_injection::Fault;
use crate::sys::{self, Mapped};

pub use self::links::all_are_links;
pub use self::rows::Attached;
#[cfg(test)]
pub(crate) use self::{pairs::settle, rows::settle_hosted};

/// The BPF object, embedded by build.rs; empty if it was built without the BPF tools.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-bpf"));

/// The map of the programs' variables: one, the gate.
const BSS: &str = ".bss";

/// [`Config`] for aya's loader.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodConfig(Config);
// SAFETY: `Config` is `repr(C)` and consists of u32 only.
unsafe impl aya::Pod for PodConfig {}

/// How many of what the maps hold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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

/// Loaded programs and their maps. Dropping it detaches everything.
pub struct Kernel {
    links: Links,
    ebpf: Ebpf,
    functions: Btf,
    fault: Fault,
    pub sizes: Sizes,
    /// True if the programs know but one process: its ledger is the total as well.
    pub counts_one: bool,
    pub rows: Vec<Attached>,
    pub ledgers: Mapped<abi::Ledger>,
    pub processes: Mapped<abi::Process>,
    pub losses: Mapped<u64>,
    /// Only if copies are counted by size.
    pub copy_sizes: Option<Mapped<abi::CopySizes>>,
    ended: RingBuf<MapData>,
    /// What the next daemon will need, if it goes on where this one ends.
    pub kept: Option<Kept>,
    /// The last field, so that it is dropped when all descriptors of programs are closed.
    detached: Detached,
}

/// Where the maps are pinned, and whether they are there already, and in use.
#[derive(Clone, Copy)]
pub struct Pinned<'a> {
    pub pins: &'a Pins,
    pub adopts: bool,
}

impl Kernel {
    /// Creates the maps, or opens those that are pinned. No program is loaded yet.
    pub fn create(
        config: Config,
        sizes: Sizes,
        facts: &Facts,
        fault: Fault,
        pinned: Option<Pinned<'_>>,
    ) -> Result<Self> {
        if OBJECT.is_empty() {
            bail!(
                "this tracer was built without its BPF programs\n  \
                 run `cargo xtask setup` and `cargo xtask build`"
            );
        }
        sys::lift_memlock();
        let functions =
            attach_btf::functions(|name| facts.function_id(name), |name| facts.tracepoint_id(name))
                .context("cannot describe the functions to attach to")?;
        let adopts = pinned.is_some_and(|pinned| pinned.adopts);
        let mut ebpf = object(config, sizes, pinned)?;
        let copy_sizes = sizes.slots() * sizes.copy_sizes_shards;
        let ledgers = mapped(&ebpf, "LEDGERS", (sizes.slots() * sizes.shards) as usize)?;
        let processes = mapped(&ebpf, "PROCESSES", sizes.slots() as usize)?;
        let losses = mapped(&ebpf, "LOSSES", abi::LOSSES)?;
        let copy_sizes = match copy_sizes {
            0 => None,
            elements => Some(mapped(&ebpf, "COPY_SIZES", elements as usize)?),
        };
        let ended = ebpf.take_map("ENDED").ok_or_else(|| anyhow!("the BPF object has no map ENDED"))?;
        let ended = RingBuf::try_from(ended).context("cannot map ENDED into memory")?;
        if !adopts {
            let mut free = Queue::try_from(map_mut(&mut ebpf, "FREE")?)?;
            for slot in FIRST_PROCESS..sizes.slots() {
                free.push(slot, 0).context("cannot fill the queue of free slots")?;
            }
        }
        let kept = match pinned {
            Some(_) => ebpf.take_map("KEPT").map(Kept::new).transpose()?,
            None => None,
        };
        Ok(Kernel {
            links: Links::new(facts),
            ebpf,
            functions,
            fault,
            sizes,
            counts_one: config.only_tgid != 0,
            rows: Vec::new(),
            ledgers,
            processes,
            losses,
            copy_sizes,
            ended,
            kept,
            detached: Detached::default(),
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

    /// Marks threads whose calls on pipes began before the probes attached. The gate is closed.
    pub fn mark_in_flight(&mut self, threads: &[Waiting]) -> Result<()> {
        let marks: Mapped<u64> = mapped(&self.ebpf, "MARKS", abi::MARKS as usize)?;
        let mut map = self.marked()?;
        for thread in threads {
            map.insert(thread.pid_tgid(), abi::marked::IN_FLIGHT, 0)?;
            marks.add(abi::mark(thread.tid) as usize, 1);
        }
        Ok(())
    }

    /// Takes a mark back. It stays counted in `MARKS`, which costs look-ups and nothing else.
    pub fn unmark(&mut self, thread: &Waiting) -> Result<()> {
        // Already taken by the call's return, or by the next call.
        let _ = self.marked()?.remove(&thread.pid_tgid());
        Ok(())
    }

    fn marked(&mut self) -> Result<HashMap<&mut MapData, u64, u32>> {
        Ok(HashMap::try_from(map_mut(&mut self.ebpf, "MARKED")?)?)
    }

    /// Sets the gate that every program looks at first: one of [`abi::gate`].
    pub fn set_gate(&mut self, gate_state: u64) -> Result<()> {
        let mut gate: aya::maps::Array<_, u64> = aya::maps::Array::try_from(map_mut(&mut self.ebpf, BSS)?)?;
        gate.set(0, gate_state, 0).context("cannot open the gate of the BPF programs")
    }

    /// What may go wrong when this is dropped.
    pub fn warning(&self) -> Option<&'static str> {
        self.links.detach().warning()
    }

    /// Leaves all detaching to a child when this is dropped, not only what takes seconds.
    pub fn leave_detaching(&mut self) {
        self.links.leave_all();
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

    /// Makes the map of callers hold `wanted` and nothing else: classes by return address.
    ///
    /// # Errors
    /// The map is full, or the kernel refuses an entry: each entry that is missing is counted as a loss.
    pub fn set_callers(&mut self, wanted: &BTreeMap<u64, u32>) -> Result<()> {
        let mut map: HashMap<_, u64, u32> = HashMap::try_from(map_mut(&mut self.ebpf, "CALLERS")?)?;
        let known: BTreeMap<u64, u32> = map.iter().filter_map(Result::ok).collect();
        for address in known.keys().filter(|address| !wanted.contains_key(address)) {
            // Text of a module that is gone.
            let _ = map.remove(address);
        }
        let changed = wanted.iter().filter(|(address, class)| known.get(address) != Some(class));
        let failed: Vec<_> =
            changed.filter_map(|(address, class)| map.insert(address, class, 0).err()).collect();
        self.losses.add(Loss::CallersMapFull as usize, failed.len() as u64);
        match failed.into_iter().next() {
            Some(error) => Err(error).context("the map of callers takes no more"),
            None => Ok(()),
        }
    }

    /// The queue of free slots.
    pub fn free_slots(&mut self) -> Result<Queue<&mut MapData, u32>> {
        Ok(Queue::try_from(map_mut(&mut self.ebpf, "FREE")?)?)
    }

    /// The object, for programs and maps with a user of their own (the witness).
    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

/// Tells one version of tracer, and one build of the BPF object, from another.
pub fn object_id() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, OBJECT);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {digest}", env!("CARGO_PKG_VERSION"))
}

/// Why the kernel refuses BPF altogether, in words.
fn explain_load(error: anyhow::Error) -> anyhow::Error {
    let refusal = crate::probes::attach_error::explain_object(&error);
    anyhow!("the kernel refuses tracer's BPF object: {}\n  {}", refusal.why, refusal.hint)
}

/// The object with its maps: new ones, or those that are pinned.
fn object(config: Config, sizes: Sizes, pinned: Option<Pinned<'_>>) -> Result<Ebpf> {
    let config = PodConfig(Config {
        shard_mask: sizes.shards - 1,
        copy_sizes: (sizes.copy_sizes_shards > 0).into(),
        copy_sizes_shard_mask: sizes.copy_sizes_shards.saturating_sub(1),
        ..config
    });
    // The loader writes it into the map even if that is pinned, and programs look at it meanwhile.
    let gate_state = match pinned {
        Some(Pinned { pins, adopts: true }) => gate_of(pins)?,
        _ => gate::CLOSED,
    };
    let kept_maps = match pinned {
        Some(_) => pins::kept_maps(OBJECT)?,
        None => Vec::new(),
    };
    let mut loader = EbpfLoader::new();
    for (name, pinned) in kept_maps.iter().zip(std::iter::repeat(pinned).flatten()) {
        loader.map_pin_path(name, pinned.pins.map(name));
    }
    loader
        // The programs have nothing to relocate: offsets are in CONFIG.
        .btf(None)
        .override_global("CONFIG", &config, true)
        .override_global("GATE", &gate_state, true)
        .map_max_entries("AUDIT", if config.0.audit == 0 { 1 } else { AUDITED as u32 })
        .map_max_entries("LEDGERS", sizes.slots() * sizes.shards)
        .map_max_entries("COPY_SIZES", (sizes.slots() * sizes.copy_sizes_shards).max(1))
        .map_max_entries("PROCESSES", sizes.slots())
        .map_max_entries("SLOTS", (sizes.processes * 4).max(64))
        .map_max_entries("FREE", sizes.processes)
        .map_max_entries("ENDED", slots::ring_bytes(sizes.processes))
        // 5.10 charges a map as if it were full.
        .map_max_entries("KEPT", if pinned.is_some() { abi::CHUNKS } else { 1 })
        .load(OBJECT)
        .map_err(|error| explain_load(error.into()))
}

/// State of the gate of programs that are pinned.
fn gate_of(pins: &Pins) -> Result<u64> {
    let map = MapData::from_pin(pins.map(BSS))?;
    let gate: aya::maps::Array<_, u64> = aya::maps::Array::try_from(Map::Array(map))?;
    Ok(gate.get(&0, 0)?)
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
