//! io_uring's task work: what a task does for its ring on its way out of the kernel, whatever call or interrupt took it
//! in. Requests that were waiting for data copy here (retried receives and reads, multishot requests), while the task's
//! registers tell of an `epoll_wait`, a `read` of another file, or nothing at all.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::abi::Path;

use super::account::{current_slot, place};
use super::splice::{change, is_marked};

/// `void tctx_task_work(struct callback_head *)`. Within io_uring's own calls and threads no mark is needed.
#[inline(always)]
fn begins() {
    if current_slot().is_some() && place().is_some_and(|place| !matches!(place.path, Path::IoUring)) {
        change(|depth| depth.io_uring += 1);
    }
}

#[inline(always)]
fn ends() {
    if is_marked() {
        change(|depth| depth.io_uring = depth.io_uring.saturating_sub(1));
    }
}

#[fentry]
pub fn io_uring_work_fentry(_: FEntryContext) -> i32 {
    begins();
    0
}
#[fexit]
pub fn io_uring_work_fexit(_: FExitContext) -> i32 {
    ends();
    0
}
#[kprobe]
pub fn io_uring_work_entry(_: ProbeContext) -> u32 {
    begins();
    0
}
#[kretprobe]
pub fn io_uring_work_return(_: RetProbeContext) -> u32 {
    ends();
    0
}
