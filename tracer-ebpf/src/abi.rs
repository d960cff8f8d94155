//! Layout of the maps. Every struct is `repr(C)`, has no implicit padding (asserted below) and holds
//! only integers, so that any bit pattern the kernel writes is a valid value here.

pub mod caller;
mod config;
mod copy_sizes;

pub use config::{ABSENT, Config, MARKS, Preempt, Preempted, follow, gate, mark, marked};
pub use copy_sizes::{BUCKETS, CopySizes, bound, bucket};

/// The service during which a copy happened. The numbers index [`Ledger`]'s arrays.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Path {
    Read,
    Write,
    Recv,
    Send,
    Sendfile,
    Splice,
    Tee,
    Vmsplice,
    CopyFileRange,
    MmapFault,
    IoUring,
    ProcessVm,
    Ioctl,
    OtherSyscall,
    Softirq,
    KernelThread,
}

/// Number of [`Path`]s.
pub const PATHS: usize = 16;

impl Path {
    /// In the order of the discriminants.
    pub const ALL: [Path; PATHS] = [
        Path::Read,
        Path::Write,
        Path::Recv,
        Path::Send,
        Path::Sendfile,
        Path::Splice,
        Path::Tee,
        Path::Vmsplice,
        Path::CopyFileRange,
        Path::MmapFault,
        Path::IoUring,
        Path::ProcessVm,
        Path::Ioctl,
        Path::OtherSyscall,
        Path::Softirq,
        Path::KernelThread,
    ];

    /// The word used in metrics, JSON and the table.
    pub const fn name(self) -> &'static str {
        match self {
            Path::Read => "read",
            Path::Write => "write",
            Path::Recv => "recv",
            Path::Send => "send",
            Path::Sendfile => "sendfile",
            Path::Splice => "splice",
            Path::Tee => "tee",
            Path::Vmsplice => "vmsplice",
            Path::CopyFileRange => "copy_file_range",
            Path::MmapFault => "mmap_fault",
            Path::IoUring => "io_uring",
            Path::ProcessVm => "process_vm",
            Path::Ioctl => "ioctl",
            Path::OtherSyscall => "other_syscall",
            Path::Softirq => "softirq",
            Path::KernelThread => "kernel_thread",
        }
    }
}

/// Where the bytes of a copy went, seen from the process.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Direction {
    ToUser,
    FromUser,
    InKernel,
}

/// Number of [`Direction`]s.
pub const DIRECTIONS: usize = 3;

impl Direction {
    /// In the order of the discriminants.
    pub const ALL: [Direction; DIRECTIONS] = [Direction::ToUser, Direction::FromUser, Direction::InKernel];

    /// The word used in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::ToUser => "to_user",
            Direction::FromUser => "from_user",
            Direction::InKernel => "in_kernel",
        }
    }
}

/// What a device did.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceOp {
    BlockRead,
    BlockWrite,
    NetReceive,
    NetTransmit,
}

/// Number of [`DeviceOp`]s.
pub const DEVICE_OPS: usize = 4;

impl DeviceOp {
    /// In the order of the discriminants.
    pub const ALL: [DeviceOp; DEVICE_OPS] =
        [DeviceOp::BlockRead, DeviceOp::BlockWrite, DeviceOp::NetReceive, DeviceOp::NetTransmit];

    /// The words used in metrics and JSON: kind of device, operation.
    pub const fn name(self) -> (&'static str, &'static str) {
        match self {
            DeviceOp::BlockRead => ("block", "read"),
            DeviceOp::BlockWrite => ("block", "write"),
            DeviceOp::NetReceive => ("net", "rx"),
            DeviceOp::NetTransmit => ("net", "tx"),
        }
    }
}

/// A sum of bytes and the number of events that made it.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Count {
    pub bytes: u64,
    pub calls: u64,
}

