//! The table: one row per thing that is observed, with the ways to observe it in order of preference.
//!
//! Attach plan, fallbacks, `doctor`, `probes`, metric labels and documentation follow from it. To add a
//! probe: a row here, a program in `bpf/`, a test.
//!
//! Where a function's name or arity differs between kernels, each form is a way of its own; the plan
//! takes the first one that this kernel has. Sources: mm/filemap.c, mm/shmem.c, fs/pipe.c, fs/splice.c,
//! net/core/{skbuff,datagram}.c of 5.10, 6.1, 6.12 and 7.2.

use crate::abi::{Arguments, Direction};

/// What a row's loss means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Copies: without it the ledger is incomplete.
    Copy,
    /// Bytes that moved by reference: never part of a sum of copies.
    Reference,
    /// Marks that other rows need to be exact.
    Mark,
    /// Mode switches, context switches, payload.
    Switch,
    /// Processes that come and go.
    Life,
}

/// How a way attaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// BPF trampoline at a function's entry and/or exit (fentry, fexit): needs the function in BTF.
    Trampoline,
    /// kprobe, and a kretprobe where there are two programs.
    Kprobe,
    RawTracepoint,
}

impl Method {
    /// The word used in `--attach`, metrics and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Trampoline => "fentry",
            Method::Kprobe => "kprobe",
            Method::RawTracepoint => "raw_tracepoint",
        }
    }
}

/// One way to observe a row.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub method: Method,
    /// Function or tracepoint.
    pub symbol: &'static str,
    /// Number of arguments that the programs rely on; 0: any.
    pub args: u8,
    pub programs: &'static [&'static str],
}

/// Kernel releases `[since, before)` that a row is for; `(0, 0)` means no bound.
#[derive(Clone, Copy, Debug)]
pub struct Releases {
    pub since: (u16, u16),
    pub before: (u16, u16),
}

const ANY: Releases = Releases { since: (0, 0), before: (0, 0) };
const fn since(major: u16, minor: u16) -> Releases {
    Releases { since: (major, minor), before: (0, 0) }
}
const fn before(major: u16, minor: u16) -> Releases {
    Releases { since: (0, 0), before: (major, minor) }
}

impl Releases {
    /// True if the release is one of them.
    pub fn contains(self, release: (u16, u16)) -> bool {
        release >= self.since && (self.before == (0, 0) || release < self.before)
    }
}

/// One thing that is observed.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub group: Group,
    pub help: &'static str,
    pub releases: Releases,
    pub ways: &'static [Way],
    /// Functions whose call sites of copy primitives are counted by this row.
    pub covers: &'static [&'static str],
    /// True if a stock kernel may lack it (a module, a configuration): its absence is no gap.
    pub optional: bool,
}

