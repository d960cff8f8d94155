//! What a task does on its way out of the kernel, whatever call or interrupt took it in.
//!
//! io_uring's task work: requests that were waiting for data copy here (retried receives and reads, multishot requests),
//! while the task's registers tell of an `epoll_wait`, a `read` of another file, or nothing at all. And core dumps, which
//! signals begin.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::abi::Path;

use super::account::{current_slot, path};
use super::splice::{change, is_marked};

/// `void tctx_task_work(struct callback_head *)`. Within io_uring's own calls and threads no mark is needed.
#[inline(always)]
fn begins() {
    if current_slot().is_some() && path().is_some_and(|path| !matches!(path, Path::IoUring)) {
        change(|depth| depth.io_uring += 1);
    }
}

#[inline(always)]
fn ends() {
    if is_marked() {
        change(|depth| depth.io_uring = depth.io_uring.saturating_sub(1));
    }
}

/// `do_coredump(siginfo)`. It may write by any file system, or into a pipe.
#[inline(always)]
fn dump_begins() {
    if current_slot().is_some() {
        change(|depth| depth.core_dump += 1);
    }
}

#[inline(always)]
fn dump_ends() {
    if is_marked() {
        change(|depth| depth.core_dump = depth.core_dump.saturating_sub(1));
    }
}

/// Entry points of one function: `begin, end; fentry, fexit, kprobe, kretprobe`.
macro_rules! marking {
    ($begin:ident, $end:ident; $fentry:ident, $fexit:ident, $entry:ident, $return:ident) => {
        #[fentry]
        pub fn $fentry(_: FEntryContext) -> i32 {
            $begin();
            0
        }
        #[fexit]
        pub fn $fexit(_: FExitContext) -> i32 {
            $end();
            0
        }
        #[kprobe]
        pub fn $entry(_: ProbeContext) -> u32 {
            $begin();
            0
        }
        #[kretprobe]
        pub fn $return(_: RetProbeContext) -> u32 {
            $end();
            0
        }
    };
}
marking! { begins, ends; io_uring_work_fentry, io_uring_work_fexit, io_uring_work_entry, io_uring_work_return }
marking! { dump_begins, dump_ends; core_dump_fentry, core_dump_fexit, core_dump_entry, core_dump_return }
