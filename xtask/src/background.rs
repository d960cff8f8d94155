//! Programs that run beside us.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};

use crate::setup::tools;
use crate::sh;

/// A child that does not outlive its use.
pub struct Running(Child);

impl Running {
    /// What it says goes to a file; with `shows`, what it complains of stays visible.
    pub fn start(command: &mut Command, log: &Path, shows: bool) -> Result<Running> {
        let out = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        if !shows {
            command.stderr(out.try_clone()?);
        }
        command.stdin(Stdio::null()).stdout(out);
        Ok(Running(command.spawn().with_context(|| format!("cannot start {}", sh::show(command)))?))
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, or about to be: neither may fail.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command that runs Prometheus with this configuration and this data, at this address.
pub fn prometheus(config: &Path, data: &Path, own: SocketAddr) -> Result<Command> {
    let program = tools::find("prometheus")?.context("no prometheus: `cargo xtask setup` fetches it")?;
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", data.display()));
    command.arg(format!("--web.listen-address={own}"));
    Ok(command)
}
