//! `__check_object_size(ptr, n, to_user)`: called inline by `copy_to_user`, `copy_from_user`,
//! `copy_to_iter` and `copy_from_iter` right before a copy whose size is not a compile-time constant.
//! One probe for both directions; what it cannot see are copies of constant size: structures.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_func_arg},
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_ebpf::abi::{Direction, Path, caller};
use tracer_ebpf::{
    syscalls::{self, ADDRESSED, COPIES_ARE_PAYLOAD, GETSOCKOPT, HAS_ARGUMENT_BLOCK, IOVEC},
    table::row,
};

use super::account::{Kind, Place, book_copy, book_payload, current_slot};
use super::caller::{Caller, Traced};
use super::kernel::{REGS_DX, REGS_R8, Service, Task, read};
use super::maps::{DEPTH, config};

#[fentry]
pub fn check_fentry(ctx: FEntryContext) -> i32 {
    let Some(slot) = current_slot() else { return 0 };
    // A helper, because the verifier refuses to load a `const void *` argument up to 6.12.
    let pointer = || {
        let mut pointer = 0u64;
        // SAFETY: `pointer` outlives the call; argument 0 exists.
        unsafe { bpf_get_func_arg(ctx.as_ptr(), 0, &raw mut pointer) };
        pointer
    };
    let caller = Traced::<_, 3>(&ctx);
    let to_user = ctx.arg::<u64>(2) as u8 != 0;
    check(slot, &Checked { n: ctx.arg::<u64>(1), to_user, pointer, class: || caller.class() });
    0
}

#[kprobe]
pub fn check_kprobe(ctx: ProbeContext) -> u32 {
    let Some(slot) = current_slot() else { return 0 };
    let (Some(n), Some(to_user)) = (ctx.arg(1), ctx.arg::<u64>(2)) else { return 0 };
    let pointer = || ctx.arg(0).unwrap_or(0);
    check(slot, &Checked { n, to_user: to_user as u8 != 0, pointer, class: || ctx.class() });
    0
}

/// A copy between user memory and the kernel: `n` bytes, the kernel's pointer, and what the calling function makes of
/// it, one of [`tracer_ebpf::abi::caller`]. The latter two are asked only where they matter.
pub struct Checked<P: Fn() -> u64, C: Fn() -> u32> {
    pub n: u64,
    pub to_user: bool,
    pub pointer: P,
    pub class: C,
}

#[inline(always)]
fn check<P: Fn() -> u64, C: Fn() -> u32>(slot: u32, checked: &Checked<P, C>) {
    if checked.n == 0 || is_muted() || (!checked.to_user && is_path_name(checked)) {
        return;
    }
    book_checked(slot, const { row("check") }, checked);
}

/// Books a copy as what its caller makes of it.
#[inline(always)]
pub fn book_checked<P: Fn() -> u64, C: Fn() -> u32>(slot: u32, probe: u32, checked: &Checked<P, C>) {
    let task = Task::current();
    let Some(service) = task.service() else { return };
    let place = Place::of(&service);
    let class = if moves_data_only(&service, place, task, checked.to_user) {
        caller::ITERATOR
    } else {
        (checked.class)()
    };
    let place = if place.entry == GETSOCKOPT { of_option(place, class, &service) } else { place };
    let Some(kind) = kind(class, &service, place, task, checked) else { return };
    let direction = direction(place, class, task, checked.to_user);
    book_copy(slot, probe, kind, place.path, direction, checked.n);
    if kind == Kind::Copy && place.entry & COPIES_ARE_PAYLOAD != 0 {
        book_payload(slot, place.path, checked.n);
    }
}

/// `TCP_ZEROCOPY_RECEIVE` is a receive: what it cannot map it copies, and returns 0.
#[inline(always)]
pub fn of_option(place: Place, class: u32, service: &Service) -> Place {
    const ZEROCOPY_RECEIVE: u64 = 35;
    if class == caller::ITERATOR && service.argument(REGS_DX) == Some(ZEROCOPY_RECEIVE) {
        return Place { path: Path::Recv, entry: Path::Recv as u8 | COPIES_ARE_PAYLOAD, ..place };
    }
    place
}

