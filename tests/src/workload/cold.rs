//! Files that are not in the page cache, and those that must reach the disk.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};

use super::memory::{Mapping, fill};
use super::{Mechanism, Options, Skip, scratch, sys};

/// What happens to the file.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Read, with no page of it in the cache.
    Read,
    /// Overwritten and synced.
    Sync,
}

pub struct Cold {
    kind: Kind,
    file: File,
    buffer: Mapping,
    bytes: usize,
}

impl Cold {
    pub fn new(options: &Options, kind: Kind) -> Result<Self> {
        let file = scratch::source(&options.dir, options.bytes)?;
        file.sync_all()?;
        let mut buffer = Mapping::anonymous(options.chunk)?;
        // Whatever tells where the file's blocks are is read before the window.
        file.read_exact_at(&mut buffer.bytes_mut()[..options.chunk.min(options.bytes)], 0)?;
        fill(buffer.bytes_mut());
        // The inode is clean from here on: it is not 30 s since it was dirtied (`dirty_expire_interval`), when the
        // kernel's own thread writes what the window shall write.
        // SAFETY: no memory is involved.
        let ret = unsafe { libc::syncfs(file.as_raw_fd()) };
        ensure!(ret == 0, "syncfs: {}", std::io::Error::last_os_error());
        scratch::evict(&file)?;
        Ok(Cold { kind, file, buffer, bytes: options.bytes })
    }

    /// The pages are clean and nobody maps them, so the kernel drops them all.
    fn drop_cache(&self) -> Result<()> {
        // SAFETY: no memory is involved.
        let error = unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        ensure!(error == 0, Skip(format!("POSIX_FADV_DONTNEED: error {error}")));
        Ok(())
    }
}

impl Mechanism for Cold {
    fn rewind(&mut self) -> Result<()> {
        self.drop_cache()?;
        Ok(sys::rewind(self.file.as_fd())?)
    }

    fn window(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.bytes {
            let moved = match self.kind {
                Kind::Read => sys::read(self.file.as_fd(), self.buffer.bytes_mut())?,
                Kind::Sync => sys::write(self.file.as_fd(), self.buffer.bytes())?,
            };
            ensure!(moved > 0, "the file ended at byte {done}");
            done += moved;
        }
        if self.kind == Kind::Sync {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        let length = self.file.metadata()?.len();
        ensure!(length == self.bytes as u64, "the file has {length} bytes, not {}", self.bytes);
        Ok(())
    }
}
