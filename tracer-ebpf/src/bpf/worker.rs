//! Kernel threads that work on a process's memory, as vhost's do up to 6.1: they are counted with that process.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_ebpf::abi::{ABSENT, Loss};

use super::kernel::{Task, read};
use super::maps::{SLOTS, config, lose};

/// The kernel thread's id, which is the process's that has it as its only thread.
#[inline(always)]
fn worker() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// `kthread_use_mm(mm)`: the process is the one that the memory belongs to.
#[inline(always)]
fn begins(mm: u64) {
    if config!(mm_owner) == ABSENT {
        return;
    }
    let Some(owner) = read::<u64>(mm, config!(mm_owner)) else { return };
    if owner == 0 {
        return;
    }
    let Some(process) = Task::at(owner).field::<u32>(config!(task_tgid)) else { return };
    // Also before counting begins. SAFETY: the value is copied out.
    let Some(slot) = (unsafe { SLOTS.get(&process) }).copied() else { return };
    if SLOTS.insert(&worker(), &slot, 0).is_err() {
        lose(Loss::ProcessMapFull);
    }
}

/// `kthread_unuse_mm(mm)`
#[inline(always)]
fn ends() {
    let worker = worker();
    if SLOTS.get_ptr(&worker).is_some() {
        let _ = SLOTS.remove(&worker);
    }
}

#[fentry]
pub fn worker_begins_fentry(ctx: FEntryContext) -> i32 {
    begins(ctx.arg(0));
    0
}
#[kprobe]
pub fn worker_begins_kprobe(ctx: ProbeContext) -> u32 {
    begins(ctx.arg(0).unwrap_or(0));
    0
}
#[fentry]
pub fn worker_ends_fentry(_: FEntryContext) -> i32 {
    ends();
    0
}
#[kprobe]
pub fn worker_ends_kprobe(_: ProbeContext) -> u32 {
    ends();
    0
}
