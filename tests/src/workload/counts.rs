//! The workload's own books: every system call of the window is entered here
//! by the wrapper that makes it, so that the test compares two independent
//! counts. Plain statics: no allocation, hence no `brk`, in the window.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value, json};

/// One row per system call that a window may make: its name and the path that
/// the tracer books it under.
macro_rules! calls {
    ($($variant:ident $name:literal $path:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Call { $($variant,)* }
        const TABLE: &[(&str, &str)] = &[$(($name, $path),)*];
    };
}

calls! {
    Read "read" "read",
    Readv "readv" "read",
    Pread "pread64" "read",
    Preadv2 "preadv2" "read",
    Write "write" "write",
    Writev "writev" "write",
    Pwrite "pwrite64" "write",
    Pwritev2 "pwritev2" "write",
    Recv "recvfrom" "recv",
    Recvmsg "recvmsg" "recv",
    Recvmmsg "recvmmsg" "recv",
    Send "sendto" "send",
    Sendmsg "sendmsg" "send",
    Sendmmsg "sendmmsg" "send",
    Sendfile "sendfile" "sendfile",
    Splice "splice" "splice",
    Tee "tee" "tee",
    Vmsplice "vmsplice" "vmsplice",
    CopyFileRange "copy_file_range" "copy_file_range",
    UringEnter "io_uring_enter" "io_uring",
    ProcessVmReadv "process_vm_readv" "process_vm",
    ProcessVmWritev "process_vm_writev" "process_vm",
    Ioctl "ioctl" "ioctl",
    Lseek "lseek" "other_syscall",
    Poll "poll" "other_syscall",
    Kill "kill" "other_syscall",
    Tgkill "tgkill" "other_syscall",
    Sigtimedwait "rt_sigtimedwait" "other_syscall",
    Futex "futex" "other_syscall",
    Getpid "getpid" "other_syscall",
    Fstat "fstat" "other_syscall",
    Open "openat" "other_syscall",
    Close "close" "other_syscall",
    Getsockopt "getsockopt" "other_syscall",
    Setsockopt "setsockopt" "other_syscall",
    Mmap "mmap" "other_syscall",
    Munmap "munmap" "other_syscall",
    Fadvise "fadvise64" "other_syscall",
    Madvise "madvise" "other_syscall",
    Fork "clone" "other_syscall",
    Wait "wait4" "other_syscall",
}

impl Call {
    /// False for the calls whose value is no measure of anything moved.
    fn moves_data(self) -> bool {
        !matches!(TABLE[self as usize].1, "other_syscall" | "ioctl")
    }

    /// Messages or submissions, not bytes.
    fn returns_a_number_of_things(self) -> bool {
        matches!(self, Call::Sendmmsg | Call::Recvmmsg | Call::UringEnter)
    }
}

#[allow(clippy::declare_interior_mutable_const, reason = "only an initialiser of the arrays below")]
const ZERO: AtomicU64 = AtomicU64::new(0);
static ENTERED: [AtomicU64; TABLE.len()] = [ZERO; TABLE.len()];
static RETURNED: [AtomicU64; TABLE.len()] = [ZERO; TABLE.len()];
static BYTES: [AtomicU64; TABLE.len()] = [ZERO; TABLE.len()];
/// Windows whose calls cannot be known beforehand (a spawn inside libc).
static OPEN: AtomicU64 = AtomicU64::new(0);

/// Books one call that has returned `ret`, and turns the libc convention into
/// a `Result`.
pub fn book(call: Call, ret: isize) -> io::Result<usize> {
    // First of all: errno belongs to the call just made.
    let result = if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret as usize) };
    let slot = call as usize;
    ENTERED[slot].fetch_add(1, Relaxed);
    if ret > 0 && call.moves_data() {
        RETURNED[slot].fetch_add(1, Relaxed);
        if !call.returns_a_number_of_things() {
            BYTES[slot].fetch_add(ret as u64, Relaxed);
        }
    }
    result
}

/// As [`book`], for a call made by somebody else's wrapper.
pub fn book_result(call: Call, result: io::Result<usize>) -> io::Result<usize> {
    // The value -1 makes an error of whatever errno is; the real one goes on.
    let _ = book(call, result.as_ref().map_or(-1, |value| *value as isize));
    result
}

/// Says that the calls of this workload are not closed: only the bytes of its
/// data paths may be compared.
pub fn declare_open() {
    OPEN.store(1, Relaxed);
}

/// Payload that the kernel's TCP says it sent, segments sent again included.
static SENT: AtomicU64 = AtomicU64::new(0);

pub fn note_sent(bytes: u64) {
    SENT.store(bytes, Relaxed);
}

/// Forgets what set-up did.
pub fn reset() {
    for table in [&ENTERED, &RETURNED, &BYTES] {
        for slot in table {
            slot.store(0, Relaxed);
        }
    }
}

/// The books as the final JSON line shows them.
///
/// `paths` is what the tracer must say: `syscalls` entered, `calls` that
/// returned more than 0, and the sum of those values as `payload_bytes`.
pub fn report(windows: u64) -> Value {
    let mut syscalls = Map::new();
    let mut paths: Map<String, Value> = Map::new();
    let mut total = 0;
    for (slot, (name, path)) in TABLE.iter().enumerate() {
        let entered = ENTERED[slot].load(Relaxed);
        if entered == 0 {
            continue;
        }
        total += entered;
        syscalls.insert((*name).into(), json!(entered));
        let row =
            paths.entry(*path).or_insert_with(|| json!({"syscalls": 0, "calls": 0, "payload_bytes": 0}));
        add(row, "syscalls", entered);
        add(row, "calls", RETURNED[slot].load(Relaxed));
        add(row, "payload_bytes", BYTES[slot].load(Relaxed));
    }
    json!({
        "windows": windows,
        "closed": OPEN.load(Relaxed) == 0,
        "calls": total,
        "syscalls": syscalls,
        "paths": paths,
        "tcp_sent_bytes": SENT.load(Relaxed),
    })
}

fn add(row: &mut Value, key: &str, amount: u64) {
    let sum = row[key].as_u64().unwrap_or(0) + amount;
    row[key] = json!(sum);
}
