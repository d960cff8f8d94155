//! Reading the kernel's structures: every offset comes from [`config`].

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_smp_processor_id};
use tracer_ebpf::abi::Loss;
use tracer_ebpf::syscalls::{self, Entry};

use super::maps::{DEPTH, IN_SOFTIRQ, PREEMPT, REGS_OFFSET, config, lose};

/// `task_struct.flags`, include/linux/sched.h; the values have not changed since 5.10.
const PF_IO_WORKER: u32 = 0x0000_0010;
const PF_KTHREAD: u32 = 0x0020_0000;
/// `thread_info.status` on x86, arch/x86/include/asm/thread_info.h.
const TS_COMPAT: u32 = 0x0002;
/// Offsets in x86's `struct pt_regs`: user ABI, arch/x86/include/uapi/asm/ptrace.h.
const REGS_BX: u32 = 40;
pub const REGS_R10: u32 = 56;
pub const REGS_R8: u32 = 72;
const REGS_AX: u32 = 80;
pub const REGS_CX: u32 = 88;
pub const REGS_DX: u32 = 96;
pub const REGS_SI: u32 = 104;
pub const REGS_DI: u32 = 112;
pub const REGS_ORIG_AX: u32 = 120;
pub const REGS_IP: u32 = 128;
pub const REGS_CS: u32 = 136;

/// Reads a `T` at `base + offset`, or counts that it could not.
///
/// The value is zeroed first: 5.10's verifier loses track of which branch filled it, and then refuses to
/// read what might be uninitialised. `T` is an integer.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let source = (base + offset as u64) as *const c_void;
    // SAFETY: the helper checks the address, and writes `size_of::<T>()` bytes in any case.
    let (status, value) = unsafe {
        let status = bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, source);
        (status, value.assume_init())
    };
    if status != 0 {
        lose(Loss::UnreadableStructure);
        return None;
    }
    Some(value)
}

/// The address of a kernel structure.
#[derive(Clone, Copy)]
pub struct Pointer {
    address: u64,
    /// True if the verifier knows the structure.
    typed: bool,
}

impl Pointer {
    /// One that the verifier knows: an argument of a traced function, the current task. It is read by a plain
    /// load, at a tenth of the price of `bpf_probe_read_kernel()`; a load that faults reads 0.
    #[inline(always)]
    pub fn typed(address: u64) -> Self {
        Pointer { address, typed: true }
    }

    /// Any other.
    #[inline(always)]
    pub fn untyped(address: u64) -> Self {
        Pointer { address, typed: false }
    }

    /// The field at `offset`, which must be a constant to the verifier.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> Option<T> {
        if self.typed {
            // SAFETY: the verifier checks that the structure has such a field.
            return Some(unsafe { core::ptr::read_volatile((self.address + offset as u64) as *const T) });
        }
        read(self.address, offset)
    }

    /// Of a task's registers: the number of the system call that it is in, a negative one if it is in none.
    #[inline(always)]
    pub fn call_number(self) -> Option<u64> {
        self.read(REGS_ORIG_AX)
    }
}

/// `-ENOSYS`: what entry code puts into `ax` before the call runs (arch/x86/entry/entry_64.S, all kernels; also for
/// `int 0x80` and with FRED).
const IN_CALL: u64 = -38i64 as u64;

/// A number that no system call has.
const NO_CALL: u64 = syscalls::MASK as u64;

/// The address of what user mode left in the current task's registers.
#[derive(Clone, Copy)]
pub struct Registers(u64);

impl Registers {
    #[inline(always)]
    fn pointer(self) -> Pointer {
        Pointer { address: self.0, typed: config!(task_is_typed) != 0 }
    }

    /// What the call has returned ([`IN_CALL`] until then), and its number. False if they cannot
    /// be read. (No `Option`: 5.10's verifier would see a part that nothing wrote.)
    #[inline(always)]
    fn result_and_call(self, result: &mut u64, call: &mut u64) -> bool {
        if config!(task_is_typed) != 0 {
            // SAFETY: the current task's registers, which the verifier knows.
            unsafe {
                *result = core::ptr::read_volatile((self.0 + REGS_AX as u64) as *const u64);
                *call = core::ptr::read_volatile((self.0 + REGS_ORIG_AX as u64) as *const u64);
            }
            return true;
        }
        // One read of what lies between as well, because each is a helper's call. Zeroed one by one: a `memset` is a
        // loop over bytes.
        let mut block = MaybeUninit::<[u64; 6]>::uninit();
        let words: *mut u64 = block.as_mut_ptr().cast();
        let source = (self.0 + REGS_AX as u64) as *const c_void;
        // SAFETY: the helper checks the address; all words are written before they are read.
        unsafe {
            core::ptr::write_volatile(words, 0);
            core::ptr::write_volatile(words.add(1), 0);
            core::ptr::write_volatile(words.add(2), 0);
            core::ptr::write_volatile(words.add(3), 0);
            core::ptr::write_volatile(words.add(4), 0);
            core::ptr::write_volatile(words.add(5), 0);
            if bpf_probe_read_kernel(words.cast(), 48, source) != 0 {
                lose(Loss::UnreadableStructure);
                return false;
            }
            *result = core::ptr::read_volatile(words);
            *call = core::ptr::read_volatile(words.add(5));
        }
        true
    }
}