const fn trampoline(symbol: &'static str, args: u8, programs: &'static [&'static str]) -> Way {
    Way { method: Method::Trampoline, symbol, args, programs }
}
const fn kprobe(symbol: &'static str, programs: &'static [&'static str]) -> Way {
    Way { method: Method::Kprobe, symbol, args: 0, programs }
}
const fn tracepoint(symbol: &'static str, args: u8, programs: &'static [&'static str]) -> Way {
    Way { method: Method::RawTracepoint, symbol, args, programs }
}

const fn copy(
    name: &'static str,
    help: &'static str,
    releases: Releases,
    ways: &'static [Way],
    covers: &'static [&'static str],
) -> Row {
    Row { name, group: Group::Copy, help, releases, ways, covers, optional: false }
}
const fn other(group: Group, name: &'static str, help: &'static str, ways: &'static [Way]) -> Row {
    Row { name, group, help, releases: ANY, ways, covers: &[], optional: false }
}
const fn optional(row: Row) -> Row {
    Row { optional: true, ..row }
}
const fn only(releases: Releases, row: Row) -> Row {
    Row { releases, ..row }
}

/// Everything that is observed.
pub const ROWS: &[Row] = &[
    // -- between user memory and the kernel ---------------------------------------------------------
    copy(
        "check",
        "copies of variable size through copy_{to,from}_{user,iter}: sockets, seq_file, tty, ioctl",
        ANY,
        &[
            trampoline("__check_object_size", 3, &["check_fentry"]),
            kprobe("__check_object_size", &["check_kprobe"]),
        ],
        &[],
    ),
    copy(
        "file_read",
        "reads from the page cache",
        ANY,
        &[
            trampoline("filemap_read", 3, &["file_read_fexit"]),
            trampoline("generic_file_buffered_read", 3, &["file_read_fexit"]),
            kprobe("filemap_read", &["file_read_entry", "file_read_return"]),
            kprobe("generic_file_buffered_read", &["file_read_entry", "file_read_return"]),
        ],
        &["filemap_read", "generic_file_buffered_read"],
    ),
    copy(
        "shmem_read",
        "reads from tmpfs and shared memory",
        ANY,
        &[
            trampoline("shmem_file_read_iter", 2, &["shmem_read_fexit"]),
            kprobe("shmem_file_read_iter", &["shmem_read_entry", "shmem_read_return"]),
        ],
        &["shmem_file_read_iter"],
    ),
    optional(copy(
        "hugetlbfs_read",
        "reads from hugetlbfs",
        ANY,
        &[
            trampoline("hugetlbfs_read_iter", 2, &["hugetlbfs_read_fexit"]),
            kprobe("hugetlbfs_read_iter", &["hugetlbfs_read_entry", "hugetlbfs_read_return"]),
        ],
        &["hugetlbfs_read_iter", "hugetlbfs_read_actor"],
    )),
    copy(
        "pipe_read",
        "reads from a pipe",
        ANY,
        &[
            trampoline("anon_pipe_read", 2, &["pipe_read_fexit"]),
            trampoline("pipe_read", 2, &["pipe_read_fexit"]),
            kprobe("anon_pipe_read", &["pipe_read_entry", "pipe_read_return"]),
            kprobe("pipe_read", &["pipe_read_entry", "pipe_read_return"]),
        ],
        &["anon_pipe_read", "pipe_read"],
    ),
    copy(
        "pipe_to_user",
        "vmsplice from a pipe into user memory",
        ANY,
        &[
            trampoline("pipe_to_user", 3, &["pipe_to_user_fexit"]),
            kprobe("pipe_to_user", &["pipe_to_user_entry", "pipe_to_user_return"]),
        ],
        &["pipe_to_user"],
    ),
    copy(
        "random_read",
        "random bytes (64 at a time)",
        ANY,
        &[
            trampoline("get_random_bytes_user", 1, &["random_read_fexit"]),
            kprobe("get_random_bytes_user", &["random_read_entry", "random_read_return"]),
        ],
        &["get_random_bytes_user"],
    ),
    optional(copy(
        "dax_rw",
        "reads and writes of DAX files",
        ANY,
        &[
            trampoline("dax_iomap_rw", 3, &["dax_rw_fexit"]),
            kprobe("dax_iomap_rw", &["dax_rw_entry", "dax_rw_return"]),
        ],
        &["dax_iomap_rw", "dax_iomap_actor", "dax_iomap_iter", "dax_copy_to_iter", "dax_copy_from_iter"],
    )),
    copy(
        "file_write",
        "buffered writes (ext4, tmpfs and most others)",
        ANY,
        &[
            trampoline("generic_perform_write", 2, &["file_write_fexit"]),
            trampoline("generic_perform_write", 3, &["file_write_fexit3"]),
            kprobe("generic_perform_write", &["file_write_entry", "file_write_return"]),
        ],
        &["generic_perform_write"],
    ),
    optional(copy(
        "iomap_write",
        "buffered writes through iomap (XFS, block devices)",
        ANY,
        &[
            trampoline("iomap_file_buffered_write", 3, &["iomap_write_fexit"]),
            trampoline("iomap_file_buffered_write", 4, &["iomap_write_fexit4"]),
            trampoline("iomap_file_buffered_write", 5, &["iomap_write_fexit5"]),
            kprobe("iomap_file_buffered_write", &["iomap_write_entry", "iomap_write_return"]),
        ],
        &["iomap_file_buffered_write", "iomap_write_iter", "iomap_write_actor"],
    )),
    optional(copy(
        "fuse_write",
        "buffered writes of FUSE file systems",
        ANY,
        &[
            trampoline("fuse_perform_write", 2, &["fuse_write_fexit"]),
            kprobe("fuse_perform_write", &["fuse_write_entry", "fuse_write_return"]),
        ],
        &["fuse_perform_write", "fuse_fill_write_pages"],
    )),
    copy(
        "pipe_write",
        "writes to a pipe",
        ANY,
        &[
            trampoline("anon_pipe_write", 2, &["pipe_write_fexit"]),
            trampoline("pipe_write", 2, &["pipe_write_fexit"]),
            kprobe("anon_pipe_write", &["pipe_write_entry", "pipe_write_return"]),
            kprobe("pipe_write", &["pipe_write_entry", "pipe_write_return"]),
        ],
        &["anon_pipe_write", "pipe_write"],
    ),
    copy(
        "skb_from_iter",
        "page fragments of packets: AF_UNIX, packet sockets, tun",
        ANY,
        &[
            trampoline("skb_copy_datagram_from_iter", 4, &["skb_from_iter_fexit"]),
            kprobe("skb_copy_datagram_from_iter", &["skb_from_iter_entry", "skb_from_iter_return"]),
        ],
        &["skb_copy_datagram_from_iter"],
    ),
    copy(
        "process_vm",
        "process_vm_readv and process_vm_writev, by their return value",
        ANY,
        &[tracepoint("sys_exit", 2, &[])],
        &["process_vm_rw_core", "process_vm_rw_single_vec", "process_vm_rw"],
    ),
    // -- inside the kernel --------------------------------------------------------------------------
    copy(
        "page_copy",
        "copy-on-write and migrated pages",
        since(5, 19),
        &[
            trampoline("copy_mc_to_kernel", 3, &["page_copy_fexit"]),
            kprobe("copy_mc_to_kernel", &["page_copy_entry", "page_copy_return"]),
        ],
        &[],
    ),
    copy(
        "cow",
        "copy-on-write pages (before copy_mc_to_kernel did it)",
        before(5, 19),
        &[
            trampoline("wp_page_copy", 1, &["cow_fexit"]),
            kprobe("wp_page_copy", &["cow_entry", "cow_return"]),
        ],
        &["wp_page_copy"],
    ),
    optional(only(
        before(6, 2),
        copy(
            "cow_huge",
            "copy-on-write of huge pages",
            ANY,
            &[
                trampoline("copy_user_huge_page", 5, &["cow_huge_fentry"]),
                kprobe("copy_user_huge_page", &["cow_huge_kprobe"]),
            ],
            &["copy_user_huge_page", "copy_subpage"],
        ),
    )),
    copy(
        "skb_copy_bits",
        "packet data copied into kernel memory: linearise, pull, copy",
        ANY,
        &[
            trampoline("skb_copy_bits", 4, &["skb_copy_bits_fentry"]),
            kprobe("skb_copy_bits", &["skb_copy_bits_kprobe"]),
        ],
        &[],
    ),
    copy(
        "skb_store_bits",
        "kernel memory copied into packet data",
        ANY,
        &[
            trampoline("skb_store_bits", 4, &["skb_store_bits_fentry"]),
            kprobe("skb_store_bits", &["skb_store_bits_kprobe"]),
        ],
        &[],
    ),
    copy(
        "skb_copy_ubufs",
        "zero-copy sends that the kernel copied after all",
        ANY,
        &[
            trampoline("skb_copy_ubufs", 2, &["skb_copy_ubufs_fexit"]),
            kprobe("skb_copy_ubufs", &["skb_copy_ubufs_entry", "skb_copy_ubufs_return"]),
        ],
        &[],
    ),
    copy(
        "skb_expand_head",
        "packet headers moved to a larger buffer",
        ANY,
        &[
            trampoline("pskb_expand_head", 4, &["skb_expand_head_fexit"]),
            kprobe("pskb_expand_head", &["skb_expand_head_entry", "skb_expand_head_return"]),
        ],
        &[],
    ),
    copy(
        "skb_copy_headers",
        "packet headers copied for a retransmission",
        ANY,
        &[
            trampoline("__pskb_copy_fclone", 4, &["skb_copy_headers_fentry"]),
            kprobe("__pskb_copy_fclone", &["skb_copy_headers_kprobe"]),
        ],
        &[],
    ),
    optional(copy(
        "swiotlb_bounce",
        "bounce buffers of devices that cannot reach the memory",
        ANY,
        &[
            trampoline("swiotlb_bounce", 0, &["swiotlb_bounce_fentry"]),
            kprobe("swiotlb_bounce", &["swiotlb_bounce_kprobe"]),
        ],
        &[],
    )),
    // -- checksum and copy in one -------------------------------------------------------------------
    copy(
        "csum_from_user",
        "copies from user memory that compute a checksum",
        ANY,
        &[
            trampoline("csum_and_copy_from_user", 3, &["csum_from_user_fentry"]),
            kprobe("csum_and_copy_from_user", &["csum_from_user_kprobe"]),
        ],
        &[],
    ),
    copy(
        "csum_to_user",
        "copies to user memory that compute a checksum",
        ANY,
        &[
            trampoline("csum_and_copy_to_user", 3, &["csum_to_user_fentry"]),
            kprobe("csum_and_copy_to_user", &["csum_to_user_kprobe"]),
        ],
        &[],
    ),
    copy(
        "skb_copy_and_csum_bits",
        "packet data copied and checksummed: segmentation for devices without scatter-gather",
        ANY,
        &[
            trampoline("skb_copy_and_csum_bits", 4, &["skb_copy_and_csum_bits_fentry"]),
            kprobe("skb_copy_and_csum_bits", &["skb_copy_and_csum_bits_kprobe"]),
        ],
        &[],
    ),
    // -- encryption ---------------------------------------------------------------------------------
    optional(copy(
        "ktls_send",
        "bytes that kTLS encrypted in software (module tls)",
        ANY,
        &[kprobe("tls_sw_sendmsg", &["ktls_send_entry", "ktls_send_return"])],
        &[],
    )),
    optional(only(
        before(6, 5),
        copy(
            "ktls_sendpage",
            "the same for sendfile and splice (before tls_sw_sendmsg did it)",
            ANY,
            &[kprobe("tls_sw_sendpage", &["ktls_sendpage_entry", "ktls_sendpage_return"])],
            &[],
        ),
    )),
    optional(copy(
        "ktls_recv",
        "bytes that kTLS decrypted in software",
        ANY,
        &[kprobe("tls_sw_recvmsg", &["ktls_recv_entry", "ktls_recv_return"])],
        &[],
    )),
    // -- call sites that nothing above covers -------------------------------------------------------
    optional(copy(
        "call_site",
        "kprobes on the call instructions of copy primitives that no wrapper covers",
        ANY,
        &[],
        &[],
    )),
    // -- moved by reference -------------------------------------------------------------------------
    other(
        Group::Reference,
        "zerocopy_send",
        "user pages attached to packets (MSG_ZEROCOPY, io_uring SEND_ZC)",
        &[
            trampoline("skb_zerocopy_iter_stream", 5, &["zerocopy_send_fexit5"]),
            trampoline("skb_zerocopy_iter_stream", 6, &["zerocopy_send_fexit6"]),
            kprobe("skb_zerocopy_iter_stream", &["zerocopy_send_entry", "zerocopy_send_return"]),
        ],
    ),
    other(
        Group::Reference,
        "socket_splice",
        "pages attached to packets (sendfile and splice to a socket)",
        &[
            trampoline("skb_splice_from_iter", 3, &["socket_splice_fexit3"]),
            trampoline("skb_splice_from_iter", 4, &["socket_splice_fexit4"]),
            trampoline("do_tcp_sendpages", 5, &["socket_splice_fexit5"]),
            kprobe("skb_splice_from_iter", &["socket_splice_entry", "socket_splice_return"]),
            kprobe("do_tcp_sendpages", &["socket_splice_entry", "socket_splice_return"]),
        ],
    ),
    only(
        before(6, 5),
        other(
            Group::Reference,
            "unix_sendpage",
            "pages attached to AF_UNIX packets (before skb_splice_from_iter did it)",
            &[
                trampoline("unix_stream_sendpage", 5, &["unix_sendpage_fexit"]),
                kprobe("unix_stream_sendpage", &["unix_sendpage_entry", "unix_sendpage_return"]),
            ],
        ),
    ),
    other(
        Group::Reference,
        "file_splice",
        "page-cache pages put into a pipe",
        &[
            trampoline("filemap_splice_read", 5, &["file_splice_fexit"]),
            trampoline("generic_file_splice_read", 5, &["file_splice_fexit"]),
            kprobe("filemap_splice_read", &["file_splice_entry", "file_splice_return"]),
            kprobe("generic_file_splice_read", &["file_splice_entry", "file_splice_return"]),
        ],
    ),
    only(
        since(6, 3),
        other(
            Group::Reference,
            "shmem_splice",
            "tmpfs pages put into a pipe",
            &[
                trampoline("shmem_file_splice_read", 5, &["shmem_splice_fexit"]),
                kprobe("shmem_file_splice_read", &["shmem_splice_entry", "shmem_splice_return"]),
            ],
        ),
    ),
    other(
        Group::Reference,
        "socket_to_pipe",
        "received pages put into a pipe",
        &[
            trampoline("skb_splice_bits", 6, &["socket_to_pipe_fexit"]),
            kprobe("skb_splice_bits", &["socket_to_pipe_entry", "socket_to_pipe_return"]),
        ],
    ),
    optional(other(
        Group::Reference,
        "pipe_to_pipe",
        "pages moved from one pipe to another",
        &[
            trampoline("splice_pipe_to_pipe", 4, &["pipe_to_pipe_fexit"]),
            kprobe("splice_pipe_to_pipe", &["pipe_to_pipe_entry", "pipe_to_pipe_return"]),
        ],
    )),
    // -- marks --------------------------------------------------------------------------------------
    other(
        Group::Mark,
        "splice",
        "a task is in splice: what it copies stays in the kernel",
        &[
            trampoline("do_splice", 0, &["splice_fentry", "splice_fexit"]),
            kprobe("do_splice", &["splice_entry", "splice_return"]),
        ],
    ),
    other(
        Group::Mark,
        "splice_direct",
        "the same inside sendfile and copy_file_range",
        &[
            trampoline("splice_direct_to_actor", 0, &["splice_direct_fentry", "splice_direct_fexit"]),
            kprobe("splice_direct_to_actor", &["splice_direct_entry", "splice_direct_return"]),
        ],
    ),
    other(
        Group::Mark,
        "softirq_entry",
        "softirq work begins: the current task is a bystander",
        &[tracepoint("softirq_entry", 1, &["softirq_entry"])],
    ),
    other(
        Group::Mark,
        "softirq_exit",
        "softirq work ends",
        &[tracepoint("softirq_exit", 1, &["softirq_exit"])],
    ),
    mute(
        "mute_file",
        &[
            trampoline("generic_file_buffered_read", 3, &["mute_file_fentry", "mute_file_fexit"]),
            kprobe("generic_file_buffered_read", &["mute_file_entry", "mute_file_return"]),
        ],
    ),
    mute(
        "mute_shmem",
        &[
            trampoline("shmem_file_read_iter", 2, &["mute_shmem_fentry", "mute_shmem_fexit"]),
            kprobe("shmem_file_read_iter", &["mute_shmem_entry", "mute_shmem_return"]),
        ],
    ),
    optional(mute(
        "mute_hugetlbfs",
        &[
            trampoline("hugetlbfs_read_iter", 2, &["mute_hugetlbfs_fentry", "mute_hugetlbfs_fexit"]),
            kprobe("hugetlbfs_read_iter", &["mute_hugetlbfs_entry", "mute_hugetlbfs_return"]),
        ],
    )),
    mute(
        "mute_pipe_read",
        &[
            trampoline("pipe_read", 2, &["mute_pipe_read_fentry", "mute_pipe_read_fexit"]),
            kprobe("pipe_read", &["mute_pipe_read_entry", "mute_pipe_read_return"]),
        ],
    ),
    mute(
        "mute_pipe_write",
        &[
            trampoline("pipe_write", 2, &["mute_pipe_write_fentry", "mute_pipe_write_fexit"]),
            kprobe("pipe_write", &["mute_pipe_write_entry", "mute_pipe_write_return"]),
        ],
    ),
    // -- switches and payload -----------------------------------------------------------------------
    other(Group::Switch, "sys_enter", "system calls", &[tracepoint("sys_enter", 2, &["sys_enter"])]),
    other(
        Group::Switch,
        "sys_exit",
        "payload, from return values",
        &[tracepoint("sys_exit", 2, &["sys_exit"])],
    ),
    other(
        Group::Switch,
        "page_fault",
        "page faults taken in user mode",
        &[tracepoint("page_fault_user", 3, &["page_fault"])],
    ),
    interrupt(
        "irq_timer",
        "timer interrupts taken in user mode",
        &[
            trampoline("__sysvec_apic_timer_interrupt", 1, &["irq_timer_fentry"]),
            kprobe("__sysvec_apic_timer_interrupt", &["irq_timer_kprobe"]),
        ],
    ),
    optional(interrupt(
        "irq_device",
        "device interrupts taken in user mode (5.15 and newer)",
        &[
            trampoline("__common_interrupt", 2, &["irq_device_fentry"]),
            kprobe("__common_interrupt", &["irq_device_kprobe"]),
        ],
    )),
    interrupt(
        "irq_call",
        "inter-processor calls taken in user mode",
        &[
            trampoline("__sysvec_call_function", 1, &["irq_call_fentry"]),
            kprobe("__sysvec_call_function", &["irq_call_kprobe"]),
        ],
    ),
    interrupt(
        "irq_call_single",
        "single inter-processor calls taken in user mode",
        &[
            trampoline("__sysvec_call_function_single", 1, &["irq_call_single_fentry"]),
            kprobe("__sysvec_call_function_single", &["irq_call_single_kprobe"]),
        ],
    ),
    other(
        Group::Switch,
        "sched_switch",
        "context switches",
        &[
            tracepoint("sched_switch", 4, &["sched_switch"]),
            tracepoint("sched_switch", 3, &["sched_switch_by_task"]),
        ],
    ),
    // -- life ---------------------------------------------------------------------------------------
    other(Group::Life, "fork", "children", &[tracepoint("sched_process_fork", 2, &["forked"])]),
    other(Group::Life, "exec", "new programs", &[tracepoint("sched_process_exec", 3, &["execed"])]),
    other(Group::Life, "exit", "ends", &[tracepoint("sched_process_exit", 0, &["exited"])]),
];

/// 5.10 alone: `copy_page_to_iter()` into kernel memory runs the check as well (changed in 5.14,
/// "iov_iter: separate direction from flavour", and the rework around it).
const fn mute(name: &'static str, ways: &'static [Way]) -> Row {
    only(
        before(5, 14),
        other(Group::Mark, name, "copies into kernel memory that the check would see twice", ways),
    )
}
const fn interrupt(name: &'static str, help: &'static str, ways: &'static [Way]) -> Row {
    optional(other(Group::Switch, name, help, ways))
}

/// Index of a row; fails to compile if there is none.
pub const fn row(name: &str) -> u32 {
    let mut i = 0;
    while i < ROWS.len() {
        if same(ROWS[i].name, name) {
            return i as u32;
        }
        i += 1;
    }
    panic!("no such row")
}

/// A function that copies and can be watched only from outside: at its call sites, or by a breakpoint.
#[derive(Clone, Copy, Debug)]
pub struct Primitive {
    pub name: &'static str,
    pub arguments: Arguments,
    pub direction: Direction,
    /// Program for a probe on a call site; "" where sites need none (their callee is traceable).
    pub site_program: &'static str,
    /// Program for a hardware breakpoint on it; "" where another primitive's breakpoint sees it.
    pub witness_program: &'static str,
    /// True if its calls move data; false if, unchecked, they copy structures of constant size.
    pub data: bool,
}

const fn primitive_row(
    name: &'static str,
    arguments: Arguments,
    direction: Direction,
    site_program: &'static str,
    witness_program: &'static str,
) -> Primitive {
    let data = !matches!(arguments, Arguments::ToFromBytes);
    Primitive { name, arguments, direction, site_program, witness_program, data }
}

use Arguments::{AddrBytesIter, PageIterOffsetBytes, PageOffsetBytesIter, ToFromBytes, ToFromPage};
use Direction::{FromUser, InKernel, ToUser};

/// lib/iov_iter.c, lib/usercopy.c, arch/x86/lib/copy_page_64.S. A kernel has those that it has.
pub const PRIMITIVES: &[Primitive] = &[
    primitive_row("_copy_to_user", ToFromBytes, ToUser, "", "witness_copy_to_user"),
    primitive_row("_copy_from_user", ToFromBytes, FromUser, "", "witness_copy_from_user"),
    primitive_row("_copy_to_iter", AddrBytesIter, ToUser, "site_to_iter", "witness_copy_to_iter"),
    primitive_row("_copy_from_iter", AddrBytesIter, FromUser, "site_from_iter", "witness_copy_from_iter"),
    primitive_row(
        "_copy_from_iter_full",
        AddrBytesIter,
        FromUser,
        "site_from_iter",
        "witness_copy_from_iter_full",
    ),
    primitive_row("_copy_from_iter_full_nocache", AddrBytesIter, FromUser, "site_from_iter", ""),
    primitive_row("_copy_from_iter_nocache", AddrBytesIter, FromUser, "site_from_iter", ""),
    primitive_row("_copy_from_iter_flushcache", AddrBytesIter, FromUser, "site_from_iter", ""),
    primitive_row("_copy_mc_to_iter", AddrBytesIter, ToUser, "site_to_iter", ""),
    primitive_row(
        "copy_page_to_iter",
        PageOffsetBytesIter,
        ToUser,
        "site_page_to_iter",
        "witness_copy_page_to_iter",
    ),
    primitive_row("copy_page_to_iter_nofault", PageOffsetBytesIter, ToUser, "site_page_to_iter", ""),
    primitive_row(
        "copy_page_from_iter",
        PageOffsetBytesIter,
        FromUser,
        "site_page_from_iter",
        "witness_copy_page_from_iter",
    ),
    primitive_row(
        "copy_page_from_iter_atomic",
        PageOffsetBytesIter,
        FromUser,
        "site_page_from_iter",
        "witness_copy_page_from_iter_atomic",
    ),
    primitive_row(
        "copy_folio_from_iter_atomic",
        PageOffsetBytesIter,
        FromUser,
        "site_page_from_iter",
        "witness_copy_folio_from_iter_atomic",
    ),
    primitive_row(
        "iov_iter_copy_from_user_atomic",
        PageIterOffsetBytes,
        FromUser,
        "site_page_from_user",
        "witness_copy_from_user_atomic",
    ),
    primitive_row("hash_and_copy_to_iter", AddrBytesIter, ToUser, "", ""),
    primitive_row("copy_page", ToFromPage, InKernel, "site_copy_page", ""),
];

/// Index of a primitive; fails to compile if there is none.
pub const fn primitive(name: &str) -> u32 {
    let mut i = 0;
    while i < PRIMITIVES.len() {
        if same(PRIMITIVES[i].name, name) {
            return i as u32;
        }
        i += 1;
    }
    panic!("no such primitive")
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (i, r) in ROWS.iter().enumerate() {
            assert_eq!(row(r.name) as usize, i, "{}", r.name);
        }
        for (i, p) in PRIMITIVES.iter().enumerate() {
            assert_eq!(primitive(p.name) as usize, i, "{}", p.name);
        }
    }

    #[test]
    fn releases() {
        assert!(before(5, 14).contains((5, 10)) && !before(5, 14).contains((5, 14)));
        assert!(since(5, 19).contains((6, 1)) && !since(5, 19).contains((5, 10)));
    }
}
