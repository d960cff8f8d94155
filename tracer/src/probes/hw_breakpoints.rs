//! The witness: hardware execution breakpoints on the copy primitives themselves, which refuse every
//! other probe. Four slots per CPU, entry only, x86_64.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{HashMap, MapData};
use aya::programs::perf_event::{
    BreakpointConfig, PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy,
};
use aya::programs::{PerfEvent, Program};
use tracer_ebpf::abi::{CALL, Count, Direction, Path, SITE, WitnessKey};
use tracer_ebpf::table::{AUDITED, PRIMITIVES, Primitive, ROWS, audit_index};

use crate::probes::{self, Kernel};
use crate::sys::Mapped;

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
    /// `None`: the task was in no service that tracer knows.
    pub path: Option<Path>,
    pub count: Count,
}

/// What the probe on one call site counted.
#[derive(Clone, Copy, Debug)]
pub struct SiteCount {
    /// Of the call instruction.
    pub address: u64,
    pub direction: Direction,
    pub path: Option<Path>,
    pub bytes: u64,
}

/// Both sides, by call site.
#[derive(Default)]
pub struct Heard {
    pub testimonies: Vec<Testimony>,
    pub sites: Vec<SiteCount>,
    /// What calls of `memcpy` and the like were asked for, by the address of the call instruction.
    pub calls: BTreeMap<u64, Count>,
}

/// Bytes that one row counted, by path and direction; what is absent is 0.
pub type Counted = BTreeMap<(Path, Direction), u64>;

/// Places breakpoints on primitives, on every CPU.
pub fn place(kernel: &mut Kernel, primitives: &[(&'static Primitive, u64)]) -> Result<Breakpoints> {
    let points = primitives.iter().map(|(primitive, address)| Point {
        program: primitive.witness_program,
        address: *address,
        name: primitive.name.to_owned(),
    });
    place_all(kernel, points)
}

/// Places breakpoints on call instructions of `memcpy` and the like, in these functions, on every CPU.
pub fn place_calls(kernel: &mut Kernel, calls: &[(&'static str, u64)]) -> Result<Breakpoints> {
    let points = calls.iter().map(|(function, address)| Point {
        program: "witness_call",
        address: *address,
        name: format!("a call in {function}"),
    });
    place_all(kernel, points)
}

/// A breakpoint to place.
struct Point {
    program: &'static str,
    address: u64,
    /// For messages.
    name: String,
}

fn place_all(kernel: &mut Kernel, points: impl Iterator<Item = Point>) -> Result<Breakpoints> {
    let cpus = aya::util::online_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
    let mut placed = Breakpoints { links: Vec::new() };
    for point in points {
        let program = program(kernel, point.program)?;
        if program.fd().is_err() {
            program.load().context("the kernel refuses the breakpoint program")?;
        }
        for cpu in &cpus {
            let link = place_one(program, point.address, *cpu).with_context(|| {
                format!("cannot place a hardware breakpoint on {} (CPU {cpu})", point.name)
            })?;
            placed.links.push((point.program, link));
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
        match key.0.primitive {
            SITE => heard.sites.extend(site(key.0, count.0)),
            CALL => drop(heard.calls.insert(key.0.return_address, count.0)),
            _ => heard.testimonies.extend(testimony(key.0, count.0)),
        }
    }
    Ok(heard)
}

fn site(key: WitnessKey, count: Count) -> Option<SiteCount> {
    let direction = *Direction::ALL.get(key.direction as usize)?;
    let path = Path::ALL.get(key.path as usize).copied();
    Some(SiteCount { address: key.return_address, direction, path, bytes: count.bytes })
}

fn testimony(key: WitnessKey, count: Count) -> Option<Testimony> {
    Some(Testimony {
        return_address: key.return_address,
        primitive: PRIMITIVES.get(key.primitive as usize)?,
        direction: *Direction::ALL.get(key.direction as usize)?,
        path: Path::ALL.get(key.path as usize).copied(),
        count,
    })
}

/// Takes what the probes counted since the last time, by row.
pub fn counted(kernel: &mut Kernel) -> Result<BTreeMap<&'static str, Counted>> {
    let map: Mapped<Count> = probes::mapped(kernel.object(), "AUDIT", AUDITED)?;
    let cells = Path::ALL.into_iter().flat_map(|path| Direction::ALL.map(|direction| (path, direction)));
    let mut rows: BTreeMap<&'static str, Counted> = BTreeMap::new();
    for (index, row) in ROWS.iter().enumerate() {
        for (path, direction) in cells.clone() {
            let slot = audit_index(index as u32, path, direction) as usize;
            let bytes = map.get(slot).map_or(0, |count| count.bytes);
            if bytes > 0 {
                map.set(slot, Count::default());
                rows.entry(row.name).or_default().insert((path, direction), bytes);
            }
        }
    }
    Ok(rows)
}