/// Everything that is counted for one process, cumulative since its slot was given out.
///
/// Lives in the array map `LEDGERS` at `slot * shards + (cpu & (shards - 1))`; the sum over a slot's
/// shards is the process's value. Updated with atomic adds only, so shards may be shared by CPUs.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ledger {
    /// Payload copies, by [`Path`] and [`Direction`].
    pub copied: [[Count; DIRECTIONS]; PATHS],
    /// Copies that computed a checksum on the way, by [`Path`] and [`Direction`].
    pub checksum: [[Count; DIRECTIONS]; PATHS],
    /// Bytes read and written once by a cipher (kTLS), by [`Path`].
    pub crypto: [Count; PATHS],
    /// What data-moving calls reported as moved: their return values above 0, by [`Path`].
    pub payload: [Count; PATHS],
    /// Bytes handed over by page reference, without a copy, by [`Path`].
    pub referenced: [u64; PATHS],
    /// Payload for which no memory was copied or handed on: thrown away (`/dev/null`, `MSG_TRUNC`), or made
    /// of nothing (`/dev/zero`). By [`Path`].
    pub discarded: [u64; PATHS],
    /// System calls, by [`Path`]: those that returned, and exits.
    pub syscalls: [u64; PATHS],
    /// Copies of structures: argument blocks, addresses, headers. By [`Direction`].
    pub control: [Count; DIRECTIONS],
    /// Page faults and interrupts taken while in user mode.
    pub faults: u64,
    pub interrupts: u64,
    pub voluntary: u64,
    pub involuntary: u64,
    /// Bytes that devices moved by DMA, by [`DeviceOp`].
    pub device: [u64; DEVICE_OPS],
    /// Bytes of block transfers between a disk and the caller's own pages (direct I/O): by DMA, then they are in
    /// `device` as well, or copied by the driver of a memory-backed disk, then they are in `copied` as well.
    /// `[0]` is read, `[1]` written.
    pub direct: [u64; 2],
    /// Copies that ended at memory that is not mapped: how many did, and how many bytes at most were counted and not
    /// copied.
    pub cut_short: Count,
    pub reserved: [u64; 6],
}

impl Ledger {
    pub const ZERO: Ledger = Ledger {
        copied: [[Count { bytes: 0, calls: 0 }; DIRECTIONS]; PATHS],
        checksum: [[Count { bytes: 0, calls: 0 }; DIRECTIONS]; PATHS],
        crypto: [Count { bytes: 0, calls: 0 }; PATHS],
        payload: [Count { bytes: 0, calls: 0 }; PATHS],
        referenced: [0; PATHS],
        discarded: [0; PATHS],
        syscalls: [0; PATHS],
        control: [Count { bytes: 0, calls: 0 }; DIRECTIONS],
        faults: 0,
        interrupts: 0,
        voluntary: 0,
        involuntary: 0,
        device: [0; DEVICE_OPS],
        direct: [0; 2],
        cut_short: Count { bytes: 0, calls: 0 },
        reserved: [0; 6],
    };
    /// A ledger as the flat counters it is made of.
    pub const WORDS: usize = size_of::<Ledger>() / size_of::<u64>();
}

// A multiple of the cache line, so that shards of two CPUs never share one.
const _: () = assert!(size_of::<Ledger>() == 41 * 64 && align_of::<Ledger>() == 8);

/// Slots with a meaning of their own; processes start at [`FIRST_PROCESS`]. The total is that of all
/// processes, the overflow slot included.
pub const TOTAL: u32 = 0;
/// Processes for which no slot was left: exact, but not told apart.
pub const OVERFLOW: u32 = 1;
/// Softirq copies whose owner is not known.
pub const SOFTIRQ: u32 = 2;
/// Kernel threads (only when every process is counted).
pub const KERNEL_THREAD: u32 = 3;
pub const FIRST_PROCESS: u32 = 4;

/// Who has a slot. Array map `PROCESSES`, index = slot.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Process {
    /// 0: the slot is free.
    pub tgid: u32,
    /// tgid of the process that forked it, 0 if it was selected itself.
    pub parent: u32,
    /// `task_struct.start_boottime` of the group leader in ns, 0 if selected by userspace.
    pub start_boottime: u64,
    /// `bpf_ktime_get_ns()` when its last thread ended, 0 while it lives.
    pub exited: u64,
    pub comm: [u8; 16],
    /// Id of its cgroup (v2) at its fork, its last exec and its end, whichever came last: the inode of the
    /// cgroup's directory. 0 if userspace entered it.
    pub cgroup: u64,
    /// How often the slot was given back: what still refers to a former owner tells by it.
    pub generation: u32,
    pub reserved: u32,
}
const _: () = assert!(size_of::<Process>() == 56);

impl Process {
    /// A name as [`Process::comm`] keeps it: 15 bytes at most, and a NUL.
    pub fn name(text: &[u8]) -> [u8; 16] {
        let mut comm = [0; 16];
        comm.iter_mut().take(15).zip(text).for_each(|(to, from)| *to = *from);
        comm
    }
}

/// Whose something is that may outlive its process. Value of the maps `OWNERS` and `SOCKETS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    pub slot: u32,
    /// [`Process::generation`] of the slot when it was noted.
    pub generation: u32,
}

/// A block transfer that its device has not completed yet. Value of the map `BIOS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bio {
    pub owner: Owner,
    pub bytes: u32,
    /// A [`DeviceOp`], with [`DIRECT`] or not.
    pub op: u32,
}

