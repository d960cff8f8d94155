//! The commands. Each returns the process's exit status, or an error that `main` prints.

pub mod audit;
pub mod check;
pub mod diff;
pub mod doctor;
pub mod live;
mod output;
pub mod policy;
pub mod probes;
pub mod record;
mod replay;
pub mod run;
mod screen;
pub mod serve;
mod survey;
pub mod texts;
pub mod watch;

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

/// Documented exit statuses.
pub mod status {
    /// tracer itself could not do what was asked.
    pub const FAILED: u8 = 1;
    /// Wrong usage (clap ends with the same), a wrong policy or file.
    pub const USAGE: u8 = 2;
    /// `run`: tracer failed.
    pub const RUN_FAILED: u8 = 125;
    /// `run`: the command cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// `run`: the command was not found.
    pub const NOT_FOUND: u8 = 127;
    /// `audit`: a residual was found.
    pub const RESIDUAL: u8 = 1;
    /// `audit`: could not audit.
    pub const NO_AUDIT: u8 = 3;
    /// `check` and its family: nothing can be said.
    pub const INCONCLUSIVE: u8 = 3;
    /// `check` and its family: the target or its driver failed.
    pub const WORKLOAD_FAILED: u8 = 4;
}

/// What a command comes to.
pub type Outcome = anyhow::Result<ExitCode>;

/// Prints a command's whole output. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        _ => Ok(()),
    }
}
