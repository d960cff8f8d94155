//! Probes on the call instructions of copy primitives, and the witness: hardware breakpoints on the
//! primitives themselves. At both places the registers hold the primitive's arguments.

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    macros::{kprobe, perf_event},
    programs::{PerfEventContext, ProbeContext},
};
use tracer_ebpf::abi::{Arguments, CALL, Count, Direction, Loss, NO_PATH, Path, SITE, WitnessKey, caller};
use tracer_ebpf::syscalls::GETSOCKOPT;
use tracer_ebpf::table::row;

use super::account::{Place, current_slot, is_compared, path, place};
use super::caller::class_of;
use super::check::{Checked, book_checked, of_option};
use super::discard::discard;
use super::iter::{self, Memory};
use super::kernel::{Pointer, Task, read};
use super::maps::{WITNESS, lose};
use super::pages::book_pages;
use super::skb;
use super::wrapper::{book_data, book_iter_as};

/// The integer registers of a call, in x86-64's order of arguments.
struct Registers([u64; 4]);

impl Registers {
    #[inline(always)]
    fn of(regs: &pt_regs) -> Self {
        Registers([regs.rdi, regs.rsi, regs.rdx, regs.rcx])
    }

    /// `(bytes asked for, iterator)`.
    #[inline(always)]
    fn bytes_and_iter(&self, arguments: Arguments) -> (u64, u64) {
        let [a, b, c, d] = self.0;
        match arguments {
            Arguments::AddrBytesIter => (b, c),
            Arguments::PageOffsetBytesIter => (c, d),
            Arguments::PageIterOffsetBytes => (d, b),
            Arguments::BytesIter => (a, b),
            Arguments::ToFromBytes => (c, 0),
            Arguments::ToFromPage => (4096, 0),
        }
    }
}

/// A primitive copies no more than the iterator has left. (A copy cut short by a fault is counted in
/// full here: entry is all that a call site sees.)
#[inline(always)]
fn clipped(bytes: u64, iter: Pointer) -> Option<u64> {
    let left = iter::remaining(iter)?;
    Some(if bytes < left { bytes } else { left })
}

#[inline(always)]
fn site(ctx: &ProbeContext, arguments: Arguments, direction: Direction) {
    let Some(slot) = current_slot() else { return };
    // SAFETY: the context of a kprobe is `pt_regs`.
    let regs = unsafe { &*ctx.regs };
    let (bytes, iter) = Registers::of(regs).bytes_and_iter(arguments);
    let iter = Pointer::untyped(iter);
    // Where a check would run, but is patched out, a copy through an iterator moves data whatever its size.
    let may_be_control = class_of(behind(regs)) != caller::ITERATOR;
    let Some(bytes) = clipped(bytes, iter) else { return };
    if bytes == 0 {
        return;
    }
    let probe = const { row("call_site") };
    let booked = match received_by_option() {
        Some(place) => {
            book_data(slot, probe, place, direction, bytes);
            Some(direction)
        }
        None => book_iter_as(slot, probe, iter, direction, bytes, may_be_control),
    };
    if let Some(direction) = booked {
        testify_site(regs, direction, path_through_iterator(), bytes);
    }
}

/// Where a copy through an iterator belongs that is a receive, though the call is none.
#[inline(always)]
fn received_by_option() -> Option<Place> {
    let service = Task::current().service()?;
    let place = Place::of(&service);
    if place.entry != GETSOCKOPT {
        return None;
    }
    let place = of_option(place, caller::ITERATOR, &service);
    matches!(place.path, Path::Recv).then_some(place)
}

/// `_copy_to_user` and `_copy_from_user` where no check runs before them: what the check would have seen.
#[inline(always)]
fn site_of_user(ctx: &ProbeContext, to_user: bool) {
    let Some(slot) = current_slot() else { return };
    // SAFETY: the context of a kprobe is `pt_regs`.
    let regs = unsafe { &*ctx.regs };
    let (n, pointer) = (regs.rdx, if to_user { regs.rsi } else { regs.rdi });
    if n == 0 {
        return;
    }
    let class = || class_of(behind(regs));
    book_checked(slot, const { row("call_site") }, &Checked { n, to_user, pointer: || pointer, class });
    testify_site(regs, if to_user { Direction::ToUser } else { Direction::FromUser }, path(), n);
}

/// A kprobe's handler finds the instruction pointer behind the breakpoint's one byte; the call has five.
#[inline(always)]
fn behind(regs: &pt_regs) -> u64 {
    regs.rip + 4
}

#[inline(always)]
fn testify_site(regs: &pt_regs, direction: Direction, path: Option<Path>, bytes: u64) {
    if is_compared() {
        let address = regs.rip - 1;
        testify(key(address, SITE, direction, path), bytes);
    }
}

#[kprobe]
pub fn site_to_user(ctx: ProbeContext) -> u32 {
    site_of_user(&ctx, true);
    0
}
#[kprobe]
pub fn site_from_user(ctx: ProbeContext) -> u32 {
    site_of_user(&ctx, false);
    0
}

