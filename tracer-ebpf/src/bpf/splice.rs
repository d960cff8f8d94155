//! Splice and its kin: what they move by reference, and marks that change what a task's copies are (`DEPTH`, written
//! only where it is needed).
//!
//! In splice and its kin the check (check.rs) sees copies between kernel buffers. A task in a splicing
//! system call needs no mark: its system call says it. An io_uring worker does.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::{
    abi::{Loss, Path},
    table::row,
};

use super::account::{book_reference, current_slot, place};
use super::iter::{self, Memory};
use super::kernel::{Pointer, Task, read};
use super::maps::{DEPTH, Depth, config, lose};
use super::wrapper::{Call, Exit, enter, leave, wrapper};

/// Changes the current task's mark; removes it when nothing is left of it.
#[inline(always)]
pub fn change(change: impl Fn(&mut Depth)) {
    let key = bpf_get_current_pid_tgid();
    // SAFETY: only this task uses this key.
    let mut depth = unsafe { DEPTH.get(&key) }.copied().unwrap_or(Depth {
        splice: 0,
        muted: 0,
        io_uring: 0,
        core_dump: 0,
    });
    change(&mut depth);
    if depth.splice == 0 && depth.muted == 0 && depth.io_uring == 0 && depth.core_dump == 0 {
        let _ = DEPTH.remove(&key);
    } else if DEPTH.insert(&key, &depth, 0).is_err() {
        lose(Loss::CallMapFull);
    }
}

#[inline(always)]
pub fn is_marked() -> bool {
    DEPTH.get_ptr(&bpf_get_current_pid_tgid()).is_some()
}

#[inline(always)]
fn splice_begins() {
    if Task::current().is_io_worker() && current_slot().is_some() {
        change(|depth| depth.splice += 1);
    }
}

#[inline(always)]
fn splice_ends() {
    if Task::current().is_io_worker() && is_marked() {
        change(|depth| depth.splice = depth.splice.saturating_sub(1));
    }
}

/// Books what a call moved by reference, if it is a service that may. Whatever of it was copied is counted where it
/// was copied, and makes it less (`Derived::zero_copied`): so one event tells what each page's would, at a hundredth
/// of the price.
#[inline(always)]
fn moved_if(bytes: i64, may: impl Fn(Path) -> bool) {
    if bytes > 0
        && let (Some(slot), Some(place)) = (current_slot(), place())
        && may(place.path)
    {
        book_reference(slot, place.path, bytes as u64);
    }
}

#[inline(always)]
pub fn moved(bytes: i64) {
    moved_if(bytes, |_| true);
}

/// `do_splice(in, off_in, out, off_out, len, flags)`.
#[inline(always)]
fn spliced(call: &impl Call) {
    moved_if(call.ret(), |_| !is_device(call.pointer(0)) && !is_device(call.pointer(2)));
}

/// `splice_direct_to_actor(in, sd, actor)`: sendfile, copy_file_range.
#[inline(always)]
fn spliced_direct(call: &impl Call) {
    moved(call.ret());
}

/// `ssize_t splice_file_to_pipe(in, pipe, ...)`: splice calls it as well, and is counted as a whole.
#[inline(always)]
fn sendfile_to_pipe(_probe: u32, call: &impl Call) {
    moved_if(call.ret(), |path| matches!(path, Path::Sendfile) && !is_device(call.pointer(0)));
}
wrapper! { "sendfile_to_pipe": sendfile_to_pipe; sendfile_to_pipe_fexit(5); sendfile_to_pipe_entry, sendfile_to_pipe_return }

/// True for a file that is a character device: its driver may copy as it likes (`/dev/fuse` by memcpy).
#[inline(always)]
fn is_device(file: Pointer) -> bool {
    const S_IFMT: u16 = 0xf000;
    const S_IFCHR: u16 = 0x2000;
    let mode =
        file.read::<u64>(config!(file_inode)).and_then(|inode| read::<u16>(inode, config!(inode_mode)));
    mode.is_none_or(|mode| mode & S_IFMT == S_IFCHR)
}

/// Entry points of one splicing function: `row: body; fentry, fexit(argument count), kprobe, kretprobe`.
macro_rules! splice {
    ($row:literal: $body:expr; $fentry:ident, $fexit:ident($args:literal), $entry:ident, $return:ident) => {
        #[fentry]
        pub fn $fentry(_: FEntryContext) -> i32 {
            splice_begins();
            0
        }
        #[fexit]
        pub fn $fexit(ctx: FExitContext) -> i32 {
            splice_ends();
            $body(&Exit::<$args>(ctx));
            0
        }
        #[kprobe]
        pub fn $entry(ctx: ProbeContext) -> u32 {
            splice_begins();
            enter(const { row($row) }, &ctx);
            0
        }
        #[kretprobe]
        pub fn $return(ctx: RetProbeContext) -> u32 {
            splice_ends();
            leave(const { row($row) }, &ctx, |call| $body(call));
            0
        }
    };
}
splice! { "splice": spliced; splice_fentry, splice_fexit(6), splice_entry, splice_return }
splice! { "splice_direct": spliced_direct; splice_direct_fentry, splice_direct_fexit(3), splice_direct_entry, splice_direct_return }

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
