//! Crossings of the user/kernel boundary, context switches, and payload from return values.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_MMAPABLE,
    helpers::bpf_get_current_pid_tgid,
    macros::{btf_tracepoint, fentry, kprobe, map, raw_tracepoint, tracepoint},
    maps::Array,
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext, TracePointContext},
};
use tracer_ebpf::abi::marked::{IN_FLIGHT, NO, NOT_ENTERED};
use tracer_ebpf::abi::{Direction, Path};
use tracer_ebpf::{syscalls, table::row};

use super::account::{Kind, book, book_copy, book_reference, compare, counter, current_slot, raise};
use super::kernel::{
    Pointer, REGS_CS, REGS_DI, REGS_ORIG_AX, Task, call_and_segment, called_by_socketcall, entry,
    is_compat_mode, read,
};
use super::maps::{IN_SOFTIRQ, REGS_OFFSET, add, config};
use super::{discard, marked, preempt};

/// `[0]`: a mark that userspace makes up and passes as the first argument of one system call;
/// `[1]`: who made that call, as the initial pid namespace names it.
#[map]
static CALIBRATION: Array<u64> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// `sys_enter(regs, id)`, attached for one system call of tracer's own: measures where a task's
/// registers lie on its stack.
#[raw_tracepoint]
pub fn calibrate(ctx: RawTracePointContext) -> i32 {
    let regs: u64 = ctx.arg(0);
    if CALIBRATION.get(0).copied() != read(regs, REGS_DI) {
        return 0;
    }
    if let (Some(stack), Some(offset), Some(tgid)) =
        (Task::current().stack(), REGS_OFFSET.get_ptr_mut(0), CALIBRATION.get_ptr_mut(1))
    {
        // SAFETY: map values; the marked call is the only writer.
        unsafe {
            *offset = regs - stack;
            *tgid = bpf_get_current_pid_tgid() >> 32;
        }
    }
    0
}

/// `sys_enter(regs, id)`: attached for an audit alone.
#[raw_tracepoint]
pub fn sys_enter(_: RawTracePointContext) -> i32 {
    entered()
}

/// The same through perf.
#[tracepoint]
pub fn sys_enter_perf(_: TracePointContext) -> u32 {
    entered() as u32
}

#[inline(always)]
fn entered() -> i32 {
    if current_slot().is_some() {
        compare();
    }
    0
}

/// `sys_exit(regs, ret)`.
#[raw_tracepoint]
pub fn sys_exit(ctx: RawTracePointContext) -> i32 {
    let Some(slot) = current_slot() else { return 0 };
    let task = Task::current();
    if let Some(regs) = task.registers()
        && let Some(nr) = regs.call_number()
    {
        returned::<true>(slot, task.is_compat(), regs, nr, ctx.arg(1));
    }
    0
}

/// The same through perf.
#[tracepoint]
pub fn sys_exit_perf(ctx: TracePointContext) -> u32 {
    let task = Task::current();
    if let Some(slot) = current_slot()
        && let Some(regs) = task.registers()
    {
        let (nr, ret) = (perf_field(&ctx, PERF_ID), perf_field(&ctx, PERF_RET) as i64);
        returned::<true>(slot, task.is_compat(), regs, nr, ret);
    }
    0
}

/// Words of `raw_syscalls/sys_exit` (include/trace/events/syscalls.h): behind the common header of 8 bytes
/// are `long id` and `long ret`. Same on all kernels.
const PERF_ID: usize = 1;
const PERF_RET: usize = 2;

#[inline(always)]
fn perf_field(ctx: &TracePointContext, word: usize) -> u64 {
    // SAFETY: the event has at least three words, and the verifier checks the bounds.
    unsafe { ctx.as_ptr().cast::<u64>().add(word).read_volatile() }
}

/// `sys_exit(regs, ret)`, where no structure's layout is known: the registers have a fixed one.
#[raw_tracepoint]
pub fn sys_exit_registers(ctx: RawTracePointContext) -> i32 {
    let Some(slot) = current_slot() else { return 0 };
    let (mut nr, mut cs) = (0, 0);
    if call_and_segment(ctx.arg(0), &mut nr, &mut cs) {
        returned::<false>(slot, is_compat_mode(cs), Pointer::untyped(0), nr, ctx.arg(1));
    }
    0
}

