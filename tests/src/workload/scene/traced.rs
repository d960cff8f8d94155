//! Memory of another process, word by word, by ptrace(2).

use std::io;
use std::ptr;

use anyhow::{Context, Result, ensure};
use libc::pid_t;

use super::super::Options;
use super::super::memory::Mapping;
use super::{Scene, checked};

/// `sizeof(long)`
pub const WORD: usize = 8;
/// How many are read, and how many are written.
pub const WORDS: usize = 512;

/// What the child's one function needs.
const STACK: usize = 64 << 10;

/// A child that has stopped for its tracer, which this process is. It shares this process's memory: otherwise the first
/// write of either to each page would copy it.
struct Child(pid_t);

/// Makes system calls and nothing else, because it also shares what belongs to this process's thread.
extern "C" fn stop(_: *mut libc::c_void) -> libc::c_int {
    // SAFETY: none of these takes memory. The loop ends with the tracer, at the latest.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0);
        loop {
            libc::syscall(libc::SYS_kill, libc::syscall(libc::SYS_getpid), libc::SIGSTOP);
        }
    }
}

impl Child {
    fn stopped() -> Result<Self> {
        // Never freed: the child stands on it.
        let stack = Box::leak(vec![0u128; STACK / size_of::<u128>()].into_boxed_slice());
        let flags = libc::CLONE_VM | libc::SIGCHLD;
        // SAFETY: the stack is the child's alone, and aligned to 16 bytes.
        let pid = unsafe { libc::clone(stop, stack.as_mut_ptr_range().end.cast(), flags, ptr::null_mut()) };
        checked("clone", pid as isize)?;
        let child = Child(pid);
        let mut status = 0;
        // SAFETY: `status` is the only memory that is written.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        checked("waitpid", waited as isize)?;
        ensure!(libc::WIFSTOPPED(status), "the child did not stop: status {status:#x}");
        Ok(child)
    }

    fn peek(&self, address: usize) -> Result<usize> {
        // SAFETY: glibc and musl put the word into memory of their own.
        unsafe {
            *libc::__errno_location() = 0;
            let word = libc::ptrace(libc::PTRACE_PEEKDATA, self.0, address, 0usize);
            ensure!(*libc::__errno_location() == 0, "PTRACE_PEEKDATA: {}", io::Error::last_os_error());
            Ok(word as usize)
        }
    }

    fn poke(&self, address: usize, word: usize) -> Result<()> {
        // SAFETY: only the child's memory is written.
        let ret = unsafe { libc::ptrace(libc::PTRACE_POKEDATA, self.0, address, word) };
        checked("PTRACE_POKEDATA", ret as isize).map(|_| ())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: a child of this process; nothing is written.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, ptr::null_mut(), libc::__WALL);
        }
    }
}

/// `WORDS` words of a stopped child, each read and then written.
pub fn ptrace(_: &Options) -> Result<Scene> {
    let mut memory = Mapping::anonymous(WORDS * WORD)?;
    memory.bytes_mut().fill(1);
    let child = Child::stopped()?;
    let start = memory.bytes().as_ptr() as usize;
    let mut value = usize::from_ne_bytes([1; WORD]);
    Scene::new(move || {
        let _there = &memory;
        for address in (start..).step_by(WORD).take(WORDS) {
            let word = child.peek(address).context("the child's memory")?;
            ensure!(word == value, "the child has {word:#x}, not {value:#x}");
            child.poke(address, word + 1)?;
        }
        value += 1;
        Ok(())
    })
}
