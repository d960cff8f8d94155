//! A program that runs under a [keeper](super::supervisor): started, watched, and always ended.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The keeper needs at most its grace and its patience.
const LONGEST_END: Duration = Duration::from_secs(15);

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Held(u32),
    Started,
    Failed(i32),
    Ended(i32),
    Gone(usize),
}

/// A program and all that it starts. Dropped, all of it ends.
pub struct Kept {
    pub pid: u32,
    keeper: Child,
    /// Its end is the keeper's signal to kill.
    socket: Option<UnixStream>,
    events: UnboundedReceiver<Event>,
    /// The program's own status.
    pub status: Option<ExitStatus>,
    /// The program and its descendants are no more.
    pub gone: bool,
    /// Told to end while it ran.
    pub was_told: bool,
    /// Processes that had to be killed.
    pub killed: usize,
}

impl Kept {
    /// Starts a program, held before its exec.
    pub async fn start(command: &[OsString]) -> Result<Kept> {
        let (socket, its) = UnixStream::pair().context("cannot make a socket")?;
        let mut child = Command::new("/proc/self/exe");
        child.arg0("tracer").arg("__keep").arg("--").args(command).stdin(OwnedFd::from(its));
        let keeper = child.spawn().context("cannot start the keeper (tracer itself)")?;
        // The other end must be the keeper's alone, or its end is never seen.
        drop(child);
        let events = listen(socket.try_clone().context("cannot copy a socket")?);
        let mut kept = Kept {
            pid: 0,
            keeper,
            socket: Some(socket),
            events,
            status: None,
            gone: false,
            was_told: false,
            killed: 0,
        };
        match kept.next().await {
            Some(Event::Held(pid)) => kept.pid = pid,
            _ => bail!("the keeper could not fork"),
        }
        Ok(kept)
    }

    /// Lets it exec. The inner error is the exec's.
    pub async fn release(&mut self) -> Result<io::Result<()>> {
        self.tell(b'g')?;
        loop {
            match self.next().await {
                Some(Event::Started) => return Ok(Ok(())),
                Some(Event::Failed(errno)) => return Ok(Err(io::Error::from_raw_os_error(errno))),
                Some(_) if !self.gone => {}
                _ => bail!("the program ended before its exec"),
            }
        }
    }

    /// Resolves when the program itself has ended.
    pub async fn ended(&mut self) {
        while self.status.is_none() && !self.gone {
            self.next().await;
        }
    }

    /// Resolves when it has ended, and all that it started.
    pub async fn all_gone(&mut self) {
        while !self.gone {
            self.next().await;
        }
    }

    /// Ends it and all that it started: first by SIGTERM, after 2 s by SIGKILL.
    pub async fn end(&mut self) {
        if self.gone {
            return;
        }
        self.was_told |= self.status.is_none();
        // An error means that the keeper is gone, which `all_gone` sees.
        let _ = self.tell(b'e');
        let _ = tokio::time::timeout(LONGEST_END, self.all_gone()).await;
    }

    fn tell(&mut self, word: u8) -> Result<()> {
        let socket = self.socket.as_mut().context("the keeper is gone")?;
        socket.write_all(&[word]).context("the keeper is gone")
    }

    async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        match &event {
            Some(Event::Ended(status)) => self.status = Some(ExitStatus::from_raw(*status)),
            Some(Event::Gone(killed)) => {
                self.gone = true;
                self.killed = *killed;
            }
            None => self.gone = true,
            Some(_) => {}
        }
        event
    }

    /// How it ended, in words, and whether by itself and not well.
    pub fn end_in_words(&self) -> (String, bool) {
        let by = if self.was_told { ", sent by tracer" } else { "" };
        match self.status {
            None => ("ended with its keeper".to_owned(), false),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => (format!("exit status {code}"), code != 0 && !self.was_told),
                (_, Some(signal)) => (format!("signal {signal}{}{by}", name(signal)), !self.was_told),
                _ => (format!("{status}"), true),
            },
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Both directions, also of the reader's copy: the keeper sees the end.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
        // The keeper ends within seconds, whatever its children do.
        let _ = self.keeper.wait();
    }
}

/// ` (SIGTERM)` for the usual ones.
fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => " (SIGHUP)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    }
}

/// Reads what the keeper says, in a thread: it ends with the keeper.
fn listen(socket: UnixStream) -> UnboundedReceiver<Event> {
    let (send, events) = unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(socket).lines().map_while(Result::ok) {
            if send.send(parse(&line)).is_err() {
                return;
            }
        }
    });
    events
}

fn parse(line: &str) -> Event {
    let (word, number) = line.split_once(' ').unwrap_or((line, "0"));
    match word {
        "held" => Event::Held(number.parse().unwrap_or(0)),
        "started" => Event::Started,
        "failed" => Event::Failed(number.parse().unwrap_or(0)),
        "ended" => Event::Ended(number.parse().unwrap_or(0)),
        _ => Event::Gone(number.parse().unwrap_or(0)),
    }
}
