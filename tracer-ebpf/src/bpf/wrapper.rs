//! Wrappers: functions whose arguments and return value say exactly what their primitives copied.
//!
//! One body serves both ways of attaching. The trampoline way (`fexit`) sees arguments and return value
//! together and cannot lose a call. The kprobe way keeps the arguments of the entry until the return;
//! the kernel has a limited number of return instances, and drops the return of the next sleeper.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::abi::{Direction, Loss, Path};
use tracer_ebpf::{syscalls, table::row};

use super::account::{Kind, Place, book, book_copy, book_payload, counter, current_slot, path, place, raise};
use super::check::PAGE;
use super::cut_short;
use super::iter::{self, Memory};
use super::kernel::Pointer;
use super::maps::{CALLS, CallKey, config, lose};
use super::splice::moved;

/// A call that has returned.
pub trait Call {
    fn arg(&self, n: usize) -> u64;
    /// An argument that points to a structure.
    fn pointer(&self, n: usize) -> Pointer;
    fn ret(&self) -> i64;
    /// The return value of a function that returns `int`: its upper half is undefined.
    #[inline(always)]
    fn ret_int(&self) -> i64 {
        self.ret() as i32 as i64
    }
}

/// A call seen by fexit. The return value stands behind the arguments (`bpf_get_func_ret` needs 5.17).
pub struct Exit<const ARGS: usize>(pub FExitContext);

impl<const ARGS: usize> Call for Exit<ARGS> {
    #[inline(always)]
    fn arg(&self, n: usize) -> u64 {
        self.0.arg(n)
    }
    #[inline(always)]
    fn pointer(&self, n: usize) -> Pointer {
        Pointer::typed(self.0.arg(n))
    }
    #[inline(always)]
    fn ret(&self) -> i64 {
        self.0.arg(ARGS)
    }
}

/// A call seen by a kprobe on entry and a kretprobe.
pub struct Saved {
    args: [u64; 4],
    ret: i64,
}

impl Call for Saved {
    #[inline(always)]
    fn arg(&self, n: usize) -> u64 {
        self.args[n]
    }
    #[inline(always)]
    fn pointer(&self, n: usize) -> Pointer {
        Pointer::untyped(self.args[n])
    }
    #[inline(always)]
    fn ret(&self) -> i64 {
        self.ret
    }
}

/// Keeps the arguments of a counted process's call.
#[inline(always)]
pub fn enter(probe: u32, ctx: &ProbeContext) {
    if current_slot().is_none() {
        return;
    }
    let key = CallKey { pid_tgid: bpf_get_current_pid_tgid(), probe: probe as u64 };
    let arg = |n| ctx.arg::<u64>(n).unwrap_or(0);
    let args = [arg(0), arg(1), arg(2), arg(3)];
    // The last call's arguments are still here: its return was missed.
    if CALLS.get_ptr(&key).is_some() {
        lose(Loss::ReturnMissed);
    }
    if CALLS.insert(&key, &args, 0).is_err() {
        lose(Loss::CallMapFull);
    }
}

/// Gives the body the call that ends here, if its entry was seen.
#[inline(always)]
pub fn leave(probe: u32, ctx: &RetProbeContext, body: impl Fn(&Saved)) {
    let key = CallKey { pid_tgid: bpf_get_current_pid_tgid(), probe: probe as u64 };
    // SAFETY: the value is copied out; only this task uses this key.
    let Some(args) = (unsafe { CALLS.get(&key) }).copied() else {
        return;
    };
    let _ = CALLS.remove(&key);
    body(&Saved { args, ret: ctx.ret::<i64>() });
}

/// Entry points of one wrapper: `row: body; fexit NAME(argument count)...; kprobe ENTRY, RETURN`.
macro_rules! wrapper {
    ($row:literal: $body:expr; $($exit:ident($args:literal)),*; $entry:ident, $return:ident) => {
        $(
            #[aya_ebpf::macros::fexit]
            pub fn $exit(ctx: aya_ebpf::programs::FExitContext) -> i32 {
                $body(const { row($row) }, &Exit::<$args>(ctx));
                0
            }
        )*
        #[aya_ebpf::macros::kprobe]
        pub fn $entry(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            enter(const { row($row) }, &ctx);
            0
        }
        #[aya_ebpf::macros::kretprobe]
        pub fn $return(ctx: aya_ebpf::programs::RetProbeContext) -> u32 {
            leave(const { row($row) }, &ctx, |call| $body(const { row($row) }, call));
            0
        }
    };
}
pub(crate) use wrapper;

/// Books `bytes` of data that went between an iterator and the kernel; says in which direction, if they were copied.
#[inline(always)]
pub fn book_iter(
    slot: u32,
    probe: u32,
    iter: Pointer,
    direction: Direction,
    bytes: u64,
) -> Option<Direction> {
    book_iter_as(slot, probe, iter, direction, bytes, false)
}