/// Bit of [`Bio::op`]: the pages are the caller's own, not the page cache's ([`Ledger::direct`]).
pub const DIRECT: u32 = 0x100;

/// A packet that is being given to a device's driver. Element 0 of the per-CPU map `XMIT`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xmit {
    /// Address of the `sk_buff`, 0 if there is none.
    pub skb: u64,
    pub bytes: u64,
    pub slot: u32,
    pub reserved: u32,
}

/// Why something was not counted. Index of the array map `LOSSES`.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// No room for a process in `SLOTS`: its events are gone.
    ProcessMapFull,
    /// No slot left for a process: its events are in [`OVERFLOW`].
    SlotsUsedUp,
    /// No room for a call's arguments between entry and return (kprobe way, splice depth).
    CallMapFull,
    /// A return probe that never ran: the entry of the next call found the last one's arguments.
    ReturnMissed,
    /// A kernel structure could not be read.
    UnreadableStructure,
    /// No room for a call site in the witness's map.
    WitnessMapFull,
    /// No room for a block transfer until it completes: its device bytes are not counted.
    DeviceMapFull,
    /// No room for a call of the usercopy check in `CALLERS`: its copies are judged by the system call alone.
    CallersMapFull,
}

/// Number of [`Loss`] reasons.
pub const LOSSES: usize = 8;

impl Loss {
    pub const ALL: [Loss; LOSSES] = [
        Loss::ProcessMapFull,
        Loss::SlotsUsedUp,
        Loss::CallMapFull,
        Loss::ReturnMissed,
        Loss::UnreadableStructure,
        Loss::WitnessMapFull,
        Loss::DeviceMapFull,
        Loss::CallersMapFull,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Loss::ProcessMapFull => "process_map_full",
            Loss::SlotsUsedUp => "slots_used_up",
            Loss::CallMapFull => "call_map_full",
            Loss::ReturnMissed => "return_missed",
            Loss::UnreadableStructure => "unreadable_structure",
            Loss::WitnessMapFull => "witness_map_full",
            Loss::DeviceMapFull => "device_map_full",
            Loss::CallersMapFull => "callers_map_full",
        }
    }

    /// True if events were lost; false if they are counted, but not by process.
    pub const fn loses_events(self) -> bool {
        !matches!(self, Loss::SlotsUsedUp | Loss::CallersMapFull)
    }
}

/// Bytes of a piece in the map `KEPT`: with its key and the kernel's header just below a page, which is the
/// largest piece that kernels since 6.1 take from their cache.
pub const CHUNK: usize = 4000;
/// Most pieces: 64 MB.
pub const CHUNKS: u32 = 16_384;

/// In place of a primitive in a [`WitnessKey`]: no breakpoint speaks but a call site's own probe, of what
/// it counted; the address is that of the call instruction.
pub const SITE: u32 = u32::MAX;

/// The same for a breakpoint on a call of `memcpy` and the like, of the bytes that it is asked for.
pub const CALL: u32 = u32::MAX - 1;

/// Key of the witness's map: who called the primitive under a hardware breakpoint, and on which path.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct WitnessKey {
    /// Return address on entry: the instruction after the call.
    pub return_address: u64,
    /// Index into the table's primitives.
    pub primitive: u32,
    /// [`Direction`] of the copy.
    pub direction: u16,
    /// [`Path`] of the task's service; [`NO_PATH`] if it performs none.
    pub path: u16,
}

/// In place of a path in a [`WitnessKey`].
pub const NO_PATH: u16 = u16::MAX;

/// The arguments of one call of a copy primitive, as a call-site probe or the witness reads them.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arguments {
    /// `(addr, bytes, iter)`: `_copy_to_iter`, `_copy_from_iter` and variants.
    AddrBytesIter,
    /// `(page, offset, bytes, iter)`: `copy_page_to_iter`, `copy_page_from_iter_atomic`, ...
    PageOffsetBytesIter,
    /// `(page, iter, offset, bytes)`: 5.10's `iov_iter_copy_from_user_atomic`.
    PageIterOffsetBytes,
    /// `(bytes, iter)`: `iov_iter_zero`.
    BytesIter,
    /// `(to, from, n)`: `_copy_to_user`, `_copy_from_user`.
    ToFromBytes,
    /// `(to, from)`: `copy_page`, 4096 bytes.
    ToFromPage,
}

impl Arguments {
    /// Which argument is the size, of functions whose inline callers check it first unless it is a constant.
    pub const fn checked_size(self) -> Option<usize> {
        match self {
            Arguments::AddrBytesIter => Some(1),
            Arguments::ToFromBytes => Some(2),
            _ => None,
        }
    }
}
