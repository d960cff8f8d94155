//! What the programs must know of this kernel and this session.

/// Which tasks are counted when no single process is.
pub mod follow {
    /// Those that userspace put into `SLOTS`.
    pub const LISTED: u32 = 0;
    /// Those, and what they fork.
    pub const CHILDREN: u32 = 1;
    /// Every process.
    pub const EVERYONE: u32 = 2;
}

/// States of the gate that every program looks at first.
pub mod gate {
    pub const CLOSED: u64 = 0;
    pub const OPEN: u64 = 1;
    /// An audit ends: calls that run are still compared, new ones no longer.
    pub const DRAINING: u64 = 2;
}

/// What is special about a thread's next return from a system call. Values of the map `MARKED`.
pub mod marked {
    /// Nothing: in no value of the map.
    pub const NO: u32 = 0;
    /// The call, on a pipe, began before the probes attached.
    pub const IN_FLIGHT: u32 = 1;
    /// It did not enter: the thread begins here, with a new program.
    pub const NOT_ENTERED: u32 = 2;
}

/// Elements of the array map `MARKS`, and which one counts a thread's mark. A thread that shares its element with one
/// that is marked makes two look-ups more for each read and write: on 6.12 such a read took 382 instructions more.
pub const MARKS: u32 = 8192;
#[inline(always)]
pub const fn mark(tid: u32) -> u32 {
    tid % MARKS
}

