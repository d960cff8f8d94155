//! What other rows need to be exact: where a task is, and on whose behalf.

use super::row::{
    Group, Meant, Reads, Row, Way, kprobe, needing, only, optional, other, reading, tracepoint, trampoline,
};

/// Splices, softirqs, and what 5.10 would see twice.
pub const ROWS: &[Row] = &[
    other(
        Group::Mark,
        "splice",
        "a task is in splice: what it copies stays in the kernel, and what it does not copy moves by reference",
        &[
            trampoline("do_splice", 6, &["splice_fentry", "splice_fexit"]),
            kprobe("do_splice", &["splice_entry", "splice_return"]),
        ],
    ),
    other(
        Group::Mark,
        "splice_direct",
        "the same inside sendfile and copy_file_range",
        &[
            trampoline("splice_direct_to_actor", 3, &["splice_direct_fentry", "splice_direct_fexit"]),
            kprobe("splice_direct_to_actor", &["splice_direct_entry", "splice_direct_return"]),
        ],
    ),
    other(
        Group::Mark,
        "io_uring_work",
        "io_uring's task work, which runs as the task leaves the kernel: what it copies is io_uring's",
        &[
            trampoline("tctx_task_work", 1, &["io_uring_work_fentry", "io_uring_work_fexit"]),
            kprobe("tctx_task_work", &["io_uring_work_entry", "io_uring_work_return"]),
        ],
    ),
    other(
        Group::Mark,
        "core_dump",
        "a task writes its core dump, which a signal began: its copies are on `other_syscall`",
        &[
            trampoline("vfs_coredump", 1, &["core_dump_fentry", "core_dump_fexit"]),
            trampoline("do_coredump", 1, &["core_dump_fentry", "core_dump_fexit"]),
            kprobe("vfs_coredump", &["core_dump_entry", "core_dump_return"]),
            kprobe("do_coredump", &["core_dump_entry", "core_dump_return"]),
        ],
    ),
    needing(
        &["worker_ends"],
        other(
            Group::Mark,
            "worker_begins",
            "a kernel thread takes a process's memory on (vhost up to 6.1): it is counted with that process",
            &[
                trampoline("kthread_use_mm", 1, &["worker_begins_fentry"]),
                kprobe("kthread_use_mm", &["worker_begins_kprobe"]),
            ],
        ),
    ),
    needing(
        &["worker_begins"],
        other(
            Group::Mark,
            "worker_ends",
            "a kernel thread leaves a process's memory",
            &[
                trampoline("kthread_unuse_mm", 1, &["worker_ends_fentry"]),
                kprobe("kthread_unuse_mm", &["worker_ends_kprobe"]),
            ],
        ),
    ),
    other(
        Group::Mark,
        "cut_short",
        "copies that end at memory that is not mapped, after more was counted",
        &[
            trampoline("fixup_exception", 4, &["cut_short_fentry"]),
            kprobe("fixup_exception", &["cut_short_kprobe"]),
        ],
    ),
    needing(
        &["softirq_exit"],
        other(
            Group::Mark,
            "softirq_entry",
            "softirq work begins: the current task is a bystander (where `preempt_count` does not tell)",
            &[reading(Reads::Nothing, tracepoint("softirq_entry", 1, &["softirq_entry"]))],
        ),
    ),
    needing(
        &["softirq_entry"],
        other(
            Group::Mark,
            "softirq_exit",
            "softirq work ends (the same)",
            &[reading(Reads::Nothing, tracepoint("softirq_exit", 1, &["softirq_exit"]))],
        ),
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
];

/// Old iterators (5.10): `copy_page_to_iter()` into kernel memory runs the check as well (changed in 5.14,
/// "iov_iter: separate direction from flavour", and the rework around it).
const fn mute(name: &'static str, ways: &'static [Way]) -> Row {
    only(
        Meant::OldIterators,
        other(Group::Mark, name, "copies into kernel memory that the check would see twice", ways),
    )
}
