//! Copied pages: copy-on-write, migration, and disks that are memory.

use aya_ebpf::{
    macros::{fexit, kprobe},
    programs::{FExitContext, ProbeContext},
};
use tracer_ebpf::abi::{Direction, Path, caller};
use tracer_ebpf::table::row;

use super::account::{Kind, book_copy, current_slot, path};
use super::caller::{Caller, Traced};
use super::file::book_disk;
use super::kernel::in_softirq;
use super::maps::config;
use super::wrapper::{Call, Exit, enter, leave, wrapper};

/// Books a copy of pages done for a fault, or for fork, which copies pinned pages at once.
#[inline(always)]
pub fn book_pages(probe: u32, bytes: u64) {
    if in_softirq() {
        return;
    }
    let (Some(slot), Some(path)) = (current_slot(), path()) else {
        return;
    };
    // A fault taken inside a system call (a buffer touched for the first time) is a fault all the same.
    let path = match path {
        Path::OtherSyscall | Path::KernelThread => path,
        _ => Path::MmapFault,
    };
    book_copy(slot, probe, Kind::Copy, path, Direction::InKernel, bytes);
}

/// `unsigned long copy_mc_to_kernel(dst, src, len)`: returns the bytes *not* copied, which are more than 0
/// only where memory is broken. So a kprobe on its entry will do, with no return to lose.
#[fexit]
pub fn page_copy_fexit(ctx: FExitContext) -> i32 {
    let (len, left) = (ctx.arg::<u64>(2) as u32 as u64, ctx.arg(3));
    page_copy(&Traced::<_, 3>(&ctx), len, left);
    0
}
#[kprobe]
pub fn page_copy_kprobe(ctx: ProbeContext) -> u32 {
    page_copy(&ctx, ctx.arg::<u64>(2).unwrap_or(0) as u32 as u64, 0);
    0
}
#[inline(always)]
fn page_copy(caller: &impl Caller, len: u64, left: u64) {
    if left >= len || in_softirq() {
        return;
    }
    if current_slot().is_none() {
        return;
    }
    match caller.class() {
        // A disk that is memory: its driver copies for the call that reads it.
        caller::BLOCK_DRIVER => book_disk(const { row("page_copy") }, len - left),
        caller::COUNTED_ELSEWHERE => {}
        _ => book_pages(const { row("page_copy") }, len - left),
    }
}

/// `vm_fault_t wp_page_copy(vmf)` of 5.10: copies one page unless the old one was the zero page
/// (then `vmf->page` is NULL) or memory ran out.
#[inline(always)]
fn cow(probe: u32, call: &impl Call) {
    const VM_FAULT_ERROR: i64 = 0x0873;
    if call.ret_int() & VM_FAULT_ERROR != 0 || current_slot().is_none() {
        return;
    }
    if call.pointer(0).read::<u64>(config!(vm_fault_page)).is_some_and(|page| page != 0) {
        book_pages(probe, 4096);
    }
}
wrapper! { "cow": cow; cow_fexit(1); cow_entry, cow_return }
