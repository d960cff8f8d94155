//! Marks that change what a task's copies are: `DEPTH`, written only where it is needed.
//!
//! In splice and its kin the check (check.rs) sees copies between kernel buffers. A task in a splicing
//! system call needs no mark: its system call says it. An io_uring worker does.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::abi::Loss;

use super::account::current_slot;
use super::iter::{self, Memory};
use super::kernel::{Pointer, Service, Task};
use super::maps::{DEPTH, Depth, lose};

/// Changes the current task's mark; removes it when nothing is left of it.
#[inline(always)]
fn change(change: impl Fn(&mut Depth)) {
    let key = bpf_get_current_pid_tgid();
    // SAFETY: only this task uses this key.
    let mut depth = unsafe { DEPTH.get(&key) }.copied().unwrap_or(Depth { splice: 0, muted: 0 });
    change(&mut depth);
    if depth.splice == 0 && depth.muted == 0 {
        let _ = DEPTH.remove(&key);
    } else if DEPTH.insert(&key, &depth, 0).is_err() {
        lose(Loss::CallMapFull);
    }
}

#[inline(always)]
fn is_marked() -> bool {
    DEPTH.get_ptr(&bpf_get_current_pid_tgid()).is_some()
}

#[inline(always)]
fn splice_begins() {
    if current_slot().is_some() && matches!(Task::current().service(), Some(Service::IoUring)) {
        change(|depth| depth.splice += 1);
    }
}

#[inline(always)]
fn splice_ends() {
    if is_marked() {
        change(|depth| depth.splice = depth.splice.saturating_sub(1));
    }
}

#[fentry]
pub fn splice_fentry(_: FEntryContext) -> i32 {
    splice_begins();
    0
}
#[fexit]
pub fn splice_fexit(_: FExitContext) -> i32 {
    splice_ends();
    0
}
#[kprobe]
pub fn splice_entry(_: ProbeContext) -> u32 {
    splice_begins();
    0
}
#[kretprobe]
pub fn splice_return(_: RetProbeContext) -> u32 {
    splice_ends();
    0
}
#[fentry]
pub fn splice_direct_fentry(_: FEntryContext) -> i32 {
    splice_begins();
    0
}
#[fexit]
pub fn splice_direct_fexit(_: FExitContext) -> i32 {
    splice_ends();
    0
}
#[kprobe]
pub fn splice_direct_entry(_: ProbeContext) -> u32 {
    splice_begins();
    0
}
#[kretprobe]
pub fn splice_direct_return(_: RetProbeContext) -> u32 {
    splice_ends();
    0
}

/// 5.10: `f(_, iter, ...)` with a kernel-backed iterator, whose page copies the check sees as well.
#[inline(always)]
fn mute(iter: Pointer) {
    if current_slot().is_some() && matches!(iter::memory(iter), Some(Memory::Pages | Memory::Kernel)) {
        change(|depth| depth.muted += 1);
    }
}

#[inline(always)]
fn unmute() {
    if is_marked() {
        change(|depth| depth.muted = depth.muted.saturating_sub(1));
    }
}

/// Entry points of one muting function.
macro_rules! mute {
    ($fentry:ident, $fexit:ident, $entry:ident, $return:ident) => {
        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> i32 {
            mute(Pointer::typed(ctx.arg(1)));
            0
        }
        #[fexit]
        pub fn $fexit(_: FExitContext) -> i32 {
            unmute();
            0
        }
        #[kprobe]
        pub fn $entry(ctx: ProbeContext) -> u32 {
            mute(Pointer::untyped(ctx.arg(1).unwrap_or(0)));
            0
        }
        #[kretprobe]
        pub fn $return(_: RetProbeContext) -> u32 {
            unmute();
            0
        }
    };
}
mute! { mute_file_fentry, mute_file_fexit, mute_file_entry, mute_file_return }
mute! { mute_shmem_fentry, mute_shmem_fexit, mute_shmem_entry, mute_shmem_return }
mute! { mute_hugetlbfs_fentry, mute_hugetlbfs_fexit, mute_hugetlbfs_entry, mute_hugetlbfs_return }
mute! { mute_pipe_read_fentry, mute_pipe_read_fexit, mute_pipe_read_entry, mute_pipe_read_return }
mute! { mute_pipe_write_fentry, mute_pipe_write_fexit, mute_pipe_write_entry, mute_pipe_write_return }
