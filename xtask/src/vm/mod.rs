//! Runs one command in one VM: a kernel of the matrix over the host's own root file system.
//!
//! The guest sees the host's root read-only with a layer of tmpfs over it, so every program of the
//! host runs there, and nothing it does reaches the host except through a writable `Mount`. Output
//! and exit status leave through virtio ports, which are byte pipes: no terminal changes them. No
//! status on its port means that the VM failed, whatever else it printed.

pub mod cli;
mod initramfs;
mod kvm;
mod modules;
mod qemu;
mod run;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{kernels, sh};
use qemu::Accel;

/// A directory of the host in the guest.
#[derive(Debug, Clone)]
pub struct Mount {
    pub host: PathBuf,
    pub guest: PathBuf,
    pub writable: bool,
}

#[derive(Debug, Clone)]
pub struct VmSpec {
    /// A name of the matrix, unless there is an `image`.
    pub kernel: String,
    /// Any kernel that the user has, in place of one of the matrix.
    pub image: Option<PathBuf>,
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: Option<PathBuf>,
    pub mounts: Vec<Mount>,
    /// A root file system to lay over the host's.
    pub programs: Option<PathBuf>,
    pub cpus: u32,
    /// As QEMU takes it: `2G`.
    pub memory: String,
    pub kernel_args: String,
    /// Time is instructions: one nanosecond of the guest is one instruction, idle time passes at once, and
    /// another boot counts the same. Always emulated, with one CPU; `cpus` is what the kernel makes room for.
    pub counted: bool,
    /// Hard limit, boot included.
    pub timeout: Duration,
    /// Limit on how long the command says nothing: for one that tells how far it is, however long all of it takes.
    pub silence: Duration,
}

impl VmSpec {
    pub fn new(kernel: &str) -> VmSpec {
        VmSpec {
            kernel: kernel.to_string(),
            image: None,
            command: Vec::new(),
            env: Vec::new(),
            cwd: None,
            mounts: Vec::new(),
            programs: None,
            cpus: 2,
            memory: "2G".into(),
            kernel_args: String::new(),
            counted: false,
            timeout: Duration::from_secs(600),
            silence: Duration::MAX,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stream {
    Out,
    Err,
}

#[derive(Debug)]
pub struct Outcome {
    /// The command's exit status.
    pub status: u8,
    /// From the start of QEMU to the start of the command.
    pub boot: Duration,
}

/// Boots, runs, powers off. `output` gets the command's bytes as they come, from two threads.
pub fn run(spec: &VmSpec, output: &(dyn Fn(Stream, &[u8]) + Sync)) -> Result<Outcome> {
    let kernel = match &spec.image {
        Some(path) => kernels::image::open(path)?,
        None => kernels::ensure(kernels::Matrix::load()?.get(&spec.kernel)?)?,
    };
    let accel = if spec.counted { Accel::Tcg } else { kvm::choose(&kernel)? };
    run::run(spec, &kernel, accel, output)
}

/// As [`run`]: what the command printed; what it said, after `failure`, if it failed.
pub fn output(spec: &VmSpec, failure: &str) -> Result<String> {
    output_as_it_comes(spec, failure, &|_| {})
}

/// The same; `each` gets what it prints at once: of a long run that fails, what it had done is left.
pub fn output_as_it_comes(spec: &VmSpec, failure: &str, each: &(dyn Fn(&[u8]) + Sync)) -> Result<String> {
    let (out, err) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let outcome = run(spec, &|stream, bytes| {
        if stream == Stream::Out {
            each(bytes);
        }
        let into = if stream == Stream::Out { &out } else { &err };
        into.lock().unwrap_or_else(|e| e.into_inner()).extend_from_slice(bytes);
    })?;
    let said = |bytes: Mutex<Vec<u8>>| {
        String::from_utf8_lossy(&bytes.into_inner().unwrap_or_else(|e| e.into_inner())).into_owned()
    };
    let (out, err) = (said(out), said(err));
    ensure!(outcome.status == 0, "{}: {failure}:\n{}", spec.kernel, sh::tail(&err, 40));
    Ok(out)
}

/// Finds out how this kernel can be run, which may take a probe boot: before parallel runs.
pub fn prepare(kernel: &kernels::Cached) -> Result<()> {
    kvm::choose(kernel).map(drop)
}

/// Cuts a byte stream into lines: what a prefix or a parser needs. Call `flush` at the end.
pub struct Lines<F: FnMut(&str)> {
    rest: Vec<u8>,
    each: F,
}

impl<F: FnMut(&str)> Lines<F> {
    pub fn new(each: F) -> Self {
        Lines { rest: Vec::new(), each }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            (self.each)(&String::from_utf8_lossy(&line[..end]));
        }
    }

    pub fn flush(&mut self) {
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            (self.each)(&String::from_utf8_lossy(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_across_chunks() {
        let mut seen = Vec::new();
        let mut lines = Lines::new(|line: &str| seen.push(line.to_string()));
        lines.push(b"a");
        lines.push(b"b\nc\n\nd");
        lines.flush();
        lines.flush();
        assert_eq!(seen, ["ab", "c", "", "d"]);
    }
}
