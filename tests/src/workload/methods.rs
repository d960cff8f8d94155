//! The methods: ways to get a file's bytes to the sink. Each does only the
//! calls of its name; all block, and know the length, so that none needs a
//! last `read` to see the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, ensure};

use super::job::Job;
use super::memory::PAGE;
use super::sys;

/// Calls `step(offset, length)` until all bytes are done.
fn in_chunks(
    bytes: usize,
    chunk: usize,
    mut step: impl FnMut(usize, usize) -> io::Result<usize>,
) -> Result<()> {
    let mut done = 0;
    while done < bytes {
        let moved = step(done, chunk.min(bytes - done))?;
        ensure!(moved > 0, "the source ended at byte {done} of {bytes}");
        done += moved;
    }
    Ok(())
}

/// read(2) a chunk, then `put` it.
fn read_and(job: &mut Job, put: impl Fn(BorrowedFd, &[u8]) -> io::Result<usize>) -> Result<()> {
    let Job { source, buffer, sink, .. } = job;
    in_chunks(job.bytes, job.chunk, |_, len| {
        let got = sys::read(source.as_fd(), &mut buffer.bytes_mut()[..len])?;
        sys::write_all(&buffer.bytes()[..got], |bytes| put(sink.fd(), bytes))?;
        Ok(got)
    })
}

pub fn read_write(job: &mut Job) -> Result<()> {
    read_and(job, sys::write)
}

pub fn read_send(job: &mut Job) -> Result<()> {
    read_and(job, |out, bytes| sys::send(out, bytes, 0))
}

pub fn read_sendmsg(job: &mut Job) -> Result<()> {
    read_and(job, sys::sendmsg)
}

pub fn readv_writev(job: &mut Job) -> Result<()> {
    let Job { source, buffer, sink, .. } = job;
    in_chunks(job.bytes, job.chunk, |_, len| {
        let got = sys::readv(source.as_fd(), &mut buffer.bytes_mut()[..len])?;
        sys::write_all(&buffer.bytes()[..got], |bytes| sys::writev(sink.fd(), bytes))?;
        Ok(got)
    })
}

pub fn pread_pwrite(job: &mut Job) -> Result<()> {
    let Job { source, buffer, sink, .. } = job;
    in_chunks(job.bytes, job.chunk, |offset, len| {
        let got = sys::pread(source.as_fd(), &mut buffer.bytes_mut()[..len], offset as u64)?;
        sys::pwrite(sink.fd(), &buffer.bytes()[..got], offset as u64)
    })
}

pub fn preadv2_pwritev2(job: &mut Job) -> Result<()> {
    let Job { source, buffer, sink, .. } = job;
    in_chunks(job.bytes, job.chunk, |offset, len| {
        let got = sys::preadv2(source.as_fd(), &mut buffer.bytes_mut()[..len], offset as u64)?;
        sys::pwritev2(sink.fd(), &buffer.bytes()[..got], offset as u64)
    })
}

/// The source's mapping, handed to `put` chunk by chunk.
fn mapped_and(job: &mut Job, put: impl Fn(BorrowedFd, &[u8]) -> io::Result<usize>) -> Result<()> {
    let (view, out) = (job.view.bytes(), job.sink.fd());
    in_chunks(job.bytes, job.chunk, |offset, len| {
        sys::write_all(&view[offset..offset + len], |bytes| put(out, bytes))?;
        Ok(len)
    })
}

pub fn mmap_write(job: &mut Job) -> Result<()> {
    mapped_and(job, sys::write)
}

pub fn mmap_writev(job: &mut Job) -> Result<()> {
    mapped_and(job, sys::writev)
}

/// mmap, write chunk by chunk, munmap: the program does not look at the bytes, so that all faults are the
/// kernel's own, taken while it copies.
pub fn map_write(job: &mut Job) -> Result<()> {
    map_and_write(job, |_| {})
}

/// As [`map_write`], by a program that looks at each page first.
pub fn map_look_write(job: &mut Job) -> Result<()> {
    map_and_write(job, |part| {
        for page in part.chunks(PAGE) {
            std::hint::black_box(page[0]);
        }
    })
}

fn map_and_write(job: &mut Job, look: impl Fn(&[u8])) -> Result<()> {
    let (view, out) = (sys::map(&job.hole, job.source.as_fd(), job.bytes)?, job.sink.fd());
    let written = in_chunks(job.bytes, job.chunk, |offset, len| {
        let part = &view[offset..offset + len];
        look(part);
        sys::write_all(part, |bytes| sys::write(out, bytes))?;
        Ok(len)
    });
    sys::unmap(view)?;
    written
}

/// A copy that no kernel sees: the program's own.
pub fn mmap_mmap(job: &mut Job) -> Result<()> {
    job.sink.view().copy_from_slice(job.view.bytes());
    Ok(())
}

pub fn sendfile(job: &mut Job) -> Result<()> {
    let (source, out) = (job.source.as_fd(), job.sink.fd());
    in_chunks(job.bytes, job.chunk, |_, len| sys::sendfile(out, source, len))
}

pub fn copy_file_range(job: &mut Job) -> Result<()> {
    let (source, out) = (job.source.as_fd(), job.sink.fd());
    in_chunks(job.bytes, job.chunk, |_, len| sys::copy_file_range(source, out, len))
}

/// Whether this kernel does it at all between the two files.
pub fn copy_one_byte(job: &Job) -> io::Result<()> {
    sys::copy_file_range(job.source.as_fd(), job.sink.fd(), 1).map(drop)
}

