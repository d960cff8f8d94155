//! `tracer serve`: every process, until a signal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use super::{Outcome, status};
use crate::callsites::coverage::CALL_SITE;
use crate::cli::serve_args::Serve;
use crate::fmt::human;
use crate::fmt::{rfc3339, say};
use crate::http::{Running, Server, Web};
use crate::model::fault_injection::Fault;
use crate::model::snapshot::Snapshot;
use crate::probes::pins::Pins;
use crate::serve::collector::Census;
use crate::serve::page::{self, Daemon};
use crate::serve::scrape_queue::{Ask, Front};
use crate::serve::settings::Settings;
use crate::session::announce;
use crate::session::events::{self, Signals};
use crate::session::{Options, Selection, Session};
use crate::sys::sandbox;

/// The configuration file is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Exits within this time are one wake-up; with --pin each also saves the books.
const REAP_AFTER: Duration = Duration::from_millis(50);
const REAP_AND_SAVE_AFTER: Duration = Duration::from_secs(1);

pub fn serve(args: &Serve) -> Outcome {
    if let Some(page) = &args.replay {
        return super::replay::replay(args, page);
    }
    let mut config = args.config.clone().map(ConfigFile::new);
    let mut settings = args.settings();
    let web = match (config.as_mut().map(ConfigFile::read).transpose(), web(args)) {
        (Ok(file), Ok(web)) => {
            settings = settings.or(file.unwrap_or_default());
            web
        }
        (Err(error), _) | (_, Err(error)) => {
            say(&format!("{error:#}"));
            return Ok(ExitCode::from(status::USAGE));
        }
    };
    crate::sys::lift_open_files();
    crate::sys::share_one_arena();
    crate::sys::without_huge_pages();
    let server = Server::bind(&args.listen)?;
    let has_web_config = web.is_some();
    let (front, asked) = Front::new();
    let readable = web.as_ref().map(Web::directories).unwrap_or_default();
    let serving = server.serve(Arc::clone(&front) as _, web, move || sandbox::enter_server(&readable))?;
    say(&format!("serving on {}", serving.address()));
    let pins = args.pin.as_deref().map(Pins::take).transpose()?;
    let mut session = count(args, pins)?;
    let census = Census::resume(&mut session, &settings)?;
    let runtime = events::event_loop()?;
    let snapshot = session.snapshot_of_machine();
    let unready = missing(&snapshot);
    let readable: Vec<PathBuf> = config.iter().map(|config| config.directory()).collect();
    let kept = sandbox::enter(census.wants_exe(), &readable);
    let daemon = Daemon {
        started: snapshot.started,
        ready: unready.is_none(),
        slots: session.kernel.sizes.processes,
        scrapes: 0,
        config: config.as_ref().map(|_| (SystemTime::now(), true)),
        has_web_config,
        capabilities: kept.capabilities,
        landlock: kept.landlock,
        pinned: session.pins().map(|pins| pins.shown().into_owned()),
    };
    let told = args.settings();
    let mut counting = Counting { session, census, daemon, config, told };
    runtime.block_on(async {
        let signals = Signals::install()?;
        if let (true, Some(pins)) = (counting.session.resumed, counting.session.pins()) {
            let since = rfc3339(counting.session.started()).unwrap_or_default();
            say(&format!("going on with what was counted since {since}, pinned in {}", pins.shown()));
        }
        // Who reads the line may ask at once.
        front.begin(unready);
        announce::counting("every process");
        counting.run(signals, asked).await
    })?;
    end(counting, serving)
}

pub(super) fn web(args: &Serve) -> Result<Option<Web>> {
    args.web_config_file.as_deref().map(Web::read).transpose()
}

/// Counting begins, or goes on.
fn count(args: &Serve, pins: Option<Pins>) -> Result<Session> {
    let options = Options {
        attach: args.attach,
        audit: false,
        copy_sizes: false,
        stats: true,
        fault: Fault::from_env()?,
    };
    let mut session = match pins {
        Some(pins) => Session::prepare_pinned(&Selection::Everyone, &options, pins)?,
        None => Session::prepare(&Selection::Everyone, &options)?,
    };
    session.open()?;
    session.pin()?;
    announce::warn(&session);
    session.coverage.forget_text();
    Ok(session)
}

/// Required probes that are not attached, in words.
fn missing(snapshot: &Snapshot) -> Option<String> {
    let missing: Vec<&str> = snapshot
        .probes
        .iter()
        // Of call sites all are required: only those get a probe that nothing else covers.
        .filter(|probe| {
            (probe.required && !probe.attached) || (probe.name == CALL_SITE && !probe.cause.is_empty())
        })
        .map(|probe| probe.name)
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "{} required probes are not attached: {}; `tracer doctor` tells why",
        missing.len(),
        missing.join(", ")
    ))
}