#[kprobe]
pub fn site_to_iter(ctx: ProbeContext) -> u32 {
    site(&ctx, Arguments::AddrBytesIter, Direction::ToUser);
    0
}
#[kprobe]
pub fn site_from_iter(ctx: ProbeContext) -> u32 {
    site(&ctx, Arguments::AddrBytesIter, Direction::FromUser);
    0
}
#[kprobe]
pub fn site_page_to_iter(ctx: ProbeContext) -> u32 {
    site(&ctx, Arguments::PageOffsetBytesIter, Direction::ToUser);
    0
}
#[kprobe]
pub fn site_page_from_iter(ctx: ProbeContext) -> u32 {
    site(&ctx, Arguments::PageOffsetBytesIter, Direction::FromUser);
    0
}
#[kprobe]
pub fn site_page_from_user(ctx: ProbeContext) -> u32 {
    site(&ctx, Arguments::PageIterOffsetBytes, Direction::FromUser);
    0
}
#[kprobe]
pub fn site_zero(ctx: ProbeContext) -> u32 {
    // SAFETY: the context of a kprobe is `pt_regs`.
    let (bytes, iter) = Registers::of(unsafe { &*ctx.regs }).bytes_and_iter(Arguments::BytesIter);
    let iter = Pointer::untyped(iter);
    let is_users = match iter::memory(iter) {
        Some(Memory::User) => true,
        Some(Memory::Pages) => is_registered_buffer(),
        _ => false,
    };
    if is_users && let Some(bytes) = clipped(bytes, iter) {
        discard(bytes);
    }
    0
}
#[kprobe]
pub fn site_copy_page(_: ProbeContext) -> u32 {
    if current_slot().is_some() {
        book_pages(const { row("call_site") }, 4096);
    }
    0
}

/// One breakpoint hit: books the bytes that the primitive is asked to copy, by its caller.
#[inline(always)]
fn witness(ctx: &PerfEventContext, primitive: u32, arguments: Arguments, direction: Direction) {
    if current_slot().is_none() {
        return;
    }
    // SAFETY: `bpf_perf_event_data` begins with the registers.
    let regs = unsafe { &*(ctx.as_ptr() as *const pt_regs) };
    let (bytes, iter) = Registers::of(regs).bytes_and_iter(arguments);
    let (bytes, direction) = if iter == 0 {
        (bytes, direction)
    } else {
        let iter = Pointer::untyped(iter);
        let Some(memory) = iter::memory(iter) else { return };
        let direction = match memory {
            Memory::User => direction,
            Memory::NoCopy => return,
            Memory::Pages if is_registered_buffer() => direction,
            Memory::Pages | Memory::Kernel => Direction::InKernel,
        };
        let Some(bytes) = clipped(bytes, iter) else { return };
        (bytes, direction)
    };
    // At the first instruction the stack pointer points to the return address.
    let Some(return_address) = read::<u64>(regs.rsp, 0) else { return };
    let path = if iter == 0 { path() } else { path_through_iterator() };
    testify(key(return_address, primitive, direction, path), bytes);
}

/// Where the check books a copy through an iterator.
#[inline(always)]
fn path_through_iterator() -> Option<Path> {
    received_by_option().map_or_else(path, |place| Some(place.path))
}

#[inline(always)]
fn key(return_address: u64, primitive: u32, direction: Direction, path: Option<Path>) -> WitnessKey {
    let path = path.map_or(NO_PATH, |path| path as u16);
    WitnessKey { return_address, primitive, direction: direction as u16, path }
}

/// A breakpoint on a call of `memcpy` and the like, whose third argument is the number of bytes.
#[perf_event]
pub fn witness_call(ctx: PerfEventContext) -> u32 {
    if skb::worker().is_some() {
        // SAFETY: `bpf_perf_event_data` begins with the registers.
        let regs = unsafe { &*(ctx.as_ptr() as *const pt_regs) };
        testify(key(regs.rip, CALL, Direction::InKernel, None), regs.rdx);
    }
    0
}

#[inline(always)]
fn is_registered_buffer() -> bool {
    place().is_some_and(|place| matches!(place.path, Path::IoUring) && !place.in_splice)
}

#[inline(always)]
fn testify(key: WitnessKey, bytes: u64) {
    if !is_compared() {
        return;
    }
    if let Some(count) = WITNESS.get_ptr_mut(&key) {
        super::account::raise(count, bytes);
    } else if WITNESS.insert(&key, &Count { bytes, calls: 1 }, 1).is_err() {
        // Another CPU was first (BPF_NOEXIST), or the map is full.
        match WITNESS.get_ptr_mut(&key) {
            Some(count) => super::account::raise(count, bytes),
            None => lose(Loss::WitnessMapFull),
        }
    }
}

/// Four breakpoint slots per CPU, so four programs per shape of arguments and direction would do; the
/// primitive is told by the program.
macro_rules! witness {
    ($($program:ident: $primitive:literal, $arguments:ident, $direction:ident;)+) => {
        $(
            #[perf_event]
            pub fn $program(ctx: PerfEventContext) -> u32 {
                witness(
                    &ctx,
                    const { tracer_ebpf::table::primitive($primitive) },
                    Arguments::$arguments,
                    Direction::$direction,
                );
                0
            }
        )+
    };
}
witness! {
    witness_copy_to_user: "_copy_to_user", ToFromBytes, ToUser;
    witness_copy_from_user: "_copy_from_user", ToFromBytes, FromUser;
    witness_copy_to_iter: "_copy_to_iter", AddrBytesIter, ToUser;
    witness_copy_from_iter: "_copy_from_iter", AddrBytesIter, FromUser;
    witness_copy_from_iter_full: "_copy_from_iter_full", AddrBytesIter, FromUser;
    witness_copy_page_to_iter: "copy_page_to_iter", PageOffsetBytesIter, ToUser;
    witness_copy_page_from_iter: "copy_page_from_iter", PageOffsetBytesIter, FromUser;
    witness_copy_page_from_iter_atomic: "copy_page_from_iter_atomic", PageOffsetBytesIter, FromUser;
    witness_copy_folio_from_iter_atomic: "copy_folio_from_iter_atomic", PageOffsetBytesIter, FromUser;
    witness_copy_from_user_atomic: "iov_iter_copy_from_user_atomic", PageIterOffsetBytes, FromUser;
}
