//! The one door to system calls that no crate wraps: reading BPF statistics and mapping BPF arrays.

mod file_holder;
mod leave;
mod mapped;
pub mod sandbox;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub use self::file_holder::FileHolder;
pub use self::leave::leave_closing;
pub use self::mapped::Mapped;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_ENABLE_STATS: libc::c_long = 32;

/// What the kernel counts per loaded program.
#[derive(Clone, Copy, Default, Debug)]
pub struct ProgramStats {
    /// Times and nanoseconds it ran, while statistics are enabled.
    pub runs: u64,
    pub run_time_ns: u64,
    /// Times it was skipped because it was running on this CPU already (5.12 and newer); with
    /// [`probe_missed`], if it is a kprobe's.
    pub missed: u64,
}

/// Prefix of `struct bpf_prog_info`, include/uapi/linux/bpf.h; the kernel fills as much as it knows.
#[repr(C)]
#[derive(Clone, Copy)]
struct ProgramInfo {
    head: [u32; 48],
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
}
const _: () = assert!(std::mem::offset_of!(ProgramInfo, run_time_ns) == 192);

#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

/// Statistics of one program.
pub fn program_stats(program: impl AsFd) -> io::Result<ProgramStats> {
    let mut info = ProgramInfo { head: [0; 48], run_time_ns: 0, run_cnt: 0, recursion_misses: 0 };
    // SAFETY: any bytes are valid in it.
    unsafe { info_by_fd(program.as_fd(), &mut info) }?;
    Ok(ProgramStats { runs: info.run_cnt, run_time_ns: info.run_time_ns, missed: info.recursion_misses })
}

/// Prefix of `struct bpf_link_info` for the link of a kprobe, include/uapi/linux/bpf.h. Without a buffer for
/// the function's name the kernel fills in the rest.
#[repr(C)]
#[derive(Default)]
struct ProbeLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _pad: u32,
    event: u32,
    _event_pad: u32,
    name: u64,
    name_len: u32,
    offset: u32,
    addr: u64,
    missed: u64,
}
const _: () = assert!(std::mem::offset_of!(ProbeLinkInfo, missed) == 48);

/// Times a kprobe or kretprobe was hit and did not run its program (6.7): another kprobe was running on that
/// CPU, or all instances of the return probe were in use. 0 on older kernels, which do not tell.
pub fn probe_missed(link: impl AsFd) -> io::Result<u64> {
    let mut info = ProbeLinkInfo::default();
    // SAFETY: any bytes are valid in it.
    unsafe { info_by_fd(link.as_fd(), &mut info) }?;
    Ok(info.missed)
}

/// This process's BPF links of the wanted numbers, as further descriptors. (aya keeps its own to itself, and to
/// open a link by its number takes CAP_SYS_ADMIN.)
pub fn own_links(wanted: impl Fn(u32) -> bool) -> BTreeMap<u32, OwnedFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fdinfo") else { return BTreeMap::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let link = |number: i32| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let id = info.lines().find_map(|line| line.strip_prefix("link_id:"))?.trim().parse().ok()?;
        if !wanted(id) {
            return None;
        }
        // SAFETY: no memory is involved; a number that was closed meanwhile is an error.
        let fd = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into()).ok()?;
        // SAFETY: a new descriptor that nobody else owns.
        Some((id, unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    };
    numbers.collect::<Vec<_>>().into_iter().filter_map(link).collect()
}

/// True if the kernel still has a program of this number. It has while something is attached with it.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn has_program(id: u32) -> io::Result<bool> {
    let attr = [id, 0, 0];
    // SAFETY: `attr` outlives the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attr, size_of_val(&attr)) });
    match fd {
        Ok(fd) => {
            // SAFETY: a new descriptor that nobody else owns.
            drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// True if this thread may look into maps that are open: the kernel says that there is none of this number, not that
/// the thread may not ask.
pub fn may_ask_of_maps() -> bool {
    // `{map_fd, key, value, flags}`.
    let attr = [u64::from(u32::MAX), 0, 0, 0];
    // SAFETY: `attr` outlives the call, which ends at the number.
    let asked = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, size_of_val(&attr)) };
    check(asked).is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
}

/// Asks the kernel about a BPF object.
///
/// # Safety
/// Any bytes must be valid in a `T`.
unsafe fn info_by_fd<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let attr =
        InfoByFd { fd: object.as_raw_fd() as u32, len: size_of::<T>() as u32, info: &raw mut *info as u64 };
    // SAFETY: `attr` and `info` outlive the call, and the kernel writes at most `len` bytes.
    check(unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, size_of::<InfoByFd>()) })?;
    Ok(())
}

