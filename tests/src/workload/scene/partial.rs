//! Copies that end before what was asked: memory that is not mapped.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Result, ensure};

use super::super::Options;
use super::super::memory::{Mapping, PAGE};
use super::super::transport::{self, Transport};
use super::Scene;

pub const ASKED: usize = 64 * 1024;
/// Of what is asked.
pub const MAPPED: usize = 10_000;
pub const WRITES: usize = 16;

/// Writes from memory of which the first bytes are there. How many the socket takes, if any, is the kernel's matter.
fn writes(transport: Transport) -> Result<Scene> {
    let ends = transport::connect(transport, ASKED)?;
    let memory = Mapping::anonymous(2 * ASKED)?;
    let hole = memory.bytes().as_ptr() as usize + MAPPED.next_multiple_of(PAGE);
    let start = hole - MAPPED;
    // SAFETY: pages of our own mapping, which nothing reads any more.
    let ret = unsafe { libc::mprotect(hole as *mut _, ASKED, libc::PROT_NONE) };
    super::checked("mprotect", ret as isize)?;
    let mut buffer = vec![0u8; ASKED];
    Scene::new(move || {
        let _memory = &memory;
        for _ in 0..WRITES {
            // SAFETY: the kernel only reads, and stops where it may not.
            let ret = unsafe { libc::write(ends.sender.as_raw_fd(), start as *const _, ASKED) };
            ensure!(ret <= MAPPED as isize, "more was written than there is");
            drain(&ends.receiver, &mut buffer, ret.max(0) as usize)?;
        }
        Ok(())
    })
}

fn drain(receiver: &OwnedFd, buffer: &mut [u8], bytes: usize) -> Result<()> {
    super::receive_all(receiver, &mut buffer[..bytes])
}

pub fn tcp(_: &Options) -> Result<Scene> {
    writes(Transport::Tcp)
}

pub fn unix_stream(_: &Options) -> Result<Scene> {
    writes(Transport::UnixStream)
}