/// The same where programs may not read the kernel's memory: the verifier knows what `regs` is.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit_typed(ctx: BtfTracePointContext) -> i32 {
    let Some(slot) = current_slot() else { return 0 };
    let regs: u64 = ctx.arg(0);
    let (nr, cs) = (typed_word(regs, REGS_ORIG_AX), typed_word(regs, REGS_CS));
    returned::<false>(slot, is_compat_mode(cs), Pointer::untyped(0), nr, ctx.arg(1));
    0
}

/// A word of a structure that the verifier knows. (No `Option`: see 5.10's verifier.)
#[inline(always)]
fn typed_word(base: u64, offset: u32) -> u64 {
    // SAFETY: the verifier checks that the structure has such a field.
    unsafe { core::ptr::read_volatile((base + offset as u64) as *const u64) }
}

/// Calls of exit as they enter, which need not be looked for at the end of a thread then. `sys_enter(regs, id)`.
#[raw_tracepoint]
pub fn exit_registers(ctx: RawTracePointContext) -> i32 {
    if let Some(slot) = current_slot()
        && let Some(cs) = read::<u64>(ctx.arg(0), REGS_CS)
    {
        exits(slot, ctx.arg(1), is_compat_mode(cs));
    }
    0
}

/// The same where programs may not read the kernel's memory.
#[btf_tracepoint(function = "sys_enter")]
pub fn exit_typed(ctx: BtfTracePointContext) -> i32 {
    if let Some(slot) = current_slot() {
        exits(slot, ctx.arg(1), is_compat_mode(typed_word(ctx.arg(0), REGS_CS)));
    }
    0
}

#[inline(always)]
fn exits(slot: u32, nr: u64, compat: bool) {
    if (nr as i64) >= 0 && syscalls::is_exit(nr, compat) {
        book(slot, |ledger| add(counter!(ledger, syscalls[Path::OtherSyscall as usize]), 1));
    }
}

/// Call number `nr` of the current task, entered with `regs`, returned `ret`. `regs` are read only if `READS`. (A closure
/// in place of that would have its captures in memory: 20 instructions a call.)
///
/// Calls are counted as they return, not as they enter: one program serves both the number of calls and what
/// they moved, where a second one would cost every call of every process some 100 instructions. The number comes
/// from the registers, not from a map, because tasks return that never entered; exits enter and never return
/// ([`book_exit`]).
#[inline(always)]
fn returned<const READS: bool>(slot: u32, compat: bool, regs: Pointer, nr: u64, ret: i64) {
    let by_socketcall = READS && compat && nr == syscalls::SOCKETCALL;
    let nr = if by_socketcall { called_by_socketcall(regs) } else { nr };
    let entry = entry(nr, compat);
    let path = syscalls::path(entry);
    let may_be_marked = matches!(path, Path::Read | Path::Write) || entry == syscalls::EXEC;
    let mark = if may_be_marked { marked::take(bpf_get_current_pid_tgid()) } else { NO };
    if ret == 0 && (entry == syscalls::FORK || entry == syscalls::EXEC && mark == NOT_ENTERED) {
        return;
    }
    let bytes = if entry & syscalls::RETURNS_BYTES != 0 && ret > 0 { ret as u64 } else { 0 };
    book(slot, |ledger| {
        add(counter!(ledger, syscalls[path as usize]), 1);
        if bytes != 0 {
            raise(counter!(ledger, payload[path as usize]), bytes);
        }
    });
    if bytes == 0 {
        return;
    }
    match path {
        Path::Read | Path::Write if mark == IN_FLIGHT => in_flight(slot, path, bytes),
        Path::Recv if READS && !compat && discard::truncates(regs, nr) => {
            discard::truncated(slot, regs, nr, bytes);
        }
        Path::Tee | Path::Vmsplice => book_reference(slot, path, bytes),
        Path::ProcessVm if config!(process_vm_by_return) != 0 => {
            let direction = if syscalls::is_process_vm_writev(nr, compat) {
                Direction::FromUser
            } else {
                Direction::ToUser
            };
            book_copy(slot, const { row("process_vm") }, Kind::Copy, path, direction, bytes);
        }
        _ => {}
    }
}

/// The current task ends: if it is in a call of exit or exit_group, that is counted now.
#[inline(always)]
pub fn book_exit(slot: u32) {
    let task = Task::current();
    if task.call_number().is_some_and(|nr| syscalls::is_exit(nr, task.is_compat())) {
        book(slot, |ledger| add(counter!(ledger, syscalls[Path::OtherSyscall as usize]), 1));
    }
}

