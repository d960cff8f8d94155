//! Bytes that devices move by DMA: block transfers by who submitted them, packets by whose socket it is.
//!
//! A device is one that hangs on a bus (`device.parent` is set): loop, zram, device-mapper, loopback, veth and
//! bridges pass on to one of those, or copy.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, raw_tracepoint},
    programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext},
};
use tracer_ebpf::abi::{ABSENT, Bio, DeviceOp, KERNEL_THREAD, Loss, Owner, SOFTIRQ, Xmit};

use super::account::{book, counter, current_slot, generation, in_softirq, is_open};
use super::kernel::{Task, in_hard_interrupt, read};
use super::maps::{BIOS, SOCKETS, XMIT, add, config, lose};

/// `REQ_OP_READ`, `REQ_OP_WRITE` and their mask in `bi_opf`, include/linux/blk_types.h; same on all kernels.
const OP_MASK: u32 = 0xff;
const OP_WRITE: u32 = 1;

#[inline(always)]
fn book_device(slot: u32, op: u32, bytes: u64) {
    // The mask changes nothing, but the verifier sees by it that no bounds check is needed.
    book(slot, |ledger| add(counter!(ledger, device[(op & 3) as usize]), bytes));
}

/// True if a bio's disk hangs on a bus.
#[inline(always)]
fn is_physical(bio: u64) -> Option<bool> {
    let mut disk: u64 = read(bio, config!(bio_device))?;
    if config!(bdev_disk) != ABSENT {
        disk = read(disk, config!(bdev_disk))?;
    }
    if config!(disk_part0) != ABSENT {
        disk = read(disk, config!(disk_part0))?;
    }
    Some(read::<u64>(disk, config!(part0_parent))? != 0)
}

/// Whose a bio is that is submitted now; `None` if a process's that is not counted.
#[inline(always)]
fn submitter() -> Option<u32> {
    if in_softirq() || in_hard_interrupt() {
        return Some(SOFTIRQ);
    }
    if let Some(slot) = current_slot() {
        return Some(slot);
    }
    // Writeback, and readahead by workers: on whose behalf is not known.
    Task::current().is_kernel_thread().then_some(KERNEL_THREAD)
}

#[inline(always)]
fn queued(bio: u64) {
    if !is_open() {
        return;
    }
    let Some(slot) = submitter() else { return };
    let Some(op) = read::<u32>(bio, config!(bio_op)) else { return };
    let Some(bytes) = read::<u32>(bio, config!(bio_size)) else { return };
    let op = op & OP_MASK;
    // Neither a flush nor a discard moves data.
    if op > OP_WRITE || bytes == 0 || is_physical(bio) != Some(true) {
        return;
    }
    let op = if op == OP_WRITE { DeviceOp::BlockWrite } else { DeviceOp::BlockRead } as u32;
    track(bio, Bio { owner: Owner { slot, generation: generation(slot) }, bytes, op });
}

#[inline(always)]
fn track(bio: u64, transfer: Bio) {
    if BIOS.insert(&bio, &transfer, 0).is_err() {
        lose(Loss::DeviceMapFull);
    }
}

/// What is known of a transfer.
#[inline(always)]
fn tracked(bio: u64) -> Option<Bio> {
    // SAFETY: the value is copied out.
    unsafe { BIOS.get(&bio) }.copied()
}

/// `block_bio_queue(bio)`: once per bio, also if it is split later. (5.10: `(queue, bio)`.)
#[raw_tracepoint]
pub fn bio_queued(ctx: RawTracePointContext) -> i32 {
    queued(ctx.arg(0));
    0
}
#[raw_tracepoint]
pub fn bio_queued_second(ctx: RawTracePointContext) -> i32 {
    queued(ctx.arg(1));
    0
}

/// The process that something belongs to, or nobody if that has ended and its slot was given back.
#[inline(always)]
fn living(owner: Owner) -> u32 {
    if owner.generation == generation(owner.slot) { owner.slot } else { SOFTIRQ }
}

/// A bio that is too large for its device: `part` was cut off, and its `bi_private` is what is left. Both end
/// on their own.
#[inline(always)]
fn split(part: u64) {
    let Some(rest) = read::<u64>(part, config!(bio_private)) else { return };
    let Some(whole) = tracked(rest) else { return };
    let Some(bytes) = read::<u32>(part, config!(bio_size)) else { return };
    if bytes <= whole.bytes {
        track(part, Bio { bytes, ..whole });
        track(rest, Bio { bytes: whole.bytes - bytes, ..whole });
    }
}

/// `block_split(bio, sector)`. (5.10: `(queue, bio, sector)`.)
#[raw_tracepoint]
pub fn bio_split(ctx: RawTracePointContext) -> i32 {
    split(ctx.arg(0));
    0
}
#[raw_tracepoint]
pub fn bio_split_second(ctx: RawTracePointContext) -> i32 {
    split(ctx.arg(1));
    0
}

/// `bio_endio(bio)`: the device is done with it. Runs while the gate is closed too: what has ended must not be
/// taken for the next bio at that address. (A bio ends with its last part as well, but not by this function.)
#[inline(always)]
fn ended(bio: u64) {
    let Some(transfer) = tracked(bio) else { return };
    let _ = BIOS.remove(&bio);
    if is_open() && read::<u8>(bio, config!(bio_status)) == Some(0) {
        book_device(living(transfer.owner), transfer.op, transfer.bytes as u64);
    }
}

#[inline(always)]
fn is_physical_net(device: u64) -> bool {
    device != 0 && read::<u64>(device, config!(net_device_parent)).is_some_and(|parent| parent != 0)
}

