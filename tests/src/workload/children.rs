//! Many short-lived children, each doing one read and one write of known
//! size. Executed anew, and written against libc alone, so that the child's
//! only `read` and `write` are those two (if the program is linked statically:
//! a loader would read the libraries).

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::memory::Mapping;
use super::{Mechanism, Options, counts, scratch, sys};

/// How many children there are, and how they come.
#[derive(Clone, Copy)]
pub struct Flow {
    pub children: usize,
    /// Started one after the other, then waited for.
    pub wave: usize,
    /// Between two waves.
    pub pause: Duration,
}

/// One at a time.
pub const SINGLE: Flow = Flow { children: 200, wave: 1, pause: Duration::ZERO };
/// More than a tracer with few slots can tell apart at once, with time for it to give slots back.
pub const WAVES: Flow = Flow { children: 320, wave: 20, pause: Duration::from_millis(500) };

/// Bytes that each child reads, and writes.
pub const CHILD_BYTES: usize = 4096;

pub struct Children {
    flow: Flow,
    view: Mapping,
    out: File,
    /// One argument vector per child.
    commands: Vec<Vec<CString>>,
}

impl Children {
    pub fn new(options: &Options, flow: Flow) -> Result<Self> {
        counts::declare_open();
        let bytes = flow.children * CHILD_BYTES;
        let source = scratch::source(&options.dir, bytes)?;
        let out = scratch::nameless(&options.dir, 0)?;
        let view = Mapping::shared(source.as_fd(), bytes)?;
        for file in [&source, &out] {
            // SAFETY: takes no memory of ours.
            let ret = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
            ensure!(ret == 0, "fcntl: {}", std::io::Error::last_os_error());
        }
        let commands = (0..flow.children)
            .map(|index| {
                let (from, to) = (source.as_raw_fd(), out.as_raw_fd());
                let line = format!("workload role child {from} {to} {}", index * CHILD_BYTES);
                line.split(' ').map(|word| Ok(CString::new(word)?)).collect()
            })
            .collect::<Result<_>>()?;
        // The children inherit it: it stays open as long as this process lives.
        std::mem::forget(source);
        Ok(Children { flow, view, out, commands })
    }
}

impl Mechanism for Children {
    fn window(&mut self) -> Result<()> {
        for wave in self.commands.chunks(self.flow.wave) {
            let children = wave.iter().map(|command| spawn(command)).collect::<Result<Vec<_>>>()?;
            for child in children {
                let mut status = 0;
                // SAFETY: our own child, and room for its status.
                let ended = unsafe { libc::waitpid(child, &mut status, 0) };
                ensure!(ended == child && status == 0, "child {child} ended with status {status:#x}");
            }
            if !self.flow.pause.is_zero() {
                std::thread::sleep(self.flow.pause);
            }
        }
        Ok(())
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        scratch::check_content(&self.out, self.view.bytes(), 1)
    }
}

fn spawn(command: &[CString]) -> Result<i32> {
    let mut arguments: Vec<*mut libc::c_char> = command.iter().map(|word| word.as_ptr().cast_mut()).collect();
    arguments.push(std::ptr::null_mut());
    let environment = [std::ptr::null_mut()];
    let mut child = 0;
    // SAFETY: both vectors end with null, and live through the call.
    let code = unsafe {
        let none = std::ptr::null();
        let program = c"/proc/self/exe".as_ptr();
        let none_either = std::ptr::null();
        let (arguments, environment) = (arguments.as_ptr(), environment.as_ptr());
        libc::posix_spawn(&mut child, program, none, none_either, arguments, environment)
    };
    ensure!(code == 0, "posix_spawn: {}", std::io::Error::from_raw_os_error(code));
    Ok(child)
}

/// `workload role child FROM TO OFFSET`
pub fn child(arguments: &[String]) -> Result<()> {
    let number = |index: usize| -> Result<usize> {
        Ok(arguments.get(index).context("role child FROM TO OFFSET")?.parse()?)
    };
    let (from, to, offset) = (number(0)? as i32, number(1)? as i32, number(2)? as u64);
    // SAFETY: inherited, and open as long as this process lives.
    let (from, to) = unsafe { (BorrowedFd::borrow_raw(from), BorrowedFd::borrow_raw(to)) };
    let mut buffer = [0; CHILD_BYTES];
    let got = sys::pread(from, &mut buffer, offset)?;
    let put = sys::pwrite(to, &buffer[..got], offset)?;
    ensure!(put == CHILD_BYTES, "wrote {put} of {CHILD_BYTES}");
    Ok(())
}
