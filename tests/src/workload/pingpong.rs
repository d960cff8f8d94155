//! One byte to and fro through two pipes, both processes on one CPU: every
//! turn costs context switches.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, ensure};
use serde_json::json;

use super::peer::Peer;
use super::scratch::Pipe;
use super::{Mechanism, memory, sys};

pub const TURNS: usize = 1000;

pub struct PingPong {
    there: Option<OwnedFd>,
    back: OwnedFd,
    peer: Peer,
}

impl PingPong {
    pub fn new() -> Result<Self> {
        // Inherited by the peer.
        stay_on_this_cpu()?;
        let (there, back) = (Pipe::new()?, Pipe::new()?);
        let peer = Peer::start("echo", &[there.read, back.write], &[])?;
        Ok(PingPong { there: Some(there.write), back: back.read, peer })
    }
}

impl Mechanism for PingPong {
    fn window(&mut self) -> Result<()> {
        let there = self.there.as_ref().expect("open until verified");
        let mut byte = [1];
        for _ in 0..TURNS {
            sys::write(there.as_fd(), &byte)?;
            ensure!(sys::read(self.back.as_fd(), &mut byte)? == 1, "the echo is gone");
        }
        Ok(())
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        drop(self.there.take());
        let echoed = self.peer.line()?;
        self.peer.wait()?;
        ensure!(echoed["bytes"] == windows * TURNS as u64, "the peer echoed {echoed}");
        Ok(())
    }

    fn peer(&self) -> Option<u32> {
        Some(self.peer.pid())
    }
}

/// `workload role echo`: sends back what it gets.
pub fn echo(from: OwnedFd, to: OwnedFd) -> Result<()> {
    memory::lock_all();
    println!("{}", json!({"ready": true}));
    let (mut byte, mut bytes) = ([0], 0u64);
    while sys::read(from.as_fd(), &mut byte)? == 1 {
        bytes += sys::write(to.as_fd(), &byte)? as u64;
    }
    println!("{}", json!({"bytes": bytes}));
    Ok(())
}

fn stay_on_this_cpu() -> Result<()> {
    // SAFETY: an all-zero set is the empty set; both calls get its real size.
    let ret = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    ensure!(ret == 0, "sched_setaffinity: {}", std::io::Error::last_os_error());
    Ok(())
}
