//! What the programs serve and copy.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use crate::harness::bench::{Bench, MIB};

/// A file's size: what an emulated CPU moves in a moment.
pub const SIZE: usize = 8 * MIB;
/// What it encrypts or compresses in a second or two.
pub const SMALL: usize = 2 * MIB;

/// A directory on ext4, as servers have it (and tmpfs learned direct I/O only in 6.6). Its last owner
/// removes it.
pub struct Dir(PathBuf);

impl Dir {
    /// Shared by the programs that use it.
    pub fn new(bench: &Bench, name: &str) -> Result<Rc<Dir>> {
        let ext4 = bench.ext4.as_ref().map_err(|cause| anyhow::anyhow!("no ext4: {cause}"))?;
        let dir = ext4.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Rc::new(Dir(dir)))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn text(&self) -> String {
        self.0.display().to_string()
    }

    pub fn size(&self, name: &str) -> Result<u64> {
        Ok(fs::metadata(self.0.join(name)).with_context(|| format!("no {name}"))?.len())
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.0.join(name);
        // On the disk as well: a program that reads it past the page cache would else have to write it first.
        let write = || {
            File::create(&path).and_then(|mut file| {
                file.write_all(content.as_ref())?;
                file.sync_all()
            })
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether two files of `dir` have the same content.
pub fn same(dir: &Dir, one: &str, other: &str) -> Result<bool> {
    let read = |name: &str| fs::read(dir.path().join(name)).with_context(|| format!("cannot read {name}"));
    Ok(read(one)? == read(other)?)
}

/// `bytes` that no compressor shrinks.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

/// `bytes` that look like a log.
pub fn lines(bytes: usize) -> Vec<u8> {
    let all = (0..).flat_map(|number: u64| format!("{number} GET /item/{} 200\n", number % 97).into_bytes());
    all.take(bytes).collect()
}

/// nginx's directives for a certificate.
pub fn nginx_certificate(dir: &Dir) -> Result<String> {
    let [certificate, key] = certificate(dir)?;
    Ok(format!("ssl_certificate {certificate}; ssl_certificate_key {key};"))
}

/// A certificate for localhost and its key, in `dir`.
pub fn certificate(dir: &Dir) -> Result<[String; 2]> {
    let [certificate, key] =
        ["certificate.pem", "key.pem"].map(|name| dir.path().join(name).display().to_string());
    let mut command = Command::new("/usr/bin/openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost"]);
    command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-keyout", &key, "-out", &certificate]);
    let output = command.output().context("cannot start openssl")?;
    ensure!(output.status.success(), "openssl req: {}", String::from_utf8_lossy(&output.stderr));
    Ok([certificate, key])
}
