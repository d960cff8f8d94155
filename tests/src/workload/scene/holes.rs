//! Direct reads of a file of which the second half was never written.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};

use super::super::memory::{Mapping, fill};
use super::super::uring::Ring;
use super::super::{Options, lacking, scratch};
use super::Scene;

pub const CHUNK: usize = 64 * 1024;
/// Bytes that were written, and bytes that were not.
pub const HALF: usize = 8 * CHUNK;

struct Sparse {
    file: File,
    expected: Mapping,
    buffer: Mapping,
}

impl Sparse {
    fn new(options: &Options) -> Result<Self> {
        let file = lacking("O_DIRECT", scratch::nameless(&options.dir, libc::O_DIRECT))?;
        let mut expected = Mapping::anonymous(2 * HALF)?;
        fill(&mut expected.bytes_mut()[..HALF]);
        lacking("O_DIRECT write", file.write_all_at(&expected.bytes()[..HALF], 0))?;
        file.set_len(2 * HALF as u64)?;
        file.sync_all()?;
        Ok(Sparse { file, expected, buffer: Mapping::anonymous(CHUNK)? })
    }

    /// Reads all of it by `read(file, buffer, offset)`.
    fn read(&mut self, mut read: impl FnMut(&File, &mut [u8], u64) -> Result<usize>) -> Result<()> {
        for (turn, expected) in self.expected.bytes().chunks(CHUNK).enumerate() {
            // What is not written must be made zero by the kernel.
            self.buffer.bytes_mut().fill(0xa5);
            let count = read(&self.file, self.buffer.bytes_mut(), (turn * CHUNK) as u64)?;
            ensure!(count == CHUNK, "a short read: {count}");
            ensure!(self.buffer.bytes() == expected, "other bytes were read");
        }
        Ok(())
    }
}

pub fn direct(options: &Options) -> Result<Scene> {
    let mut sparse = Sparse::new(options)?;
    Scene::new(move || sparse.read(|file, buffer, offset| Ok(file.read_at(buffer, offset)?)))
}

pub fn ring(options: &Options) -> Result<Scene> {
    let mut sparse = Sparse::new(options)?;
    let mut ring = Ring::plain(8)?;
    Scene::new(move || sparse.read(|file, buffer, offset| Ok(ring.read(file.as_fd(), buffer, offset)?)))
}
