//! Processes that come and go at a steady rate: forked, not executed anew; each reads a known number of bytes in
//! one call, and ends.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

/// The largest read of a child.
pub const LARGEST: u64 = 4096;
/// Who is further behind than this makes no more up for it: the rate is a limit, not a mean.
const BEHIND: Duration = Duration::from_millis(100);

/// What child number `index` reads: all sizes, so that no loss is made good by another process's bytes.
fn size(index: u64) -> u64 {
    1 + index % LARGEST
}

/// Makes children for `seconds`, at most `per_second` of them, and prints how many there were and what they read.
pub fn run(per_second: u64, seconds: u64) -> Result<()> {
    ensure!(per_second > 0, "--per-second has to be 1 or more");
    let source = source()?;
    let interval = Duration::from_secs(1) / u32::try_from(per_second)?;
    let (begun, limit) = (Instant::now(), Duration::from_secs(seconds));
    let (mut children, mut bytes, mut next) = (0, 0, begun);
    while begun.elapsed() < limit {
        let now = Instant::now();
        match next.checked_duration_since(now) {
            Some(early) if !early.is_zero() => std::thread::sleep(early),
            _ if now - next > BEHIND => next = now,
            _ => {}
        }
        next += interval;
        child(&source, size(children))?;
        bytes += size(children);
        children += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", json!({"processes": children, "bytes": bytes, "seconds": seconds}));
    Ok(())
}

/// In the page cache, without a name.
fn source() -> Result<File> {
    // SAFETY: a name that ends with a null.
    let fd = unsafe { libc::memfd_create(c"source".as_ptr(), libc::MFD_CLOEXEC) };
    ensure!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: just made, and nobody else's.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(&[0x5a; LARGEST as usize])?;
    Ok(file)
}

/// One process, from its beginning to its end.
fn child(source: &File, bytes: u64) -> Result<()> {
    let mut buffer = [0_u8; LARGEST as usize];
    // SAFETY: this process has one thread, and the child makes two system calls and nothing else.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: the buffer has room for the largest read.
        unsafe {
            let got = libc::pread(source.as_raw_fd(), buffer.as_mut_ptr().cast(), bytes as usize, 0);
            libc::_exit(i32::from(got != bytes as isize));
        }
    }
    ensure!(pid > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: our own child, and room for its status.
    let ended = unsafe { libc::waitpid(pid, &mut status, 0) };
    ensure!(ended == pid && status == 0, "a child ended with status {status:#x}");
    Ok(())
}

/// The command line after `forks`.
pub fn main(words: &[String]) -> Result<()> {
    let (mut per_second, mut seconds) = (200, 10);
    for pair in words.chunks(2) {
        let value = || {
            pair.get(1).with_context(|| format!("{} needs a value", pair[0]))?.parse().context("no number")
        };
        match pair[0].as_str() {
            "--per-second" => per_second = value()?,
            "--seconds" => seconds = value()?,
            other => anyhow::bail!("unknown option {other}"),
        }
    }
    run(per_second, seconds)
}
