//! Who is counted, and the one place where counters are raised.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id};
use aya_ebpf::maps::LruHashMap;
use tracer_ebpf::abi::{
    BUCKETS, Count, Direction, FIRST_PROCESS, KERNEL_THREAD, Ledger, Owner, Path, SOFTIRQ, TOTAL, bucket,
    follow, gate,
};
use tracer_ebpf::syscalls;
use tracer_ebpf::table::audit_index;

use super::kernel::{Service, Task};
use super::maps::{AUDIT, COMPARED, COPY_SIZES, DEPTH, LEDGERS, PROCESSES, SLOTS, add, config};

/// The slot of the current process, if it is counted.
#[inline(always)]
pub fn current_slot() -> Option<u32> {
    slot_of((bpf_get_current_pid_tgid() >> 32) as u32)
}

/// One of [`gate`]: probes attach one by one, counting begins and ends at once.
#[unsafe(no_mangle)]
static mut GATE: u64 = 0;

#[inline(always)]
fn gate() -> u64 {
    // SAFETY: one aligned word that only userspace writes.
    unsafe { core::ptr::read_volatile(&raw const GATE) }
}

#[inline(always)]
pub fn is_open() -> bool {
    gate() != gate::CLOSED
}

/// The slot of a process, if it is counted.
#[inline(always)]
pub fn slot_of(tgid: u32) -> Option<u32> {
    let only = config!(only_tgid);
    if only != 0 {
        // In this order, because nearly every event is a bystander's.
        return (tgid == only && is_open()).then_some(FIRST_PROCESS);
    }
    if !is_open() {
        return None;
    }
    // SAFETY: the value is copied out; slots are given out once per process.
    if let Some(slot) = unsafe { SLOTS.get(&tgid) } {
        return Some(*slot);
    }
    // Every process was entered at start or at its fork: what is left are kernel threads.
    let tells = config!(follow) == follow::EVERYONE && config!(reads_memory) != 0;
    (tells && Task::current().is_kernel_thread()).then_some(KERNEL_THREAD)
}

/// How often a slot was given back so far.
#[inline(always)]
fn generation(slot: u32) -> u32 {
    // SAFETY: reads one aligned word of a map value.
    PROCESSES.get_ptr(slot).map_or(0, |process| unsafe { (*process).generation })
}

/// Notes whose something is that may outlive the process and its slot.
#[inline(always)]
pub fn owned_by(slot: u32) -> Owner {
    Owner { slot, generation: generation(slot) }
}

/// The owner's slot, unless it was given back meanwhile.
#[inline(always)]
pub fn living(owner: Owner) -> Option<u32> {
    (owner.generation == generation(owner.slot)).then_some(owner.slot)
}

/// Notes in a map that a thing (by its address, unless that is 0) belongs to a slot.
#[inline(always)]
pub fn note_owner(things: &LruHashMap<u64, Owner>, thing: u64, slot: u32) {
    let owner = owned_by(slot);
    // SAFETY: the value is compared at once.
    if thing != 0 && unsafe { things.get(&thing) }.is_none_or(|known| *known != owner) {
        let _ = things.insert(&thing, &owner, 0);
    }
}

/// Whose a thing is, if that is known and the slot is still the same process's.
#[inline(always)]
pub fn owner_of(things: &LruHashMap<u64, Owner>, thing: u64) -> Option<u32> {
    // SAFETY: the value is copied out.
    living(unsafe { things.get(&thing) }.copied()?)
}

/// Raises counters of one slot and of the total of all processes, on this CPU's shard.
#[inline(always)]
pub fn book(slot: u32, raise: impl Fn(*mut Ledger)) {
    let shard = config!(shard_mask);
    // SAFETY: no arguments, no effects.
    let cpu = unsafe { bpf_get_smp_processor_id() } & shard;
    if let Some(ledger) = LEDGERS.get_ptr_mut(slot * (shard + 1) + cpu) {
        raise(ledger);
    }
    // What is nobody's, or a kernel thread's, is no part of the processes' total. One process is its own.
    if config!(only_tgid) == 0
        && slot != SOFTIRQ
        && slot != KERNEL_THREAD
        && let Some(ledger) = LEDGERS.get_ptr_mut(TOTAL * (shard + 1) + cpu)
    {
        raise(ledger);
    }
}

/// Pointer to a field of a ledger.
macro_rules! counter {
    ($ledger:expr, $($field:tt)+) => {
        // SAFETY: `ledger` points to a map value; only the address is taken.
        unsafe { &raw mut (*$ledger).$($field)+ }
    };
}
pub(crate) use counter;

/// Adds one event of `bytes` to a [`Count`].
#[inline(always)]
pub fn raise(count: *mut Count, bytes: u64) {
    // SAFETY: `count` points into a map value.
    unsafe {
        add(&raw mut (*count).bytes, bytes);
        add(&raw mut (*count).calls, 1);
    }
}

