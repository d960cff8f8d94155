//! File systems in user space, disks in memory, and what direct I/O and reflinks hand on by reference.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use tracer_ebpf::abi::{ABSENT, Direction, Loss, Path};
use tracer_ebpf::{syscalls, table::row};

use super::account::{Kind, Place, book, book_copy, book_payload, counter, current_slot, path, place};
use super::kernel::{Pointer, in_interrupt, read};
use super::maps::{add, config, lose};
use super::splice::moved;
use super::wrapper::{Call, Exit, enter, leave, wrapper};

/// `unsigned fuse_copy_do(cs, val, size)`: one `memcpy` between a request and the daemon's pinned page (or the page of
/// its pipe), if `val` is not NULL; else a step over bytes that nobody wants.
#[inline(always)]
fn fuse_copied(probe: u32, call: &impl Call) {
    let bytes = call.ret() as u32 as u64;
    if bytes == 0 || call.arg(1) == 0 {
        return;
    }
    let (Some(slot), Some(place)) = (current_slot(), place()) else { return };
    let Some(direction) = fuse_direction(place, call.pointer(0)) else { return };
    book_copy(slot, probe, Kind::Copy, place.path, direction, bytes);
    if place.entry & syscalls::COPIES_ARE_PAYLOAD != 0 {
        book_payload(slot, place.path, bytes);
    }
}
wrapper! { "fuse_copy": fuse_copied; fuse_copy_fexit(3); fuse_copy_entry, fuse_copy_return }

/// A daemon reads requests and writes replies, or splices both. Only io_uring needs the structure.
#[inline(always)]
fn fuse_direction(place: Place, state: Pointer) -> Option<Direction> {
    match place.path {
        _ if place.in_splice => Some(Direction::InKernel),
        Path::Read => Some(Direction::ToUser),
        Path::Write => Some(Direction::FromUser),
        _ if config!(fuse_copy_write) == ABSENT => {
            lose(Loss::UnreadableStructure);
            None
        }
        _ => {
            let flag: u8 = state.read(config!(fuse_copy_write))?;
            let to_daemon = flag as u32 & config!(fuse_copy_write_mask) != 0;
            Some(if to_daemon { Direction::ToUser } else { Direction::FromUser })
        }
    }
}

/// `blk_status_t pmem_do_write(pmem, page, page_off, sector, len)`: fails only on broken memory, before it copies.
#[kprobe]
pub fn pmem_write_kprobe(ctx: ProbeContext) -> u32 {
    book_disk(const { row("pmem_write") }, ctx.arg::<u64>(4).unwrap_or(0) as u32 as u64);
    0
}

/// `brd_submit_bio(bio)`: copies each page of the bio, whole. (A sector that was never written is filled with zeros
/// instead of copied; that is not told apart.)
#[kprobe]
pub fn brd_io_kprobe(ctx: ProbeContext) -> u32 {
    const OP_MASK: u32 = 0xff;
    const OP_WRITE: u32 = 1;
    if current_slot().is_none() {
        return 0;
    }
    let Some(bio) = ctx.arg::<u64>(0) else { return 0 };
    // A discard has a size and no data.
    if let (Some(op), Some(bytes)) = (read::<u32>(bio, config!(bio_op)), read::<u32>(bio, config!(bio_size)))
        && op & OP_MASK <= OP_WRITE
    {
        book_disk(const { row("brd_io") }, bytes as u64);
    }
    0
}

/// Books what the driver of a disk in memory copies, to whoever submits the transfer.
#[inline(always)]
pub fn book_disk(probe: u32, bytes: u64) {
    if bytes != 0
        && !in_interrupt()
        && let (Some(slot), Some(path)) = (current_slot(), path())
    {
        book_copy(slot, probe, Kind::Copy, path, Direction::InKernel, bytes);
        // Where it is direct I/O, this is what became of the payload.
        let op = match path {
            Path::Read => 0,
            Path::Write => 1,
            _ => return,
        };
        book(slot, |ledger| add(counter!(ledger, direct[op]), bytes));
    }
}

/// `ssize_t f(...)`: the bytes of user pages, or of a file's blocks, that went on to somebody else by reference.
#[inline(always)]
fn handed_on(_probe: u32, call: &impl Call) {
    moved(call.ret());
}
wrapper! { "fuse_direct": handed_on; fuse_direct_fexit(4); fuse_direct_entry, fuse_direct_return }
wrapper! { "nfs_direct_read": handed_on; ; nfs_direct_read_entry, nfs_direct_read_return }
wrapper! { "nfs_direct_write": handed_on; ; nfs_direct_write_entry, nfs_direct_write_return }
wrapper! { "netfs_direct_read": handed_on; ; netfs_direct_read_entry, netfs_direct_read_return }
wrapper! { "netfs_direct_write": handed_on; ; netfs_direct_write_entry, netfs_direct_write_return }
wrapper! { "v9fs_direct": handed_on; ; v9fs_direct_entry, v9fs_direct_return }
wrapper! { "btrfs_clone": handed_on; ; btrfs_clone_entry, btrfs_clone_return }
wrapper! { "xfs_clone": handed_on; ; xfs_clone_entry, xfs_clone_return }
