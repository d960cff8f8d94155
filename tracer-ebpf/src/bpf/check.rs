//! `__check_object_size(ptr, n, to_user)`: called inline by `copy_to_user`, `copy_from_user`,
//! `copy_to_iter` and `copy_from_iter` right before a copy whose size is not a compile-time constant.
//! One probe for both directions; what it cannot see are copies of constant size: structures.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_func_arg},
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_ebpf::abi::{Direction, Path};
use tracer_ebpf::{syscalls, table::row};

use super::account::{Kind, Place, book_copy, book_payload, current_slot};
use super::kernel::{REGS_DX, Service, Task, read};
use super::maps::{DEPTH, config};

/// `bpf_get_func_arg` because the verifier refuses to load a `const void *` argument up to 6.12.
#[fentry]
pub fn check_fentry(ctx: FEntryContext) -> i32 {
    let Some(slot) = current_slot() else { return 0 };
    let mut ptr = 0u64;
    // SAFETY: `ptr` outlives the call; argument 0 exists.
    if unsafe { bpf_get_func_arg(ctx.as_ptr(), 0, &raw mut ptr) } != 0 {
        return 0;
    }
    check(slot, ptr, ctx.arg::<u64>(1), ctx.arg::<u64>(2) as u8 != 0);
    0
}

#[kprobe]
pub fn check_kprobe(ctx: ProbeContext) -> u32 {
    let Some(slot) = current_slot() else { return 0 };
    let (Some(ptr), Some(n), Some(to_user)) = (ctx.arg(0), ctx.arg(1), ctx.arg::<u64>(2)) else {
        return 0;
    };
    check(slot, ptr, n, to_user as u8 != 0);
    0
}

#[inline(always)]
fn check(slot: u32, ptr: u64, n: u64, to_user: bool) {
    if n == 0 || (!to_user && is_path_name(ptr, n)) || is_muted() {
        return;
    }
    let task = Task::current();
    let Some(service) = task.service() else { return };
    let place = Place::of(&service);
    let (kind, direction) = judge(&service, place, task, &Checked { ptr, n, to_user });
    book_copy(slot, const { row("check") }, kind, place.path, direction, n);
    if kind == Kind::Copy && place.entry & syscalls::COPIES_ARE_PAYLOAD != 0 {
        book_payload(slot, place.path, n);
    }
}

/// The arguments of the check.
struct Checked {
    ptr: u64,
    n: u64,
    to_user: bool,
}

/// Whether a checked copy moves data or a structure, and where to.
#[inline(always)]
fn judge(service: &Service, place: Place, task: Task, checked: &Checked) -> (Kind, Direction) {
    // The pages of a pipe, or of the file on the other side, stand in for user memory.
    if place.in_splice || matches!(place.path, Path::KernelThread) {
        return (Kind::Copy, Direction::InKernel);
    }
    let direction = if checked.to_user { Direction::ToUser } else { Direction::FromUser };
    let kind = match place.path {
        // The argument block of a read or receive comes from the user, its data never does.
        Path::Read | Path::Recv if !checked.to_user => Kind::Control,
        Path::Write | Path::Send if checked.to_user => Kind::Control,
        Path::Read | Path::Write | Path::Recv | Path::Send | Path::IoUring => {
            data_or_argument(service, place.entry, task, checked)
        }
        _ => Kind::Control,
    };
    (kind, direction)
}

/// Addresses, small iovec arrays and control messages are copied to and from the kernel stack; data of
/// these calls never is. Larger iovec arrays are told by their size (`count * 16`).
#[inline(always)]
fn data_or_argument(service: &Service, entry: syscalls::Entry, task: Task, checked: &Checked) -> Kind {
    if entry & syscalls::HAS_ARGUMENT_BLOCK == 0 {
        return Kind::Copy;
    }
    if task.is_on_stack(checked.ptr) {
        return Kind::Control;
    }
    if entry & syscalls::IOVEC != 0
        && let Service::Call { regs, .. } = service
        && regs.read::<u64>(REGS_DX).is_some_and(|count| count > 8 && count * 16 == checked.n)
    {
        return Kind::Control;
    }
    Kind::Copy
}

/// `getname_flags()` checks for the longest possible path (`EMBEDDED_NAME_MAX`) and then runs
/// `strncpy_from_user()`, which is not a copy of that size. Its buffer is `filename.iname`, and
/// `filename.name` points to it.
#[inline(always)]
fn is_path_name(ptr: u64, n: u64) -> bool {
    let offset = config!(filename_iname) as u64;
    n == config!(filename_max) as u64
        && read::<u64>(ptr.wrapping_sub(offset), 0).is_some_and(|name| name == ptr)
}

/// 5.10: `copy_page_to_iter()` into kernel memory checks too, and the function around it is counted.
#[inline(always)]
fn is_muted() -> bool {
    // SAFETY: the value is read at once.
    config!(check_nests_in_wrappers) != 0
        && unsafe { DEPTH.get(&bpf_get_current_pid_tgid()) }.is_some_and(|depth| depth.muted != 0)
}
