//! Watching a session: a block of output per interval, the total at the end, metrics meanwhile.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::screen::{self, Screen};
use crate::cli::{Format, Output};
use crate::http::{Running, Server};
use crate::model::snapshot::Snapshot;
use crate::output::{json, table};
use crate::session::Session;
use crate::session::events::{Signals, reap};

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
        crate::probes::bpf_log::forward(&mut lock(&self.session).kernel)?;
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + self.interval, self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let time_is_up = sleep_or_forever(self.duration);
        let ended_fd = lock(&self.session).ended_fd()?;
        let reaping = reap(ended_fd, || lock(&self.session).reap());
        tokio::pin!(ended, time_is_up, reaping);
        let screen = self.redraws().then(Screen::enter).transpose().context(UNWRITABLE)?;
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
                    let reader = match &screen {
                        Some(screen) => reader(screen.draw(&self.page(&now)))?,
                        None if self.blocks => self.print(&now.since(&last), table::Title::Window)?,
                        None => Reader::There,
                    };
                    if reader == Reader::Gone {
                        break;
                    }
                    last = now;
                }
            }
        }
        let mut session = lock(&self.session);
        // What was loaded since the last tick is part of the verdict on coverage.
        session.refresh();
        session.close()?;
        let total = session.snapshot();
        drop(session);
        drop(screen);
        // The end is the end, whether somebody reads it or not.
        self.print(&total, table::Title::Total)?;
        Ok(total)
    }

    fn redraws(&self) -> bool {
        self.blocks && !self.to_stderr && self.format == Format::Table && screen::can_redraw()
    }

    fn page(&self, snapshot: &Snapshot) -> String {
        table::render(snapshot, self.options(table::Title::Total))
    }

    fn options(&self, title: table::Title) -> table::Options {
        let (terminal, size) = if self.to_stderr {
            (io::stderr().is_terminal(), crate::sys::terminal_size(io::stderr()))
        } else {
            (io::stdout().is_terminal(), crate::sys::terminal_size(io::stdout()))
        };
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let color = terminal && !dumb && std::env::var_os("NO_COLOR").is_none();
        table::Options { color, width: size.filter(|_| terminal).map(|(columns, _)| columns), title }
    }

    fn print(&self, snapshot: &Snapshot, title: table::Title) -> Result<Reader> {
        let mut text = Vec::new();
        match self.format {
            Format::Json => json::write_line(&mut text, snapshot).context("cannot write JSON")?,
            Format::Table => {
                text.extend_from_slice(table::render(snapshot, self.options(title)).as_bytes());
            }
        }
        // A whole block, so that no reader sees half of one.
        reader(if self.to_stderr {
            io::stderr().lock().write_all(&text)
        } else {
            let mut out = io::stdout().lock();
            out.write_all(&text).and_then(|()| out.flush())
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    There,
    /// It has seen enough (`| head`): a reason to end, and no error.
    Gone,
}

const UNWRITABLE: &str = "cannot write the output, so counting ends here (is the disk full?)";

fn reader(written: io::Result<()>) -> Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context(UNWRITABLE),
    }
}

/// A poisoned lock means that a reader panicked; the session itself is only read there.
pub fn lock(session: &Shared) -> std::sync::MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn sleep_or_forever(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
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
