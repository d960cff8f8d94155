//! Which system call is which [`Path`], for the 64-bit and the 32-bit table of x86.
//!
//! Numbers: `arch/x86/entry/syscalls/syscall_{64,32}.tbl`. They never change.

use crate::abi::Path;

/// One entry of a table: a [`Path`] and flags in one byte. (In two, the programs that copy are up to twice as long.)
pub type Entry = u8;

const PATH: Entry = 0x0f;
/// The return value is the number of bytes moved.
pub const RETURNS_BYTES: Entry = 0x10;
/// What the call moved shows only in its copies: message counts (`recvmmsg`) and io_uring.
pub const COPIES_ARE_PAYLOAD: Entry = 0x20;
/// The kernel copies an argument block (iovec, address, message header) beside the data.
pub const HAS_ARGUMENT_BLOCK: Entry = 0x40;
/// `(fd, iovec, count)`: the block's size is known from the third argument.
pub const IOVEC: Entry = 0x80;
/// Of sends and receives, whose vectors are in a header: `(fd, buffer, len, flags, address, length)`, so that there is
/// no argument block where the fifth argument is NULL. 64-bit calls only.
pub const ADDRESSED: Entry = IOVEC;
/// Calls that return 0 in a new task, which did not enter them. Without an argument block the bit has no other
/// meaning.
pub const FORK: Entry = Path::OtherSyscall as Entry | IOVEC;
/// execve, which returns 0 in a new program, whether or not that entered it. It never returns a number of bytes.
pub const EXEC: Entry = FORK | RETURNS_BYTES;

/// getsockopt, of which one option receives data (`TCP_ZEROCOPY_RECEIVE`). The bit has no other meaning here.
pub const GETSOCKOPT: Entry = Path::OtherSyscall as Entry | HAS_ARGUMENT_BLOCK;

/// The tables are indexed by number `& MASK`. 64-bit numbers end at about 470, x32's own at 547.
pub const MASK: usize = 1023;

/// The 32-bit call that makes one of the calls of sockets: which one is its first argument.
pub const SOCKETCALL: u64 = 102;
/// Where these calls stand in the 32-bit table, behind all numbers.
const SOCKETCALLS: i32 = 992;

/// The path of an entry.
#[inline(always)]
pub const fn path(entry: Entry) -> Path {
    // Indexing would leave a bounds check that the verifier has to follow; a match on four bits has none.
    match entry & PATH {
        0 => Path::Read,
        1 => Path::Write,
        2 => Path::Recv,
        3 => Path::Send,
        4 => Path::Sendfile,
        5 => Path::Splice,
        6 => Path::Tee,
        7 => Path::Vmsplice,
        8 => Path::CopyFileRange,
        9 => Path::MmapFault,
        10 => Path::IoUring,
        11 => Path::ProcessVm,
        12 => Path::Ioctl,
        13 => Path::OtherSyscall,
        14 => Path::Softirq,
        _ => Path::KernelThread,
    }
}

const fn data(path: Path) -> Entry {
    path as Entry | RETURNS_BYTES
}
const fn vectored(path: Path) -> Entry {
    data(path) | HAS_ARGUMENT_BLOCK | IOVEC
}
const fn message(path: Path) -> Entry {
    data(path) | HAS_ARGUMENT_BLOCK
}
const fn addressed(path: Path) -> Entry {
    message(path) | ADDRESSED
}
const fn messages(path: Path) -> Entry {
    path as Entry | COPIES_ARE_PAYLOAD | HAS_ARGUMENT_BLOCK
}

/// An entry for io_uring's workers, which are in no system call.
pub const IO_URING: Entry = messages(Path::IoUring);

/// One system call: number in the 64-bit table, in the 32-bit one (-1: not there), and its entry.
type Call = (i32, i32, Entry);

