//! Files and pipes of a workload. Files have no name once they are open, so
//! that nothing is left behind, however the workload ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::memory::{self, Mapping, fill};

/// A nameless file in `dir`; `flags` as for open(2).
pub fn nameless(dir: &Path, flags: i32) -> Result<File> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".workload-{}-{serial}", std::process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(flags)
        .open(&path)
        .with_context(|| format!("cannot create a file in {}", dir.display()))?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The source: `bytes` of the pattern, in the page cache, position 0. Nothing of it is still to be written, and what it is
/// like is known, so that a client of NFS asks its server no more.
pub fn source(dir: &Path, bytes: usize) -> Result<File> {
    let mut pattern = Mapping::anonymous(bytes)?;
    fill(pattern.bytes_mut());
    let mut file = nameless(dir, 0)?;
    file.write_all(pattern.bytes())?;
    file.sync_all()?;
    file.metadata()?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// Takes a file out of the page cache, and proves that it is out.
pub fn evict(file: &File) -> Result<()> {
    // A page that is still on its way to the device, or that some CPU still holds a reference to, stays.
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        file.sync_all()?;
        super::sys::forget_pages(file.as_fd())?;
        if memory::cached_pages(file.as_fd(), file.metadata()?.len() as usize)? == 0 {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    bail!("the source stays in the page cache")
}

/// Fails unless `file` holds `copies` times `expected`, and nothing else.
pub fn check_content(file: &File, expected: &[u8], copies: usize) -> Result<()> {
    let length = file.metadata()?.len();
    let wanted = (expected.len() * copies) as u64;
    ensure!(length == wanted, "destination has {length} bytes, not {wanted}");
    let mut found = vec![0; expected.len()];
    for copy in 0..copies {
        let offset = (copy * expected.len()) as u64;
        std::os::unix::fs::FileExt::read_exact_at(file, &mut found, offset)?;
        ensure!(found == expected, "destination differs from the source");
    }
    Ok(())
}

/// A pipe, both ends close-on-exec.
pub struct Pipe {
    pub read: OwnedFd,
    pub write: OwnedFd,
}

impl Pipe {
    pub fn new() -> io::Result<Self> {
        let mut fds = [-1; 2];
        // SAFETY: room for both descriptors, which are ours alone afterwards.
        unsafe {
            if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Pipe { read: OwnedFd::from_raw_fd(fds[0]), write: OwnedFd::from_raw_fd(fds[1]) })
        }
    }

    /// A pipe that takes `bytes` without blocking.
    pub fn with_room(bytes: usize) -> io::Result<Self> {
        let pipe = Self::new()?;
        // SAFETY: takes no memory of ours.
        let ret = unsafe { libc::fcntl(pipe.write.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as i32) };
        if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(pipe) }
    }
}
