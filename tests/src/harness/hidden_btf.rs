//! A command that finds no BTF, as on a kernel that was built without.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Puts an empty directory over `/sys/kernel/btf`, in a mount namespace of the command's own.
pub fn hide_btf(command: &mut Command) -> &mut Command {
    let hide = || {
        let mount = |kind: &std::ffi::CStr, target: &std::ffi::CStr, flags| {
            // SAFETY: all are terminated strings.
            unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) }
        };
        // SAFETY: takes no memory of ours.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0
            || mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE) != 0
            || mount(c"tmpfs", c"/sys/kernel/btf", 0) != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(hide) }
}
