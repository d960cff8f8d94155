//! Workloads: each performs one mechanism with exactly known bytes and calls.
//!
//! `workload NAME` sets everything up, prints `{"ready":true,...}`, and waits.
//! SIGUSR1 runs the window once and is answered with SIGUSR2 to the parent;
//! SIGTERM verifies what was moved and prints the books. In the window there
//! is nothing but the mechanism, one `kill` and one `rt_sigtimedwait`; from
//! the second window on also what rewinds the files, booked like the rest.

pub mod children;
pub mod cold;
pub mod control;
pub mod counts;
pub mod faults;
pub mod forks;
pub mod fuse;
pub mod fuse_daemon;
mod fuse_ring;
pub mod job;
pub mod ktls;
pub mod memory;
pub mod methods;
pub mod misaligned;
pub mod peer;
pub mod pingpong;
pub mod process_vm;
pub mod protocol;
pub mod receive;
pub mod registry;
pub mod remote;
pub mod scene;
pub mod scratch;
pub mod selftest;
pub mod signals;
pub mod special;
pub mod sys;
pub mod threads;
pub mod transport;
pub mod uring;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Exit status when this kernel lacks the mechanism.
pub const EXIT_SKIP: i32 = 77;

/// What the command line asks of a mechanism.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that one window moves.
    pub bytes: usize,
    /// Bytes per call.
    pub chunk: usize,
    /// Where files are made: the filesystem under test.
    pub dir: PathBuf,
    /// Where the destination is made, if on another filesystem.
    pub to: Option<PathBuf>,
    /// The source is not in the page cache when a window begins.
    pub cold: bool,
    /// Whom a peer tells that the window's bytes have arrived.
    pub notify: Option<i32>,
    /// A receiving peer waits within its receiving call, so that the call is
    /// in flight when a tracer comes.
    pub in_flight: bool,
    /// A host behind a network device, for what is sent there.
    pub host: Option<Ipv4Addr>,
}

impl Options {
    /// Where destinations are made.
    pub fn destination(&self) -> &Path {
        self.to.as_deref().unwrap_or(&self.dir)
    }
}

/// One mechanism, set up and ready.
pub trait Mechanism {
    /// Brings back the state of the first window. Called before every window
    /// but the first, inside of it: its calls are booked.
    fn rewind(&mut self) -> Result<()> {
        Ok(())
    }

    /// The mechanism, once.
    fn window(&mut self) -> Result<()>;

    /// Checks that all bytes of all windows arrived where they should.
    fn verify(&mut self, windows: u64) -> Result<()>;

    /// Bytes of structs and names that all windows copied (to user, from
    /// user) in copies of variable size, which the kernel's check sees.
    fn visible_control(&self) -> (u64, u64) {
        (0, 0)
    }

    /// The process at the other end.
    fn peer(&self) -> Option<u32> {
        None
    }

    /// True if the peer tells the harness when a window has arrived.
    fn peer_notifies(&self) -> bool {
        false
    }
}

/// This kernel (or this directory) lacks the mechanism.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Turns an error into a skip, with the thing that is lacking named.
pub fn lacking<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Result<T> {
    result.map_err(|error| Skip(format!("{what}: {error}")).into())
}
