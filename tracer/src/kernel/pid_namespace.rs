//! The pid namespace of this process.

/// `PROC_PID_INIT_INO`, include/linux/proc_ns.h: the same on every kernel.
const INITIAL: u32 = 0xEFFF_FFFC;

pub fn in_initial_namespace() -> bool {
    own_namespace() == INITIAL
}

/// True if what this process leaves behind may hold up the end of a pid namespace: it is in another one than the
/// initial one, or is the first process of one, or cannot tell because /proc is not there.
pub fn may_end_with_namespace() -> bool {
    std::process::id() == 1 || read_own_namespace() != Some(INITIAL)
}

/// Inode of this process's pid namespace, or that of the initial one if /proc is not there.
pub fn own_namespace() -> u32 {
    read_own_namespace().unwrap_or(INITIAL)
}

/// `pid:[4026531836]`. It is the same through another namespace's /proc, in which this process has another pid.
fn read_own_namespace() -> Option<u32> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}
