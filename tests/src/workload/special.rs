//! Mechanisms that are not "a file to somewhere": direct I/O, devices, proc,
//! and doing nothing; and the notifications of MSG_ZEROCOPY.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};

use super::memory::{Mapping, fill};
use super::{Mechanism, Options, Skip, lacking, scratch, sys};

/// How many zero-copy notifications said that the kernel copied after all.
static COPIED_AFTER_ALL: AtomicU32 = AtomicU32::new(0);

pub fn copied_after_all() -> u32 {
    COPIED_AFTER_ALL.load(Relaxed)
}

pub fn book_copied_after_all(sends: u32) {
    COPIED_AFTER_ALL.fetch_add(sends, Relaxed);
}

/// Reads one control message of the error queue: the number of sends that it
/// says are complete.
pub fn acknowledged(control: &[u64]) -> io::Result<u32> {
    const COPIED: u8 = 1; // SO_EE_CODE_ZEROCOPY_COPIED
    const ZEROCOPY: u8 = 5; // SO_EE_ORIGIN_ZEROCOPY
    // SAFETY: after the 16 bytes of its header the kernel wrote one
    // sock_extended_err, and `control` is 8-aligned and longer than both.
    let error = unsafe { &*control.as_ptr().add(2).cast::<libc::sock_extended_err>() };
    if error.ee_origin != ZEROCOPY || error.ee_errno != 0 {
        return Err(io::Error::from_raw_os_error(error.ee_errno as i32));
    }
    let range = error.ee_data.wrapping_sub(error.ee_info) + 1;
    if error.ee_code & COPIED != 0 {
        book_copied_after_all(range);
    }
    Ok(range)
}

/// read(2) and write(2) past the page cache: DMA, no copy by the CPU.
pub struct Direct {
    source: File,
    out: File,
    buffer: Mapping,
    bytes: usize,
}

impl Direct {
    pub fn new(options: &Options) -> Result<Self> {
        let source = lacking("O_DIRECT", scratch::nameless(&options.dir, libc::O_DIRECT))?;
        let out = lacking("O_DIRECT", scratch::nameless(&options.dir, libc::O_DIRECT))?;
        let mut pattern = Mapping::anonymous(options.bytes)?;
        // Both allocated and written before: the window maps no new blocks.
        lacking("O_DIRECT write", out.write_all_at(pattern.bytes(), 0))?;
        fill(pattern.bytes_mut());
        source.write_all_at(pattern.bytes(), 0)?;
        source.sync_all()?;
        out.sync_all()?;
        let buffer = Mapping::anonymous(options.chunk)?;
        Ok(Direct { source, out, buffer, bytes: options.bytes })
    }
}

impl Mechanism for Direct {
    fn rewind(&mut self) -> Result<()> {
        sys::rewind(self.source.as_fd())?;
        Ok(sys::rewind(self.out.as_fd())?)
    }

    fn window(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.bytes {
            let got = sys::read(self.source.as_fd(), self.buffer.bytes_mut())?;
            ensure!(got > 0, "the source ended at byte {done}");
            let part = &self.buffer.bytes()[..got];
            sys::write_all(part, |bytes| sys::write(self.out.as_fd(), bytes))?;
            done += got;
        }
        Ok(())
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        let mut pattern = Mapping::anonymous(self.bytes)?;
        fill(pattern.bytes_mut());
        let mut found = Mapping::anonymous(self.bytes)?;
        self.out.read_exact_at(found.bytes_mut(), 0)?;
        ensure!(found.bytes() == pattern.bytes(), "destination differs from the source");
        Ok(())
    }
}

/// Reads from a device, and writes what was read to another.
pub struct Devices {
    source: File,
    out: Option<File>,
    buffer: Mapping,
    bytes: usize,
    random: bool,
}

impl Devices {
    /// /dev/zero to /dev/null: payload 2N and no copy.
    pub fn zero_to_null(options: &Options) -> Result<Self> {
        let out = File::options().write(true).open("/dev/null")?;
        Self::new(options, "/dev/zero", Some(out))
    }

    pub fn random(options: &Options) -> Result<Self> {
        Self::new(options, "/dev/urandom", None)
    }

    fn new(options: &Options, source: &str, out: Option<File>) -> Result<Self> {
        Ok(Devices {
            source: File::open(source)?,
            random: out.is_none(),
            out,
            buffer: Mapping::anonymous(options.chunk)?,
            bytes: options.bytes,
        })
    }
}

impl Mechanism for Devices {
    fn window(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.bytes {
            let want = self.buffer.bytes().len().min(self.bytes - done);
            let got = sys::read(self.source.as_fd(), &mut self.buffer.bytes_mut()[..want])?;
            if let Some(out) = &self.out {
                let part = &self.buffer.bytes()[..got];
                sys::write_all(part, |bytes| sys::write(out.as_fd(), bytes))?;
            }
            done += got;
        }
        Ok(())
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        let zero = self.buffer.bytes().iter().all(|byte| *byte == 0);
        ensure!(windows == 0 || zero != self.random, "the device gave other bytes");
        Ok(())
    }
}

/// sendfile(2) from a file that the kernel writes while it is read: copied
/// into the pipe's pages, and from these into the destination.
pub struct Generated {
    source: File,
    out: File,
    bytes: usize,
    sent: usize,
}

impl Generated {
    /// The first of these that this kernel splices (since 5.10 a file of
    /// /proc must offer read_iter), the longest first.
    const CANDIDATES: &[&str] =
        &["/proc/vmallocinfo", "/proc/zoneinfo", "/proc/slabinfo", "/proc/vmstat", "/proc/interrupts"];

    pub fn new(options: &Options) -> Result<Self> {
        let trial = scratch::nameless(&options.dir, 0)?;
        for path in Self::CANDIDATES {
            let Ok(source) = File::open(path) else { continue };
            if sys::sendfile(trial.as_fd(), source.as_fd(), 4096).is_ok_and(|sent| sent > 0) {
                let source = File::open(path)?;
                let out = scratch::nameless(&options.dir, 0)?;
                return Ok(Generated { source, out, bytes: options.bytes, sent: 0 });
            }
        }
        Err(Skip("no file of /proc can be spliced".into()).into())
    }
}

impl Mechanism for Generated {
    fn rewind(&mut self) -> Result<()> {
        Ok(sys::rewind(self.source.as_fd())?)
    }

    fn window(&mut self) -> Result<()> {
        let mut left = self.bytes;
        while left > 0 {
            match sys::sendfile(self.out.as_fd(), self.source.as_fd(), left)? {
                0 => break,
                sent => {
                    left -= sent;
                    self.sent += sent;
                }
            }
        }
        Ok(())
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        let length = self.out.metadata().context("stat")?.len();
        ensure!(length == self.sent as u64, "sent {}, the file has {length}", self.sent);
        Ok(())
    }
}

/// Nothing at all.
pub struct Idle;

impl Mechanism for Idle {
    fn window(&mut self) -> Result<()> {
        Ok(())
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        Ok(())
    }
}
