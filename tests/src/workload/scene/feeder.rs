//! The process that feeds a scene's socket or pipe, chunk by chunk, each when the scene waits for it.
//!
//! Scene and feeder share one page of memory, so that asking for a chunk is no system call and copies nothing.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::super::Options;
use super::super::memory::{Mapping, PAGE};
use super::super::peer::Peer;
use super::descriptor;
use crate::harness::process;

/// How the feeder tells the scene that its chunk is there, beside the chunk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Not at all, and it does not wait until the scene sleeps.
    Never,
    /// Not at all.
    ByData,
    /// By one byte in a pipe.
    ByPipe,
    /// By waking a futex.
    ByFutex,
}

const NAMES: [(&str, Wake); 4] =
    [("never", Wake::Never), ("data", Wake::ByData), ("pipe", Wake::ByPipe), ("futex", Wake::ByFutex)];

/// The shared page: chunks that were asked for, and chunks that were sent.
struct Shared(Mapping);

impl Shared {
    fn new(memory: &OwnedFd) -> Result<Self> {
        use std::os::fd::AsFd;
        Ok(Shared(Mapping::shared(memory.as_fd(), PAGE)?))
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        // SAFETY: an aligned word of the mapping, which lives as long as self; both processes use it atomically.
        unsafe { &*self.0.bytes().as_ptr().cast::<AtomicU32>().add(index) }
    }

    fn asked(&self) -> &AtomicU32 {
        self.word(0)
    }

    fn sent(&self) -> &AtomicU32 {
        self.word(1)
    }

    fn futex(&self, operation: i32, value: u32) {
        // SAFETY: the word lives; without a timeout. An early return is no error: the caller looks at the word.
        unsafe { libc::syscall(libc::SYS_futex, self.sent().as_ptr(), operation, value, 0usize) };
    }
}

/// How long a feeder sleeps before it looks again whether it was asked. Most of its life it is not: it waits for a window,
/// beside many others.
const SHORTEST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(50);

/// The scene's end.
pub struct Feeder {
    _peer: Peer,
    shared: Shared,
    /// Of [`Wake::ByPipe`].
    pipe: Option<OwnedFd>,
    turn: u32,
}

impl Feeder {
    /// Starts a feeder that writes chunks of `chunk` bytes to `sink`.
    pub fn start(sink: OwnedFd, chunk: usize, wake: Wake) -> Result<Self> {
        // SAFETY: a terminated name.
        let memory = descriptor("memfd_create", unsafe { libc::memfd_create(c"feeder".as_ptr(), 0) })?;
        // SAFETY: takes no memory of ours.
        super::checked("ftruncate", unsafe { libc::ftruncate(memory.as_raw_fd(), PAGE as i64) } as isize)?;
        let shared = Shared::new(&memory)?;
        let pipe = super::super::scratch::Pipe::new()?;
        let name = NAMES.iter().find(|(_, known)| *known == wake).expect("all are named").0;
        let arguments = [name.to_string(), "--chunk".into(), chunk.to_string()];
        let peer = Peer::start("feed", &[sink, memory, pipe.write], &arguments)?;
        Ok(Feeder { _peer: peer, shared, pipe: Some(pipe.read), turn: 0 })
    }

    /// Asks for the next chunk.
    pub fn ask(&mut self) {
        self.turn += 1;
        self.shared.asked().store(self.turn, SeqCst);
    }

    /// Blocks in read(2) of the pipe until the feeder has sent the chunk.
    pub fn wait_by_pipe(&self) -> Result<()> {
        super::read_once(self.pipe.as_ref().context("no pipe")?, &mut [0]).map(drop)
    }

    /// Blocks in futex(2) until the feeder has sent the chunk.
    pub fn wait_by_futex(&self) {
        let before = self.turn - 1;
        while self.shared.sent().load(SeqCst) == before {
            self.shared.futex(libc::FUTEX_WAIT, before);
        }
    }
}

/// `workload role feed WAKE --fd SINK --fd MEMORY --fd PIPE --chunk C`: until its parent ends.
pub fn feed(options: &Options, wake: &str, sink: OwnedFd, memory: OwnedFd, pipe: OwnedFd) -> Result<()> {
    let wake = NAMES.iter().find(|(name, _)| *name == wake).context("no such way to wake")?.1;
    let shared = Shared::new(&memory)?;
    // SAFETY: a copy of our own descriptor.
    let mut sink = unsafe { std::fs::File::from_raw_fd(libc::dup(sink.as_raw_fd())) };
    let chunk = vec![0xa5; options.chunk];
    let parent = std::os::unix::process::parent_id();
    println!("{}", json!({"ready": true}));
    for turn in 1.. {
        let mut pause = SHORTEST;
        while shared.asked().load(SeqCst) < turn {
            std::thread::sleep(pause);
            pause = (2 * pause).min(LONGEST);
        }
        if wake != Wake::Never {
            process::wait_until_blocked(parent)?;
        }
        sink.write_all(&chunk).map_err(|error: io::Error| anyhow::anyhow!("cannot feed: {error}"))?;
        shared.sent().store(turn, SeqCst);
        match wake {
            Wake::ByPipe => super::write_once(&pipe, b"!")?,
            Wake::ByFutex => shared.futex(libc::FUTEX_WAKE, u32::MAX >> 1),
            Wake::Never | Wake::ByData => {}
        }
    }
    Ok(())
}