/// As [`book_iter`]. `may_be_control`: what calls without payload copy may be a structure (socket options, getrandom),
/// and is taken for one if it is smaller than a page.
#[inline(always)]
pub fn book_iter_as(
    slot: u32,
    probe: u32,
    iter: Pointer,
    direction: Direction,
    bytes: u64,
    may_be_control: bool,
) -> Option<Direction> {
    book_memory(slot, probe, iter::memory(iter)?, direction, bytes, may_be_control)
}

/// As [`book_iter_as`], for an iterator over this memory.
#[inline(always)]
fn book_memory(
    slot: u32,
    probe: u32,
    memory: Memory,
    direction: Direction,
    bytes: u64,
    may_be_control: bool,
) -> Option<Direction> {
    if memory == Memory::NoCopy {
        return None;
    }
    let place = place()?;
    let direction = match memory {
        Memory::User => direction,
        // io_uring's registered buffers arrive as pages although they are the process's memory.
        Memory::Pages if matches!(place.path, Path::IoUring) && !place.in_splice => direction,
        _ => Direction::InKernel,
    };
    if may_be_control && bytes < PAGE && matches!(place.path, Path::OtherSyscall | Path::Ioctl) {
        book_copy(slot, probe, Kind::Control, place.path, direction, bytes);
    } else {
        book_data(slot, probe, place, direction, bytes);
    }
    Some(direction)
}

/// Books a copy of data, and the payload that no return value will tell.
#[inline(always)]
pub fn book_data(slot: u32, probe: u32, place: Place, direction: Direction, bytes: u64) {
    book_copy(slot, probe, Kind::Copy, place.path, direction, bytes);
    if place.entry & syscalls::COPIES_ARE_PAYLOAD != 0 {
        book_payload(slot, place.path, bytes);
    }
}

/// `ssize_t f(..., iter, ...)`, with the iterator as argument `iter`: the return value is the number of bytes copied.
#[inline(always)]
fn copied(probe: u32, call: &impl Call, iter: usize, direction: Direction) {
    let bytes = call.ret();
    if bytes <= 0 {
        return;
    }
    if let Some(slot) = current_slot() {
        book_iter(slot, probe, call.pointer(iter), direction, bytes as u64);
    }
}

#[inline(always)]
fn to_iter(probe: u32, call: &impl Call) {
    copied(probe, call, 1, Direction::ToUser);
}

/// The third argument is what an earlier call already read, and the return value includes it.
#[inline(always)]
fn to_iter_after(probe: u32, call: &impl Call) {
    // Up to 6.4 sendfile and splice read through here (16 times per MiB), and that is asked before all else.
    let Some(kind) = iter::kind(call.pointer(1)) else { return };
    let bytes = call.ret() - call.arg(2) as i64;
    if iter::is_pipe_kind(kind) || call.ret() <= 0 || bytes <= 0 {
        return;
    }
    if let Some(slot) = current_slot() {
        book_memory(slot, probe, iter::memory_of(kind), Direction::ToUser, bytes as u64, false);
    }
}

#[inline(always)]
fn from_iter(probe: u32, call: &impl Call) {
    copied(probe, call, 1, Direction::FromUser);
}

#[inline(always)]
fn from_third(probe: u32, call: &impl Call) {
    copied(probe, call, 2, Direction::FromUser);
}

/// Books what a call returned on the path of the current service; nothing if it failed.
#[inline(always)]
fn on_path(probe: u32, bytes: i64, direction: Direction) {
    if bytes > 0
        && let (Some(slot), Some(path)) = (current_slot(), path())
    {
        book_copy(slot, probe, Kind::Copy, path, direction, bytes as u64);
    }
}

/// DAX moves both ways through one function: the iterator says which. It has no pages to refer to, so that it copies
/// into a pipe as well.
#[inline(always)]
fn dax(probe: u32, call: &impl Call) {
    if iter::is_pipe(call.pointer(1)) {
        return on_path(probe, call.ret(), Direction::InKernel);
    }
    let direction = match iter::is_source(call.pointer(1)) {
        Some(true) => Direction::FromUser,
        Some(false) => Direction::ToUser,
        None => return,
    };
    copied(probe, call, 1, direction);
}

