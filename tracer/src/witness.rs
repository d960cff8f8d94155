//! The witness: hardware execution breakpoints on the copy primitives themselves, which refuse every
//! other probe. Four slots per CPU, entry only, x86_64.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::perf_event::{
    BreakpointConfig, PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy,
};
use aya::programs::{PerfEvent, Program};
use tracer_ebpf::abi::{Count, DIRECTIONS, Direction, SITE, WitnessKey};
use tracer_ebpf::table::{PRIMITIVES, Primitive, ROWS};

use crate::load::Kernel;

/// Hardware breakpoints that one CPU has (DR0 to DR3).
pub const SLOTS: usize = 4;

/// `ENOSPC`.
const NO_BREAKPOINT_LEFT: i32 = 28;

/// [`WitnessKey`] and [`Count`] for aya's maps.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Pod<T>(T);
// SAFETY: `repr(C)`, integers only, no padding.
unsafe impl aya::Pod for Pod<WitnessKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Pod<Count> {}

/// Breakpoints in place, by program.
pub struct Breakpoints {
    links: Vec<(&'static str, PerfEventLinkId)>,
}

/// What one call site was seen to copy.
#[derive(Clone, Copy, Debug)]
pub struct Testimony {
    pub return_address: u64,
    pub primitive: &'static Primitive,
    pub direction: Direction,
    pub count: Count,
}

/// What the probe on one call site counted.
#[derive(Clone, Copy, Debug)]
pub struct SiteCount {
    /// Of the call instruction.
    pub address: u64,
    pub direction: Direction,
    pub bytes: u64,
}

/// Both sides, by call site.
#[derive(Default)]
pub struct Heard {
    pub testimonies: Vec<Testimony>,
    pub sites: Vec<SiteCount>,
}

/// Places breakpoints on primitives, on every CPU.
pub fn place(kernel: &mut Kernel, primitives: &[(&'static Primitive, u64)]) -> Result<Breakpoints> {
    let cpus = aya::util::online_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
    let mut placed = Breakpoints { links: Vec::new() };
    for (primitive, address) in primitives {
        let program = program(kernel, primitive.witness_program)?;
        if program.fd().is_err() {
            program.load().context("the kernel refuses the breakpoint program")?;
        }
        for cpu in &cpus {
            let link = place_one(program, *address, *cpu).with_context(|| {
                format!("cannot place a hardware breakpoint on {} (CPU {cpu})", primitive.name)
            })?;
            placed.links.push((primitive.witness_program, link));
        }
    }
    Ok(placed)
}

fn place_one(program: &mut PerfEvent, address: u64, cpu: u32) -> Result<PerfEventLinkId> {
    let placed = program.attach(
        PerfEventConfig::Breakpoint(BreakpointConfig::Instruction { address }),
        PerfEventScope::AllProcessesOneCpu { cpu },
        SamplePolicy::Period(1),
        false,
    );
    match placed {
        Err(error) if is_out_of_breakpoints(&error) => Err(anyhow!(error).context(format!(
            "none of the CPU's {SLOTS} is free: other users hold them (a debugger, `perf record -e mem:...`, kgdb, \
             another audit)\n  end them, or name fewer functions with --primitive"
        ))),
        placed => Ok(placed?),
    }
}

/// ENOSPC, wherever in the chain of causes it is.
fn is_out_of_breakpoints(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let os = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        os == Some(NO_BREAKPOINT_LEFT)
    })
}

impl Breakpoints {
    /// Takes them away.
    pub fn remove(self, kernel: &mut Kernel) -> Result<()> {
        for (name, link) in self.links {
            program(kernel, name)?.detach(link)?;
        }
        Ok(())
    }
}

fn program<'a>(kernel: &'a mut Kernel, name: &str) -> Result<&'a mut PerfEvent> {
    match kernel.object().program_mut(name) {
        Some(Program::PerfEvent(program)) => Ok(program),
        _ => bail!("the BPF object has no breakpoint program {name}"),
    }
}

/// Takes what the witness saw and what probes on call sites counted, and leaves its maps empty: a call that
/// still runs must not be compared in the next window, of which it has only a part.
pub fn hear(kernel: &mut Kernel) -> Result<Heard> {
    let compared = kernel.object().map_mut("COMPARED").context("the BPF object has no map COMPARED")?;
    let mut compared: HashMap<&mut MapData, u64, u32> = HashMap::try_from(compared)?;
    for thread in compared.keys().filter_map(Result::ok).collect::<Vec<_>>() {
        compared.remove(&thread)?;
    }
    let map = kernel.object().map_mut("WITNESS").context("the BPF object has no map WITNESS")?;
    let mut map: HashMap<&mut MapData, Pod<WitnessKey>, Pod<Count>> = HashMap::try_from(map)?;
    let entries: Vec<_> = map.iter().filter_map(Result::ok).collect();
    let mut heard = Heard::default();
    for (key, count) in entries {
        map.remove(&key)?;
        if key.0.primitive == SITE {
            heard.sites.extend(site(key.0, count.0));
        } else {
            heard.testimonies.extend(testimony(key.0, count.0));
        }
    }
    Ok(heard)
}

fn site(key: WitnessKey, count: Count) -> Option<SiteCount> {
    let direction = *Direction::ALL.get(key.direction as usize)?;
    Some(SiteCount { address: key.return_address, direction, bytes: count.bytes })
}

fn testimony(key: WitnessKey, count: Count) -> Option<Testimony> {
    Some(Testimony {
        return_address: key.return_address,
        primitive: PRIMITIVES.get(key.primitive as usize)?,
        direction: *Direction::ALL.get(key.direction as usize)?,
        count,
    })
}

/// Takes what the probes counted since the last time, by row and direction.
pub fn counted(kernel: &mut Kernel) -> Result<BTreeMap<&'static str, [u64; DIRECTIONS]>> {
    let map = kernel.object().map_mut("AUDIT").context("the BPF object has no map AUDIT")?;
    let mut map: Array<&mut MapData, Pod<Count>> = Array::try_from(map)?;
    let mut rows = BTreeMap::new();
    for (index, row) in ROWS.iter().enumerate() {
        let mut bytes = [0; DIRECTIONS];
        for (direction, bytes) in bytes.iter_mut().enumerate() {
            let slot = (index * DIRECTIONS + direction) as u32;
            *bytes = map.get(&slot, 0)?.0.bytes;
            map.set(slot, Pod(Count::default()), 0)?;
        }
        rows.insert(row.name, bytes);
    }
    Ok(rows)
}
