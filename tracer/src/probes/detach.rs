//! Who detaches at the end. A process that detaches a trampoline waits for grace periods of RCU tasks, and the
//! first process of a pid namespace, when it exits, waits for all others of the namespace. Before 6.9 it is in a
//! section meanwhile that such a grace period waits for (`zap_pid_ns_processes` in `do_exit`, after
//! `exit_tasks_rcu_start`; gone with 1612160b9127): a process that detaches while its namespace ends never ends,
//! holds the lock of ftrace, and no signal helps.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::kernel::pid_namespace;
use crate::sys::{self, FileHolder};

/// Somebody else may hold a program; then there is nothing to wait for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where links are closed for the last time.
pub enum Detach {
    /// A child that outlives this process. Nothing waits for it in the initial pid namespace.
    Child,
    /// This process, before it ends.
    Here,
    /// A kernel worker, even if this process is killed; this process waits for it, and nobody has to.
    Worker(FileHolder),
    /// This process, on a kernel where that is not safe, because there can be no such worker.
    HereUnsafely,
}

impl Detach {
    /// `waits_for_exits`: a grace period of RCU tasks may wait for a process that exits.
    pub fn choose(waits_for_exits: bool) -> Self {
        if !pid_namespace::may_end_with_namespace() {
            return Detach::Child;
        }
        if !waits_for_exits {
            return Detach::Here;
        }
        FileHolder::new().map_or(Detach::HereUnsafely, Detach::Worker)
    }

    /// Has the worker close the file of this descriptor; false if there is no worker.
    pub fn hold(&self, descriptor: RawFd) -> bool {
        match self {
            Detach::Worker(files) => files.hold(descriptor).is_ok(),
            _ => false,
        }
    }

    /// What the user should know of it.
    pub fn warning(&self) -> Option<&'static str> {
        matches!(self, Detach::HereUnsafely).then_some(
            "this kernel (before 6.9) blocks for good if the first process of this pid namespace ends before \
             tracer has, and io_uring, by which tracer would avoid that, is refused here: let tracer end first",
        )
    }
}

/// Waits, when it is dropped, until the kernel's worker has detached these programs. Their descriptors are closed
/// before.
#[derive(Default)]
pub struct Detached {
    pub programs: Vec<u32>,
}

impl Drop for Detached {
    fn drop(&mut self) {
        let latest = Instant::now() + LONGEST_WAIT;
        for id in &self.programs {
            // Without CAP_SYS_ADMIN the kernel does not tell, and the worker is as good alone.
            while sys::has_program(*id).unwrap_or(false) && Instant::now() < latest {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}