/// True for a send or receive without an address, by itself: the caller need not be looked up, which costs some 150
/// instructions. (With page faults off, it is another observer's program that reads the process's memory.)
#[inline(always)]
fn moves_data_only(service: &Service, place: Place, task: Task, to_user: bool) -> bool {
    let fits = match place.path {
        Path::Send => !to_user,
        Path::Recv => to_user,
        _ => false,
    };
    fits && place.entry & ADDRESSED != 0 && service.argument(REGS_R8) == Some(0) && !task.faults_are_off()
}

/// The pages of a pipe, or of the file on the other side, stand in for user memory. So does a buffer of the kernel's own
/// where it sends or receives for a call that moves data the other way: an NFS client asks for what read(2) wants.
#[inline(always)]
fn direction(place: Place, class: u32, task: Task, to_user: bool) -> Direction {
    let is_contrary = match place.path {
        Path::Read | Path::Recv => !to_user,
        Path::Write | Path::Send => to_user,
        _ => false,
    };
    let within = place.in_splice
        || (is_contrary && class == caller::ITERATOR)
        || (matches!(place.path, Path::KernelThread) && !task.has_memory());
    match (within, to_user) {
        (true, _) => Direction::InKernel,
        (_, true) => Direction::ToUser,
        (_, false) => Direction::FromUser,
    }
}

/// Whether a copy moves data or a structure; `None` if it is not to be counted here.
#[inline(always)]
fn kind<P: Fn() -> u64, C: Fn() -> u32>(
    class: u32,
    service: &Service,
    place: Place,
    task: Task,
    checked: &Checked<P, C>,
) -> Option<Kind> {
    match class {
        caller::COUNTED_ELSEWHERE | caller::OBSERVER => return None,
        caller::ARGUMENT => return Some(Kind::Control),
        caller::ITERATOR | caller::DATA => return Some(Kind::Copy),
        _ => {}
    }
    if place.in_splice || matches!(place.path, Path::KernelThread) {
        return Some(Kind::Copy);
    }
    let is_data = match place.path {
        // The argument block of a read or receive comes from the user, its data never does.
        Path::Read | Path::Recv => checked.to_user,
        Path::Write | Path::Send => !checked.to_user,
        Path::IoUring => true,
        // A page is data unless its caller is known for a structure of that size.
        _ => return Some(if checked.n >= PAGE { Kind::Copy } else { Kind::Control }),
    };
    let is_argument = class == caller::UNKNOWN && looks_like_argument(service, place.entry, task, checked);
    Some(if is_data && !is_argument { Kind::Copy } else { Kind::Control })
}

pub const PAGE: u64 = 4096;

/// A guess, for callers that are not known (the kernel's text cannot be read: coverage is then `unproven`).
/// Addresses, small iovec arrays and control messages are copied to and from the kernel stack; data of these calls
/// hardly ever is. Larger iovec arrays are told by their size (`count * 16`).
#[inline(always)]
fn looks_like_argument<P: Fn() -> u64, C: Fn() -> u32>(
    service: &Service,
    entry: syscalls::Entry,
    task: Task,
    checked: &Checked<P, C>,
) -> bool {
    if entry & HAS_ARGUMENT_BLOCK == 0 {
        return false;
    }
    if task.is_on_stack((checked.pointer)()) {
        return true;
    }
    let is_vectored = entry & IOVEC != 0 && matches!(syscalls::path(entry), Path::Read | Path::Write);
    is_vectored && service.argument(REGS_DX).is_some_and(|count| count > 8 && count * 16 == checked.n)
}

/// `getname_flags()` checks for the longest possible path (`EMBEDDED_NAME_MAX`) and then runs
/// `strncpy_from_user()`, which is not a copy of that size. Its buffer is `filename.iname`, and
/// `filename.name` points to it.
#[inline(always)]
fn is_path_name<P: Fn() -> u64, C: Fn() -> u32>(checked: &Checked<P, C>) -> bool {
    if checked.n != config!(filename_max) as u64 {
        return false;
    }
    let pointer = (checked.pointer)();
    let offset = config!(filename_iname) as u64;
    read::<u64>(pointer.wrapping_sub(offset), 0).is_some_and(|name| name == pointer)
}

/// 5.10: `copy_page_to_iter()` into kernel memory checks too, and the function around it is counted.
#[inline(always)]
fn is_muted() -> bool {
    // SAFETY: the value is read at once.
    config!(check_nests_in_wrappers) != 0
        && unsafe { DEPTH.get(&bpf_get_current_pid_tgid()) }.is_some_and(|depth| depth.muted != 0)
}
