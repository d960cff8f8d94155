//! What is measured. Every operation does the same number of instructions each time, but for interrupts and
//! what the kernel does now and then (a fresh slab, a delayed acknowledgement): the least of many rounds is it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::clock;
use crate::workload::memory::{Mapping, PAGE};
use crate::workload::scratch::{self, Pipe};
use crate::workload::sys;

const CHUNK: usize = 64 << 10;
const MIB: usize = 1 << 20;
/// In a round.
pub const GETPIDS: usize = 200;

pub struct Operation {
    pub name: &'static str,
    /// Per round: so many that it lasts some 100,000 instructions, a fraction of a timer tick (1 or 4 million).
    pub turns: usize,
    /// Does it so many times, and tells how many instructions that took.
    pub run: Box<dyn FnMut(usize) -> Result<u64>>,
}

fn operation(name: &'static str, turns: usize, run: impl FnMut(usize) -> Result<u64> + 'static) -> Operation {
    Operation { name, turns, run: Box::new(run) }
}

/// Everything set up; files are made in `dir`.
pub fn all(dir: &Path) -> Result<Vec<Operation>> {
    let source = scratch::source(dir, MIB)?;
    let (one, whole) = (source.try_clone()?, source.try_clone()?);
    let target = scratch::source(dir, CHUNK)?;
    let (send, recv) = (Stream::new()?, Stream::new()?);
    let switch = switches()?;
    Ok(vec![
        operation("getpid", GETPIDS, |turns| {
            timed(turns, || {
                // SAFETY: takes no memory of ours. Not libc::getpid, which may remember it.
                unsafe { libc::syscall(libc::SYS_getpid) };
                Ok(())
            })
        }),
        operation("read 1 B", 100, {
            let mut byte = [0];
            move |turns| timed(turns, || read(&one, &mut byte))
        }),
        operation("read 64 KiB", 10, {
            let mut buffer = vec![0; CHUNK];
            move |turns| timed(turns, || read(&whole, &mut buffer))
        }),
        operation("write 64 KiB", 10, {
            let bytes = vec![1; CHUNK];
            move |turns| {
                timed(turns, || {
                    let written = sys::pwrite(target.as_fd(), &bytes, 0)?;
                    ensure!(written == bytes.len(), "{written} bytes written");
                    Ok(())
                })
            }
        }),
        operation("send 64 KiB", 4, sending(send)),
        operation("recv 64 KiB", 4, receiving(recv)),
        operation("sendfile 1 MiB", 1, sendfile(source)?),
        operation("page fault", 64, faults()?),
        operation("context switch pair", 20, switch),
    ])
}

fn timed(turns: usize, mut turn: impl FnMut() -> Result<()>) -> Result<u64> {
    let start = clock::now();
    for _ in 0..turns {
        turn()?;
    }
    Ok(clock::now() - start)
}

fn read(file: &File, buffer: &mut [u8]) -> Result<()> {
    let got = sys::pread(file.as_fd(), buffer, 0)?;
    ensure!(got == buffer.len(), "{got} bytes read");
    Ok(())
}

/// Both ends of a loopback connection, with room for everything that one turn sends: one thread can send, then
/// receive. What the receiver's side of the kernel does with a packet happens within the sending call.
struct Stream {
    sender: TcpStream,
    receiver: TcpStream,
}

impl Stream {
    fn new() -> Result<Stream> {
        const ROOM: i32 = 8 << 20;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback (lo is down?)")?;
        // Before the connection is made: its window's scale follows from it.
        room(&listener, libc::SO_RCVBUFFORCE, ROOM)?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        room(&sender, libc::SO_SNDBUFFORCE, ROOM)?;
        sender.set_nonblocking(true)?;
        let (receiver, _) = listener.accept()?;
        Ok(Stream { sender, receiver })
    }

