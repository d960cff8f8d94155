//! `tracer check` as CI runs it: a policy file, a command line, the report.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::bench::Bench;
use super::hidden_btf::hide_btf;
use super::tracer::{Outcome, Tracer};

/// Two sessions are attached in each check, one of them for the calibration.
pub const LIMIT: Duration = Duration::from_secs(180);

/// The exit statuses of the contract.
pub const PASS: i32 = 0;
pub const VIOLATED: i32 = 1;
pub const USAGE: i32 = 2;
pub const INCONCLUSIVE: i32 = 3;
pub const WORKLOAD_FAILED: i32 = 4;

/// The user and the group without privilege.
pub const NOBODY: u32 = 65534;

/// One check, about to be run.
pub struct Check {
    command: Command,
    dir: PathBuf,
}

/// What it came to.
pub struct Checked {
    pub outcome: Outcome,
    /// `--report json`; null if there is none.
    pub report: Value,
}

/// A directory of its own for each check.
fn directory(bench: &Bench) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let dir = bench.tmpfs.join(format!("check-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

impl Check {
    pub fn new(bench: &Bench, policy: &Value) -> Result<Self> {
        Self::of_text(bench, &format!("{policy:#}"))
    }

    /// The same with a program in tracer's place.
    pub fn by(tracer: &Path, bench: &Bench, policy: &Value) -> Result<Self> {
        Self::of_text_by(tracer, bench, &format!("{policy:#}"))
    }

    /// JSON is YAML, so most policies are written as such; this is for the others.
    pub fn of_text(bench: &Bench, policy: &str) -> Result<Self> {
        Self::of_text_by(&bench.tracer, bench, policy)
    }

    fn of_text_by(tracer: &Path, bench: &Bench, policy: &str) -> Result<Self> {
        let dir = directory(bench)?;
        fs::write(dir.join("policy.yaml"), policy)?;
        let mut command = Command::new(tracer);
        command.arg("check").arg(dir.join("policy.yaml"));
        command.arg(format!("--report=json={}", dir.join("report.json").display()));
        Ok(Check { command, dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn args(mut self, arguments: &[impl AsRef<OsStr>]) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn fault(mut self, fault: &str) -> Self {
        self.command.env("TRACER_FAULT", fault);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// As where the kernel has no BTF.
    pub fn without_btf(mut self) -> Self {
        hide_btf(&mut self.command);
        self
    }

    /// As a user who may nothing.
    pub fn as_nobody(mut self) -> Result<Self> {
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o777))?;
        self.command.uid(NOBODY).gid(NOBODY);
        Ok(self)
    }

    /// Runs it to its end.
    pub fn run(self) -> Result<Checked> {
        let dir = self.dir.clone();
        Checked::of(self.start()?.wait(LIMIT)?, &dir)
    }

    pub fn start(self) -> Result<Tracer> {
        Tracer::start_command(self.command)
    }
}

impl Checked {
    pub fn of(outcome: Outcome, dir: &Path) -> Result<Self> {
        let text = fs::read_to_string(dir.join("report.json")).unwrap_or_default();
        let report = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        ensure!(!outcome.stderr.contains("panicked"), "a panic:\n{}", outcome.stderr);
        Ok(Checked { outcome, report })
    }

    /// The exit status, which the report repeats.
    pub fn expect(&self, status: i32) -> Result<()> {
        let said = format!("{}\n{}", self.outcome.stdout, self.outcome.stderr);
        ensure!(self.outcome.status.code() == Some(status), "{}, not {status}:\n{said}", self.outcome.status);
        ensure!(
            self.report.is_null() || self.report["exit_status"] == status,
            "the report says {}:\n{said}",
            self.report["exit_status"]
        );
        Ok(())
    }

    /// Inconclusive, for this reason (and perhaps others).
    pub fn expect_reason(&self, reason: &str) -> Result<()> {
        self.expect(INCONCLUSIVE)?;
        ensure!(self.has_reason(reason), "{reason} is not among {}", self.report["reasons"]);
        Ok(())
    }

    pub fn has_reason(&self, reason: &str) -> bool {
        let reasons = self.report["reasons"].as_array();
        reasons.into_iter().flatten().any(|found| found["reason"] == reason)
    }

    /// Events that the kernel skipped, in all windows.
    pub fn missed(&self) -> u64 {
        let windows = self.report["windows"].as_array();
        windows.into_iter().flatten().filter_map(|window| window["missed_events"].as_u64()).sum()
    }

    /// The value of an assertion in a window.
    pub fn value(&self, assertion: usize, window: usize) -> Result<&Value> {
        let found = self.report.pointer(&format!("/assertions/{assertion}/windows/{window}/value"));
        found
            .with_context(|| format!("no value of assertion {assertion} in window {window}: {}", self.report))
    }
}

/// A workload as a target that runs once and ends.
pub fn once(bench: &Bench, name: &str) -> Value {
    json!([bench.workload, name, "--once", "--dir", bench.tmpfs])
}

/// A workload as a server: it waits for a driver.
pub fn serving(bench: &Bench, name: &str) -> Value {
    json!([bench.workload, name, "--dir", bench.tmpfs])
}

/// Requirements without the calibration, which has a test of its own and costs a session.
pub fn uncalibrated() -> Value {
    json!({"calibrate": false})
}

/// Shell: processes that each read two bytes from one pipe. A kretprobe has fewer instances, 10 or two per CPU
/// (`register_kretprobe`): returns are lost, and each is noticed when its reader reads again.
pub const READERS: &str = "mkfifo in out
    for i in $(seq 40); do dd bs=1 count=2 <in >out 2>/dev/null & done";

/// Shell, in the same directory: opens the pipe, for which these readers wait, so that all their reads are in a
/// window that has begun. They get their bytes when all sleep in read(2). Each passes on what it reads: when all
/// bytes are back, all have read twice.
pub const FEED: &str = "until [ -p out ]; do sleep 0.01; done
    exec 3<>in 4<>out
    sleeping() { grep -Els '^0 0x0 0x[0-9a-f]+ 0x1 ' /proc/[0-9]*/syscall | wc -l; }
    until [ $(sleeping) -ge 40 ]; do sleep 0.01; done
    head -c 80 /dev/zero >&3
    head -c 80 <&4 >/dev/null";
