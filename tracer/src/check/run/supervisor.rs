//! The keeper: a small process between tracer and a program that it started.
//!
//! It holds the program before its exec, so that it can be entered first; it is the parent of whatever the
//! program leaves behind (a subreaper), and ends all of it when tracer says so or is gone, however tracer
//! ended. It speaks in lines over a socket on its standard input.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::kernel::process;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// A process that does not go then is stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

/// Not ignored: what cannot be, what children cause, and what only a bug of the keeper's own raises.
const NOT_IGNORED: [i32; 8] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
];

/// All that a terminal, an init or a program that signals its parent may send: tracer decides what follows.
fn ignored() -> impl Iterator<Item = i32> {
    (1..=31).filter(|signal| !NOT_IGNORED.contains(signal))
}

/// Runs as `tracer __keep -- CMD`; standard input is the socket.
pub fn keep(command: Vec<OsString>) -> Result<()> {
    let socket = take_socket().context("this command is tracer's own")?;
    // SAFETY: no memory is involved; none of the three can fail with these arguments.
    unsafe {
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        for signal in ignored() {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    let children = child_events()?;
    let mut keeper = Keeper::start(&command, socket, children)?;
    keeper.say(&format!("held {}", keeper.main))?;
    let result = keeper.run();
    // Whatever happened: nobody is left.
    let killed = keeper.kill_all();
    let _ = keeper.say(&format!("gone {killed}"));
    result
}

/// Standard input, moved away so that no child inherits it.
fn take_socket() -> Result<UnixStream> {
    // SAFETY: a new descriptor that nobody else owns, if it is one.
    let moved = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) };
    if moved < 0 {
        bail!("standard input is closed");
    }
    // SAFETY: as above.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(moved) });
    socket.peer_addr().context("standard input is no socket")?;
    let null = File::open("/dev/null")?;
    // SAFETY: both are open descriptors.
    unsafe { libc::dup2(null.as_raw_fd(), 0) };
    Ok(socket)
}

/// A descriptor that is readable when a child has ended.
fn child_events() -> Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset; signalfd makes a new descriptor.
    let fd = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("cannot wait for children");
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

struct Keeper {
    socket: UnixStream,
    children: OwnedFd,
    main: i32,
    /// A byte lets the program exec.
    go: io::PipeWriter,
    /// The exec's error, or nothing.
    failure: io::PipeReader,
    main_ended: bool,
    nobody_left: bool,
}

impl Keeper {
    fn start(command: &[OsString], socket: UnixStream, children: OwnedFd) -> Result<Self> {
        let words: Vec<CString> = command
            .iter()
            .map(|word| CString::new(word.clone().into_vec()))
            .collect::<Result<_, _>>()
            .context("an argument holds a NUL byte")?;
        let mut arguments: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
        arguments.push(std::ptr::null());
        let (wait, go) = io::pipe().context("cannot make a pipe")?;
        let (failure, tell) = io::pipe().context("cannot make a pipe")?;
        let keeper = std::process::id();
        // SAFETY: this process has one thread, so the child may do anything.
        let main = unsafe { libc::fork() };
        match main {
            ..0 => Err(io::Error::last_os_error()).context("cannot fork"),
            0 => {
                drop((go, failure));
                become_the_program(&arguments, wait, tell, keeper)
            }
            main => Ok(Keeper { socket, children, main, go, failure, main_ended: false, nobody_left: false }),
        }
    }

    fn say(&mut self, line: &str) -> Result<()> {
        self.socket.write_all(format!("{line}\n").as_bytes()).context("tracer is gone")
    }

    /// Until tracer wants an end, is gone, or nobody is left.
    fn run(&mut self) -> Result<()> {
        while !self.nobody_left {
            match self.wait(None)? {
                Some(b'g') => self.release()?,
                Some(_) => {
                    self.terminate();
                    return Ok(());
                }
                None => {}
            }
        }
        Ok(())
    }

    /// What tracer says, if it speaks first; children are reaped on the way. Its end is an `e`.
    fn wait(&mut self, limit: Option<Duration>) -> Result<Option<u8>> {
        let poll = |fd: i32| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [poll(self.socket.as_raw_fd()), poll(self.children.as_raw_fd())];
        let limit = limit.map_or(-1, |limit| limit.as_millis() as i32);
        // SAFETY: two descriptors that are open, for the length of the call.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, limit) };
        if fds[1].revents != 0 {
            let mut info = [0_u8; 128];
            // SAFETY: room for one `signalfd_siginfo`; what it says does not matter.
            unsafe { libc::read(self.children.as_raw_fd(), info.as_mut_ptr().cast(), info.len()) };
            self.reap()?;
        }
        if fds[0].revents == 0 {
            return Ok(None);
        }
        let mut word = [b'e'];
        match self.socket.read(&mut word) {
            Ok(0) | Err(_) => Ok(Some(b'e')),
            Ok(_) => Ok(Some(word[0])),
        }
    }

    fn release(&mut self) -> Result<()> {
        // An error is the child's end, which is told anyway.
        let _ = self.go.write_all(&[1]);
        let mut errno = [0; 4];
        match self.failure.read_exact(&mut errno) {
            Ok(()) => self.say(&format!("failed {}", i32::from_ne_bytes(errno))),
            // The descriptor was closed by a successful exec.
            Err(_) => self.say("started"),
        }
    }

    fn reap(&mut self) -> Result<()> {
        loop {
            let mut status = 0;
            // SAFETY: the kernel writes one int.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            match pid {
                0 => return Ok(()),
                ..0 => {
                    self.nobody_left = true;
                    return Ok(());
                }
                pid if pid == self.main => {
                    self.main_ended = true;
                    self.say(&format!("ended {status}"))?;
                }
                _ => {}
            }
        }
    }

    /// Asks the program's group to end, and gives it some time.
    fn terminate(&mut self) {
        if !self.main_ended {
            // SAFETY: no memory is involved; the group is ours, as its leader is not reaped.
            unsafe { libc::kill(-self.main, libc::SIGTERM) };
        }
        let deadline = Instant::now() + GRACE;
        while !self.nobody_left && Instant::now() < deadline {
            // tracer may be gone, or say it again.
            let _ = self.wait(Some(Duration::from_millis(20)));
        }
    }

    /// Kills and reaps all that descend from this process; returns how many had to be killed.
    fn kill_all(&mut self) -> usize {
        let own = std::process::id();
        let mut killed = std::collections::BTreeSet::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let _ = self.reap();
            if self.nobody_left || Instant::now() > deadline {
                return killed.len();
            }
            for pid in process::with_children(&[own]).into_iter().filter(|pid| *pid != own) {
                // SAFETY: no memory is involved. It descends from us, and only we could have reaped it.
                unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                killed.insert(pid);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// In the child: waits for the word, and becomes the program.
fn become_the_program(
    arguments: &[*const libc::c_char],
    mut wait: io::PipeReader,
    mut tell: io::PipeWriter,
    keeper: u32,
) -> ! {
    // SAFETY: signals and the group of this process only.
    unsafe {
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for signal in ignored() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    // The keeper may have ended before the prctl above.
    let has_keeper = std::os::unix::process::parent_id() == keeper;
    if has_keeper && wait.read_exact(&mut [0; 1]).is_ok() {
        // SAFETY: terminated strings, and a null behind the last.
        unsafe { libc::execvp(arguments[0], arguments.as_ptr()) };
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        let _ = tell.write_all(&errno.to_ne_bytes());
    }
    // SAFETY: ends this process without the parent's exit handlers.
    unsafe { libc::_exit(127) }
}
