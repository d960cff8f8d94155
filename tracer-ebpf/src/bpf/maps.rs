//! The maps. Sizes marked "set at load" are replaced by userspace before the kernel sees them.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, Queue, RingBuf},
};
use tracer_ebpf::abi::{
    Bio, CHUNK, Config, CopySizes, Count, LOSSES as REASONS, Ledger, Loss, MARKS as MARKS_LEN, Owner,
    Preempt, Process, WitnessKey, Xmit,
};

/// Constants of this kernel and session: frozen before the first program is loaded.
#[unsafe(no_mangle)]
static CONFIG: Config = Config { shard_mask: 0, ..ZERO_CONFIG };

const ZERO_CONFIG: Config = {
    // SAFETY: `Config` consists of u32 only.
    unsafe { core::mem::zeroed() }
};

/// Reads one constant. Volatile: the compiler must not use the zeros it sees here.
macro_rules! config {
    ($field:ident) => {
        // SAFETY: a static of the same type; written by nobody after the load.
        unsafe { core::ptr::read_volatile(&raw const $crate::bpf::maps::config_static().$field) }
    };
}
pub(crate) use config;

#[inline(always)]
pub fn config_static() -> &'static Config {
    &CONFIG
}

/// See [`Ledger`]. Set at load: slots * shards. Mapped into userspace, so a scrape is no system call.
#[map]
pub static LEDGERS: Array<Ledger> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// See [`CopySizes`]. Set at load: slots * shards of its own; one element if sizes are not counted.
#[map]
pub static COPY_SIZES: Array<CopySizes> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Who has a slot. Set at load: slots.
#[map]
pub static PROCESSES: Array<Process> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// tgid -> slot. Set at load.
#[map]
pub static SLOTS: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

/// tgid -> slot, counted from its next exec on (`tracer run`).
#[map]
pub static AT_EXEC: HashMap<u32, u32> = HashMap::with_max_entries(64, 0);

/// tgid -> the slot that it had: threads of a process that has ended may still be on their way out (life.rs).
#[map]
pub static LATE: LruHashMap<u32, Owner> = LruHashMap::with_max_entries(4096, 0);

/// Slots that nobody has. Filled by userspace. Set at load.
#[map]
pub static FREE: Queue<u32> = Queue::with_max_entries(1, 0);

/// Slots of processes that have ended, for userspace to give back. It is woken when it has read all
/// earlier ones. Set at load: room for every slot.
#[map]
pub static ENDED: RingBuf = RingBuf::with_byte_size(4096, 0);

/// What was not counted, by [`Loss`].
#[map]
pub static LOSSES: Array<u64> = Array::with_max_entries(REASONS as u32, BPF_F_MMAPABLE);

/// How deep a task is in functions that change what its copies are. Key: `pid_tgid`.
#[map]
pub static DEPTH: HashMap<u64, Depth> = HashMap::with_max_entries(16384, 0);

/// Arguments between the entry and the return of a call (kprobe way only).
#[map]
pub static CALLS: HashMap<CallKey, [u64; 4]> = HashMap::with_max_entries(65536, 0);

/// What a function that returns to this address was called for: one of [`tracer_ebpf::abi::caller`]. Filled by
/// userspace; some 1,100 calls of the check and the like on the kernels looked at, with modules.
#[map]
pub static CALLERS: HashMap<u64, u32> = HashMap::with_max_entries(4096, 0);

/// Threads whose next return from a system call is special: one of [`tracer_ebpf::abi::marked`]. Key: `pid_tgid`.
#[map]
pub static MARKED: HashMap<u64, u32> = HashMap::with_max_entries(16384, 0);

/// How many of them are left, at most, by [`mark`](tracer_ebpf::abi::mark): most threads learn here that they
/// have no mark.
#[map]
pub static MARKS: Array<u64> = Array::with_max_entries(MARKS_LEN, BPF_F_MMAPABLE);

/// `ubuf_info` of a zero-copy send -> the sender.
#[map]
pub static OWNERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(65536, 0);

/// `sock` -> the process that used it last.
#[map]
pub static SOCKETS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(65536, 0);

/// `bio` -> a transfer that its device has not completed.
#[map]
pub static BIOS: HashMap<u64, Bio> = HashMap::with_max_entries(16384, 0);

/// See [`Xmit`].
#[map]
pub static XMIT: PerCpuArray<Xmit> = PerCpuArray::with_max_entries(1, 0);

/// 1 while this CPU serves softirqs, where their tracepoints are needed to know.
#[map]
pub static IN_SOFTIRQ: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// Element 0: see [`Preempt`].
#[map]
pub static PREEMPT: Array<Preempt> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// `pt_regs` of a task in a system call, as an offset into its stack: measured, not assumed (FRED
/// kernels keep 16 bytes above it).
#[map]
pub static REGS_OFFSET: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What the witness saw, by call site.
#[map]
pub static WITNESS: HashMap<WitnessKey, Count> = HashMap::with_max_entries(8192, 0);

/// Bytes by probe while an audit runs, by [`audit_index`](tracer_ebpf::table::audit_index). Set at load: nothing, unless
/// there is an audit.
#[map]
pub static AUDIT: Array<Count> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Threads in a system call that began while an audit's window was open. Key: `pid_tgid`.
#[map]
pub static COMPARED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16384, 0);

/// What userspace keeps for its next life, in pieces; no program reads it. It costs memory only as it fills.
/// Set at load: nothing, unless it is pinned.
#[map]
pub static KEPT: HashMap<u32, [u8; CHUNK]> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Depth {
    /// In `do_splice` or `splice_direct_to_actor`.
    pub splice: u32,
    /// In a page-cache or pipe function with a kernel-backed iterator (5.10).
    pub muted: u32,
    /// In io_uring's task work, which runs as the task leaves the kernel, whatever took it in.
    pub io_uring: u32,
    /// In a core dump, which a signal begins as the task leaves the kernel.
    pub core_dump: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CallKey {
    pub pid_tgid: u64,
    pub probe: u64,
}

/// Counts one loss.
#[inline(always)]
pub fn lose(reason: Loss) {
    if let Some(count) = LOSSES.get_ptr_mut(reason as u32) {
        add(count, 1);
    }
}

/// Adds atomically, by the one instruction that every kernel knows. (An `AtomicU64` needs a target with
/// compare-and-swap; and LLVM may turn its `fetch_add` into forms that 5.10's verifier refuses.)
#[inline(always)]
pub fn add(counter: *mut u64, value: u64) {
    // SAFETY: `counter` points into a map value, aligned to 8; the verifier checks both.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) value) };
}
