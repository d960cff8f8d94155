//! Files that the kernel writes while they are read.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{Result, ensure};

use super::super::{Options, sys};
use super::Scene;

/// Byte by byte, as a shell's `read` does: each line is offered whole, and taken in part.
pub fn bytewise(_: &Options) -> Result<Scene> {
    Scene::new(|| {
        let maps = File::open("/proc/self/maps")?;
        let mut bytes = 0;
        while sys::read(maps.as_fd(), &mut [0])? == 1 {
            bytes += 1;
        }
        ensure!(bytes > 100, "maps has {bytes} bytes");
        Ok(())
    })
}
