//! The only door to system calls in the window: thin, allocation-free, each
//! call booked in [`counts`](super::counts).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, iovec, msghdr};

use super::counts::{Call, book};
use super::memory::Hole;

type Fd<'a> = BorrowedFd<'a>;

pub fn read(fd: Fd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for writes of its own length.
    let ret = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    book(Call::Read, ret)
}

pub fn write(fd: Fd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is valid for reads of its own length.
    let ret = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    book(Call::Write, ret)
}

pub fn pread(fd: Fd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let (raw, at) = (fd.as_raw_fd(), offset as libc::off_t);
    // SAFETY: the buffer is valid for writes of its own length.
    let ret = unsafe { libc::pread(raw, buffer.as_mut_ptr().cast(), buffer.len(), at) };
    book(Call::Pread, ret)
}

pub fn pwrite(fd: Fd, bytes: &[u8], offset: u64) -> io::Result<usize> {
    let (raw, at) = (fd.as_raw_fd(), offset as libc::off_t);
    // SAFETY: the slice is valid for reads of its own length.
    let ret = unsafe { libc::pwrite(raw, bytes.as_ptr().cast(), bytes.len(), at) };
    book(Call::Pwrite, ret)
}

/// Two vectors over the halves of one buffer.
pub fn halves(bytes: &[u8]) -> [iovec; 2] {
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    [vector(head), vector(tail)]
}

pub fn vector(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr() as *mut c_void, iov_len: bytes.len() }
}

pub fn readv(fd: Fd, buffer: &mut [u8]) -> io::Result<usize> {
    let vectors = halves(buffer);
    // SAFETY: both vectors lie in `buffer`, which is borrowed mutably.
    let ret = unsafe { libc::readv(fd.as_raw_fd(), vectors.as_ptr(), 2) };
    book(Call::Readv, ret)
}

pub fn writev(fd: Fd, bytes: &[u8]) -> io::Result<usize> {
    let vectors = halves(bytes);
    // SAFETY: both vectors lie in `bytes`; the kernel only reads them.
    let ret = unsafe { libc::writev(fd.as_raw_fd(), vectors.as_ptr(), 2) };
    book(Call::Writev, ret)
}

pub fn preadv2(fd: Fd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let vectors = halves(buffer);
    let (raw, at) = (fd.as_raw_fd(), offset as i64);
    // SAFETY: both vectors lie in `buffer`; the last arguments are the halves
    // of the position (the upper half is ignored on 64 bit) and no flags.
    let ret = unsafe { libc::syscall(libc::SYS_preadv2, raw, vectors.as_ptr(), 2, at, 0, 0) };
    book(Call::Preadv2, ret as isize)
}

pub fn pwritev2(fd: Fd, bytes: &[u8], offset: u64) -> io::Result<usize> {
    let vectors = halves(bytes);
    let (raw, at) = (fd.as_raw_fd(), offset as i64);
    // SAFETY: both vectors lie in `bytes`; see `preadv2` for the rest.
    let ret = unsafe { libc::syscall(libc::SYS_pwritev2, raw, vectors.as_ptr(), 2, at, 0, 0) };
    book(Call::Pwritev2, ret as isize)
}

pub fn sendfile(out: Fd, source: Fd, bytes: usize) -> io::Result<usize> {
    let (to, from) = (out.as_raw_fd(), source.as_raw_fd());
    // SAFETY: a null offset means the file's own position.
    let ret = unsafe { libc::sendfile(to, from, std::ptr::null_mut(), bytes) };
    book(Call::Sendfile, ret)
}

pub fn splice(source: Fd, out: Fd, bytes: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    let (from, to) = (source.as_raw_fd(), out.as_raw_fd());
    // SAFETY: null offsets mean the files' own positions.
    let ret = unsafe { libc::splice(from, none, to, none, bytes, 0) };
    book(Call::Splice, ret)
}

pub fn tee(source: Fd, out: Fd, bytes: usize) -> io::Result<usize> {
    // SAFETY: takes no memory of ours.
    let ret = unsafe { libc::tee(source.as_raw_fd(), out.as_raw_fd(), bytes, 0) };
    book(Call::Tee, ret)
}

/// Pipe write end: the pages of `bytes` by reference. The caller leaves them
/// alone until they have been consumed.
pub fn vmsplice_out(pipe: Fd, bytes: &[u8]) -> io::Result<usize> {
    vmsplice(pipe, bytes, 0)
}

/// As [`vmsplice_out`], with the promise never to touch the pages again.
pub fn vmsplice_gift(pipe: Fd, bytes: &[u8]) -> io::Result<usize> {
    vmsplice(pipe, bytes, libc::SPLICE_F_GIFT)
}

fn vmsplice(pipe: Fd, bytes: &[u8], flags: u32) -> io::Result<usize> {
    let vectors = [vector(bytes)];
    // SAFETY: the vector covers `bytes`; the kernel only reads them.
    let ret = unsafe { libc::vmsplice(pipe.as_raw_fd(), vectors.as_ptr(), 1, flags) };
    book(Call::Vmsplice, ret)
}

/// Pipe read end: copies from the pipe into `buffer`.
pub fn vmsplice_in(pipe: Fd, buffer: &mut [u8]) -> io::Result<usize> {
    let vectors = [vector(buffer)];
    // SAFETY: the vector covers `buffer`, which is borrowed mutably.
    let ret = unsafe { libc::vmsplice(pipe.as_raw_fd(), vectors.as_ptr(), 1, 0) };
    book(Call::Vmsplice, ret)
}

