//! Copies between kernel buffers: packets, checksums on the way, bounce buffers.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_ebpf::abi::{Direction, Path, SOFTIRQ};
use tracer_ebpf::table::row;

use super::account::{Kind, book_copy, current_slot, is_open, owner_of, path};
use super::device::packet_slot;
use super::kernel::{in_interrupt, read};
use super::maps::{OWNERS, config};
use super::wrapper::{Call, Exit, enter, leave, wrapper};

/// MAX_SKB_FRAGS is 17 by default and 45 at most (CONFIG_MAX_SKB_FRAGS, 6.3).
const MAX_FRAGS: u32 = 45;

/// Who works here.
pub enum Worker {
    /// The current process, which is counted.
    Process(u32),
    /// A softirq or an interrupt: the current task is a bystander.
    Interrupt,
}

/// `None`: nothing is counted here.
#[inline(always)]
pub fn worker() -> Option<Worker> {
    if !is_open() {
        return None;
    }
    if in_interrupt() {
        return Some(Worker::Interrupt);
    }
    current_slot().map(Worker::Process)
}

impl Worker {
    /// Books a copy inside the kernel: to the process at work, or to the owner of the data if it is known.
    /// Never to whoever was interrupted.
    #[inline(always)]
    fn book(self, probe: u32, kind: Kind, bytes: u64, owner: impl Fn() -> Option<u32>) {
        if bytes == 0 {
            return;
        }
        let (slot, path) = match self {
            Worker::Interrupt => (owner().unwrap_or(SOFTIRQ), Path::Softirq),
            Worker::Process(slot) => match path() {
                Some(path) => (slot, path),
                None => return,
            },
        };
        book_copy(slot, probe, kind, path, Direction::InKernel, bytes);
    }
}

/// `skb_shared_info`: behind the packet's linear buffer (`end` is an offset on 64 bit).
#[inline(always)]
fn shared_info(skb: u64) -> Option<u64> {
    Some(read::<u64>(skb, config!(skb_head))? + read::<u32>(skb, config!(skb_end))? as u64)
}

#[inline(always)]
fn linear(skb: u64) -> Option<u64> {
    Some((read::<u32>(skb, config!(skb_len))? - read::<u32>(skb, config!(skb_data_len))?) as u64)
}

/// Bytes in the page fragments, without those of packets on the fragment list.
#[inline(always)]
fn in_frags(skb: u64) -> Option<u64> {
    let info = shared_info(skb)?;
    if read::<u64>(info, config!(shinfo_frag_list))? == 0 {
        return Some(read::<u32>(skb, config!(skb_data_len))? as u64);
    }
    let frags = read::<u8>(info, config!(shinfo_nr_frags))? as u32;
    let mut bytes = 0;
    let mut i = 0;
    while i < MAX_FRAGS {
        if i >= frags {
            break;
        }
        let frag = config!(shinfo_frags) + i * config!(frag_bytes);
        bytes += read::<u32>(info, frag + config!(frag_len))? as u64;
        i += 1;
    }
    Some(bytes)
}

/// What a call that copies `[offset, offset + len)` of a packet copies itself: for packets on the
/// fragment list it calls itself, and that call is counted on its own.
#[inline(always)]
fn own_part(skb: u64, offset: u64, len: u64) -> Option<u64> {
    let own = linear(skb)? + in_frags(skb)?;
    let left = own.saturating_sub(offset);
    Some(if len < left { len } else { left })
}

/// The slot of a zero-copy packet's sender, by its `ubuf_info`. Packets may outlive the process and its
/// slot: what is then copied is nobody's.
#[inline(always)]
fn zerocopy_owner(skb: u64) -> Option<u32> {
    let info = shared_info(skb)?;
    let uarg: u64 = read(info, config!(shinfo_destructor_arg))?;
    owner_of(&OWNERS, uarg)
}

/// Whose a packet is: a zero-copy send's, else its socket's.
#[inline(always)]
fn owner(skb: u64) -> Option<u32> {
    match zerocopy_owner(skb) {
        Some(slot) => Some(slot),
        None => packet_slot(skb),
    }
}

/// Entry points of a function that is counted on entry: `row: body; fentry NAME, kprobe NAME`.
macro_rules! on_entry {
    ($row:literal: $body:expr; $fentry:ident, $kprobe:ident) => {
        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> i32 {
            $body(const { row($row) }, |n| ctx.arg::<u64>(n));
            0
        }
        #[kprobe]
        pub fn $kprobe(ctx: ProbeContext) -> u32 {
            $body(const { row($row) }, |n| ctx.arg::<u64>(n).unwrap_or(0));
            0
        }
    };
}
pub(crate) use on_entry;