/// What the programs must know of this kernel and this session. Filled by userspace from the kernel's
/// BTF before the load (a frozen `.rodata` map, so the verifier sees constants and drops dead code).
/// Offsets are bytes from the start of the structure.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Config {
    /// If not 0, the only process that is counted; it has slot [`FIRST_PROCESS`].
    pub only_tgid: u32,
    /// One of [`follow`].
    pub follow: u32,
    /// Number of shards per slot minus one; the number is a power of two.
    pub shard_mask: u32,

    pub task_flags: u32,
    pub task_stack: u32,
    pub task_tgid: u32,
    pub task_state: u32,
    pub task_group_leader: u32,
    pub task_start_boottime: u32,
    pub task_signal: u32,
    pub signal_live: u32,
    /// `task_struct.thread_info.status`: TS_COMPAT marks 32-bit system calls on x86.
    pub task_ti_status: u32,
    /// 1 if the verifier knows the current task and its registers (`bpf_task_pt_regs`, since 5.15).
    pub task_is_typed: u32,
    /// `task_struct.pagefault_disabled`: not 0 in `copy_from_user_nofault()` and the like.
    pub task_pagefault_disabled: u32,
    /// `task_struct.mm`: of a kernel thread not NULL while it works on a process's memory (`kthread_use_mm()`).
    pub task_mm: u32,
    /// `mm_struct.owner`, or [`ABSENT`].
    pub mm_owner: u32,
    /// `PF_USER_WORKER` (vhost's workers, 6.4), 0 where the kernel has none.
    pub user_worker: u32,

    pub iter_type: u32,
    /// 1 if the iterator's type shares an `unsigned int` with the direction bit (up to 5.13), and the
    /// masks below are over its values; else the type is a `u8` and they are over `1 << type`.
    pub iter_is_flags: u32,
    pub iter_count: u32,
    /// Iterators over user memory (IOVEC, UBUF).
    pub iter_user: u32,
    /// Iterators over pages (BVEC): kernel memory, or an io_uring registered buffer.
    pub iter_bvec: u32,
    /// Iterators that move references or nothing at all (PIPE, DISCARD): never a copy.
    pub iter_no_copy: u32,
    /// `ITER_PIPE` itself, not a mask; 0 where there is none (since 6.5).
    pub iter_pipe: u32,
    /// `iov_iter.data_source`, or 0 where the direction bit tells.
    pub iter_source: u32,
    /// 1 if page copies into kernel-backed iterators pass the hardened-usercopy check too (5.10).
    pub check_nests_in_wrappers: u32,

    pub skb_len: u32,
    pub skb_data_len: u32,
    pub skb_head: u32,
    pub skb_end: u32,
    pub skb_tail: u32,
    pub shinfo_nr_frags: u32,
    pub shinfo_frags: u32,
    pub shinfo_frag_list: u32,
    pub shinfo_destructor_arg: u32,
    pub frag_bytes: u32,
    pub frag_len: u32,

    /// `filename.iname` and the largest path that `getname_flags()` copies.
    pub filename_iname: u32,
    pub filename_max: u32,
    pub vm_fault_page: u32,
    pub file_inode: u32,
    pub inode_mode: u32,

    pub task_thread_pid: u32,
    pub pid_level: u32,
    pub pid_numbers: u32,
    pub upid_bytes: u32,
    pub upid_nr: u32,
    pub upid_ns: u32,
    /// `pid_namespace.ns.inum`, and the caller's.
    pub ns_inum: u32,
    pub pid_namespace: u32,

    /// 0 where programs may not read the kernel's memory (lockdown), or know no structure's layout.
    pub reads_memory: u32,
    /// 1 if `process_vm_*` copies are taken from the return value (not when call sites count them).
    pub process_vm_by_return: u32,
    /// 1 while an audit runs: the programs also count per probe.
    pub audit: u32,
    /// 1 on kernels that preempt programs: context switches tell whom that concerns.
    pub watch_preemption: u32,
    pub task_migration_disabled: u32,
    /// 1 if copies are also counted by size, and the number of shards per slot for that minus one.
    pub copy_sizes: u32,
    pub copy_sizes_shard_mask: u32,

    pub bio_size: u32,
    pub bio_op: u32,
    pub bio_status: u32,
    pub bio_private: u32,
    /// `bio.bi_io_vec`, whose elements begin with their `struct page *`.
    pub bio_vectors: u32,
    pub page_mapping: u32,
    /// Number of the bit `PG_writeback` in `page.flags`, or [`ABSENT`].
    pub page_writeback: u32,
    /// `bio.bi_bdev`, or `bio.bi_disk` where `bdev_disk` is [`ABSENT`].
    pub bio_device: u32,
    pub bdev_disk: u32,
    pub disk_part0: u32,
    /// `part0`'s `device.parent`, from `*part0`, or from the disk if `disk_part0` is [`ABSENT`].
    pub part0_parent: u32,
    pub net_device_parent: u32,
    pub skb_sk: u32,
    pub skb_dev: u32,
    pub skb_data: u32,
    pub skb_mac_header: u32,
    pub socket_sk: u32,
    /// The byte of `fuse_copy_state` that tells the direction, and its bits; [`ABSENT`] where FUSE is a module.
    pub fuse_copy_write: u32,
    pub fuse_copy_write_mask: u32,
    /// `device.bus` and `bus_type.name`: persistent memory hangs on a bus, and does no DMA.
    pub device_bus: u32,
    pub bus_name: u32,

    /// From a task and a descriptor to the protocol of the socket behind it.
    pub task_files: u32,
    pub files_fdt: u32,
    pub fdtable_fd: u32,
    pub file_private: u32,
    pub sock_protocol: u32,
}
impl Config {
    pub const WORDS: usize = 83;
}
const _: () = assert!(size_of::<Config>() == Config::WORDS * 4);

/// In place of an offset: there is no such member.
pub const ABSENT: u32 = u32::MAX;

/// One CPU: tasks preempted inside a BPF program, and those whom that concerns.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Preempted {
    /// Tasks that were switched away from with migration disabled.
    pub tasks: u32,
    /// 1 if the task that runs now is counted, and there are such tasks.
    pub concerned: u32,
}

/// Where each CPU keeps its `preempt_count`: at `preempt_count + per_cpu_offset[cpu]`. Element 0 of the
/// array map `PREEMPT`; zeros if it is not known.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Preempt {
    /// Address of the kernel's array `__per_cpu_offset`.
    pub per_cpu_offset: u64,
    pub preempt_count: u64,
}
