//! Direct I/O that is refused: whatever is not a multiple of the device's block is EINVAL, and nothing moves.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use anyhow::{Result, bail};

use super::memory::{Mapping, PAGE, fill};
use super::{Mechanism, Options, lacking, scratch, sys};

/// pread and pwrite, each with a misaligned address, length and position.
pub struct Misaligned {
    file: File,
    content: Mapping,
    buffer: Mapping,
}

/// What is asked for: offset in the buffer, length, position in the file.
const REFUSED: [(usize, usize, u64); 3] = [(1, PAGE, 0), (0, PAGE - 1, 0), (0, PAGE, 1)];

impl Misaligned {
    pub fn new(options: &Options) -> Result<Self> {
        let file = lacking("O_DIRECT", scratch::nameless(&options.dir, libc::O_DIRECT))?;
        let mut content = Mapping::anonymous(2 * PAGE)?;
        fill(content.bytes_mut());
        lacking("O_DIRECT write", file.write_all_at(content.bytes(), 0))?;
        file.sync_all()?;
        Ok(Misaligned { file, content, buffer: Mapping::anonymous(2 * PAGE)? })
    }
}

/// Cleanly: with EINVAL and nothing else.
fn refused(what: &str, result: io::Result<usize>) -> Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        Err(error) => bail!("{what}: {error} instead of EINVAL"),
        Ok(moved) => bail!("{what} moved {moved} bytes instead of being refused"),
    }
}

impl Mechanism for Misaligned {
    fn window(&mut self) -> Result<()> {
        let file = self.file.as_fd();
        for (start, len, position) in REFUSED {
            let part = &mut self.buffer.bytes_mut()[start..start + len];
            refused("a misaligned read", sys::pread(file, part, position))?;
            refused("a misaligned write", sys::pwrite(file, part, position))?;
        }
        Ok(())
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        let mut found = Mapping::anonymous(2 * PAGE)?;
        self.file.read_exact_at(found.bytes_mut(), 0)?;
        if found.bytes() != self.content.bytes() {
            bail!("a write that was refused changed the file");
        }
        Ok(())
    }
}