/// `(skb, offset, _, len)`.
#[inline(always)]
fn copy_bits(probe: u32, arg: impl Fn(usize) -> u64) {
    let Some(worker) = worker() else { return };
    if let Some(bytes) = own_part(arg(0), arg(1) as u32 as u64, arg(3) as u32 as u64) {
        worker.book(probe, Kind::Copy, bytes, || owner(arg(0)));
    }
}
on_entry! { "skb_copy_bits": copy_bits; skb_copy_bits_fentry, skb_copy_bits_kprobe }
on_entry! { "skb_store_bits": copy_bits; skb_store_bits_fentry, skb_store_bits_kprobe }

/// The same with a checksum on the way.
#[inline(always)]
fn checksum_bits(probe: u32, arg: impl Fn(usize) -> u64) {
    let Some(worker) = worker() else { return };
    if let Some(bytes) = own_part(arg(0), arg(1) as u32 as u64, arg(3) as u32 as u64) {
        worker.book(probe, Kind::Checksum, bytes, || owner(arg(0)));
    }
}
on_entry! { "skb_copy_and_csum_bits": checksum_bits; skb_copy_and_csum_bits_fentry, skb_copy_and_csum_bits_kprobe }

/// `__pskb_copy_fclone(skb, ...)`: a packet's headers; its fragments are shared.
#[inline(always)]
fn copy_headers(probe: u32, arg: impl Fn(usize) -> u64) {
    let Some(worker) = worker() else { return };
    if let Some(bytes) = linear(arg(0)) {
        worker.book(probe, Kind::Control, bytes, || owner(arg(0)));
    }
}
on_entry! { "skb_copy_headers": copy_headers; skb_copy_headers_fentry, skb_copy_headers_kprobe }

/// `swiotlb_bounce(_, _, size, ...)`: the third argument on every kernel. What a device has read is often
/// copied in its interrupt.
#[inline(always)]
fn bounce(probe: u32, arg: impl Fn(usize) -> u64) {
    if let Some(worker) = worker() {
        worker.book(probe, Kind::Copy, arg(2), || None);
    }
}
on_entry! { "swiotlb_bounce": bounce; swiotlb_bounce_fentry, swiotlb_bounce_kprobe }

/// `copy_user_huge_page(dst, src, addr_hint, vma, pages)` of 5.10 and 6.1.
#[inline(always)]
fn huge_page(probe: u32, arg: impl Fn(usize) -> u64) {
    super::pages::book_pages(probe, (arg(4) as u32 as u64) * 4096);
}
on_entry! { "cow_huge": huge_page; cow_huge_fentry, cow_huge_kprobe }

/// `csum_and_copy_{from,to}_user(src, dst, len)`.
#[inline(always)]
fn checksum_user(probe: u32, len: u64, direction: Direction) {
    let (Some(slot), Some(path)) = (current_slot(), path()) else {
        return;
    };
    book_copy(slot, probe, Kind::Checksum, path, direction, len as u32 as u64);
}
#[inline(always)]
fn checksum_from_user(probe: u32, arg: impl Fn(usize) -> u64) {
    checksum_user(probe, arg(2), Direction::FromUser);
}
#[inline(always)]
fn checksum_to_user(probe: u32, arg: impl Fn(usize) -> u64) {
    checksum_user(probe, arg(2), Direction::ToUser);
}
on_entry! { "csum_from_user": checksum_from_user; csum_from_user_fentry, csum_from_user_kprobe }
on_entry! { "csum_to_user": checksum_to_user; csum_to_user_fentry, csum_to_user_kprobe }

/// `int skb_copy_ubufs(skb, gfp)`: the kernel copies user pages after all (loopback, packet taps).
/// The fragments are new by the time of the return, and as long as the old ones.
#[inline(always)]
fn copy_ubufs(probe: u32, call: &impl Call) {
    if call.ret_int() != 0 {
        return;
    }
    let Some(worker) = worker() else { return };
    if let Some(bytes) = in_frags(call.arg(0)) {
        worker.book(probe, Kind::Copy, bytes, || owner(call.arg(0)));
    }
}
wrapper! { "skb_copy_ubufs": copy_ubufs; skb_copy_ubufs_fexit(2); skb_copy_ubufs_entry, skb_copy_ubufs_return }

/// `int pskb_expand_head(skb, nhead, ntail, gfp)`: copies what lies before `tail`, which has moved by
/// `nhead` when it returns.
#[inline(always)]
fn expand_head(probe: u32, call: &impl Call) {
    if call.ret_int() != 0 {
        return;
    }
    let Some(worker) = worker() else { return };
    if let Some(tail) = call.pointer(0).read::<u32>(config!(skb_tail)) {
        let bytes = (tail as i64 - call.arg(1) as i32 as i64) as u64;
        worker.book(probe, Kind::Control, bytes, || owner(call.arg(0)));
    }
}
wrapper! { "skb_expand_head": expand_head; skb_expand_head_fexit(4); skb_expand_head_entry, skb_expand_head_return }