/// What a task does right now, as its own kernel stack says.
pub enum Service {
    /// In a system call: its table entry, and where its registers are.
    Call {
        entry: Entry,
        regs: Registers,
    },
    /// In user mode when something (a fault, an interrupt) took it into the kernel.
    Fault,
    /// An io_uring worker or SQPOLL thread: never in a system call.
    IoUring,
    KernelThread,
}

impl Service {
    /// The register at `offset`, in a system call.
    #[inline(always)]
    pub fn argument(&self, offset: u32) -> Option<u64> {
        match self {
            Service::Call { regs, .. } => regs.pointer().read(offset),
            _ => None,
        }
    }
}

/// A task.
#[derive(Clone, Copy)]
pub struct Task {
    task: u64,
    is_current: bool,
}

impl Task {
    #[inline(always)]
    pub fn current() -> Self {
        let task = if config!(task_is_typed) != 0 {
            // SAFETY: no arguments, no effects.
            unsafe { bpf_get_current_task_btf() as u64 }
        } else {
            // SAFETY: no arguments, no effects.
            unsafe { bpf_get_current_task() }
        };
        Task { task, is_current: true }
    }

    #[inline(always)]
    pub fn at(task: u64) -> Self {
        Task { task, is_current: false }
    }

    #[inline(always)]
    pub fn field<T: Copy>(self, offset: u32) -> Option<T> {
        if self.is_current && config!(task_is_typed) != 0 {
            return Pointer::typed(self.task).read(offset);
        }
        read(self.task, offset)
    }

    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        self.field::<u32>(config!(task_flags)).is_some_and(|flags| flags & PF_KTHREAD != 0)
    }

    /// True for io_uring's workers and SQPOLL threads, which make no system calls.
    #[inline(always)]
    pub fn is_io_worker(self) -> bool {
        self.field::<u32>(config!(task_flags)).is_some_and(|flags| flags & PF_IO_WORKER != 0)
    }

    /// True if a 32-bit system call runs, also by `int 0x80` from 64-bit code (where `cs` does not tell).
    #[inline(always)]
    pub fn is_compat(self) -> bool {
        self.field::<u32>(config!(task_ti_status)).is_some_and(|status| status & TS_COMPAT != 0)
    }

    /// Start of the task's kernel stack.
    #[inline(always)]
    pub fn stack(self) -> Option<u64> {
        self.field(config!(task_stack))
    }

    /// True if an address lies on the task's kernel stack (below its registers).
    #[inline(always)]
    pub fn is_on_stack(self, address: u64) -> bool {
        let (Some(stack), Some(regs)) = (self.stack(), REGS_OFFSET.get(0)) else { return false };
        address.wrapping_sub(stack) < *regs
    }

    /// What user mode left in the registers.
    #[inline(always)]
    pub fn registers(self) -> Option<Pointer> {
        if self.is_current && config!(task_is_typed) != 0 {
            // SAFETY: the current task.
            return Some(Pointer::typed(unsafe { bpf_task_pt_regs(self.task as *mut _) } as u64));
        }
        Some(Pointer::untyped(self.stack()? + REGS_OFFSET.get(0).copied()?))
    }

    /// The number of the system call that the task is in, a negative one if it is in none.
    #[inline(always)]
    pub fn call_number(self) -> Option<u64> {
        self.registers()?.call_number()
    }

    /// Of the current task.
    #[inline(always)]
    pub fn service(self) -> Option<Service> {
        let flags: u32 = self.field(config!(task_flags))?;
        if flags & (PF_KTHREAD | PF_IO_WORKER | config!(user_worker)) != 0 {
            let is_io_worker = flags & PF_IO_WORKER != 0;
            return Some(if is_io_worker { Service::IoUring } else { Service::KernelThread });
        }
        let regs = Registers(self.registers()?.address);
        let (mut ax, mut nr) = (0, 0);
        if !regs.result_and_call(&mut ax, &mut nr) {
            return None;
        }
        // On its way out of the kernel, after a call or an interrupt, as leaving.rs marks it.
        // SAFETY: the value is read at once.
        if ax != IN_CALL
            && let Some(mark) = unsafe { DEPTH.get(&bpf_get_current_pid_tgid()) }
        {
            if mark.io_uring != 0 {
                return Some(Service::IoUring);
            }
            if mark.core_dump != 0 {
                // As if another call did it. (No service of its own: the verifier loses track of its parts.)
                nr = NO_CALL;
            }
        }
        // Entry code stores -1 where no system call is to be restarted: exceptions and interrupts.
        if (nr as i64) < 0 {
            return Some(Service::Fault);
        }
        let compat = self.is_compat();
        if compat && nr == syscalls::SOCKETCALL {
            nr = called_by_socketcall(regs.pointer());
        }
        Some(Service::Call { entry: entry(nr, compat), regs })
    }

    /// True for a kernel thread that works on a process's memory.
    #[inline(always)]
    pub fn has_memory(self) -> bool {
        self.field::<u64>(config!(task_mm)).is_some_and(|mm| mm != 0)
    }

    /// True while page faults are not served: `copy_from_user_nofault()` and the like.
    #[inline(always)]
    pub fn faults_are_off(self) -> bool {
        // The helper that reads memory turns them off meanwhile.
        let by_helper = u32::from(config!(task_is_typed) == 0);
        self.field::<u32>(config!(task_pagefault_disabled)).is_none_or(|depth| depth > by_helper)
    }
}

