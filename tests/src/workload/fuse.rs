//! Files of a FUSE file system: both of its sides are ours, so that each byte is known.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::fuse_daemon::{FILES, mount};
use super::memory::{Checksum, Mapping, fill};
use super::peer::Peer;
use super::{Mechanism, Options, lacking, sys};

/// Reads `bytes` and writes half as many, in chunks of one request each.
pub struct Fuse {
    /// `None` once unmounted.
    files: Option<[File; 2]>,
    dir: PathBuf,
    peer: Peer,
    buffer: Mapping,
    bytes: usize,
}

impl Fuse {
    /// `mode`: `direct` for files opened for direct I/O; `uring`, the same with a daemon on io_uring; `cached`; or
    /// `passthrough`. The second and the last are skipped where the kernel lacks them.
    pub fn new(options: &Options, mode: &str) -> Result<Self> {
        if mode == "uring" {
            super::fuse_ring::enable()?;
        }
        let dir = options.dir.join(format!("fuse-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device: OwnedFd = lacking("/dev/fuse", device)?.into();
        lacking("mount -t fuse", mount(&device, &dir))?;
        let arguments = [mode.to_string(), "--bytes".into(), options.bytes.to_string()];
        let peer = Peer::start("fuse", std::slice::from_ref(&device), &arguments)?;
        // Ours would keep the file system alive.
        drop(device);
        let mut buffer = Mapping::anonymous(options.chunk)?;
        fill(buffer.bytes_mut());
        let open = |name: &str| File::options().read(true).write(true).open(dir.join(name));
        let [source, out, warm] = FILES;
        // The first read and write also ask whether there are such things as extended attributes.
        let warm = match mode {
            "passthrough" => lacking("FUSE passthrough", open(warm))?,
            _ => open(warm).context("open a file of FUSE")?,
        };
        sys::pread(warm.as_fd(), &mut buffer.bytes_mut()[..4096], 0)?;
        sys::pwrite(warm.as_fd(), &buffer.bytes()[..4096], 0)?;
        let files = Some([open(source)?, open(out)?]);
        Ok(Fuse { files, dir, peer, buffer, bytes: options.bytes })
    }
}

impl Mechanism for Fuse {
    fn window(&mut self) -> Result<()> {
        let [source, out] = self.files.as_ref().context("unmounted")?;
        let chunk = self.buffer.bytes().len();
        for offset in (0..self.bytes).step_by(chunk) {
            let got = sys::pread(source.as_fd(), self.buffer.bytes_mut(), offset as u64)?;
            ensure!(got == chunk, "{got} bytes of {chunk} at {offset}");
            if offset < self.bytes / 2 {
                sys::pwrite(out.as_fd(), self.buffer.bytes(), offset as u64)?;
            }
        }
        Ok(())
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        self.files = None;
        unmount(&self.dir);
        let report = self.peer.line()?;
        self.peer.wait()?;
        let mut expected = Mapping::anonymous(self.bytes)?;
        fill(expected.bytes_mut());
        expected.bytes_mut()[self.bytes / 2..].fill(0);
        ensure!(
            windows == 0 || report["checksum"] == Checksum::of(expected.bytes()),
            "the daemon has other bytes"
        );
        Ok(())
    }

    fn peer(&self) -> Option<u32> {
        Some(self.peer.pid())
    }
}

fn unmount(dir: &Path) {
    if let Ok(target) = std::ffi::CString::new(dir.as_os_str().as_encoded_bytes()) {
        // SAFETY: a terminated string. A mount that stays says so at the daemon, which then does not end.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
    let _ = fs::remove_dir(dir);
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.files = None;
        unmount(&self.dir);
    }
}
