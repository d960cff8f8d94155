//! Copies that end at memory that is not mapped. The rows that are told what was asked for (`check`, and
//! `skb_from_iter` when it fails) have counted more than was copied; the surplus is booked here.
//!
//! `fixup_exception()` runs when an access of the kernel's has failed for good, and at no other time. What the copy
//! did not do is then in `rcx`, wherever the copy's last attempt is made:
//!
//! - Up to 6.3 every user copy of x86 ends in `copy_user_handle_tail`: whatever instruction failed, it tries the rest
//!   byte by byte, `rep movsb` before `mov %ecx,%eax`. The attempts before it are other instructions, or `rep movsb`
//!   before `xor %eax,%eax`.
//! - Since 6.4 it is an inline `rep movsb` (CPUs with FSRM), the one of `rep_movs_alternative` (ERMS), or the latter's
//!   loop over bytes, in which its other loops end.
//!
//! `__copy_user_nocache` of 6.4 and newer is not told (devices with `tx-nocache-copy` on, which none has by itself).

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_user},
    macros::{fentry, kprobe, map},
    maps::LruHashMap,
    programs::{FEntryContext, ProbeContext},
};
use tracer_ebpf::abi::{Direction, Path};
use tracer_ebpf::syscalls::{ADDRESSED, COPIES_ARE_PAYLOAD, HAS_ARGUMENT_BLOCK};

use super::account::{Kind, Place, book, book_copy, counter, current_slot, place, raise};
use super::iter::{self, Memory};
use super::kernel::{Pointer, REGS_CX, REGS_DI, REGS_DX, REGS_IP, REGS_SI, Service, Task, read};
use super::maps::{add, config};

#[fentry]
pub fn cut_short_fentry(ctx: FEntryContext) -> i32 {
    let Some(slot) = current_slot() else { return 0 };
    cut_short(slot, ctx.arg::<u64>(0), ctx.arg::<u64>(1) as u32);
    0
}

#[kprobe]
pub fn cut_short_kprobe(ctx: ProbeContext) -> u32 {
    let Some(slot) = current_slot() else { return 0 };
    let (Some(regs), Some(trap)) = (ctx.arg(0), ctx.arg::<u64>(1)) else { return 0 };
    cut_short(slot, regs, trap as u32);
    0
}