/// Drains `len` bytes of a pipe into `out`.
fn drain(pipe: BorrowedFd, out: BorrowedFd, len: usize) -> io::Result<()> {
    let mut left = len;
    while left > 0 {
        match sys::splice(pipe, out, left)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            moved => left -= moved,
        }
    }
    Ok(())
}

/// File to pipe to sink.
pub fn splice(job: &mut Job) -> Result<()> {
    let (source, out, pipe) = (job.source.as_fd(), job.sink.fd(), &job.pipe);
    in_chunks(job.bytes, job.chunk, |_, len| {
        let got = sys::splice(source, pipe.write.as_fd(), len)?;
        drain(pipe.read.as_fd(), out, got)?;
        Ok(got)
    })
}

/// File to sink, which is a pipe.
pub fn splice_into_pipe(job: &mut Job) -> Result<()> {
    let (source, out) = (job.source.as_fd(), job.sink.fd());
    in_chunks(job.bytes, job.chunk, |_, len| sys::splice(source, out, len))
}

/// Memory to pipe to sink, by reference twice.
pub fn vmsplice_splice(job: &mut Job) -> Result<()> {
    referenced_and_spliced(job, sys::vmsplice_out)
}

/// As [`vmsplice_splice`], the pages given away.
pub fn vmsplice_gift_splice(job: &mut Job) -> Result<()> {
    referenced_and_spliced(job, sys::vmsplice_gift)
}

fn referenced_and_spliced(job: &mut Job, put: impl Fn(BorrowedFd, &[u8]) -> io::Result<usize>) -> Result<()> {
    let (view, out, pipe) = (job.view.bytes(), job.sink.fd(), &job.pipe);
    in_chunks(job.bytes, job.chunk, |offset, len| {
        let got = put(pipe.write.as_fd(), &view[offset..offset + len])?;
        drain(pipe.read.as_fd(), out, got)?;
        Ok(got)
    })
}

/// Memory to sink, which is a pipe.
pub fn vmsplice_into_pipe(job: &mut Job) -> Result<()> {
    mapped_and(job, sys::vmsplice_out)
}

/// File to pipe, pipe to memory: the second hop copies.
pub fn vmsplice_from_pipe(job: &mut Job) -> Result<()> {
    let (source, pipe, out) = (job.source.as_fd(), &job.pipe, job.sink.view());
    in_chunks(job.bytes, job.chunk, |offset, len| {
        let got = sys::splice(source, pipe.write.as_fd(), len)?;
        let mut filled = offset;
        while filled < offset + got {
            let part = &mut out[filled..offset + got];
            filled += sys::vmsplice_in(pipe.read.as_fd(), part)?;
        }
        Ok(got)
    })
}

/// File to pipe, tee to a second pipe, both drained to nothing: four calls
/// per chunk, no copy.
pub fn tee(job: &mut Job) -> Result<()> {
    let (source, null) = (job.source.as_fd(), job.sink.fd());
    let (first, second) = (&job.pipe, &job.second);
    in_chunks(job.bytes, job.chunk, |_, len| {
        let got = sys::splice(source, first.write.as_fd(), len)?;
        let doubled = sys::tee(first.read.as_fd(), second.write.as_fd(), got)?;
        if doubled != got {
            return Err(io::Error::other(format!("tee doubled {doubled} of {got} bytes")));
        }
        drain(first.read.as_fd(), null, got)?;
        drain(second.read.as_fd(), null, doubled)?;
        Ok(got)
    })
}

/// Datagrams, four to a call. The call returns how many were sent.
pub fn sendmmsg(job: &mut Job) -> Result<()> {
    const BATCH: usize = 4;
    let (view, out, chunk) = (job.view.bytes(), job.sink.fd(), job.chunk);
    ensure!(job.bytes.is_multiple_of(BATCH * chunk), "--bytes must be a multiple of {BATCH} chunks");
    for group in view.chunks(BATCH * chunk) {
        let mut vectors: [libc::iovec; BATCH] =
            std::array::from_fn(|index| sys::vector(&group[index * chunk..(index + 1) * chunk]));
        let mut messages = sys::messages(&mut vectors);
        let sent = sys::sendmmsg(out, &mut messages).context("sendmmsg")?;
        ensure!(sent == BATCH, "sendmmsg sent {sent} of {BATCH}");
    }
    Ok(())
}

/// MSG_ZEROCOPY with its notifications, all of which have arrived at the end:
/// whatever copy the kernel puts off happens inside of the window.
pub fn zerocopy(job: &mut Job) -> Result<()> {
    let (view, out) = (job.view.bytes(), job.sink.fd());
    let mut sent: u32 = 0;
    let mut acknowledged: u32 = 0;
    let mut control = [0u64; 16];
    in_chunks(job.bytes, job.chunk, |offset, len| {
        let moved = sys::send(out, &view[offset..offset + len], libc::MSG_ZEROCOPY)?;
        sent += 1;
        while sys::recv_errqueue(out, &mut control)?.is_some() {
            acknowledged += super::special::acknowledged(&control)?;
        }
        Ok(moved)
    })?;
    while acknowledged < sent {
        sys::poll_error(out)?;
        while sys::recv_errqueue(out, &mut control)?.is_some() {
            acknowledged += super::special::acknowledged(&control)?;
        }
    }
    Ok(())
}
