//! Processes come and go: forks inherit the wish to be counted, exec starts it, exit ends it.

use aya_ebpf::{
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns,
        generated::bpf_get_current_cgroup_id,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_ebpf::abi::{Loss, OVERFLOW, Process, follow, marked::NOT_ENTERED};

use super::account::{current_slot, is_open, living, owned_by};
use super::kernel::Task;
use super::maps::{AT_EXEC, DEPTH, ENDED, FREE, LATE, PROCESSES, SLOTS, config, lose};
use super::{marked, switches::book_exit};

/// `BPF_NOEXIST`, include/uapi/linux/bpf.h, and the answer if there is an entry already.
const NO_EXIST: u64 = 1;
const EEXIST: i64 = -17;

/// Gives `tgid` a slot of its own, or a share of the overflow slot.
#[inline(always)]
fn admit(tgid: u32, parent: u32, start_boottime: u64) {
    let slot = match FREE.pop() {
        Ok(Some(slot)) => {
            if let Some(process) = PROCESSES.get_ptr_mut(slot) {
                let comm = bpf_get_current_comm().unwrap_or_default();
                // SAFETY: the slot was nobody's.
                unsafe {
                    let generation = (*process).generation;
                    let cgroup = bpf_get_current_cgroup_id();
                    *process = Process {
                        tgid,
                        parent,
                        start_boottime,
                        exited: 0,
                        comm,
                        cgroup,
                        generation,
                        reserved: 0,
                    };
                }
            }
            slot
        }
        _ => {
            lose(Loss::SlotsUsedUp);
            OVERFLOW
        }
    };
    if let Err(error) = SLOTS.insert(&tgid, &slot, NO_EXIST) {
        // Userspace entered it meanwhile: then it has a slot.
        if error as i64 != EEXIST {
            lose(Loss::ProcessMapFull);
        }
        give_back(slot);
    }
}

/// Nothing was counted in the slot yet.
#[inline(always)]
fn give_back(slot: u32) {
    if slot == OVERFLOW {
        return;
    }
    if let Some(process) = PROCESSES.get_ptr_mut(slot) {
        // SAFETY: the slot is nobody's.
        unsafe { (*process).tgid = 0 };
    }
    let _ = FREE.push(&slot, 0);
}

/// `sched_process_fork(parent, child)`.
#[raw_tracepoint]
pub fn forked(ctx: RawTracePointContext) -> i32 {
    let child = Task::at(ctx.arg(1));
    let parent = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(tgid) = child.field::<u32>(config!(task_tgid)) else { return 0 };
    // A new thread is counted with its process.
    if tgid == parent || child.is_kernel_thread() {
        return 0;
    }
    // This pid is no longer that of a process that had it before.
    let _ = LATE.remove(&tgid);
    let follows = config!(follow);
    // A helper that the kernel starts (since 5.19) returns from an exec that it never called.
    if follows == follow::EVERYONE && Task::current().is_kernel_thread() {
        marked::set((tgid as u64) << 32 | tgid as u64, NOT_ENTERED);
    }
    // Userspace may have found it first, in /proc.
    if SLOTS.get_ptr(&tgid).is_some() {
        return 0;
    }
    if follows == follow::EVERYONE || (follows == follow::CHILDREN && SLOTS.get_ptr(&parent).is_some()) {
        let start = child.field::<u64>(config!(task_start_boottime)).unwrap_or(0);
        admit(tgid, parent, start);
        #[cfg(feature = "log")]
        aya_log_ebpf::info!(&ctx, "process {} forked {}", parent, tgid);
    }
    0
}

/// `sched_process_exec(task, old_pid, bprm)`.
#[raw_tracepoint]
pub fn execed(ctx: RawTracePointContext) -> i32 {
    let id = bpf_get_current_pid_tgid();
    if !executes(id) && config!(follow) == follow::EVERYONE {
        // A helper that the kernel starts is a kernel thread until here (up to 5.18).
        let start = Task::at(ctx.arg(0)).field::<u64>(config!(task_start_boottime)).unwrap_or(0);
        admit((id >> 32) as u32, 0, start);
        marked::set(id, NOT_ENTERED);
    }
    #[cfg(feature = "log")]
    aya_log_ebpf::info!(&ctx, "process {} executes another program", (id >> 32) as u32);
    0
}

/// The same where no structure can be read: of processes that userspace has entered.
#[raw_tracepoint]
pub fn execed_from_list(_: RawTracePointContext) -> i32 {
    executes(bpf_get_current_pid_tgid());
    0
}

/// The current process executes another program; false if it has no slot.
#[inline(always)]
fn executes(id: u64) -> bool {
    let tgid = (id >> 32) as u32;
    // SAFETY: the value is copied out.
    let slot = unsafe { AT_EXEC.get(&tgid) }.copied();
    if let Some(slot) = slot {
        let _ = AT_EXEC.remove(&tgid);
        marked::set(id, NOT_ENTERED);
        if SLOTS.insert(&tgid, &slot, 0).is_err() {
            lose(Loss::ProcessMapFull);
        }
    }
    // SAFETY: the value is copied out.
    let Some(slot) = (unsafe { SLOTS.get(&tgid) }).copied() else { return false };
    if slot != OVERFLOW
        && let Some(process) = PROCESSES.get_ptr_mut(slot)
        && let Ok(comm) = bpf_get_current_comm()
    {
        // SAFETY: the slot belongs to this process.
        unsafe {
            (*process).comm = comm;
            (*process).cgroup = bpf_get_current_cgroup_id();
        }
    }
    true
}

/// A thread ends after the process did: `signal->live` is lowered early in `do_exit()`, so all threads that are past that
/// see 0, and the first of them to come here ends the process. Six of 500 threads that end right before their process
/// came second (6.1, two CPUs).
#[inline(always)]
fn exited_late(id: u64) {
    // SAFETY: the value is copied out.
    let Some(owner) = (unsafe { LATE.get(&((id >> 32) as u32)) }).copied() else { return };
    let _ = DEPTH.remove(&id);
    marked::take(id);
    if is_open() {
        // Userspace may have given the slot back: then nobody's ledger is left but the one of all that have none.
        book_exit(living(owner).unwrap_or(OVERFLOW));
    }
}

/// `sched_process_exit(task, ...)`: the last thread of a process has `signal->live` at 0 here.
#[raw_tracepoint]
pub fn exited(ctx: RawTracePointContext) -> i32 {
    let id = bpf_get_current_pid_tgid();
    let tgid = (id >> 32) as u32;
    // The only process has its slot until the end.
    if config!(only_tgid) != 0 {
        if let Some(slot) = current_slot() {
            book_exit(slot);
        }
        return 0;
    }
    // SAFETY: the value is copied out.
    let Some(slot) = (unsafe { SLOTS.get(&tgid) }).copied() else {
        exited_late(id);
        return 0;
    };
    if is_open() {
        book_exit(slot);
    }
    let _ = DEPTH.remove(&id);
    marked::take(id);
    let task = Task::at(ctx.arg(0));
    let Some(signal) = task.field::<u64>(config!(task_signal)) else { return 0 };
    let Some(live) = Task::at(signal).field::<u32>(config!(signal_live)) else { return 0 };
    if live != 0 {
        return 0;
    }
    // Before it has no entry any more, so that a thread finds one of the two.
    if LATE.insert(&tgid, &owned_by(slot), 0).is_err() {
        lose(Loss::ProcessMapFull);
    }
    // Two threads may both see 0: one of them removes the entry, and speaks for both.
    if SLOTS.remove(&tgid).is_err() || slot == OVERFLOW {
        return 0;
    }
    if let Some(process) = PROCESSES.get_ptr_mut(slot) {
        // SAFETY: the slot belongs to this process until userspace frees it.
        unsafe {
            (*process).cgroup = bpf_get_current_cgroup_id();
            // It may have renamed itself; another thread's name is its own.
            if tgid == id as u32
                && let Ok(comm) = bpf_get_current_comm()
            {
                (*process).comm = comm;
            }
            (*process).exited = bpf_ktime_get_ns();
        }
    }
    // There is room for every slot once. Were it refused, the slot would not be used again.
    let _ = ENDED.output::<u32>(slot, 0);
    #[cfg(feature = "log")]
    aya_log_ebpf::info!(&ctx, "process {} ended", tgid);
    0
}
