//! Becoming an ordinary user with some capabilities, as a systemd unit with `User=` and
//! `AmbientCapabilities=` does.

use std::io;

/// Header and data of capset(2), version 3.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}
const VERSION_3: u32 = 0x2008_0522;

/// For a child between fork and exec: nothing but system calls. The limit of locked memory is lifted first,
/// as `LimitMEMLOCK=infinity` does.
pub fn become_user(user: u32, capabilities: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let header = Header { version: VERSION_3, pid: 0 };
    let (low, high) = (capabilities as u32, (capabilities >> 32) as u32);
    // Effective, permitted, inheritable.
    let data = [[low; 3], [high; 3]];
    // SAFETY: all that is pointed to outlives the calls, which only read it.
    unsafe {
        check(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check(libc::setresgid(user, user, user))?;
        check(libc::setresuid(user, user, user))?;
        check(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) as i32)?;
        for capability in (0..64).filter(|bit| capabilities & (1 << bit) != 0) {
            check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0))?;
        }
    }
    Ok(())
}

fn check(ret: i32) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
