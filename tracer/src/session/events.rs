//! What a session is waited for with: signals, and ends of processes.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What signals, ends of processes and intervals are waited for in, on this thread.
pub fn event_loop() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start the event loop")
}

/// SIGINT and SIGTERM. Installed before counting is announced: a script may send one right after.
pub struct Signals {
    pub interrupt: Signal,
    pub terminate: Signal,
}

impl Signals {
    /// Needs the event loop's context.
    pub fn install() -> Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
        })
    }

    /// Resolves when either comes.
    pub async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Exits within this time are one wake-up.
const REAP_AFTER: Duration = Duration::from_millis(50);

/// Gives the slots of ended processes back as they end; sleeps while none does. `ended` is
/// [`Session::ended_fd`](super::Session::ended_fd), `reap` is [`Session::reap`](super::Session::reap).
pub async fn reap(ended: OwnedFd, mut reap: impl FnMut() -> Result<()>) -> Result<Infallible> {
    // SAFETY: an owned descriptor, which the `AsyncFd` keeps and nobody replaces.
    let ended = unsafe { AsyncFd::register_with_interest(ended, Interest::READABLE) };
    let ended = ended.context("cannot wait for ended processes")?;
    loop {
        ended.readable().await.context("cannot wait for ended processes")?.clear_ready();
        tokio::time::sleep(REAP_AFTER).await;
        reap()?;
    }
}

/// Resolves when all processes have ended. (A thread waits: it may be the only one left to do so.)
pub async fn all_ended(pidfds: Vec<OwnedFd>) {
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for fd in pidfds {
            crate::sys::wait_readable(&fd);
        }
        // Nobody listens any more if the window ended first.
        let _ = done.send(());
    });
    if ended.await.is_err() {
        std::future::pending::<()>().await;
    }
}
