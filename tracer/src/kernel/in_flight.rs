//! Calls on pipes that were in progress before the probes attached.
//!
//! A reader that sleeps in `pipe_read()` entered it before its exit probe existed, so that probe never
//! fires for this call, while its return value is seen. All of that value was copied: these calls are
//! marked, and counted from the return value. (Sockets need no mark: their copies are probed one by one.)

use std::fs;
use std::os::unix::fs::FileTypeExt as _;

/// A thread that sleeps in a read or write of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub pid: u32,
    pub tid: u32,
    /// `/proc/.../syscall`: number, arguments, stack and instruction pointer.
    call: String,
    /// Context switches so far: a thread that has not run since has the same number.
    switches: u64,
}

impl Waiting {
    /// As `bpf_get_current_pid_tgid()` names it.
    pub fn pid_tgid(&self) -> u64 {
        u64::from(self.pid) << 32 | u64::from(self.tid)
    }
}

/// The threads of a process that sleep so.
pub fn waiting(pid: u32) -> Vec<Waiting> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|tid| thread(pid, tid))
        .collect()
}

/// True if the thread still sleeps in the very same call.
pub fn still(waiting: &Waiting) -> bool {
    thread(waiting.pid, waiting.tid).as_ref() == Some(waiting)
}

fn thread(pid: u32, tid: u32) -> Option<Waiting> {
    let switches = switches(&fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?)?;
    let call = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    let fd = pipe_call(&call)?;
    let kind = fs::metadata(format!("/proc/{pid}/fd/{fd}")).ok()?.file_type();
    kind.is_fifo().then_some(Waiting { pid, tid, call, switches })
}

/// The descriptor of a read, write, readv or writev (x86-64 numbers); `running` and others are none.
fn pipe_call(call: &str) -> Option<u64> {
    let mut words = call.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let fd = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    matches!(number, 0 | 1 | 19 | 20).then_some(fd)
}

fn switches(status: &str) -> Option<u64> {
    let value = |name: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    };
    Some(value("voluntary_ctxt_switches:")? + value("nonvoluntary_ctxt_switches:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reads_and_writes() {
        assert_eq!(pipe_call("0 0x5 0x7ffd 0x1000 0x0 0x0 0x0 0x7ffd 0x7f00\n"), Some(5));
        for other in ["running\n", "61 0x5 0x0", "-1 0x7ffd 0x7f00", ""] {
            assert_eq!(pipe_call(other), None, "{other}");
        }
    }

    #[test]
    fn counts_both_kinds_of_switches() {
        assert_eq!(
            switches("Name:\tx\nvoluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n"),
            Some(7)
        );
        assert_eq!(switches("Name:\tx\n"), None);
    }

    #[test]
    fn a_thread_that_reads_a_pipe_is_found() {
        use std::io::Read as _;
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: no memory is involved.
            tell.send(unsafe { libc::gettid() }).expect("waited for");
            reader.read(&mut [0; 1])
        });
        let tid = told.recv().expect("the thread's id") as u32;
        // Other tests' threads read pipes as well, and go on.
        let own = || waiting(std::process::id()).into_iter().find(|waiting| waiting.tid == tid);
        while own().is_none() {
            std::thread::yield_now();
        }
        assert!(own().is_some_and(|waiting| still(&waiting)));
        drop(writer);
        assert_eq!(thread.join().expect("no panic").expect("end of file"), 0);
    }
}
