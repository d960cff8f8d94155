//! io_uring: one request at a time, so that each is one `io_uring_enter`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result, bail, ensure};
use io_uring::{IoUring, cqueue, opcode, squeue, types::Fd};

use super::counts::{Call, book_result};
use super::job::Job;
use super::{Mechanism, Skip, lacking, special};

/// IORING_SEND_ZC_REPORT_USAGE of linux/io_uring.h.
const REPORT_USAGE: u16 = 1 << 3;
/// IORING_NOTIF_USAGE_ZC_COPIED: in a notification's value.
const USAGE_COPIED: u32 = 1 << 31;

/// A ring whose every entry into the kernel is booked.
pub struct Ring(IoUring);

impl Ring {
    pub fn plain(entries: u32) -> Result<Self> {
        Ok(Ring(lacking("io_uring", IoUring::new(entries))?))
    }

    /// Submissions are taken by a kernel thread, which does the copies.
    pub fn polled(entries: u32) -> Result<Self> {
        let ring = IoUring::builder().setup_sqpoll(2000).build(entries);
        Ok(Ring(lacking("io_uring with SQPOLL", ring)?))
    }

    /// Fails with [`Skip`] if this kernel does not know the operation.
    fn needs(&self, name: &str, code: u8) -> Result<()> {
        let mut probe = io_uring::Probe::new();
        lacking("io_uring probe", self.0.submitter().register_probe(&mut probe))?;
        if probe.is_supported(code) {
            return Ok(());
        }
        Err(Skip(format!("this kernel's io_uring has no {name}")).into())
    }

    /// Fails with [`Skip`] if this kernel does not report whether SEND_ZC copied.
    fn reports_usage(&mut self) -> Result<()> {
        // A flag that is not known is refused before the file is looked for.
        let entry = opcode::SendZc::new(Fd(-1), std::ptr::null(), 0).zc_flags(REPORT_USAGE).build();
        match self.run(entry) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
            Err(error) => Err(Skip(format!("IORING_SEND_ZC_REPORT_USAGE: {error}")).into()),
            Ok(_) => bail!("a send to no file succeeded"),
        }
    }

    fn register(&self, buffer: &mut [u8]) -> Result<()> {
        let vector = super::sys::vector(buffer);
        // SAFETY: the buffer is a mapping that lives as long as the ring's job.
        unsafe { self.0.submitter().register_buffers(&[vector]) }.context("register_buffers")
    }

    /// Submits one request and waits for its first completion.
    fn run(&mut self, entry: squeue::Entry) -> io::Result<cqueue::Entry> {
        // SAFETY: what the entry points to lives until its completion, which
        // is waited for here.
        unsafe { self.0.submission().push(&entry) }.expect("an empty queue");
        self.completion()
    }

    fn completion(&mut self) -> io::Result<cqueue::Entry> {
        loop {
            book_result(Call::UringEnter, self.0.submit_and_wait(1))?;
            if let Some(entry) = self.0.completion().next() {
                // A notification's value is a report, whose highest bit is no sign.
                return if entry.result() < 0 && !cqueue::notif(entry.flags()) {
                    Err(io::Error::from_raw_os_error(-entry.result()))
                } else {
                    Ok(entry)
                };
            }
        }
    }

    fn moved(&mut self, entry: squeue::Entry) -> io::Result<usize> {
        self.run(entry).map(|entry| entry.result() as usize)
    }

    pub fn read(&mut self, fd: BorrowedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (at, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
        self.moved(opcode::Read::new(Fd(fd.as_raw_fd()), at, len).offset(offset).build())
    }

    pub fn recv(&mut self, fd: BorrowedFd, buffer: &mut [u8]) -> io::Result<usize> {
        let (at, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
        self.moved(opcode::Recv::new(Fd(fd.as_raw_fd()), at, len).build())
    }
}

/// How the ring moves the bytes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ReadWrite,
    /// Read and write with a registered buffer.
    Fixed,
    /// Read and write by a polling kernel thread.
    Polled,
    /// Read, then send.
    Send,
    /// Send from the source's mapping, by reference.
    SendZeroCopy,
    /// The same, with the kernel's report whether it copied after all.
    SendZeroCopyUsage,
    /// File to pipe to file.
    Splice,
}

pub struct Uring {
    // Before the job: the ring goes first, and with it all references that
    // the kernel holds to the job's memory.
    ring: Ring,
    job: Job,
    way: Way,
}

