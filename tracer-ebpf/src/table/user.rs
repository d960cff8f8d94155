//! Copies between user memory and the kernel.

use super::row::{
    Row, copy, hosted, in_softirqs, kprobe, leaves_checked, optional, trampoline, unpreempted, with_args,
};

/// Wrappers, and the check that the compiler puts before copies of variable size.
pub const ROWS: &[Row] = &[
    copy(
        "check",
        "copies of variable size through copy_{to,from}_{user,iter}: sockets, seq_file, tty, ioctl",
        &[
            trampoline("__check_object_size", 3, &["check_fentry"]),
            unpreempted(kprobe("__check_object_size", &["check_kprobe"])),
        ],
        &[],
    ),
    copy(
        "file_read",
        "reads from the page cache",
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
        &[
            trampoline("shmem_file_read_iter", 2, &["shmem_read_fexit"]),
            kprobe("shmem_file_read_iter", &["shmem_read_entry", "shmem_read_return"]),
        ],
        &["shmem_file_read_iter"],
    ),
    copy(
        "seq_read",
        "reads of files that the kernel writes line by line (most of /proc)",
        &[
            trampoline("seq_read_iter", 2, &["seq_read_fexit"]),
            kprobe("seq_read_iter", &["seq_read_entry", "seq_read_return"]),
        ],
        &["seq_read_iter"],
    ),
    optional(copy(
        "hugetlbfs_read",
        "reads from hugetlbfs",
        &[
            trampoline("hugetlbfs_read_iter", 2, &["hugetlbfs_read_fexit"]),
            kprobe("hugetlbfs_read_iter", &["hugetlbfs_read_entry", "hugetlbfs_read_return"]),
        ],
        &["hugetlbfs_read_iter", "hugetlbfs_read_actor"],
    )),
    copy(
        "pipe_read",
        "reads from a pipe",
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
        &[
            trampoline("pipe_to_user", 3, &["pipe_to_user_fexit"]),
            kprobe("pipe_to_user", &["pipe_to_user_entry", "pipe_to_user_return"]),
        ],
        &["pipe_to_user"],
    ),
    copy(
        "random_read",
        "random bytes (64 at a time)",
        &[
            trampoline("get_random_bytes_user", 1, &["random_read_fexit"]),
            kprobe("get_random_bytes_user", &["random_read_entry", "random_read_return"]),
        ],
        &["get_random_bytes_user"],
    ),
    optional(copy(
        "dax_rw",
        "reads and writes of DAX files",
        &[
            trampoline("dax_iomap_rw", 3, &["dax_rw_fexit"]),
            kprobe("dax_iomap_rw", &["dax_rw_entry", "dax_rw_return"]),
        ],
        &[
            "dax_iomap_rw",
            "dax_iomap_actor",
            "dax_iomap_iter",
            "dax_copy_to_iter",
            "dax_copy_from_iter",
            "pmem_copy_to_iter",
            "pmem_copy_from_iter",
        ],
    )),
    copy(
        "file_write",
        "buffered writes (ext4, tmpfs and most others)",
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
        &[
            trampoline("fuse_perform_write", 2, &["fuse_write_fexit"]),
            with_args(2, kprobe("fuse_perform_write", &["fuse_write_entry", "fuse_write_return"])),
            with_args(4, kprobe("fuse_perform_write", &["fuse_write_at_entry", "fuse_write_at_return"])),
        ],
        &["fuse_perform_write", "fuse_fill_write_pages"],
    )),
    copy(
        "pipe_write",
        "writes to a pipe",
        &[
            trampoline("anon_pipe_write", 2, &["pipe_write_fexit"]),
            trampoline("pipe_write", 2, &["pipe_write_fexit"]),
            kprobe("anon_pipe_write", &["pipe_write_entry", "pipe_write_return"]),
            kprobe("pipe_write", &["pipe_write_entry", "pipe_write_return"]),
        ],
        &["anon_pipe_write", "pipe_write"],
    ),
    in_softirqs(leaves_checked(copy(
        "skb_from_iter",
        "page fragments of packets: AF_UNIX, packet sockets, tun",
        &[
            trampoline("skb_copy_datagram_from_iter", 4, &["skb_from_iter_fexit"]),
            kprobe("skb_copy_datagram_from_iter", &["skb_from_iter_entry", "skb_from_iter_return"]),
        ],
        &["skb_copy_datagram_from_iter"],
    ))),
    copy(
        "process_vm",
        "process_vm_readv and process_vm_writev, by their return value",
        &[hosted("sys_exit")],
        &["process_vm_rw_core", "process_vm_rw_single_vec", "process_vm_rw"],
    ),
    optional(copy(
        "remote_vm",
        "memory of a process, between its pages and a buffer of the kernel's (memcpy): /proc/PID/mem, ptrace",
        &[
            trampoline("__access_remote_vm", 5, &["remote_vm_fexit5"]),
            trampoline("__access_remote_vm", 6, &["remote_vm_fexit6"]),
            kprobe("__access_remote_vm", &["remote_vm_entry", "remote_vm_return"]),
        ],
        &["__access_remote_vm"],
    )),
];