const CALLS: &[Call] = &[
    (0, 3, data(Path::Read)),
    (17, 180, data(Path::Read)),
    (19, 145, vectored(Path::Read)),
    (295, 333, vectored(Path::Read)),
    (327, 378, vectored(Path::Read)),
    (1, 4, data(Path::Write)),
    (18, 181, data(Path::Write)),
    (20, 146, vectored(Path::Write)),
    (296, 334, vectored(Path::Write)),
    (328, 379, vectored(Path::Write)),
    (45, -1, addressed(Path::Recv)),
    (-1, 371, message(Path::Recv)),
    (47, 372, message(Path::Recv)),
    (299, 337, messages(Path::Recv)),
    (-1, 417, messages(Path::Recv)), // recvmmsg_time64
    (44, -1, addressed(Path::Send)),
    (-1, 369, message(Path::Send)),
    (46, 370, message(Path::Send)),
    (307, 345, messages(Path::Send)),
    // Message queues: a send returns 0, so that its payload is what it copies.
    (242, 277, messages(Path::Send)), // mq_timedsend
    (-1, 418, messages(Path::Send)),  // mq_timedsend_time64
    (243, 278, message(Path::Recv)),  // mq_timedreceive
    (-1, 419, message(Path::Recv)),   // mq_timedreceive_time64
    // By include/uapi/linux/net.h: send, recv, sendto, recvfrom, sendmsg, recvmsg, recvmmsg, sendmmsg.
    (-1, SOCKETCALLS + 9, message(Path::Send)),
    (-1, SOCKETCALLS + 10, message(Path::Recv)),
    (-1, SOCKETCALLS + 11, message(Path::Send)),
    (-1, SOCKETCALLS + 12, message(Path::Recv)),
    (-1, SOCKETCALLS + 16, message(Path::Send)),
    (-1, SOCKETCALLS + 17, message(Path::Recv)),
    (-1, SOCKETCALLS + 19, messages(Path::Recv)),
    (-1, SOCKETCALLS + 20, messages(Path::Send)),
    (69, 400, messages(Path::Send)), // msgsnd
    (70, 401, message(Path::Recv)),  // msgrcv
    (55, 365, GETSOCKOPT),
    (40, 187, data(Path::Sendfile)),
    (-1, 239, data(Path::Sendfile)), // sendfile64
    (275, 313, data(Path::Splice)),
    (276, 315, data(Path::Tee)),
    (278, 316, vectored(Path::Vmsplice)),
    (326, 377, data(Path::CopyFileRange)),
    (310, 347, vectored(Path::ProcessVm)),
    (311, 348, vectored(Path::ProcessVm)),
    (16, 54, Path::Ioctl as Entry),
    (425, 425, Path::IoUring as Entry),
    (426, 426, IO_URING),
    (427, 427, Path::IoUring as Entry),
    (57, 2, FORK),
    (58, 190, FORK),
    (56, 120, FORK),
    (435, 435, FORK), // clone3
    // An execveat that succeeds returns as an execve too (`set_personality_64bit()`, arch/x86/kernel/process_64.c).
    (59, 11, EXEC),
    // x32's own numbers (512..547): the calls whose structures differ from the 64-bit ones.
    (515, -1, vectored(Path::Read)),
    (516, -1, vectored(Path::Write)),
    (517, -1, message(Path::Recv)),
    (518, -1, message(Path::Send)),
    (520, -1, EXEC),
    (519, -1, message(Path::Recv)),
    (514, -1, Path::Ioctl as Entry),
    (532, -1, vectored(Path::Vmsplice)),
    (534, -1, vectored(Path::Read)),
    (535, -1, vectored(Path::Write)),
    (537, -1, messages(Path::Recv)),
    (538, -1, messages(Path::Send)),
    (539, -1, vectored(Path::ProcessVm)),
    (540, -1, vectored(Path::ProcessVm)),
    (546, -1, vectored(Path::Read)),
    (547, -1, vectored(Path::Write)),
];

/// As if the call of sockets with this number, of which there are 20, were one of the 32-bit table.
#[inline(always)]
pub const fn by_socketcall(call: u64) -> u64 {
    SOCKETCALLS as u64 | (call & 31)
}

/// True for the numbers of `process_vm_writev`, whose copies go from the caller.
#[inline(always)]
pub const fn is_process_vm_writev(nr: u64, compat: bool) -> bool {
    if compat { nr == 348 } else { nr == 311 || nr == 540 }
}

/// True for the numbers of exit and exit_group, which enter and never return.
#[inline(always)]
pub const fn is_exit(nr: u64, compat: bool) -> bool {
    let nr = nr & MASK as u64;
    if compat { nr == 1 || nr == 252 } else { nr == 60 || nr == 231 }
}

const fn table(compat: bool) -> [Entry; MASK + 1] {
    let mut table = [Path::OtherSyscall as Entry; MASK + 1];
    let mut i = 0;
    while i < CALLS.len() {
        let nr = if compat { CALLS[i].1 } else { CALLS[i].0 };
        if nr >= 0 {
            table[nr as usize] = CALLS[i].2;
        }
        i += 1;
    }
    table
}

/// By number of the 64-bit (and x32) table.
pub static NATIVE: [Entry; MASK + 1] = table(false);
/// By number of the 32-bit table.
pub static COMPAT: [Entry; MASK + 1] = table(true);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_survives_the_byte() {
        for p in Path::ALL {
            assert_eq!(path(p as Entry | RETURNS_BYTES | IOVEC), p);
        }
    }

    #[test]
    fn well_known_numbers() {
        assert_eq!(path(NATIVE[40]), Path::Sendfile);
        assert_eq!(path(COMPAT[187]), Path::Sendfile);
        assert_eq!(NATIVE[40] & RETURNS_BYTES, RETURNS_BYTES);
        assert_eq!(NATIVE[299] & RETURNS_BYTES, 0, "recvmmsg returns messages");
        assert_eq!(path(NATIVE[39]), Path::OtherSyscall);
        assert_eq!(path(COMPAT[20]), Path::OtherSyscall, "getpid in the 32-bit table");
        assert_eq!((NATIVE[57], COMPAT[2], NATIVE[59]), (FORK, FORK, EXEC));
        assert_eq!((path(FORK), path(EXEC)), (Path::OtherSyscall, Path::OtherSyscall));
        assert_eq!(EXEC & (HAS_ARGUMENT_BLOCK | COPIES_ARE_PAYLOAD), 0);
        assert_eq!(path(COMPAT[by_socketcall(9) as usize]), Path::Send);
        assert_eq!(path(COMPAT[by_socketcall(1) as usize]), Path::OtherSyscall, "socket");
        assert!((0..32).all(|call| by_socketcall(call) <= MASK as u64 && by_socketcall(call) > 547));
        assert!(is_exit(60 | 1 << 30, false), "x32 numbers have a bit of their own");
        assert!(is_exit(252, true) && !is_exit(231, true) && !is_exit(1, false));
    }
}
