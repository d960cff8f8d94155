//! A FUSE daemon on the raw device: three files in one directory, whose every request is one read(2) and every reply
//! one write(2). What it moves is therefore arithmetic. Or it passes reads and writes through to files of a tmpfs, and
//! moves nothing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use anyhow::{Result, bail};
use serde_json::json;

use super::fuse_ring::Ring;
use super::memory::{self, Checksum, Mapping, fill};
use super::{Options, sys};

/// `struct fuse_in_header` and `struct fuse_out_header`, include/uapi/linux/fuse.h.
pub const REQUEST: u64 = 40;
pub const REPLY: u64 = 16;
/// `struct fuse_read_in`, `struct fuse_write_in` and `struct fuse_write_out`.
pub const READ: u64 = 40;
pub const WRITE: u64 = 40;
pub const WRITTEN: u64 = 8;

/// Bytes of the requests and of the replies when `bytes` are read, and half as many written, in pieces of `chunk`: a
/// request for each call, its header and arguments, with the data of a write; the reply's header back, with the data of a
/// read.
pub const fn exchanged(bytes: u64, chunk: u64) -> (u64, u64) {
    let (reads, writes) = (bytes / chunk, bytes / 2 / chunk);
    let requests = reads * (REQUEST + READ) + writes * (REQUEST + WRITE + chunk);
    let replies = reads * (REPLY + chunk) + writes * (REPLY + WRITTEN);
    (requests, replies)
}

/// The files: what is read, what is written, and what the first calls of each kind are made on.
pub const FILES: [&str; 3] = ["source", "out", "warm"];
const ROOT: u64 = 1;
const SOURCE: u64 = 2;
const FOPEN_DIRECT_IO: u32 = 1;
const FOPEN_PASSTHROUGH: u32 = 1 << 7;
/// `_IOW(229, 1, struct fuse_backing_map)`: descriptor, flags, and 8 bytes for later.
const BACKING_OPEN: libc::c_ulong = 0x4010_e501;
/// So long that nothing is asked again.
const FOR_EVER: u64 = 1 << 30;
/// The largest request: of 32 pages, which no side has to ask for.
pub const MOST: usize = 128 << 10;

mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const RELEASE: u32 = 18;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const INTERRUPT: u32 = 36;
    pub const BATCH_FORGET: u32 = 42;
}

/// `workload role fuse direct|cached|passthrough|uring`: serves until the file system is unmounted, then says what was written.
pub fn serve(options: &Options, mode: &str, device: OwnedFd) -> Result<()> {
    let mut daemon = Daemon {
        device: device.into(),
        open_flags: match mode {
            "direct" | "uring" => FOPEN_DIRECT_IO,
            "passthrough" => FOPEN_PASSTHROUGH,
            _ => 0,
        },
        backing: Vec::new(),
        asks_for_ring: mode == "uring",
        by_ring: false,
        replied: 0,
        files: [
            Mapping::anonymous(options.bytes)?,
            Mapping::anonymous(options.bytes)?,
            Mapping::anonymous(options.bytes)?,
        ],
        request: Mapping::anonymous(MOST + 4096)?,
        reply: Mapping::anonymous(MOST + 4096)?,
    };
    fill(daemon.files[0].bytes_mut());
    if daemon.open_flags == FOPEN_PASSTHROUGH {
        daemon.back()?;
    }
    memory::lock_all();
    println!("{}", json!({"ready": true}));
    match mode {
        "uring" => daemon.serve_ring()?,
        _ => while daemon.serve_one()? {},
    }
    if let Some(out) = daemon.backing.get(1) {
        out.read_exact_at(daemon.files[1].bytes_mut(), 0)?;
    }
    println!("{}", json!({"checksum": Checksum::of(daemon.files[1].bytes())}));
    Ok(())
}

struct Daemon {
    device: File,
    open_flags: u32,
    files: [Mapping; 3],
    /// To which reads and writes are passed through, if they are.
    backing: Vec<File>,
    asks_for_ring: bool,
    /// Replies are not written to the device, but left for the ring: so many bytes.
    by_ring: bool,
    replied: usize,
    request: Mapping,
    reply: Mapping,
}