/// The number of the system call and the code segment in these registers, by one read of what lies between as well.
/// False if they cannot be read. (No `Option`: see [`Registers::result_and_call`].)
#[inline(always)]
pub fn call_and_segment(regs: u64, call: &mut u64, segment: &mut u64) -> bool {
    let mut block = MaybeUninit::<[u64; 3]>::uninit();
    let words: *mut u64 = block.as_mut_ptr().cast();
    let source = (regs + REGS_ORIG_AX as u64) as *const c_void;
    // SAFETY: the helper checks the address; all words are written before they are read.
    unsafe {
        core::ptr::write_volatile(words, 0);
        core::ptr::write_volatile(words.add(1), 0);
        core::ptr::write_volatile(words.add(2), 0);
        if bpf_probe_read_kernel(words.cast(), 24, source) != 0 {
            lose(Loss::UnreadableStructure);
            return false;
        }
        *call = core::ptr::read_volatile(words);
        *segment = core::ptr::read_volatile(words.add(2));
    }
    true
}

/// `__USER32_CS`, arch/x86/include/asm/segment.h.
const USER32_CS: u64 = 0x23;

/// True if user mode runs 32-bit code, by its code segment. (`int 0x80` from 64-bit code is not told: see
/// [`Task::is_compat`].)
#[inline(always)]
pub fn is_compat_mode(cs: u64) -> bool {
    cs & 0xffff == USER32_CS
}

/// The number by which the table has what socketcall was asked for.
#[inline(always)]
pub fn called_by_socketcall(regs: Pointer) -> u64 {
    syscalls::by_socketcall(regs.read::<u64>(REGS_BX).unwrap_or(0))
}

/// The table's entry for a system call number.
#[inline(always)]
pub fn entry(nr: u64, compat: bool) -> Entry {
    let index = nr as usize & syscalls::MASK;
    let table = if compat { &syscalls::COMPAT } else { &syscalls::NATIVE };
    // SAFETY: the mask keeps the index inside both tables.
    unsafe { *table.get_unchecked(index) }
}

/// Bits of `preempt_count`, include/linux/preempt.h: a softirq is served (8; those above it count who has disabled
/// them); hard interrupts (16 to 19) and NMIs (20 to 23). Bit 31 is x86's inverted PREEMPT_NEED_RESCHED.
const SERVES_SOFTIRQ: u32 = 0x100;
const IN_HARD_INTERRUPT: u32 = 0x7fff_0000;

/// True while this CPU serves softirqs: the current task is then a bystander. `__do_softirq()` raises
/// `preempt_count`; where that does not tell, the tracepoints of softirqs do.
#[inline(always)]
pub fn in_softirq() -> bool {
    serves(SERVES_SOFTIRQ)
}

/// True in a softirq, a hard interrupt or an NMI, whoever it interrupted. Not for programs on call sites: their own
/// `int3` counts as an NMI (`exc_int3()`, arch/x86/kernel/traps.c).
///
/// Told by the CPU's `preempt_count`, which also `irq_enter_rcu()` and `nmi_enter()` raise. The stack does not
/// tell: an interrupt from user mode is served on the task's own stack (`call_on_irqstack_cond()`,
/// arch/x86/include/asm/irq_stack.h). Two reads: for rows that are rare, not for those of every read and
/// write.
#[inline(always)]
pub fn in_interrupt() -> bool {
    serves(SERVES_SOFTIRQ | IN_HARD_INTERRUPT)
}

/// True if this CPU serves a softirq, or `preempt_count` has one of these bits.
#[inline(always)]
fn serves(bits: u32) -> bool {
    IN_SOFTIRQ.get(0).is_some_and(|flag| *flag != 0) || preempt_count().is_some_and(|count| count & bits != 0)
}

/// This CPU's; `None` if it is not known where that is.
#[inline(always)]
fn preempt_count() -> Option<u32> {
    let place = PREEMPT.get(0)?;
    if place.per_cpu_offset == 0 {
        return None;
    }
    // SAFETY: no arguments, no effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let offset = read::<u64>(place.per_cpu_offset, cpu * 8)?;
    read(place.preempt_count.wrapping_add(offset), 0)
}