/// The return of a call on a pipe whose wrapper's probe came too late: all of it was copied.
#[inline(always)]
fn in_flight(slot: u32, path: Path, bytes: u64) {
    match path {
        Path::Read => {
            let probe = const { row("pipe_read") };
            book_copy(slot, probe, Kind::Copy, path, Direction::ToUser, bytes);
        }
        Path::Write => {
            let probe = const { row("pipe_write") };
            book_copy(slot, probe, Kind::Copy, path, Direction::FromUser, bytes);
        }
        _ => {}
    }
}

/// `page_fault_user(address, regs, error_code)`.
#[raw_tracepoint]
pub fn page_fault(_: RawTracePointContext) -> i32 {
    if let Some(slot) = current_slot() {
        book(slot, |ledger| add(counter!(ledger, faults), 1));
    }
    0
}

/// An interrupt handler's `f(regs, ...)`: a mode switch if it came from user mode.
#[inline(always)]
fn interrupted(regs: Pointer) {
    let Some(slot) = current_slot() else { return };
    if regs.read::<u64>(REGS_CS).is_some_and(|cs| cs & 3 == 3) {
        book(slot, |ledger| add(counter!(ledger, interrupts), 1));
    }
}

/// Entry points of one interrupt handler.
macro_rules! interrupt {
    ($fentry:ident, $kprobe:ident) => {
        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> i32 {
            interrupted(Pointer::typed(ctx.arg(0)));
            0
        }
        #[kprobe]
        pub fn $kprobe(ctx: ProbeContext) -> u32 {
            interrupted(Pointer::untyped(ctx.arg(0).unwrap_or(0)));
            0
        }
    };
}
interrupt! { irq_timer_fentry, irq_timer_kprobe }
interrupt! { irq_device_fentry, irq_device_kprobe }
interrupt! { irq_call_fentry, irq_call_kprobe }
interrupt! { irq_call_single_fentry, irq_call_single_kprobe }
interrupt! { irq_reschedule_fentry, irq_reschedule_kprobe }

/// Books one context switch of the task that leaves the CPU. The idle task (pid 0) has no slot.
#[inline(always)]
fn switched(preempt: u64, state: u64) {
    let Some(slot) = current_slot() else { return };
    // The kernel's own rule, __schedule(): a task that wants to sleep and was not preempted.
    if preempt as u8 == 0 && state != 0 {
        book(slot, |ledger| add(counter!(ledger, voluntary), 1));
    } else {
        book(slot, |ledger| add(counter!(ledger, involuntary), 1));
    }
}

/// `sched_switch(preempt, prev, next, prev_state)`, since 5.18.
#[raw_tracepoint]
pub fn sched_switch(ctx: RawTracePointContext) -> i32 {
    if config!(watch_preemption) != 0 {
        preempt::switched(Task::at(ctx.arg(1)), Task::at(ctx.arg(2)));
    }
    switched(ctx.arg(0), ctx.arg::<u32>(3) as u64);
    0
}

/// `sched_switch(preempt, prev, next)`, before: the state is read from the task, and a wake-up by
/// another CPU in between makes a voluntary switch look involuntary.
#[raw_tracepoint]
pub fn sched_switch_by_task(ctx: RawTracePointContext) -> i32 {
    if current_slot().is_none() {
        return 0;
    }
    if let Some(state) = Task::at(ctx.arg(1)).field::<u32>(config!(task_state)) {
        switched(ctx.arg(0), state as u64);
    }
    0
}

/// The same where programs may not read the kernel's memory.
#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch_typed(ctx: BtfTracePointContext) -> i32 {
    if current_slot().is_none() {
        return 0;
    }
    let (prev, offset) = (ctx.arg::<u64>(1), config!(task_state) as u64);
    // SAFETY: the verifier checks that the structure has such a field.
    let state = unsafe { core::ptr::read_volatile((prev + offset) as *const u32) };
    switched(ctx.arg::<u64>(0), state as u64);
    0
}

#[raw_tracepoint]
pub fn softirq_entry(_: RawTracePointContext) -> i32 {
    mark_softirq(1)
}
#[raw_tracepoint]
pub fn softirq_exit(_: RawTracePointContext) -> i32 {
    mark_softirq(0)
}
#[inline(always)]
fn mark_softirq(on: u32) -> i32 {
    if let Some(flag) = IN_SOFTIRQ.get_ptr_mut(0) {
        // SAFETY: this CPU's own value; softirqs do not nest.
        unsafe { *flag = on };
    }
    0
}