pub fn copy_file_range(source: Fd, out: Fd, bytes: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    let (from, to) = (source.as_raw_fd(), out.as_raw_fd());
    // SAFETY: null offsets mean the files' own positions.
    let ret = unsafe { libc::copy_file_range(from, none, to, none, bytes, 0) };
    book(Call::CopyFileRange, ret)
}

pub fn send(fd: Fd, bytes: &[u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: the slice is valid for reads of its own length.
    let ret = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    book(Call::Send, ret)
}

pub fn recv(fd: Fd, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
    let (at, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer is valid for writes of its own length.
    let ret = unsafe { libc::recv(fd.as_raw_fd(), at, len, flags) };
    book(Call::Recv, ret)
}

/// A message of the given vectors, with neither address nor control data.
pub fn message(vectors: &mut [iovec]) -> msghdr {
    // SAFETY: all zeroes is the empty message.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len() as _;
    message
}

pub fn sendmsg(fd: Fd, bytes: &[u8]) -> io::Result<usize> {
    let mut vectors = halves(bytes);
    let message = message(&mut vectors);
    // SAFETY: message and vectors live through the call; the kernel reads them.
    let ret = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, 0) };
    book(Call::Sendmsg, ret)
}

pub fn recvmsg(fd: Fd, buffer: &mut [u8]) -> io::Result<usize> {
    let mut vectors = halves(buffer);
    let mut message = message(&mut vectors);
    // SAFETY: message and vectors live through the call; `buffer` is ours.
    let ret = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, 0) };
    book(Call::Recvmsg, ret)
}

/// Reads one notification of the error queue into `control`; `None` when the
/// queue is empty.
pub fn recv_errqueue(fd: Fd, control: &mut [u64]) -> io::Result<Option<usize>> {
    let mut message = message(&mut []);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = std::mem::size_of_val(control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `control` is valid for writes of its own length.
    let ret = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, flags) };
    match book(Call::Recvmsg, ret) {
        Ok(_) => Ok(Some(message.msg_controllen)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until the socket has something in its error queue.
pub fn poll_error(fd: Fd) -> io::Result<()> {
    // Errors are always reported.
    poll(fd, 0)
}

/// Waits until there is something to read, or the end.
pub fn poll_readable(fd: Fd) -> io::Result<()> {
    poll(fd, libc::POLLIN)
}

fn poll(fd: Fd, events: i16) -> io::Result<()> {
    let mut item = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one valid item.
    let ret = unsafe { libc::poll(&mut item, 1, -1) };
    book(Call::Poll, ret as isize).map(drop)
}

/// Maps a file for reading into a hole that is at least as long, no page present.
pub fn map<'a>(hole: &Hole, file: Fd, len: usize) -> io::Result<&'a [u8]> {
    let (at, flags) = (hole.start() as *mut c_void, libc::MAP_SHARED | libc::MAP_FIXED);
    // SAFETY: replaces only what the hole keeps free, or nothing.
    let ret = unsafe { libc::mmap(at, len, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
    book(Call::Mmap, ret as isize)?;
    // SAFETY: mapped just now, and readable until `unmap`, which takes it back.
    Ok(unsafe { std::slice::from_raw_parts(ret.cast(), len) })
}

/// Ends a view that [`map`] gave.
pub fn unmap(view: &[u8]) -> io::Result<()> {
    // SAFETY: a mapping of its own, of which no other reference is left.
    let ret = unsafe { libc::munmap(view.as_ptr() as *mut c_void, view.len()) };
    book(Call::Munmap, ret as isize).map(drop)
}

/// Drops the file's clean pages from the page cache.
pub fn forget_pages(file: Fd) -> io::Result<()> {
    // SAFETY: takes no memory of ours. The call returns an error's number, and leaves errno alone.
    let error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    book(Call::Fadvise, 0)?;
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

pub fn rewind(fd: Fd) -> io::Result<()> {
    // SAFETY: takes no memory of ours.
    let ret = unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_SET) };
    book(Call::Lseek, ret as isize).map(drop)
}

pub fn kill(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: takes no memory of ours.
    let ret = unsafe { libc::kill(pid, signal) };
    book(Call::Kill, ret as isize).map(drop)
}

/// Writes all of `bytes`, in as many calls as it takes.
pub fn write_all(mut bytes: &[u8], mut put: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    while !bytes.is_empty() {
        let done = put(bytes)?;
        if done == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[done..];
    }
    Ok(())
}

/// One message per vector.
pub fn messages<const N: usize>(vectors: &mut [iovec; N]) -> [libc::mmsghdr; N] {
    let mut next = vectors.iter_mut();
    std::array::from_fn(|_| {
        let vector = next.next().expect("as many vectors as messages");
        libc::mmsghdr { msg_hdr: message(std::slice::from_mut(vector)), msg_len: 0 }
    })
}

pub fn sendmmsg(fd: Fd, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let (at, len) = (messages.as_mut_ptr(), messages.len() as u32);
    // SAFETY: messages and the vectors they point to live through the call.
    let ret = unsafe { libc::sendmmsg(fd.as_raw_fd(), at, len, 0) };
    book(Call::Sendmmsg, ret as isize)
}

/// Receives at least one message, and those that are there already.
pub fn recvmmsg(fd: Fd, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let (at, len) = (messages.as_mut_ptr(), messages.len() as u32);
    let none = std::ptr::null_mut();
    // SAFETY: messages, and the buffers they point to, live through the call.
    let ret = unsafe { libc::recvmmsg(fd.as_raw_fd(), at, len, libc::MSG_WAITFORONE, none) };
    book(Call::Recvmmsg, ret as isize)
}
