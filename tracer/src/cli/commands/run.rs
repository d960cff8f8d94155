//! `tracer run -- CMD`: starts a command and counts it from its exec on.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::{Outcome, status, watch};
use crate::cli::Run;
use crate::cli::commands::watch::{OnSignal, Watch};
use crate::fmt::say;
use crate::kernel::process;
use crate::model::fault_injection::Fault;
use crate::session::announce;
use crate::session::events::{self, Signals};
use crate::session::{Options, Selection, Session};

pub fn run(args: Run) -> Outcome {
    match count(args) {
        Ok(code) => Ok(code),
        Err(error) => {
            say(&format!("{error:#}"));
            Ok(ExitCode::from(status::RUN_FAILED))
        }
    }
}

fn count(args: Run) -> Result<ExitCode> {
    let server = watch::bind(&args.output)?;
    let options = Options {
        attach: args.output.attach,
        audit: false,
        copy_sizes: args.output.sizes,
        stats: server.is_some(),
        fault: Fault::from_env()?,
    };
    let selection = Selection::AtExec { children: !args.no_children };
    let mut session = Session::prepare(&selection, &options)?;
    let held = Held::start(&args.command)?;
    session.count_at_exec(process::describe(held.pid))?;
    session.open()?;
    announce::warn(&session);
    let pid = held.pid;
    let runtime = events::event_loop()?;
    let signals = {
        let _context = runtime.enter();
        Signals::install()?
    };
    announce::counting(&format!("pid {pid}"));
    let ended = match held.release()? {
        Ok(ended) => ended,
        Err(error) => return Ok(not_started(&args, &error)),
    };
    session.describe_again(pid);
    let session = Arc::new(Mutex::new(session));
    runtime.block_on(async {
        let _serving = watch::serve(server, &session)?;
        let watch = Watch {
            session: Arc::clone(&session),
            format: args.output.format,
            interval: Duration::from_secs(1),
            duration: None,
            blocks: false,
            on_signal: OnSignal::Forward(pid),
            to_stderr: true,
        };
        watch.until(signals, until_finished(&ended)).await
    })?;
    let ended = ended.join().map_err(|_| anyhow!("the thread that waits for the command panicked"))?;
    Ok(exit_code(ended.context("cannot wait for the command")?))
}

/// The command's own status; 128+n for signal n.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(255);
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}

fn not_started(args: &Run, error: &io::Error) -> ExitCode {
    let command = args.command[0].to_string_lossy();
    let command = crate::fmt::human::escape(&command);
    if error.kind() == io::ErrorKind::NotFound {
        // A script whose `#!` names what is not there fails the same way.
        say(&format!(
            "{command}: not found\n  `command -v {command}` tells whether PATH has it; or give a path"
        ));
        return ExitCode::from(status::NOT_FOUND);
    }
    let hint = match error.raw_os_error() {
        Some(libc::ENOEXEC) => "it is no program for this machine, or a script without a first line `#!`",
        Some(libc::EACCES) => "it is a directory, or not executable: chmod +x makes it so",
        _ => "`file -L` tells what it is",
    };
    say(&format!("{command}: cannot be executed: {error}\n  {hint}"));
    ExitCode::from(status::NOT_EXECUTABLE)
}

/// Resolves when the thread has the command's status.
async fn until_finished<T>(thread: &JoinHandle<T>) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !thread.is_finished() {
        tick.tick().await;
    }
}

/// A child that waits before its exec, so that it can be entered first.
struct Held {
    pid: u32,
    go: io::PipeWriter,
    /// What came of the exec; `Command::spawn` returns only then, so it runs in a thread.
    started: Receiver<io::Result<()>>,
    /// The same thread waits for the end: a child with `PR_SET_PDEATHSIG` lives as long as its thread.
    ended: JoinHandle<io::Result<ExitStatus>>,
}

impl Held {
    fn start(command: &[std::ffi::OsString]) -> Result<Self> {
        let (mut pid_reader, mut pid_writer) = io::pipe().context("cannot make a pipe")?;
        let (mut go_reader, go) = io::pipe().context("cannot make a pipe")?;
        let mut child = Command::new(&command[0]);
        child.args(&command[1..]);
        let hold = move || {
            pid_writer.write_all(&std::process::id().to_ne_bytes())?;
            // End of file: tracer is gone, so is the wish to run.
            go_reader.read_exact(&mut [0; 1])
        };
        // SAFETY: between fork and exec the closure only writes to and reads from pipes.
        unsafe { child.pre_exec(hold) };
        let (tell, started) = mpsc::channel();
        let ended = std::thread::spawn(move || {
            let spawned = child.spawn();
            // Both ends of the pipes are the child's now.
            drop(child);
            match spawned {
                Ok(mut child) => {
                    let _ = tell.send(Ok(()));
                    child.wait()
                }
                Err(error) => {
                    let told = error.raw_os_error().map(io::Error::from_raw_os_error);
                    let _ = tell.send(Err(told.unwrap_or_else(|| error.kind().into())));
                    Err(error)
                }
            }
        });
        let mut pid = [0; 4];
        if pid_reader.read_exact(&mut pid).is_err() {
            let error = started.recv().map_or_else(
                |_| anyhow!("the thread that forks panicked"),
                |r| match r {
                    Err(error) => anyhow!(error),
                    Ok(()) => anyhow!("it ended before its exec"),
                },
            );
            return Err(error.context("cannot fork"));
        }
        Ok(Held { pid: u32::from_ne_bytes(pid), go, started, ended })
    }

    /// Lets it exec. The inner error is the exec's.
    fn release(mut self) -> Result<io::Result<JoinHandle<io::Result<ExitStatus>>>> {
        self.go.write_all(&[1]).context("the command ended before its exec")?;
        let started = self.started.recv().context("the thread that starts the command panicked")?;
        Ok(started.map(|()| self.ended))
    }
}