impl Daemon {
    /// Answers one request of the device; false: unmounted. (The client sees whether it was so too early.)
    fn serve_one(&mut self) -> Result<bool> {
        match sys::read(self.device.as_fd(), self.request.bytes_mut()) {
            Ok(length) => self.answer(length)?,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ECONNABORTED)) => {
                return Ok(false);
            }
            // The request was taken back.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => bail!("read of /dev/fuse: {error}"),
        }
        Ok(true)
    }

    /// The first request comes by the device, and the reply agrees on the ring.
    fn serve_ring(&mut self) -> Result<()> {
        self.serve_one()?;
        self.by_ring = true;
        let device = self.device.try_clone()?;
        let mut ring = Ring::new(device.as_fd())?;
        while let Some(arrived) = ring.wait()? {
            for arrived in arrived {
                let length = ring.take(&arrived, self.request.bytes_mut())?;
                self.answer(length)?;
                ring.reply(&arrived, &self.reply.bytes()[..self.replied])?;
            }
        }
        Ok(())
    }

    /// Files of the same contents in memory.
    fn back(&mut self) -> Result<()> {
        for file in &self.files {
            // SAFETY: a terminated string.
            let fd = unsafe { libc::memfd_create(c"backing".as_ptr(), libc::MFD_CLOEXEC) };
            if fd < 0 {
                bail!("memfd_create: {}", io::Error::last_os_error());
            }
            // SAFETY: just made, and nobody else's.
            let backing = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
            backing.write_all_at(file.bytes(), 0)?;
            self.backing.push(backing);
        }
        Ok(())
    }

    /// The kernel's number for what a file is passed through to.
    fn backing_number(&self, file: usize) -> io::Result<u32> {
        let Some(backing) = self.backing.get(file) else { return Ok(0) };
        let map = [backing.as_raw_fd(), 0, 0, 0];
        // SAFETY: the structure has these 16 bytes.
        let ret = unsafe { libc::ioctl(self.device.as_raw_fd(), BACKING_OPEN, map.as_ptr()) };
        if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret as u32) }
    }

    fn answer(&mut self, length: usize) -> Result<()> {
        let (opcode, node) = (self.word(4), self.long(16));
        let file = node.checked_sub(SOURCE).map(|file| file as usize).filter(|file| *file < self.files.len());
        match (opcode, file) {
            (opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT, _) => Ok(()),
            (opcode::INIT, _) => self.reply_init(),
            (opcode::LOOKUP, _) => {
                let name = &self.request.bytes()[REQUEST as usize..length - 1];
                match FILES.iter().position(|file| file.as_bytes() == name) {
                    Some(file) => self.reply_entry(SOURCE + file as u64),
                    None => self.reply_error(libc::ENOENT),
                }
            }
            (opcode::GETATTR | opcode::SETATTR, _) => {
                self.put_long(0, FOR_EVER);
                self.put_long(8, 0);
                self.put_attributes(16, node);
                self.send(104)
            }
            (opcode::OPEN, Some(file)) => match self.backing_number(file) {
                Ok(number) => {
                    self.put_long(0, 0);
                    self.put_word(8, self.open_flags);
                    self.put_word(12, number);
                    self.send(16)
                }
                Err(error) => self.reply_error(error.raw_os_error().unwrap_or(libc::EIO)),
            },
            (opcode::READ, Some(file)) => {
                let (offset, size) = (self.long(48) as usize, self.word(56) as usize);
                let end = (offset + size).min(self.files[file].bytes().len());
                let data = &self.files[file].bytes()[offset.min(end)..end];
                self.reply.bytes_mut()[REPLY as usize..][..data.len()].copy_from_slice(data);
                self.send(end - offset.min(end))
            }
            (opcode::WRITE, Some(file)) => {
                let (offset, size) = (self.long(48) as usize, self.word(56) as usize);
                let data = &self.request.bytes()[(REQUEST + WRITE) as usize..][..size];
                self.files[file].bytes_mut()[offset..offset + size].copy_from_slice(data);
                self.put_long(0, size as u64);
                self.send(WRITTEN as usize)
            }
            (opcode::FLUSH | opcode::RELEASE, _) => self.send(0),
            _ => self.reply_error(libc::ENOSYS),
        }
    }

    fn reply_init(&mut self) -> Result<()> {
        const BIG_WRITES: u32 = 1 << 5;
        // The second word of flags counts, and in it: passthrough, and io_uring.
        const MORE_FLAGS: u32 = 1 << 30;
        const PASSTHROUGH: u32 = 1 << 5;
        const OVER_IO_URING: u32 = 1 << 9;
        let (passes, rings) = (u32::from(!self.backing.is_empty()), u32::from(self.asks_for_ring));
        self.reply.bytes_mut()[REPLY as usize..][..64].fill(0);
        // Version 7.31, 128 KiB to read ahead, flags, requests in the background, the largest write, and how deep file
        // systems are stacked that are passed through to.
        for (at, value) in [
            (0, 7),
            (4, 31),
            (8, MOST as u32),
            (12, BIG_WRITES | ((passes | rings) * MORE_FLAGS)),
            (16, 12 | 9 << 16),
            (20, MOST as u32),
            (24, 1),
            (32, (passes * PASSTHROUGH) | (rings * OVER_IO_URING)),
            (36, passes),
        ] {
            self.put_word(at, value);
        }
        self.send(64)
    }

    fn reply_entry(&mut self, node: u64) -> Result<()> {
        for (at, value) in [(0, node), (8, 0), (16, FOR_EVER), (24, FOR_EVER), (32, 0)] {
            self.put_long(at, value);
        }
        self.put_attributes(40, node);
        self.send(128)
    }

    fn reply_error(&mut self, error: i32) -> Result<()> {
        self.finish(0, -error)
    }

    fn send(&mut self, bytes: usize) -> Result<()> {
        self.finish(bytes, 0)
    }

    /// Header and body in one write, or for the ring.
    fn finish(&mut self, bytes: usize, error: i32) -> Result<()> {
        let (total, unique) = (REPLY as usize + bytes, self.long(8));
        let reply = self.reply.bytes_mut();
        reply[..4].copy_from_slice(&(total as u32).to_ne_bytes());
        reply[4..8].copy_from_slice(&error.to_ne_bytes());
        reply[8..16].copy_from_slice(&unique.to_ne_bytes());
        if self.by_ring {
            self.replied = total;
            return Ok(());
        }
        match sys::write(self.device.as_fd(), &self.reply.bytes()[..total]) {
            Ok(_) => Ok(()),
            // Nobody waits for it any more.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(error) => bail!("write to /dev/fuse: {error}"),
        }
    }

    /// `struct fuse_attr`.
    fn put_attributes(&mut self, at: usize, node: u64) {
        let size = self.files[0].bytes().len() as u64;
        let mode = if node == ROOT { libc::S_IFDIR | 0o755 } else { libc::S_IFREG | 0o644 };
        for (place, value) in [node, size, size / 512, 0, 0, 0].into_iter().enumerate() {
            self.put_long(at + 8 * place, value);
        }
        for (place, value) in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].into_iter().enumerate() {
            self.put_word(at + 48 + 4 * place, value);
        }
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.request.bytes()[at..at + 4].try_into().expect("4 bytes"))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.request.bytes()[at..at + 8].try_into().expect("8 bytes"))
    }

    /// Of the body of the reply.
    fn put_word(&mut self, at: usize, value: u32) {
        self.reply.bytes_mut()[REPLY as usize + at..][..4].copy_from_slice(&value.to_ne_bytes());
    }

    fn put_long(&mut self, at: usize, value: u64) {
        self.reply.bytes_mut()[REPLY as usize + at..][..8].copy_from_slice(&value.to_ne_bytes());
    }
}

/// Mounts what a daemon on `device` serves.
pub fn mount(device: &OwnedFd, dir: &std::path::Path) -> io::Result<()> {
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0\0", device.as_raw_fd());
    let target = std::ffi::CString::new(dir.as_os_str().as_encoded_bytes())?;
    // SAFETY: all strings are terminated.
    let ret =
        unsafe { libc::mount(c"fuse".as_ptr(), target.as_ptr(), c"fuse".as_ptr(), 0, data.as_ptr().cast()) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