impl Uring {
    pub fn new(mut job: Job, way: Way) -> Result<Self> {
        let ring = match way {
            Way::Polled => Ring::polled(8)?,
            _ => Ring::plain(8)?,
        };
        match way {
            Way::Fixed => ring.register(job.buffer.bytes_mut())?,
            Way::SendZeroCopy => ring.needs("SEND_ZC", opcode::SendZc::CODE)?,
            Way::SendZeroCopyUsage => {
                ring.needs("SEND_ZC", opcode::SendZc::CODE)?;
                // A ring of its own: even a send that fails has its notification.
                Ring::plain(8)?.reports_usage()?;
            }
            Way::Splice => ring.needs("SPLICE", opcode::Splice::CODE)?,
            _ => {}
        }
        Ok(Uring { ring, job, way })
    }

    /// One chunk at `offset`; the bytes that moved.
    fn step(&mut self, offset: usize, len: usize) -> Result<usize> {
        if matches!(self.way, Way::SendZeroCopy | Way::SendZeroCopyUsage) {
            return self.send_zero_copy(offset, len);
        }
        if self.way == Way::Splice {
            return self.splice(offset, len);
        }
        let source = Fd(self.job.source.as_fd().as_raw_fd());
        let out = Fd(self.job.sink.fd().as_raw_fd());
        let (at, len, offset) = (self.job.buffer.bytes_mut().as_mut_ptr(), len as u32, offset as u64);
        let read = match self.way {
            Way::Fixed => opcode::ReadFixed::new(source, at, len, 0).offset(offset).build(),
            _ => opcode::Read::new(source, at, len).offset(offset).build(),
        };
        let got = self.ring.moved(read).context("read")?;
        let mut done = 0;
        while done < got {
            let (from, left) = (at.wrapping_add(done).cast_const(), (got - done) as u32);
            let offset = offset + done as u64;
            let put = match self.way {
                Way::Fixed => opcode::WriteFixed::new(out, from, left, 0).offset(offset).build(),
                Way::Send => opcode::Send::new(out, from, left).build(),
                _ => opcode::Write::new(out, from, left).offset(offset).build(),
            };
            done += self.ring.moved(put).context("write")?;
        }
        Ok(got)
    }

    /// The result, then the notification that the memory is free again: with
    /// it all copies that the kernel put off are over.
    fn send_zero_copy(&mut self, offset: usize, len: usize) -> Result<usize> {
        let part = &self.job.view.bytes()[offset..offset + len];
        let out = Fd(self.job.sink.fd().as_raw_fd());
        let flags = if self.way == Way::SendZeroCopyUsage { REPORT_USAGE } else { 0 };
        let entry = opcode::SendZc::new(out, part.as_ptr(), part.len() as u32).zc_flags(flags).build();
        let result = self.ring.run(entry).context("send_zc")?;
        if cqueue::more(result.flags()) {
            let notice = self.ring.completion().context("send_zc notification")?;
            ensure!(cqueue::notif(notice.flags()), "a completion that is no notification");
            if notice.result() as u32 & USAGE_COPIED != 0 {
                special::book_copied_after_all(1);
            }
        }
        Ok(result.result() as usize)
    }

    fn splice(&mut self, offset: usize, len: usize) -> Result<usize> {
        let source = Fd(self.job.source.as_fd().as_raw_fd());
        let out = Fd(self.job.sink.fd().as_raw_fd());
        let (read, write) = (&self.job.pipe.read, &self.job.pipe.write);
        let (read, write) = (Fd(read.as_raw_fd()), Fd(write.as_raw_fd()));
        let fill = opcode::Splice::new(source, offset as i64, write, -1, len as u32).build();
        let got = self.ring.moved(fill).context("splice in")?;
        let mut done = 0;
        while done < got {
            let (at, left) = ((offset + done) as i64, (got - done) as u32);
            let drain = opcode::Splice::new(read, -1, out, at, left).build();
            done += self.ring.moved(drain).context("splice out")?;
        }
        Ok(got)
    }
}

impl Mechanism for Uring {
    // No rewind: the requests name their offsets.

    fn window(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.job.bytes {
            let len = self.job.chunk.min(self.job.bytes - done);
            let moved = self.step(done, len)?;
            ensure!(moved > 0, "the source ended at byte {done}");
            done += moved;
        }
        Ok(())
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        self.job.verify(windows)
    }

    fn peer(&self) -> Option<u32> {
        self.job.peer()
    }
    fn peer_notifies(&self) -> bool {
        self.job.peer().is_some()
    }
}