/// What one copy is booked as.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Copy,
    Checksum,
    Control,
}

/// Books a copy.
#[inline(always)]
pub fn book_copy(slot: u32, probe: u32, kind: Kind, path: Path, direction: Direction, bytes: u64) {
    book(slot, |ledger| {
        let count = match kind {
            Kind::Copy => counter!(ledger, copied[path as usize][direction as usize]),
            Kind::Checksum => counter!(ledger, checksum[path as usize][direction as usize]),
            Kind::Control => counter!(ledger, control[direction as usize]),
        };
        raise(count, bytes);
    });
    if config!(copy_sizes) != 0 && kind == Kind::Copy {
        book_size(slot, path, direction, bytes);
    }
    if is_compared() {
        if let Some(count) = AUDIT.get_ptr_mut(audit_index(probe, path, direction)) {
            raise(count, bytes);
        }
    }
}

/// A system call begins: an audit compares only calls that it sees from their begin to their end.
#[inline(always)]
pub fn compare() {
    let thread = bpf_get_current_pid_tgid();
    if gate() == gate::DRAINING {
        let _ = COMPARED.remove(&thread);
    } else {
        let _ = COMPARED.insert(&thread, &1, 0);
    }
}

/// True if an audit runs, and compares what this thread does now.
#[inline(always)]
pub fn is_compared() -> bool {
    if config!(audit) == 0 {
        return false;
    }
    // SAFETY: only whether there is a value matters.
    unsafe { COMPARED.get(&bpf_get_current_pid_tgid()) }.is_some()
        || (config!(reads_memory) != 0 && Task::current().is_io_worker())
}

/// Books a copy by its size.
#[inline(always)]
fn book_size(slot: u32, path: Path, direction: Direction, bytes: u64) {
    let shard = config!(copy_sizes_shard_mask);
    // SAFETY: no arguments, no effects.
    let cpu = unsafe { bpf_get_smp_processor_id() } & shard;
    // The mask changes nothing, but the compiler sees by it that no bounds check is needed.
    let bucket = bucket(bytes) & (BUCKETS - 1);
    if let Some(sizes) = COPY_SIZES.get_ptr_mut(slot * (shard + 1) + cpu) {
        add(counter!(sizes, copies[path as usize][direction as usize][bucket]), 1);
    }
}

/// Books payload that no return value tells.
#[inline(always)]
pub fn book_payload(slot: u32, path: Path, bytes: u64) {
    book(slot, |ledger| raise(counter!(ledger, payload[path as usize]), bytes));
}

/// Books bytes that moved by reference.
#[inline(always)]
pub fn book_reference(slot: u32, path: Path, bytes: u64) {
    book(slot, |ledger| add(counter!(ledger, referenced[path as usize]), bytes));
}

/// Books payload for which no memory was copied or handed on.
#[inline(always)]
pub fn book_discarded(slot: u32, path: Path, bytes: u64) {
    book(slot, |ledger| add(counter!(ledger, discarded[path as usize]), bytes));
}

/// A copy in process context: the service it belongs to.
#[derive(Clone, Copy)]
pub struct Place {
    pub path: Path,
    pub entry: syscalls::Entry,
    /// In splice, sendfile or copy_file_range: what passes for user memory is the kernel's.
    pub in_splice: bool,
}

impl Place {
    /// Where a copy of the current task belongs, which performs `service`.
    #[inline(always)]
    pub fn of(service: &Service) -> Self {
        let entry = match service {
            Service::Call { entry, .. } => *entry,
            Service::IoUring => syscalls::IO_URING,
            Service::Fault | Service::KernelThread => 0,
        };
        let path = path_of(service);
        Place { path, entry, in_splice: is_splice(path) }
    }
}

#[inline(always)]
fn path_of(service: &Service) -> Path {
    match service {
        Service::Call { entry, .. } => syscalls::path(*entry),
        Service::Fault => Path::MmapFault,
        Service::IoUring => Path::IoUring,
        Service::KernelThread => Path::KernelThread,
    }
}

/// The path of the service that the current task performs.
#[inline(always)]
pub fn path() -> Option<Path> {
    Some(path_of(&Task::current().service()?))
}

/// The service that the current task performs.
#[inline(always)]
pub fn place() -> Option<Place> {
    Some(Place::of(&Task::current().service()?))
}

#[inline(always)]
fn is_splice(path: Path) -> bool {
    match path {
        Path::Sendfile | Path::Splice | Path::Tee | Path::CopyFileRange => true,
        // Only io_uring splices outside of a splicing system call; it marks it (splice.rs).
        // SAFETY: the value is read at once.
        Path::IoUring => {
            unsafe { DEPTH.get(&bpf_get_current_pid_tgid()) }.is_some_and(|depth| depth.splice != 0)
        }
        _ => false,
    }
}
