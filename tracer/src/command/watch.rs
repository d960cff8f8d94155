//! Watching a session: a block of output per interval, the total at the end, metrics meanwhile.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Format, Output};
use crate::session::Session;
use crate::sink::http::{Running, Server};
use crate::sink::{json, table};
use crate::snapshot::{CoverageState, Snapshot};

/// A session that the HTTP server reads too.
pub type Shared = Arc<Mutex<Session>>;

/// Where a signal goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnSignal {
    /// SIGINT and SIGTERM end the window.
    End,
    /// The command that was started gets SIGTERM; a terminal sends it SIGINT itself. Its end is ours.
    Forward(u32),
}

/// SIGINT and SIGTERM. Installed before counting is announced: a script may send one right after.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
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

/// Prints blocks until `ended` resolves, the time is up, or a signal comes; then the total.
pub struct Watch {
    pub session: Shared,
    pub format: Format,
    pub interval: Duration,
    pub duration: Option<Duration>,
    /// Print a block per interval, not only the total.
    pub blocks: bool,
    pub on_signal: OnSignal,
    /// `run` keeps stdout for the command.
    pub to_stderr: bool,
}

impl Watch {
    /// Returns the total.
    pub async fn until(self, mut signals: Signals, ended: impl Future<Output = ()>) -> Result<Snapshot> {
        #[cfg(feature = "log")]
        crate::bpf_log::forward(&mut lock(&self.session).kernel)?;
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + self.interval, self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let time_is_up = sleep_or_forever(self.duration);
        let reaping = reap(&self.session);
        tokio::pin!(ended, time_is_up, reaping);
        let redraws = self.redraws();
        let mut last = lock(&self.session).snapshot();
        loop {
            tokio::select! {
                () = &mut ended => break,
                () = &mut time_is_up => break,
                // It ends with an error only.
                result = &mut reaping => match result? {},
                _ = signals.interrupt.recv() => if self.on_signal == OnSignal::End { break },
                _ = signals.terminate.recv() => match self.on_signal {
                    OnSignal::End => break,
                    OnSignal::Forward(pid) => crate::sys::terminate(pid),
                },
                _ = tick.tick() => {
                    let mut session = lock(&self.session);
                    session.refresh();
                    let now = session.snapshot();
                    drop(session);
                    if redraws {
                        self.redraw(&now)?;
                    } else if self.blocks {
                        self.print(&now.since(&last), table::Title::Window)?;
                    }
                    last = now;
                }
            }
        }
        let mut session = lock(&self.session);
        session.close()?;
        let total = session.snapshot();
        drop(session);
        if redraws {
            self.clear()?;
        }
        self.print(&total, table::Title::Total)?;
        Ok(total)
    }

    fn redraws(&self) -> bool {
        self.blocks && !self.to_stderr && self.format == Format::Table && io::stdout().is_terminal()
    }

    fn clear(&self) -> Result<()> {
        write_out(b"\x1b[H\x1b[J", false)
    }

    fn redraw(&self, snapshot: &Snapshot) -> Result<()> {
        self.clear()?;
        self.print(snapshot, table::Title::Total)
    }

    fn print(&self, snapshot: &Snapshot, title: table::Title) -> Result<()> {
        let mut text = Vec::new();
        match self.format {
            Format::Json => json::write_line(&mut text, snapshot).context("cannot write JSON")?,
            Format::Table => {
                let terminal =
                    if self.to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
                let width = terminal.then(crate::sys::terminal_width).flatten();
                let color = terminal && std::env::var_os("NO_COLOR").is_none();
                let options = table::Options { color, width, title };
                text.extend_from_slice(table::render(snapshot, options).as_bytes());
            }
        }
        write_out(&text, self.to_stderr)
    }
}

/// Writes a whole block, so that no reader sees half of one.
fn write_out(text: &[u8], to_stderr: bool) -> Result<()> {
    let result = if to_stderr {
        io::stderr().lock().write_all(text)
    } else {
        let mut out = io::stdout().lock();
        out.write_all(text).and_then(|()| out.flush())
    };
    result.context("cannot write the output, so counting ends here (is its reader gone, or the disk full?)")
}

/// A poisoned lock means that a reader panicked; the session itself is only read there.
pub fn lock(session: &Shared) -> std::sync::MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exits within this time are one wake-up.
const REAP_AFTER: Duration = Duration::from_millis(50);

/// Gives the slots of ended processes back as they end; sleeps while none does.
async fn reap(session: &Shared) -> Result<Infallible> {
    let ended = lock(session).ended_fd()?;
    // SAFETY: an owned descriptor, which the `AsyncFd` keeps and nobody replaces.
    let ended = unsafe { AsyncFd::register_with_interest(ended, Interest::READABLE) };
    let ended = ended.context("cannot wait for ended processes")?;
    loop {
        ended.readable().await.context("cannot wait for ended processes")?.clear_ready();
        tokio::time::sleep(REAP_AFTER).await;
        lock(session).reap()?;
    }
}

async fn sleep_or_forever(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
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

/// Binds the metrics address, if one is given: before counting begins, so that a used port is one error.
pub fn bind(output: &Output) -> Result<Option<Server>> {
    output.listen.as_deref().map(Server::bind).transpose()
}

/// Serves metrics from a session, as long as the result lives.
pub fn serve(server: Option<Server>, session: &Shared) -> Result<Option<Running>> {
    let session = Arc::clone(session);
    server.map(|server| server.spawn(Arc::new(move || lock(&session).snapshot()))).transpose()
}

/// What cannot be seen, before counting begins.
pub fn warn(session: &Session) {
    let snapshot = session.snapshot();
    for note in &snapshot.notes {
        eprintln!("tracer: {note}");
    }
    if snapshot.observed.copies && snapshot.coverage.state != CoverageState::Complete {
        eprintln!("tracer: coverage is {}; `tracer doctor` tells more", snapshot.coverage.state.name());
        for reason in &snapshot.coverage.reasons {
            eprintln!("tracer:   {reason}");
        }
    }
}

/// The one line that tells scripts that counting has begun.
pub fn announce(what: &str) {
    eprintln!("tracer: counting {what}");
}
