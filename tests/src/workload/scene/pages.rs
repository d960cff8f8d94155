//! File and process memory that moves in calls which report no bytes, or by copies of one page.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::super::memory::{Mapping, fill};
use super::super::scratch::nameless;
use super::super::{Options, lacking};
use super::{Scene, checked, descriptor_or_skip, load_module};

pub const BYTES: usize = 4 << 20;
/// What is read of the process's own memory.
pub const OWN: usize = 1 << 20;

/// A file of a lower layer, opened for writing: overlayfs copies it to the upper one first.
pub fn copy_up(options: &Options) -> Result<Scene> {
    load_module("overlay");
    let overlay = Overlay::mount(options)?;
    Scene::new(move || {
        File::options().write(true).open(overlay.0.join("merged/file"))?;
        let copied = fs::metadata(overlay.0.join("upper/file"))?.len();
        ensure!(copied == BYTES as u64, "the upper layer has {copied} bytes");
        Ok(())
    })
}

/// Its layers, all in one file system.
struct Overlay(PathBuf);

impl Overlay {
    fn mount(options: &Options) -> Result<Self> {
        let root = options.dir.join(format!("overlay-{}", std::process::id()));
        for layer in ["lower", "upper", "work", "merged"] {
            fs::create_dir_all(root.join(layer))?;
        }
        let mut content = Mapping::anonymous(BYTES)?;
        fill(content.bytes_mut());
        fs::write(root.join("lower/file"), content.bytes())?;
        let at = root.display();
        let data = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work");
        let (data, target) = (CString::new(data)?, CString::new(format!("{at}/merged"))?);
        let kind = c"overlay".as_ptr();
        // SAFETY: all are terminated strings.
        let ret = unsafe { libc::mount(kind, target.as_ptr(), kind, 0, data.as_ptr().cast()) };
        let error = if ret == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
        lacking("overlayfs", error)?;
        Ok(Overlay(root))
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Ok(target) = CString::new(self.0.join("merged").as_os_str().as_encoded_bytes()) {
            // SAFETY: a terminated string. Best effort at the end.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// `UFFDIO_COPY` of as many bytes into memory that has no pages yet.
pub fn uffd_copy(_: &Options) -> Result<Scene> {
    const UFFD_API: u64 = 0xaa;
    const UFFDIO_API: u64 = 0xc018_aa3f;
    const UFFDIO_REGISTER: u64 = 0xc020_aa00;
    const UFFDIO_COPY: u64 = 0xc028_aa03;
    const REGISTER_MODE_MISSING: u64 = 1;
    // SAFETY: takes no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) } as i32;
    let faults = descriptor_or_skip("userfaultfd", fd)?;
    let mut source = Mapping::anonymous(BYTES)?;
    fill(source.bytes_mut());
    let ioctl = move |request: u64, argument: &mut [u64]| {
        // SAFETY: each argument is as long as the request says.
        let ret = unsafe { libc::ioctl(faults.as_raw_fd(), request as libc::c_ulong, argument.as_mut_ptr()) };
        checked("ioctl of userfaultfd", ret as isize)
    };
    ioctl(UFFDIO_API, &mut [UFFD_API, 0, 0])?;
    // Locked memory would have its pages at once.
    // SAFETY: takes no memory of ours.
    unsafe { libc::munlockall() };
    let target = Mapping::anonymous_unread(BYTES)?;
    target.discard()?;
    let start = target.bytes().as_ptr() as u64;
    ioctl(UFFDIO_REGISTER, &mut [start, BYTES as u64, REGISTER_MODE_MISSING, 0])?;
    Scene::new(move || {
        let mut copy = [start, source.bytes().as_ptr() as u64, BYTES as u64, 0, 0];
        ioctl(UFFDIO_COPY, &mut copy)?;
        ensure!(copy[4] == BYTES as u64, "copied {} bytes", copy[4] as i64);
        // The pages are there: to look at them raises no fault.
        ensure!(target.bytes() == source.bytes(), "other bytes were copied");
        Ok(())
    })
}

/// The process's own memory, read through /proc/self/mem: a page a copy, whose size is no constant.
pub fn own_memory(_: &Options) -> Result<Scene> {
    let memory = File::open("/proc/self/mem")?;
    let mut source = Mapping::anonymous(OWN)?;
    fill(source.bytes_mut());
    let mut buffer = Mapping::anonymous(OWN)?;
    let start = source.bytes().as_ptr() as u64;
    Scene::new(move || {
        memory.read_exact_at(buffer.bytes_mut(), start)?;
        ensure!(buffer.bytes() == source.bytes(), "other bytes were read");
        Ok(())
    })
}

/// Memory of a process through /proc/PID/mem: to user from a page of the kernel's, and the other way.
pub fn proc_mem(_: &Options) -> Result<Scene> {
    let memory = File::options().read(true).write(true).open("/proc/self/mem")?;
    let mut source = Mapping::anonymous(BYTES)?;
    fill(source.bytes_mut());
    let mut buffer = Mapping::anonymous(BYTES)?;
    let start = source.bytes().as_ptr() as u64;
    Scene::new(move || {
        memory.read_exact_at(buffer.bytes_mut(), start)?;
        ensure!(buffer.bytes() == source.bytes(), "other bytes were read");
        memory.write_all_at(buffer.bytes(), start)?;
        Ok(())
    })
}

/// The name of a file on a file system that is only read.
pub const READ_ONLY: &str = "words";

/// What is in it: numbers, which can be compressed.
pub fn words() -> Vec<u8> {
    (0..BYTES as u32 / 4).flat_map(u32::to_le_bytes).collect()
}

/// All of it, read for the first time.
pub fn read_only(options: &Options) -> Result<Scene> {
    let file = File::open(options.dir.join(READ_ONLY))?;
    let mut buffer = Mapping::anonymous(BYTES)?;
    let expected = words();
    Scene::new(move || {
        file.read_exact_at(buffer.bytes_mut(), 0)?;
        ensure!(buffer.bytes() == expected, "other bytes were read");
        Ok(())
    })
}

/// Writes and reads of a file that keep nothing in the page cache.
pub fn dontcache(options: &Options) -> Result<Scene> {
    const RWF_DONTCACHE: libc::c_int = 0x80;
    let file = nameless(&options.dir, 0)?;
    let mut source = Mapping::anonymous(BYTES)?;
    fill(source.bytes_mut());
    let mut buffer = Mapping::anonymous(BYTES)?;
    let vector = |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    Scene::new(move || {
        let fd = file.as_raw_fd();
        let (from, to) = (vector(source.bytes()), vector(buffer.bytes_mut()));
        // SAFETY: the kernel reads memory that is valid for reads of its length.
        let wrote = unsafe { libc::pwritev2(fd, &raw const from, 1, 0, RWF_DONTCACHE) };
        ensure!(checked("pwritev2", wrote)? == BYTES, "wrote {wrote} bytes");
        // SAFETY: the kernel writes memory that is valid for writes of its length.
        let read = unsafe { libc::preadv2(fd, &raw const to, 1, 0, RWF_DONTCACHE) };
        ensure!(checked("preadv2", read)? == BYTES, "read {read} bytes");
        ensure!(buffer.bytes() == source.bytes(), "other bytes were read");
        Ok(())
    })
}
