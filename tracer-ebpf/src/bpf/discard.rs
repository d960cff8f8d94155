//! Payload for which no memory was copied or handed on: what goes to /dev/null, what comes from /dev/zero, and what
//! MSG_TRUNC throws away. (What a direct read finds unwritten is told by call sites.)

use tracer_ebpf::abi::Path;
use tracer_ebpf::{syscalls, table::row};

use super::account::{book_discarded, book_payload, current_slot, place};
use super::iter::{self, Memory};
use super::kernel::{Pointer, REGS_DI, REGS_DX, REGS_R10, Task, read};
use super::maps::config;
use super::wrapper::{Call, Exit, enter, leave, wrapper};

/// A function that returns how many bytes it threw away, or made of nothing.
#[inline(always)]
fn all(_probe: u32, call: &impl Call) {
    let bytes = call.ret();
    if bytes > 0 {
        discard(bytes as u64);
    }
}

/// Books what the current task's call throws away, or makes of nothing.
#[inline(always)]
pub fn discard(bytes: u64) {
    let (Some(slot), Some(place)) = (current_slot(), place()) else { return };
    book_discarded(slot, place.path, bytes);
    if place.entry & syscalls::COPIES_ARE_PAYLOAD != 0 {
        book_payload(slot, place.path, bytes);
    }
}

/// `ssize_t read_iter_zero(iocb, iter)`: zeroes that go to a pipe are copied on from there.
#[inline(always)]
fn zeroes(probe: u32, call: &impl Call) {
    if iter::memory(call.pointer(1)) == Some(Memory::User) {
        all(probe, call);
    }
}

wrapper! { "null_write": all; null_write_fexit(4); null_write_entry, null_write_return }
wrapper! { "null_write_iter": all; null_write_iter_fexit(2); null_write_iter_entry, null_write_iter_return }
wrapper! { "null_splice": all; null_splice_fexit(5); null_splice_entry, null_splice_return }
wrapper! { "zero_read": all; zero_read_fexit(4); zero_read_entry, zero_read_return }
wrapper! { "zero_read_iter": zeroes; zero_read_iter_fexit(2); zero_read_iter_entry, zero_read_iter_return }

/// `recvfrom` of the 64-bit table: `(fd, buffer, length, flags, ...)`; `recvmsg`: `(fd, header, flags)`.
const RECVFROM: u64 = 45;
const RECVMSG: u64 = 47;
const MSG_TRUNC: u64 = 0x20;
/// Protocols that copy nothing when they are told so (`tcp_recvmsg_locked()`, `__mptcp_recvmsg_mskq()`).
const TCP: u16 = 6;
const MPTCP: u16 = 262;

/// True if a receive was told to throw away what it does not take. `regs` are those of call `nr`.
#[inline(always)]
pub fn truncates(regs: Pointer, nr: u64) -> bool {
    let flags = match nr {
        RECVMSG => regs.read::<u64>(REGS_DX),
        _ => regs.read::<u64>(REGS_R10),
    };
    flags.is_some_and(|flags| flags & MSG_TRUNC != 0)
}

/// Books what a receive with MSG_TRUNC, which returned `bytes`, threw away: all of a stream's, and of a datagram what
/// there was no room for. (The room of a `recvmsg` is in user memory, which is not read: that part stays unexplained.)
#[inline(always)]
pub fn truncated(slot: u32, regs: Pointer, nr: u64, bytes: u64) {
    let Some(protocol) = regs.read::<u64>(REGS_DI).and_then(socket_protocol) else { return };
    let discarded = match (protocol, nr) {
        (TCP | MPTCP, _) => bytes,
        (_, RECVFROM) => bytes.saturating_sub(regs.read::<u64>(REGS_DX).unwrap_or(bytes)),
        _ => 0,
    };
    if discarded > 0 {
        book_discarded(slot, Path::Recv, discarded);
    }
}

/// `sk_protocol` of the current task's socket `fd`.
#[inline(always)]
fn socket_protocol(fd: u64) -> Option<u16> {
    let files: u64 = Task::current().field(config!(task_files))?;
    let table: u64 = read(files, config!(files_fdt))?;
    let descriptors: u64 = read(table, config!(fdtable_fd))?;
    let file: u64 = read(descriptors + (fd as u32 as u64) * 8, 0)?;
    let socket: u64 = read(file, config!(file_private))?;
    let sock: u64 = read(socket, config!(socket_sk))?;
    read(sock, config!(sock_protocol))
}
