//! The start, done and stop signals. All are blocked and taken by
//! `rt_sigtimedwait`: a blocking call that moves no data, so that the window
//! holds nothing of the protocol but one `kill` and one wait.

use std::io;
use std::mem::MaybeUninit;

use libc::{SIGTERM, SIGUSR1, SIGUSR2, c_int, pid_t, sigset_t};

use super::counts::{Call, book};

/// Harness to workload: run the mechanism once.
pub const GO: c_int = SIGUSR1;
/// Workload to harness: the window is over.
pub const DONE: c_int = SIGUSR2;
/// Peer to harness: all bytes of the window have arrived.
pub const DRAINED: c_int = SIGUSR1;
/// Harness to workload: verify, report, exit.
pub const STOP: c_int = SIGTERM;

/// A set of signals.
#[derive(Clone, Copy)]
pub struct Set(sigset_t);

impl Set {
    pub fn of(signals: &[c_int]) -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set that sigaddset then extends.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            Set(set.assume_init())
        }
    }

    /// Blocks the set in this thread and in those it starts.
    pub fn block(&self) {
        self.mask(libc::SIG_BLOCK);
    }

    pub fn unblock(&self) {
        self.mask(libc::SIG_UNBLOCK);
    }

    fn mask(&self, how: c_int) {
        // SAFETY: the set is initialised; no old mask is asked for.
        let code = unsafe { libc::pthread_sigmask(how, &self.0, std::ptr::null_mut()) };
        assert_eq!(code, 0, "pthread_sigmask");
    }

    /// Waits for one signal of the set. The raw call: libc's wrapper
    /// wants the siginfo, which would be a copy to user. Repeated (and booked)
    /// if a debugger that attaches interrupts it.
    pub fn wait(&self) -> io::Result<c_int> {
        let none = std::ptr::null::<u8>();
        loop {
            // SAFETY: the kernel's set is the first 8 bytes of libc's; null
            // means no siginfo and no limit.
            let ret = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &self.0, none, none, 8) };
            match book(Call::Sigtimedwait, ret as isize) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(|signal| signal as c_int),
            }
        }
    }

    /// As [`wait`](Self::wait), with a limit and the sender's pid; for the
    /// harness, not for a window. `None` when the limit has passed.
    pub fn wait_for(&self, limit: std::time::Duration) -> io::Result<Option<(c_int, pid_t)>> {
        let limit = libc::timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: all three pointers are valid; zeroed siginfo is a valid value.
        let (signal, sender) = unsafe {
            let signal = libc::sigtimedwait(&self.0, info.as_mut_ptr(), &limit);
            (signal, info.assume_init().si_pid())
        };
        if signal >= 0 {
            return Ok(Some((signal, sender)));
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EAGAIN) => Ok(None),
            error => Err(error),
        }
    }
}

/// Dies with its parent, so that an aborted test leaves no process behind.
pub fn die_with_parent() {
    // SAFETY: takes no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}
