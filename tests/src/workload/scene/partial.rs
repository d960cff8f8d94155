//! Copies that end before what was asked: memory that is not mapped.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result, ensure};

use super::super::Options;
use super::super::memory::{Mapping, PAGE};
use super::super::transport::{self, Ends, Transport};
use super::Scene;

pub const ASKED: usize = 64 * 1024;
/// Of what is asked.
pub const MAPPED: usize = 10_000;
pub const TURNS: usize = 16;
/// Less than `ASKED`, more than `MAPPED`.
pub const DATAGRAM: usize = 40_000;

/// `ASKED` bytes of which the first `MAPPED` are there.
struct Partial {
    memory: Mapping,
    hole: usize,
}

impl Partial {
    fn new() -> Result<Self> {
        let memory = Mapping::anonymous(2 * ASKED)?;
        let hole = memory.bytes().as_ptr() as usize + MAPPED.next_multiple_of(PAGE);
        // SAFETY: pages of our own mapping, which nothing reads any more.
        let ret = unsafe { libc::mprotect(hole as *mut _, ASKED, libc::PROT_NONE) };
        super::checked("mprotect", ret as isize)?;
        Ok(Partial { memory, hole })
    }

    fn start(&self) -> *mut libc::c_void {
        let before = self.hole - self.memory.bytes().as_ptr() as usize;
        // SAFETY: inside of the mapping.
        unsafe { self.memory.bytes().as_ptr().add(before - MAPPED).cast_mut().cast() }
    }

    /// As two pieces, of which the second is not there.
    fn vectors(&self) -> [libc::iovec; 2] {
        let piece = |at, len| libc::iovec { iov_base: at, iov_len: len };
        [piece(self.start(), MAPPED), piece(self.hole as *mut _, ASKED - MAPPED)]
    }
}

/// Writes `TURNS` times. How many bytes the socket takes, if any, is the kernel's matter; they are received.
fn writes(transport: Transport, write: impl Fn(&Ends, &Partial) -> isize + 'static) -> Result<Scene> {
    let (ends, partial) = (transport::connect(transport, ASKED)?, Partial::new()?);
    let mut buffer = vec![0u8; ASKED];
    Scene::new(move || {
        for _ in 0..TURNS {
            let ret = write(&ends, &partial);
            ensure!(ret <= MAPPED as isize, "more was written than there is");
            super::receive_all(&ends.receiver, &mut buffer[..ret.max(0) as usize])?;
        }
        Ok(())
    })
}

fn write(ends: &Ends, partial: &Partial) -> isize {
    // SAFETY: the kernel only reads, and stops where it may not.
    unsafe { libc::write(ends.sender.as_raw_fd(), partial.start(), ASKED) }
}

pub fn tcp(_: &Options) -> Result<Scene> {
    writes(Transport::Tcp, write)
}

pub fn unix_stream(_: &Options) -> Result<Scene> {
    writes(Transport::UnixStream, write)
}

pub fn vectors(_: &Options) -> Result<Scene> {
    writes(Transport::Tcp, |ends, partial| {
        let vectors = partial.vectors();
        // SAFETY: the kernel only reads, and stops where it may not.
        unsafe { libc::writev(ends.sender.as_raw_fd(), vectors.as_ptr(), 2) }
    })
}

/// Receives datagrams, each larger than the memory that is there: it is lost.
pub fn datagrams(_: &Options) -> Result<Scene> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback (lo is down?)")?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    let (partial, data) = (Partial::new()?, vec![0xa5u8; DATAGRAM]);
    Scene::new(move || {
        for _ in 0..TURNS {
            super::send_once(&sender, &data)?;
            // SAFETY: the kernel writes to the mapping, and stops where it may not.
            let ret = unsafe { libc::recv(receiver.as_raw_fd(), partial.start(), ASKED, 0) };
            ensure!(ret == -1, "{ret} bytes were received into memory that is not there");
        }
        Ok(())
    })
}