/// Makes the kernel keep run times as long as the descriptor is open (5.8; costs two clock reads a run).
pub fn enable_stats() -> io::Result<OwnedFd> {
    let attr = [0u32; 4];
    // SAFETY: `attr` outlives the call; type 0 is BPF_STATS_RUN_TIME.
    let fd = check(unsafe { libc::syscall(libc::SYS_bpf, BPF_ENABLE_STATS, &attr, 4) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn check(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Number of CPUs that may ever exist, which sizes per-CPU data.
pub fn possible_cpus() -> usize {
    // SAFETY: no memory is involved.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    usize::try_from(cpus).unwrap_or(1).max(1)
}

/// Lifts the locked-memory limit that kernels before 5.11 charge BPF maps to. Without
/// CAP_SYS_RESOURCE it stays as it is, which may do.
pub fn lift_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` outlives the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}

/// Has all threads allocate from one arena: glibc gives each thread that meets another one of its own, in which
/// as much as the largest page stays. To be called before there are threads.
pub fn share_one_arena() {
    // SAFETY: only glibc's own settings are touched.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives memory that was freed back to the kernel, after work that took much of it once.
pub fn trim_memory() {
    // SAFETY: only free memory is touched.
    unsafe { libc::malloc_trim(0) };
}

/// Has this process use small pages only. In a heap that [`trim_memory`] gave back, the first byte that is used again
/// brings a huge page of 2 MiB with it.
pub fn without_huge_pages() {
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Bytes of memory that this process may lock; `None` if there is no limit.
pub fn locked_memory() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit`.
    let ret = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (ret == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// A descriptor that becomes readable when the process ends (5.3).
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits until a descriptor is readable (a pidfd: until its process has ended).
pub fn wait_readable(fd: &OwnedFd) {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd`, for the length of the call; a signal only makes it return early.
    while unsafe { libc::poll(&raw mut poll, 1, -1) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// True if the path is in a BPF file system.
pub fn is_bpf_file_system(path: &Path) -> io::Result<bool> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zeros are a valid `statfs`.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call.
    check(unsafe { libc::statfs(path.as_ptr(), &raw mut found) }.into())?;
    Ok(found.f_type == libc::BPF_FS_MAGIC)
}

/// Locks an open file or directory until it is closed; false if another process has locked it.
pub fn lock(file: &std::fs::File) -> io::Result<bool> {
    // SAFETY: no memory is involved.
    match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }.into()) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until every BPF program that runs now has ended.
///
/// Programs run inside RCU read sections, and membarrier's global command waits for an RCU grace period
/// (kernel/sched/membarrier.c); but not with one CPU, where a program may be preempted too, and not with
/// CPUs in nohz_full mode. There, a tenth of a second has to do: programs take microseconds.
pub fn wait_for_programs() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no memory is involved.
    let (cpus, done) = unsafe {
        let done = libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0;
        (libc::sysconf(libc::_SC_NPROCESSORS_ONLN), done)
    };
    if !done || cpus < 2 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Header and data of capset(2), version 3: two words of each set.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Keeps of this thread's capabilities those in `keep` (by bit) that it has; also of the threads it starts.
pub fn keep_capabilities(keep: u64) -> io::Result<u64> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [[0u32; 3]; 2];
    // SAFETY: both outlive the call; the kernel fills two words of (effective, permitted, inheritable).
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    let permitted = u64::from(data[0][1]) | u64::from(data[1][1]) << 32;
    let kept = permitted & keep;
    for (word, data) in data.iter_mut().enumerate() {
        let bits = (kept >> (32 * word)) as u32;
        *data = [bits, bits, 0];
    }
    // SAFETY: as above; the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    // What an exec would give back to root: none is made, but nothing shall come of one.
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    Ok(kept)
}

/// No exec of this thread, or of those that it starts, gains anything.
pub fn no_new_privileges() -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 }
}

/// Raises the limit of open files to what this process may have: every program and link is one.
pub fn lift_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// A system call with a mark in its first argument and no effect: `prctl` refuses the unknown option.
pub fn marked_call(mark: u64) {
    // SAFETY: an unknown option; the kernel answers EINVAL.
    unsafe { libc::syscall(libc::SYS_prctl, mark, mark, mark, mark, mark) };
}

/// Asks a process to end.
pub fn terminate(pid: u32) {
    // SAFETY: no memory is involved; a process that is gone is an error we ignore.
    unsafe { libc::kill(pid as i32, libc::SIGTERM) };
}

/// Columns and rows of a terminal.
pub fn terminal_size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the kernel writes one `winsize`.
    let ret = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    (ret == 0 && size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

/// What a network device's driver may take off the kernel's hands: commands of include/uapi/linux/ethtool.h.
#[repr(u32)]
#[derive(Clone, Copy, Debug)]
pub enum Offload {
    TransmitChecksum = 0x16,
    ScatterGather = 0x18,
    TcpSegmentation = 0x1e,
}

const SIOCETHTOOL: u64 = 0x8946;

/// Asks a network device whether an offload is on (`ETHTOOL_GTXCSUM`, `ETHTOOL_GSG`, `ETHTOOL_GTSO`).
pub fn offload(device: &str, what: Offload) -> io::Result<bool> {
    if device.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    // `struct ethtool_value`: command, answer.
    let mut value = [what as u32, 0];
    // SAFETY: all zeros are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: `request` and the two words that it points to outlive the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) }.into())?;
    Ok(value[1] != 0)
}