    /// Instructions that sending `bytes` took. While the window is still small, what was sent is thrown away
    /// in between, untimed; returned too is how much is still to be received.
    fn send(&self, bytes: usize, mut put: impl FnMut(usize) -> io::Result<usize>) -> Result<(u64, usize)> {
        let (mut instructions, mut sent, mut waiting) = (0, 0, 0);
        while sent < bytes {
            let start = clock::now();
            let result = put(bytes - sent);
            instructions += clock::now() - start;
            match result {
                Ok(some) => (sent, waiting) = (sent + some, waiting + some),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.discard(waiting)?;
                    waiting = 0;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((instructions, waiting))
    }

    fn discard(&self, mut bytes: usize) -> Result<()> {
        let fd = self.receiver.as_raw_fd();
        while bytes > 0 {
            // SAFETY: with MSG_TRUNC TCP copies nothing, so there is no memory that it needs.
            let ret = unsafe { libc::recv(fd, std::ptr::null_mut(), bytes, libc::MSG_TRUNC) };
            ensure!(ret > 0, "cannot discard: {}", io::Error::last_os_error());
            bytes -= ret as usize;
        }
        Ok(())
    }
}

fn room(socket: &impl AsRawFd, option: i32, bytes: i32) -> Result<()> {
    let (at, size) = ((&raw const bytes).cast(), size_of::<i32>() as u32);
    // SAFETY: `bytes` lives through the call and is `size` bytes long.
    let ret = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, at, size) };
    ensure!(ret == 0, "a socket's buffer cannot be enlarged (run as root): {}", io::Error::last_os_error());
    Ok(())
}

fn sending(stream: Stream) -> impl FnMut(usize) -> Result<u64> {
    let bytes = vec![2; CHUNK];
    move |turns| {
        let mut total = 0;
        for _ in 0..turns {
            let (instructions, waiting) =
                stream.send(CHUNK, |left| sys::send(stream.sender.as_fd(), &bytes[..left], 0))?;
            stream.discard(waiting)?;
            total += instructions;
        }
        Ok(total)
    }
}

fn receiving(stream: Stream) -> impl FnMut(usize) -> Result<u64> {
    let (bytes, mut buffer) = (vec![3; CHUNK], vec![0; CHUNK]);
    move |turns| {
        let mut total = 0;
        for _ in 0..turns {
            let (_, waiting) =
                stream.send(CHUNK, |left| sys::send(stream.sender.as_fd(), &bytes[..left], 0))?;
            let start = clock::now();
            let got = sys::recv(stream.receiver.as_fd(), &mut buffer[..waiting], libc::MSG_WAITALL)?;
            total += clock::now() - start;
            ensure!(got == waiting, "{got} bytes received");
        }
        Ok(total)
    }
}

fn sendfile(source: File) -> Result<impl FnMut(usize) -> Result<u64>> {
    let stream = Stream::new()?;
    Ok(move |turns| {
        let mut total = 0;
        for _ in 0..turns {
            sys::rewind(source.as_fd())?;
            let (instructions, waiting) =
                stream.send(MIB, |left| sys::sendfile(stream.sender.as_fd(), source.as_fd(), left))?;
            stream.discard(waiting)?;
            total += instructions;
        }
        Ok(total)
    })
}

/// First writes to anonymous memory, a page each.
fn faults() -> Result<impl FnMut(usize) -> Result<u64>> {
    const PAGES: usize = 64;
    let mut memory = Mapping::anonymous_unread(PAGES * PAGE)?;
    Ok(move |turns| {
        ensure!(turns == PAGES, "the mapping has {PAGES} pages");
        memory.discard()?;
        let start = clock::now();
        memory.mark(1);
        Ok(clock::now() - start)
    })
}

/// A byte to another thread of the process and back, through pipes: two switches, two writes, two reads.
fn switches() -> Result<impl FnMut(usize) -> Result<u64>> {
    let (there, back) = (Pipe::new()?, Pipe::new()?);
    std::thread::spawn(move || {
        let mut byte = [0];
        // Ends with the process.
        while let Ok(1) = sys::read(there.read.as_fd(), &mut byte) {
            if sys::write(back.write.as_fd(), &byte).is_err() {
                return;
            }
        }
    });
    let mut byte = [0];
    Ok(move |turns| {
        timed(turns, || {
            sys::write(there.write.as_fd(), &byte)?;
            ensure!(sys::read(back.read.as_fd(), &mut byte)? == 1, "the other thread is gone");
            Ok(())
        })
    })
}
