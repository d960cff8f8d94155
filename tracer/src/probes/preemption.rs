//! Whom the kernel's skipped runs concern, where it preempts BPF programs: see `bpf/preempt.rs`.

use anyhow::Result;
use aya::maps::PerCpuArray;
use serde::{Deserialize, Serialize};
use tracer_ebpf::abi;

use crate::probes::{self, Kernel};
use crate::sys::Mapped;

/// What context switches have told since counting began.
pub struct Preemption {
    concerned: Mapped<u64>,
    pub at_begin: AtBegin,
}

/// How it was when counting began.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct AtBegin {
    concerned: u64,
    /// A counted task ran on such a CPU.
    running: bool,
}

/// [`abi::Preempted`] for aya's maps.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodPreempted(abi::Preempted);
// SAFETY: `Preempted` is `repr(C)` and consists of u32 only.
unsafe impl aya::Pod for PodPreempted {}

impl Preemption {
    /// To be called right before counting begins: what is skipped from here on is told.
    pub fn begin(kernel: &mut Kernel) -> Result<Self> {
        let concerned: Mapped<u64> = probes::mapped(kernel.object(), "CONCERNED", 1)?;
        let before = concerned.get(0).unwrap_or(0);
        let states: PerCpuArray<_, PodPreempted> = PerCpuArray::try_from(kernel.map_mut("PREEMPTED")?)?;
        let running = states.get(&0, 0)?.iter().any(|state| state.0.concerned != 0);
        Ok(Preemption { concerned, at_begin: AtBegin { concerned: before, running } })
    }

    /// Where counting began with an earlier process.
    pub fn resume(kernel: &mut Kernel, at_begin: AtBegin) -> Result<Self> {
        Ok(Preemption { concerned: probes::mapped(kernel.object(), "CONCERNED", 1)?, at_begin })
    }

    /// True if no counted task ran where a program was preempted: then nothing of theirs was skipped.
    pub fn concerns_nobody(&self) -> bool {
        !self.at_begin.running && self.concerned.get(0) == Some(self.at_begin.concerned)
    }
}
