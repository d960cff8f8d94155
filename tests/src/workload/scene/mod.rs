//! Scenes: workloads whose payload and copies are known to the byte (the table is [`exact`](crate::exact)), and whose
//! calls are not: they receive what they send themselves, or what a feeder that nobody traces sends them.

pub mod compat;
pub mod descriptors;
pub mod discards;
pub mod feeder;
pub mod holes;
pub mod kernel_files;
pub mod messages;
pub mod observed;
pub mod pages;
pub mod partial;
pub mod rings;
pub mod sockets;
pub mod traced;
pub mod vectors;
pub mod vhost;
pub mod xdp;
pub mod zerocopy_receive;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use super::{Mechanism, Options, Skip, counts};

/// Sets a scene up.
pub type Make = fn(&Options) -> Result<Scene>;

pub struct Scene(Box<dyn FnMut() -> Result<()>>);

impl Scene {
    /// A scene of which each window is one call of `window`.
    pub fn new(window: impl FnMut() -> Result<()> + 'static) -> Result<Self> {
        Ok(Scene(Box::new(window)))
    }
}

impl Mechanism for Scene {
    fn window(&mut self) -> Result<()> {
        // Its calls go past the books.
        counts::declare_open();
        (self.0)()
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        Ok(())
    }
}

/// The result of a call of libc.
fn checked(what: &str, ret: isize) -> Result<usize> {
    ensure!(ret >= 0, "{what}: {}", io::Error::last_os_error());
    Ok(ret as usize)
}

/// The descriptor that a call of libc returned.
fn descriptor(what: &str, ret: i32) -> Result<OwnedFd> {
    checked(what, ret as isize)?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(ret) })
}

/// As [`descriptor`], for what a kernel may lack.
fn descriptor_or_skip(what: &str, ret: i32) -> Result<OwnedFd> {
    if ret < 0 {
        return Err(Skip(format!("{what}: {}", io::Error::last_os_error())).into());
    }
    descriptor(what, ret)
}

/// write(2) of all of `bytes`, by one call.
fn write_once(fd: &impl AsRawFd, bytes: &[u8]) -> Result<()> {
    // SAFETY: the slice is valid for reads of its own length.
    let ret = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    let written = checked("write", ret)?;
    ensure!(written == bytes.len(), "only {written} of {} bytes were written", bytes.len());
    Ok(())
}

/// read(2), by one call.
fn read_once(fd: &impl AsRawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is valid for writes of its own length.
    checked("read", unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// send(2) of all of `bytes`, by one call.
fn send_once(fd: &impl AsRawFd, bytes: &[u8]) -> Result<()> {
    // SAFETY: the slice is valid for reads of its own length.
    let ret = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    let sent = checked("send", ret)?;
    ensure!(sent == bytes.len(), "only {sent} of {} bytes were sent", bytes.len());
    Ok(())
}

/// recv(2) until `buffer` is full.
fn receive_all(fd: &impl AsRawFd, buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        // SAFETY: the rest of the buffer is valid for writes of its own length.
        let ret = unsafe { libc::recv(fd.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len(), 0) };
        let got = checked("recv", ret)?;
        ensure!(got > 0, "the stream ended after {done} bytes");
        done += got;
    }
    Ok(())
}

/// Loads a module, if it is one: what is built in, or not there at all, shows when it is used.
fn load_module(name: &str) {
    let _ = std::process::Command::new("modprobe").arg(name).stderr(std::process::Stdio::null()).status();
}

/// setsockopt(2) of one int.
fn set_option(fd: &impl AsRawFd, level: i32, option: i32, value: i32) -> Result<()> {
    let (at, size) = ((&raw const value).cast(), size_of::<i32>() as libc::socklen_t);
    // SAFETY: the option is one int.
    let ret = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, at, size) };
    checked("setsockopt", ret as isize).with_context(|| format!("option {option}"))?;
    Ok(())
}