/// Where a thread's last copy ended that was cut short, and how much of it was left. Key: `pid_tgid`.
#[map]
static LAST_CUT: LruHashMap<u64, Cut> = LruHashMap::with_max_entries(1024, 0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Cut {
    /// The address that would have been written next.
    to: u64,
    left: u64,
}

/// `X86_TRAP_GP` (an address that no pointer can have) and `X86_TRAP_PF`.
const GENERAL_PROTECTION: u32 = 13;
const PAGE_FAULT: u32 = 14;

/// `bool fixup_exception(regs, trapnr, error_code, fault_addr)`.
#[inline(always)]
fn cut_short(slot: u32, regs: u64, trap: u32) {
    let task = Task::current();
    // With page faults off it is another observer that reads, or an attempt that is made again with them on.
    if (trap != GENERAL_PROTECTION && trap != PAGE_FAULT) || task.faults_are_off() {
        return;
    }
    let Some(at) = read::<u64>(regs, REGS_IP) else { return };
    let Some(code) = read::<u64>(at, 0) else { return };
    if !is_last_attempt(code) {
        return;
    }
    let Some(service) = task.service() else { return };
    let place = Place::of(&service);
    // There the rows tell what was copied, and nothing but structures comes from user memory.
    if place.in_splice || matches!(place.path, Path::Vmsplice | Path::ProcessVm) {
        return;
    }
    let (Some(rest), Some(to)) = (read::<u64>(regs, REGS_CX), read::<u64>(regs, REGS_DI)) else { return };
    let left = if is_one_piece(&service, place, task) { rest } else { MOST };
    let _ = LAST_CUT.insert(&bpf_get_current_pid_tgid(), &Cut { to, left }, 0);
    book(slot, |ledger| raise(counter!(ledger, cut_short), left));
}

/// True if these bytes are the instruction of a user copy after which nothing is tried.
#[inline(always)]
fn is_last_attempt(code: u64) -> bool {
    /// `rep movsb`, `xor %eax,%eax`
    const REP_MOVSB: u64 = 0xa4f3;
    const XOR: u64 = 0xc031;
    /// `mov (%rsi),%al`, `mov %al,(%rdi)`, `inc %rdi`, `inc %rsi`, from the load and from the store.
    const LOAD: u64 = u64::from_le_bytes([0x8a, 0x06, 0x88, 0x07, 0x48, 0xff, 0xc7, 0x48]);
    const STORE: u64 = u64::from_le_bytes([0x88, 0x07, 0x48, 0xff, 0xc7, 0x48, 0xff, 0xc6]);
    match code & 0xffff {
        REP_MOVSB => (code >> 16) & 0xffff != XOR,
        _ => code == LOAD || code == STORE,
    }
}

/// `MAX_RW_COUNT`: no call moves more.
const MOST: u64 = 0x7fff_f000;

/// True if the copy's memory is one piece. What is left of an array of pieces is more than what is left of the one at
/// which the copy ended.
#[inline(always)]
fn is_one_piece(service: &Service, place: Place, task: Task) -> bool {
    if !matches!(service, Service::Call { .. }) {
        return matches!(service, Service::Fault);
    }
    if place.entry & HAS_ARGUMENT_BLOCK == 0 {
        return true;
    }
    if place.entry & COPIES_ARE_PAYLOAD != 0 {
        return false;
    }
    let has_address = place.entry & ADDRESSED != 0;
    match place.path {
        Path::Read | Path::Write => service.argument(REGS_DX) == Some(1),
        Path::Recv | Path::Send => has_address || (!task.is_compat() && is_one_vector(service)),
        _ => false,
    }
}

/// Of `sendmsg` and `recvmsg` of 64 bits.
#[inline(always)]
fn is_one_vector(service: &Service) -> bool {
    /// `user_msghdr.msg_iovlen`, include/linux/socket.h: user ABI.
    const MSG_IOVLEN: u64 = 24;
    let Some(header) = service.argument(REGS_SI) else { return false };
    let mut vectors = 0u64;
    let source = header.wrapping_add(MSG_IOVLEN) as *const core::ffi::c_void;
    // SAFETY: the helper checks the address, and writes no more than `vectors`.
    let status = unsafe { bpf_probe_read_user((&raw mut vectors).cast(), 8, source) };
    status == 0 && vectors == 1
}

/// Books what a failed `skb_copy_datagram_from_iter` may have copied to a packet's fragments: all that it was asked
/// to, of which it may have done nothing. `asked` is above 0.
#[inline(always)]
pub fn fragments(slot: u32, probe: u32, skb: Pointer, iter: Pointer, asked: u64) {
    if iter::memory(iter) != Some(Memory::User) {
        return;
    }
    let Some(place) = place() else { return };
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied out; only this task uses this key.
    let last = unsafe { LAST_CUT.get(&thread) }.copied();
    let mut known = 0;
    if let Some(cut) = last {
        let _ = LAST_CUT.remove(&thread);
        // The linear part comes first: the fragments were not begun.
        if is_linear(skb, cut.to) {
            return;
        }
        known = cut.left;
    }
    book_copy(slot, probe, Kind::Copy, place.path, Direction::FromUser, asked);
    book(slot, |ledger| add(counter!(ledger, cut_short.bytes), asked.saturating_sub(known)));
}

/// True if an address lies in the packet's own buffer.
#[inline(always)]
fn is_linear(skb: Pointer, address: u64) -> bool {
    let (Some(head), Some(end)) = (skb.read::<u64>(config!(skb_head)), skb.read::<u32>(config!(skb_end)))
    else {
        return false;
    };
    address.wrapping_sub(head) < end as u64
}