wrapper! { "file_read": to_iter_after; file_read_fexit(3); file_read_entry, file_read_return }
/// As [`to_iter`], but what goes into a pipe (splice up to 6.4) is copied into pages of its own: there the check, which
/// is told of more than the reader has room for, and this function see the same bytes.
#[inline(always)]
fn seq_to_iter(probe: u32, call: &impl Call) {
    let bytes = call.ret();
    if bytes <= 0 {
        return;
    }
    let Some(slot) = current_slot() else { return };
    if !iter::is_pipe(call.pointer(1)) {
        book_iter(slot, probe, call.pointer(1), Direction::ToUser, bytes as u64);
    } else if let Some(place) = place() {
        book_data(slot, probe, place, Direction::InKernel, bytes as u64);
    }
}
wrapper! { "seq_read": seq_to_iter; seq_read_fexit(2); seq_read_entry, seq_read_return }
wrapper! { "shmem_read": to_iter; shmem_read_fexit(2); shmem_read_entry, shmem_read_return }
wrapper! { "hugetlbfs_read": to_iter; hugetlbfs_read_fexit(2); hugetlbfs_read_entry, hugetlbfs_read_return }
wrapper! { "pipe_read": to_iter; pipe_read_fexit(2); pipe_read_entry, pipe_read_return }
wrapper! { "dax_rw": dax; dax_rw_fexit(3); dax_rw_entry, dax_rw_return }
wrapper! { "file_write": from_iter; file_write_fexit(2), file_write_fexit3(3); file_write_entry, file_write_return }
wrapper! { "iomap_write": from_iter; iomap_write_fexit(3), iomap_write_fexit4(4), iomap_write_fexit5(5); iomap_write_entry, iomap_write_return }
wrapper! { "fuse_write": from_iter; fuse_write_fexit(2); fuse_write_entry, fuse_write_return }
wrapper! { "fuse_write": from_third; ; fuse_write_at_entry, fuse_write_at_return }
wrapper! { "pipe_write": from_iter; pipe_write_fexit(2); pipe_write_entry, pipe_write_return }

/// `int pipe_to_user(pipe, buf, sd)`: vmsplice from a pipe into user memory.
#[inline(always)]
fn pipe_to_user(probe: u32, call: &impl Call) {
    on_path(probe, call.ret_int().into(), Direction::ToUser);
}
wrapper! { "pipe_to_user": pipe_to_user; pipe_to_user_fexit(3); pipe_to_user_entry, pipe_to_user_return }

/// `int __access_remote_vm(mm, addr, buf, len, gup_flags)`: the bytes that went between the pages of a process and a
/// buffer of the kernel's. (5.10: the task before `mm`.)
#[inline(always)]
fn remote_vm(probe: u32, call: &impl Call) {
    on_path(probe, call.ret_int().into(), Direction::InKernel);
}
wrapper! { "remote_vm": remote_vm; remote_vm_fexit5(5), remote_vm_fexit6(6); remote_vm_entry, remote_vm_return }

/// `ssize_t get_random_bytes_user(iter)`: constant-size copies that the hardened-usercopy check never sees.
#[inline(always)]
fn random(probe: u32, call: &impl Call) {
    let bytes = call.ret();
    if bytes <= 0 {
        return;
    }
    if let Some(slot) = current_slot() {
        book_iter_as(slot, probe, call.pointer(0), Direction::ToUser, bytes as u64, true);
    }
}
wrapper! { "random_read": random; random_read_fexit(1); random_read_entry, random_read_return }

/// `int skb_copy_datagram_from_iter(skb, offset, from, len)`: copies the linear part through
/// `copy_from_iter` (which the check sees) and the page fragments through `copy_page_from_iter`
/// (which it does not). Counted here: the fragments' part.
#[inline(always)]
fn skb_from_iter(probe: u32, call: &impl Call) {
    let Some(slot) = current_slot() else { return };
    let skb = call.pointer(0);
    let (Some(len), Some(data_len)) =
        (skb.read::<u32>(config!(skb_len)), skb.read::<u32>(config!(skb_data_len)))
    else {
        return;
    };
    let linear = (len - data_len) as i64 - call.arg(1) as i32 as i64;
    let total = call.arg(3) as i32 as i64;
    let in_linear = if linear < 0 {
        0
    } else if linear > total {
        total
    } else {
        linear
    };
    if total <= in_linear {
        return;
    }
    let asked = (total - in_linear) as u64;
    if call.ret_int() == 0 {
        book_iter(slot, probe, call.pointer(2), Direction::FromUser, asked);
    } else {
        cut_short::fragments(slot, probe, skb, call.pointer(2), asked);
    }
}
wrapper! { "skb_from_iter": skb_from_iter; skb_from_iter_fexit(4); skb_from_iter_entry, skb_from_iter_return }

/// kTLS in software: the cipher reads and writes each byte of a record once. `int` or `ssize_t`, the bytes
/// of plain text; the functions live in a module, for which 5.10 has no BTF.
#[inline(always)]
fn encrypted(_probe: u32, call: &impl Call) {
    let bytes = call.ret_int();
    if bytes <= 0 {
        return;
    }
    let (Some(slot), Some(path)) = (current_slot(), path()) else {
        return;
    };
    book(slot, |ledger| raise(counter!(ledger, crypto[path as usize]), bytes as u64));
}

/// The same of a sender, whose encrypted pages are attached to packets.
#[inline(always)]
fn encrypted_and_sent(probe: u32, call: &impl Call) {
    encrypted(probe, call);
    moved(call.ret_int());
}
wrapper! { "ktls_send": encrypted_and_sent; ; ktls_send_entry, ktls_send_return }
wrapper! { "ktls_sendpage": encrypted; ; ktls_sendpage_entry, ktls_sendpage_return }
wrapper! { "ktls_recv": encrypted; ; ktls_recv_entry, ktls_recv_return }
