//! Payload that is thrown away, or made of nothing: /dev/null, /dev/zero, MSG_TRUNC.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result, ensure};

use super::super::scratch::{self, Pipe};
use super::super::transport::{self, Transport};
use super::super::{Options, sys};
use super::{Scene, checked, read_once, send_once, write_once};

pub const CHUNK: usize = 64 * 1024;
pub const TURNS: usize = 16;

fn null() -> Result<File> {
    Ok(File::options().write(true).open("/dev/null")?)
}

/// /dev/zero to /dev/null by vectors.
pub fn vectored(_: &Options) -> Result<Scene> {
    let (zero, null) = (File::open("/dev/zero")?, null()?);
    let mut buffer = vec![0u8; CHUNK];
    Scene::new(move || {
        for _ in 0..TURNS {
            ensure!(sys::readv(zero.as_fd(), &mut buffer)? == CHUNK, "a short read");
            ensure!(sys::writev(null.as_fd(), &buffer)? == CHUNK, "a short write");
        }
        Ok(())
    })
}

/// A file to /dev/null by sendfile.
pub fn sendfile(options: &Options) -> Result<Scene> {
    let (source, null) = (scratch::source(&options.dir, CHUNK * TURNS)?, null()?);
    Scene::new(move || {
        let mut offset = 0;
        for _ in 0..TURNS {
            // SAFETY: the offset lives through the call.
            let ret = unsafe { libc::sendfile(null.as_raw_fd(), source.as_raw_fd(), &raw mut offset, CHUNK) };
            ensure!(checked("sendfile", ret)? == CHUNK, "a short sendfile");
        }
        Ok(())
    })
}

/// /dev/zero and /dev/full, which reads the same.
pub fn zeroes(_: &Options) -> Result<Scene> {
    let (zero, full) = (File::open("/dev/zero")?, File::open("/dev/full")?);
    let mut buffer = vec![0u8; CHUNK];
    Scene::new(move || {
        for _ in 0..TURNS {
            ensure!(read_once(&zero, &mut buffer)? == CHUNK, "a short read");
            ensure!(read_once(&full, &mut buffer)? == CHUNK, "a short read");
        }
        Ok(())
    })
}

/// Into a pipe, and out of it to /dev/null.
pub fn pipe(_: &Options) -> Result<Scene> {
    let (pipe, null) = (Pipe::with_room(CHUNK)?, null()?);
    let data = vec![0xa5u8; CHUNK];
    Scene::new(move || {
        for _ in 0..TURNS {
            write_once(&pipe.write, &data)?;
            let mut left = CHUNK;
            while left > 0 {
                // SAFETY: no offsets are given.
                let ret = unsafe {
                    let (from, to) = (pipe.read.as_raw_fd(), null.as_raw_fd());
                    libc::splice(from, std::ptr::null_mut(), to, std::ptr::null_mut(), left, 0)
                };
                left -= checked("splice", ret)?;
            }
        }
        Ok(())
    })
}

/// TCP bytes that are received without being copied.
pub fn stream(_: &Options) -> Result<Scene> {
    let ends = transport::connect(Transport::Tcp, CHUNK)?;
    let (data, mut buffer) = (vec![0xa5u8; CHUNK], vec![0u8; CHUNK]);
    Scene::new(move || {
        for _ in 0..TURNS {
            send_once(&ends.sender, &data)?;
            let mut left = CHUNK;
            while left > 0 {
                let (fd, at) = (ends.receiver.as_raw_fd(), buffer.as_mut_ptr().cast());
                // SAFETY: the buffer is as long as is said, and nothing is written to it.
                left -= checked("recv", unsafe { libc::recv(fd, at, left, libc::MSG_TRUNC) })?;
            }
        }
        Ok(())
    })
}

pub const DATAGRAM: usize = 1000;
pub const TAKEN: usize = 100;
pub const DATAGRAMS: usize = 64;

/// Datagrams of which a part is taken, and whose length is asked for.
pub fn datagrams(_: &Options) -> Result<Scene> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback (lo is down?)")?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    let (data, mut buffer) = ([0xa5u8; DATAGRAM], [0u8; DATAGRAM]);
    Scene::new(move || {
        for turn in 0..DATAGRAMS {
            send_once(&sender, &data)?;
            // Every second one is taken whole: nothing of it is thrown away.
            let room = if turn % 2 == 0 { TAKEN } else { DATAGRAM };
            let (fd, at) = (receiver.as_raw_fd(), buffer.as_mut_ptr().cast());
            // SAFETY: the buffer has that room.
            let ret = unsafe { libc::recv(fd, at, room, libc::MSG_TRUNC) };
            ensure!(checked("recv", ret)? == DATAGRAM, "another length");
        }
        Ok(())
    })
}
