//! What another observer looks at.

use std::fs::File;
use std::os::fd::AsRawFd;

use anyhow::Result;

use super::super::Options;
use super::super::scratch;
use super::{Scene, write_once};

pub const CHUNK: usize = 64 * 1024;
pub const WRITES: usize = 64;

/// Writes a file, over and over.
pub fn writes(options: &Options) -> Result<Scene> {
    let file: File = scratch::nameless(&options.dir, 0)?;
    let data = vec![0xa5u8; CHUNK];
    Scene::new(move || {
        // SAFETY: takes no memory of ours.
        unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_SET) };
        for _ in 0..WRITES {
            write_once(&file, &data)?;
        }
        Ok(())
    })
}