/// The slot of a packet's socket, or of nobody.
#[inline(always)]
pub fn packet_slot(skb: u64) -> Option<u32> {
    let sk: u64 = read(skb, config!(skb_sk))?;
    Some(socket_slot(sk).unwrap_or(SOFTIRQ))
}

/// The slot of the process that used a socket last.
#[inline(always)]
pub fn socket_slot(sk: u64) -> Option<u32> {
    // SAFETY: the value is copied out.
    let owner = unsafe { SOCKETS.get(&sk) }.copied()?;
    (owner.generation == generation(owner.slot)).then_some(owner.slot)
}

/// `net_dev_start_xmit(skb, dev)`: the driver is next; afterwards the packet is its own.
#[raw_tracepoint]
pub fn xmit_started(ctx: RawTracePointContext) -> i32 {
    if !is_open() || !is_physical_net(ctx.arg(1)) {
        return 0;
    }
    let skb: u64 = ctx.arg(0);
    if let Some(bytes) = read::<u32>(skb, config!(skb_len))
        && let Some(slot) = packet_slot(skb)
        && let Some(xmit) = XMIT.get_ptr_mut(0)
    {
        // SAFETY: this CPU's element; the driver's lock keeps softirqs out until `net_dev_xmit`.
        unsafe { *xmit = Xmit { skb, bytes: bytes as u64, slot, reserved: 0 } };
    }
    0
}

/// `net_dev_xmit(skb, rc, dev, len)`: 0 if the driver took it. A refused packet comes again.
#[raw_tracepoint]
pub fn xmit_done(ctx: RawTracePointContext) -> i32 {
    let skb: u64 = ctx.arg(0);
    let Some(xmit) = XMIT.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's element.
    let started = unsafe { *xmit };
    if started.skb != skb || skb == 0 {
        return 0;
    }
    // SAFETY: as above.
    unsafe { (*xmit).skb = 0 };
    if is_open() && ctx.arg::<i32>(1) == 0 {
        book_device(started.slot, DeviceOp::NetTransmit as u32, started.bytes);
    }
    0
}

/// `sk_filter_trim_cap(sk, skb, ...)`: every packet that is delivered to a socket, from its device's header
/// on. Packets that were merged on arrival (GRO) have one header left.
#[inline(always)]
fn delivered(sk: u64, skb: u64) -> Option<()> {
    if !is_open() || !is_physical_net(read(skb, config!(skb_dev))?) {
        return None;
    }
    let start = read::<u64>(skb, config!(skb_head))? + read::<u16>(skb, config!(skb_mac_header))? as u64;
    let header = read::<u64>(skb, config!(skb_data))? - start;
    let bytes = read::<u32>(skb, config!(skb_len))? as u64 + header;
    book_device(socket_slot(sk).unwrap_or(SOFTIRQ), DeviceOp::NetReceive as u32, bytes);
    None
}

/// The current process uses a `struct sock`.
#[inline(always)]
fn used(sk: u64) {
    let Some(slot) = current_slot() else { return };
    let owner = Owner { slot, generation: generation(slot) };
    // SAFETY: the value is copied out.
    if unsafe { SOCKETS.get(&sk) }.copied() != Some(owner) {
        let _ = SOCKETS.insert(&sk, &owner, 0);
    }
}

/// The same for a `struct socket`, which may have no `sock` yet.
#[inline(always)]
fn used_socket(socket: u64) {
    if current_slot().is_some()
        && let Some(sk) = read::<u64>(socket, config!(socket_sk))
        && sk != 0
    {
        used(sk);
    }
}

/// A new connection is the listener's until somebody uses it.
#[inline(always)]
fn cloned(listener: u64, sk: u64) {
    // SAFETY: the value is copied out.
    if let Some(owner) = unsafe { SOCKETS.get(&listener) }.copied()
        && sk != 0
    {
        let _ = SOCKETS.insert(&sk, &owner, 0);
    }
}

/// fentry and kprobe on one function.
macro_rules! on_entry {
    ($arg:ident, $body:expr; $fentry:ident, $kprobe:ident) => {
        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> i32 {
            let $arg = |n: usize| ctx.arg::<u64>(n);
            $body;
            0
        }
        #[kprobe]
        pub fn $kprobe(ctx: ProbeContext) -> u32 {
            let $arg = |n: usize| ctx.arg::<u64>(n).unwrap_or(0);
            $body;
            0
        }
    };
}
on_entry! { arg, ended(arg(0)); bio_ended_fentry, bio_ended_kprobe }
on_entry! { arg, delivered(arg(0), arg(1)); delivered_fentry, delivered_kprobe }
on_entry! { arg, used_socket(arg(0)); socket_used_fentry, socket_used_kprobe }
on_entry! { arg, used_socket(arg(0)); socket_received_fentry, socket_received_kprobe }
on_entry! { arg, used_socket(arg(0)); socket_accepts_fentry, socket_accepts_kprobe }
on_entry! { arg, used_socket(arg(0)); socket_connects_fentry, socket_connects_kprobe }
on_entry! { arg, used_socket(arg(0)); socket_pages_fentry, socket_pages_kprobe }
on_entry! { arg, used_socket(arg(0)); socket_spliced_fentry, socket_spliced_kprobe }
on_entry! { arg, { let _ = SOCKETS.remove(&arg(0)); }; socket_freed_fentry, socket_freed_kprobe }

/// `struct sock *inet_csk_clone_lock(sk, req, priority)`.
#[fexit]
pub fn socket_cloned(ctx: FExitContext) -> i32 {
    if is_open() {
        cloned(ctx.arg(0), ctx.arg(3));
    }
    0
}
