//! process_vm_readv(2) and process_vm_writev(2) against the memory of a peer
//! that sleeps.

use std::io;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::counts::{Call, book};
use super::memory::{self, Checksum, Mapping, fill};
use super::peer::Peer;
use super::{Mechanism, Options, lacking, signals, sys};

pub struct ProcessVm {
    peer: Peer,
    /// Where the peer has its memory.
    address: usize,
    local: Mapping,
    chunk: usize,
    write: bool,
}

impl ProcessVm {
    pub fn new(options: &Options, write: bool) -> Result<Self> {
        let size = ["--bytes".to_string(), options.bytes.to_string()];
        let mut peer = Peer::start("memory", &[], &size)?;
        let address = peer.line()?["address"].as_u64().context("no address")? as usize;
        let mut local = Mapping::anonymous(options.bytes)?;
        if write {
            fill(local.bytes_mut());
        }
        let job = ProcessVm { peer, address, local, chunk: options.chunk, write };
        lacking("process_vm_readv", job.call(0, 0))?;
        Ok(job)
    }

    fn call(&self, offset: usize, len: usize) -> io::Result<usize> {
        let (pid, local) = (self.peer.pid() as i32, sys::vector(&self.local.bytes()[offset..offset + len]));
        let remote = libc::iovec { iov_base: (self.address + offset) as *mut _, iov_len: len };
        // SAFETY: `local` covers a mapping that nobody else uses; the remote
        // address is checked by the kernel.
        unsafe {
            if self.write {
                let ret = libc::process_vm_writev(pid, &local, 1, &remote, 1, 0);
                book(Call::ProcessVmWritev, ret)
            } else {
                let ret = libc::process_vm_readv(pid, &local, 1, &remote, 1, 0);
                book(Call::ProcessVmReadv, ret)
            }
        }
    }
}

impl Mechanism for ProcessVm {
    fn window(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.local.bytes().len() {
            let len = self.chunk.min(self.local.bytes().len() - done);
            done += self.call(done, len)?;
        }
        Ok(())
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        self.peer.signal(signals::STOP);
        let report = self.peer.line()?;
        self.peer.wait()?;
        let ours = Checksum::of(self.local.bytes());
        ensure!(windows == 0 || report["checksum"] == ours, "both memories differ");
        Ok(())
    }

    fn peer(&self) -> Option<u32> {
        Some(self.peer.pid())
    }
}

/// `workload role memory`: holds the pattern until it is told to stop, then
/// says what it holds.
pub fn hold(options: &Options) -> Result<()> {
    let stop = signals::Set::of(&[signals::STOP]);
    stop.block();
    let mut memory = Mapping::anonymous(options.bytes)?;
    fill(memory.bytes_mut());
    memory::lock_all();
    println!("{}", json!({"ready": true}));
    println!("{}", json!({"address": memory.bytes().as_ptr() as usize}));
    stop.wait()?;
    println!("{}", json!({"checksum": Checksum::of(memory.bytes())}));
    Ok(())
}