/// The end: nothing is counted any more, nobody is served, and nobody waits for probes to detach. If they are
/// pinned, they stay, and counting goes on.
fn end(mut counting: Counting, serving: Running) -> Outcome {
    if let Some(pins) = counting.session.pins() {
        let shown = pins.shown().into_owned();
        counting.census.read(&mut counting.session)?;
        counting.census.save(&mut counting.session, Vec::new());
        say(&format!("counting goes on, pinned in {shown}; `rm -r {shown}` ends it"));
    } else {
        counting.session.close()?;
        counting.session.kernel.leave_detaching();
    }
    drop(serving);
    Ok(ExitCode::SUCCESS)
}

/// The daemon at work.
struct Counting {
    session: Session,
    census: Census,
    daemon: Daemon,
    config: Option<ConfigFile>,
    /// By the command line.
    told: Settings,
}

impl Counting {
    /// Until a signal comes.
    async fn run(&mut self, mut signals: Signals, mut asked: Receiver<Ask>) -> Result<()> {
        // SAFETY: an owned descriptor, which the `AsyncFd` keeps and nobody replaces.
        let ended = unsafe { AsyncFd::register_with_interest(self.session.ended_fd()?, Interest::READABLE) };
        let ended = ended.context("cannot wait for ended processes")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let reap_after = if self.session.pins().is_some() { REAP_AND_SAVE_AFTER } else { REAP_AFTER };
        let mut reap_at = None;
        loop {
            tokio::select! {
                () = signals.any() => return Ok(()),
                _ = hangup.recv() => self.reload()?,
                _ = look.tick(), if self.config.is_some() => {
                    if self.config.as_ref().is_some_and(ConfigFile::has_changed) {
                        self.reload()?;
                    }
                }
                // The server ends after this loop does.
                Some(ask) = asked.recv() => self.answer(ask)?,
                ready = ended.readable(), if reap_at.is_none() => {
                    ready.context("cannot wait for ended processes")?.clear_ready();
                    reap_at = Some(tokio::time::Instant::now() + reap_after);
                }
                () = until(reap_at), if reap_at.is_some() => {
                    reap_at = None;
                    self.census.reap(&mut self.session)?;
                }
            }
        }
    }

    fn answer(&mut self, ask: Ask) -> Result<()> {
        let begun = Instant::now();
        self.session.refresh();
        self.census.read(&mut self.session)?;
        // Before anybody is told: what was told once is never taken back.
        self.census.save(&mut self.session, Vec::new());
        let snapshot = self.session.snapshot_of_machine();
        // Whoever asked may be gone by now, which is no error.
        match ask {
            Ask::Metrics(server, answer) => {
                self.daemon.scrapes += 1;
                let took = begun.elapsed();
                let _ = answer.send(page::metrics(&mut self.census, &snapshot, &self.daemon, &server, took));
            }
            Ask::Status(answer) => {
                let _ = answer.send(page::status(&self.census, &snapshot, &self.daemon));
            }
        }
        Ok(())
    }

    /// Reads the configuration again. A file that is wrong changes nothing.
    fn reload(&mut self) -> Result<()> {
        let Some(config) = &mut self.config else {
            say("no configuration file to read again: none was given with --config");
            return Ok(());
        };
        let before = self.daemon.config.map_or(SystemTime::now(), |(when, _)| when);
        match config.read() {
            Ok(file) => {
                self.census.rearrange(&mut self.session, &self.told.clone().or(file))?;
                self.daemon.config = Some((SystemTime::now(), true));
                say("the configuration was read again");
            }
            Err(error) => {
                self.daemon.config = Some((before, false));
                say(&format!("the configuration stays as it was: {error:#}"));
            }
        }
        Ok(())
    }
}

async fn until(time: Option<tokio::time::Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time).await;
    }
}

/// The file of `--config`.
struct ConfigFile {
    path: PathBuf,
    /// What was read last, good or bad.
    content: Option<Vec<u8>>,
}

impl ConfigFile {
    fn new(path: PathBuf) -> Self {
        ConfigFile { path, content: None }
    }

    fn directory(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    fn read(&mut self) -> Result<Settings> {
        let shown = human::escape(&self.path.to_string_lossy()).into_owned();
        self.content = None;
        let content = fs::read(&self.path).with_context(|| format!("cannot read {shown}"))?;
        let settings = Settings::parse(&content);
        self.content = Some(content);
        settings.map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|problem| format!("{shown}:{problem}")).collect();
            anyhow::anyhow!("{}", lines.join("\n  "))
        })
    }

    /// By its content: small, and no clock or editor can fool it. One that is gone was read as such.
    fn has_changed(&self) -> bool {
        fs::read(&self.path).ok() != self.content
    }
}
