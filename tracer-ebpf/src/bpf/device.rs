//! Bytes that devices move by DMA: block transfers by who submitted them, packets by whose socket it is.
//!
//! A device is one that hangs on a bus (`device.parent` is set): loop, zram, device-mapper, loopback, veth and
//! bridges pass on to one of those, or copy. Persistent memory hangs on a bus of its own and copies as well.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, raw_tracepoint},
    programs::{FEntryContext, FExitContext, ProbeContext, RawTracePointContext},
};
use tracer_ebpf::abi::{ABSENT, Bio, DIRECT, DeviceOp, KERNEL_THREAD, Loss, SOFTIRQ, Xmit};
use tracer_ebpf::table::row;

use super::account::{book, counter, current_slot, is_open, living, note_owner, owned_by, owner_of};
use super::kernel::{Task, in_interrupt, read};
use super::maps::{BIOS, SOCKETS, XMIT, add, config, lose};
use super::skb::on_entry;

/// `REQ_OP_READ`, `REQ_OP_WRITE` and their mask in `bi_opf`, include/linux/blk_types.h; same on all kernels.
const OP_MASK: u32 = 0xff;
const OP_WRITE: u32 = 1;

#[inline(always)]
fn book_device(slot: u32, op: u32, bytes: u64) {
    // The mask changes nothing, but the verifier sees by it that no bounds check is needed.
    book(slot, |ledger| {
        add(counter!(ledger, device[(op & 3) as usize]), bytes);
        if op & DIRECT != 0 {
            add(counter!(ledger, direct[(op & 1) as usize]), bytes);
        }
    });
}

/// The name of libnvdimm's bus, drivers/nvdimm/bus.c: its disks are memory, which the CPU copies.
const MEMORY_BUS: u32 = u32::from_ne_bytes(*b"nd\0\0") & NAME_MASK;
/// Of the first four bytes of a name that ends with the second.
const NAME_MASK: u32 = 0x00ff_ffff;

/// True if a bio's disk hangs on a bus and is no memory.
#[inline(always)]
fn is_physical(bio: u64) -> Option<bool> {
    let mut disk: u64 = read(bio, config!(bio_device))?;
    if config!(bdev_disk) != ABSENT {
        disk = read(disk, config!(bdev_disk))?;
    }
    if config!(disk_part0) != ABSENT {
        disk = read(disk, config!(disk_part0))?;
    }
    let parent = read::<u64>(disk, config!(part0_parent))?;
    if parent == 0 {
        return Some(false);
    }
    let bus = read::<u64>(parent, config!(device_bus))?;
    if bus == 0 {
        return Some(true);
    }
    let name = read::<u64>(bus, config!(bus_name))?;
    Some(read::<u32>(name, 0)? & NAME_MASK != MEMORY_BUS)
}

/// Whose a bio is that is submitted now; `None` if a process's that is not counted.
#[inline(always)]
fn submitter() -> Option<u32> {
    if in_interrupt() {
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
    let direct = if is_direct(bio, op == OP_WRITE) { DIRECT } else { 0 };
    let op = if op == OP_WRITE { DeviceOp::BlockWrite } else { DeviceOp::BlockRead } as u32;
    track(bio, Bio { owner: owned_by(slot), bytes, op: op | direct });
}

/// False if the pages of a transfer are surely the page cache's: its first page is not anonymous, and is locked for a
/// read or under writeback. A buffer of the caller that is a mapped file is neither. What cannot be told is direct:
/// such bytes explain payload only where nothing else does.
#[inline(always)]
fn is_direct(bio: u64, write: bool) -> bool {
    /// `PAGE_MAPPING_ANON`, the lowest bit of `page.mapping`.
    const ANONYMOUS: u64 = 1;
    const LOCKED: u64 = 1;
    let Some(page) = read::<u64>(bio, config!(bio_vectors)).and_then(|vectors| read::<u64>(vectors, 0))
    else {
        return true;
    };
    if read::<u64>(page, config!(page_mapping)).is_none_or(|mapping| mapping & ANONYMOUS != 0) {
        return true;
    }
    let held = match write {
        false => LOCKED,
        true if config!(page_writeback) == ABSENT => return true,
        true => 1 << (config!(page_writeback) & 63),
    };
    read::<u64>(page, 0).is_none_or(|flags| flags & held == 0)
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
/// The tracepoint `block_bio_complete` would need no trampoline, but is silent where a request carries the bio
/// (`blk_update_request` clears `BIO_TRACE_COMPLETION`, block/blk-mq.c), as with all disks of queues.
#[inline(always)]
fn ended(_probe: u32, arg: impl Fn(usize) -> u64) {
    let bio = arg(0);
    let Some(transfer) = tracked(bio) else { return };
    let _ = BIOS.remove(&bio);
    if is_open() && read::<u8>(bio, config!(bio_status)) == Some(0) {
        book_device(living(transfer.owner).unwrap_or(SOFTIRQ), transfer.op, transfer.bytes as u64);
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
    Some(owner_of(&SOCKETS, sk).unwrap_or(SOFTIRQ))
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
fn delivered(_probe: u32, arg: impl Fn(usize) -> u64) {
    if is_open()
        && let Some(bytes) = received(arg(1))
    {
        book_device(owner_of(&SOCKETS, arg(0)).unwrap_or(SOFTIRQ), DeviceOp::NetReceive as u32, bytes);
    }
}

/// Bytes of a packet from its link header on, if it came from a device.
#[inline(always)]
fn received(skb: u64) -> Option<u64> {
    if !is_physical_net(read(skb, config!(skb_dev))?) {
        return None;
    }
    let start = read::<u64>(skb, config!(skb_head))? + read::<u16>(skb, config!(skb_mac_header))? as u64;
    let header = read::<u64>(skb, config!(skb_data))? - start;
    Some(read::<u32>(skb, config!(skb_len))? as u64 + header)
}

/// The current process uses a `struct socket`, which may have no `sock` yet.
#[inline(always)]
fn used(_probe: u32, arg: impl Fn(usize) -> u64) {
    let Some(slot) = current_slot() else { return };
    let Some(sk) = read::<u64>(arg(0), config!(socket_sk)) else { return };
    note_owner(&SOCKETS, sk, slot);
}

/// `security_sk_free(sk)`: what comes to lie at that address is another's.
#[inline(always)]
fn freed(_probe: u32, arg: impl Fn(usize) -> u64) {
    let _ = SOCKETS.remove(&arg(0));
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

on_entry! { "block_complete": ended; bio_ended_fentry, bio_ended_kprobe }
on_entry! { "net_receive": delivered; delivered_fentry, delivered_kprobe }
on_entry! { "owner_send": used; socket_used_fentry, socket_used_kprobe }
on_entry! { "owner_sendpage": used; socket_pages_fentry, socket_pages_kprobe }
on_entry! { "owner_receive": used; socket_received_fentry, socket_received_kprobe }
on_entry! { "owner_splice": used; socket_spliced_fentry, socket_spliced_kprobe }
on_entry! { "owner_accept": used; socket_accepts_fentry, socket_accepts_kprobe }
on_entry! { "owner_connect": used; socket_connects_fentry, socket_connects_kprobe }
on_entry! { "owner_free": freed; socket_freed_fentry, socket_freed_kprobe }

/// `struct sock *inet_csk_clone_lock(sk, req, priority)`.
#[fexit]
pub fn socket_cloned(ctx: FExitContext) -> i32 {
    if is_open() {
        cloned(ctx.arg(0), ctx.arg(3));
    }
    0
}
