//! Whom a preempted program concerns. On kernels that preempt BPF programs, one that was preempted is
//! skipped on its CPU for every other task until it goes on, and the kernel counts the skipped runs of all
//! tasks together. They are losses only if a counted task ran on such a CPU meanwhile: that is seen here.
//!
//! A task that is switched away from inside a program has migration disabled: trampolines disable it before
//! they take the program's recursion context and enable it after they give it back
//! (`__bpf_prog_enter_recur`, kernel/bpf/trampoline.c). It goes on on the same CPU therefore.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray},
};
use tracer_ebpf::abi::{Preempted, follow};

use super::kernel::Task;
use super::maps::{AT_EXEC, SLOTS, add, config};

/// This CPU's state.
#[map]
static PREEMPTED: PerCpuArray<Preempted> = PerCpuArray::with_max_entries(1, 0);

/// How often a counted task got a CPU on which another task had been preempted inside a program.
#[map]
static CONCERNED: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A context switch, called with interrupts off.
#[inline(always)]
pub fn switched(prev: Task, next: Task) {
    let Some(state) = PREEMPTED.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own value, and nothing interrupts a context switch.
    let state = unsafe { &mut *state };
    if may_be_in_a_program(prev) {
        state.tasks += 1;
    }
    let mut unseen = false;
    if may_be_in_a_program(next) {
        // Switched away from before this program was attached: what ran meanwhile is not known.
        unseen = state.tasks == 0;
        state.tasks -= !unseen as u32;
    }
    state.concerned = (state.tasks != 0 && is_counted(next)) as u32;
    if (unseen || state.concerned != 0)
        && let Some(count) = CONCERNED.get_ptr_mut(0)
    {
        add(count, 1);
    }
}

#[inline(always)]
fn may_be_in_a_program(task: Task) -> bool {
    task.field::<u16>(config!(task_migration_disabled)).is_none_or(|depth| depth != 0)
}

/// True for a process that is counted once the gate is open, or from its exec on.
#[inline(always)]
fn is_counted(task: Task) -> bool {
    let Some(tgid) = task.field::<u32>(config!(task_tgid)) else { return true };
    let only = config!(only_tgid);
    if only != 0 {
        return tgid == only;
    }
    config!(follow) == follow::EVERYONE || SLOTS.get_ptr(&tgid).is_some() || AT_EXEC.get_ptr(&tgid).is_some()
}
