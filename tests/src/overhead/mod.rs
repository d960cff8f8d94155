//! What `cargo xtask bench` runs in a VM of each kernel: instructions per operation, with nobody watching and
//! with each observer, as JSON lines. Time in that VM is instructions, so that two runs give the same figures.

pub mod clock;
pub mod fleet;
pub mod observer;
pub mod operations;
pub mod reference;
pub mod stage;
pub mod wall;
pub mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::harness::bench::Bench;
use crate::harness::claims::release;
use observer::Observer;
use stage::Stage;

/// What the kernel began, at boot or at an attach, has ended by then. Idle time costs nothing here.
const SETTLE: Duration = Duration::from_secs(2);

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For the guard: fewer rounds, the tracer alone.
    Short,
    Full,
}

pub fn run(bench: &Bench, form: Form) -> Result<()> {
    clock::check()?;
    let (own, tracer) = programs(bench)?;
    let bytes = fs::metadata(&tracer)?.len();
    let machine = json!({"release": release()?, "binary_bytes": bytes, "version": version(&tracer)?});
    print(bench, "machine", machine);
    let mut stage = Stage::new(bench, &own, tracer, if form == Form::Short { 10 } else { 30 })?;
    stage.measure(Observer::Nobody)?;
    for observer in Observer::OURS {
        stage.observe(observer)?;
    }
    if form == Form::Full {
        for observer in Observer::OTHERS {
            stage.other(observer)?;
        }
    }
    // Once more: what the others left behind would show.
    std::thread::sleep(SETTLE);
    stage.measure(Observer::Nobody)?;
    if form == Form::Full {
        stage.idle()?;
    }
    Ok(())
}

/// The short form, in a machine that may get so many CPUs; nothing where the kernel makes no room for those that are
/// not there (6.12 does not, 6.1 does).
pub fn with_room_for(bench: &Bench, cpus: i64) -> Result<()> {
    let room = possible_cpus();
    if room != cpus {
        let missing = format!("the kernel makes room for {room}");
        print(bench, "missing", json!({"observer": format!("room for {cpus} CPUs"), "missing": missing}));
        return Ok(());
    }
    run(bench, Form::Short)
}

/// CPUs that the kernel has room for.
fn possible_cpus() -> i64 {
    // SAFETY: no arguments but a name.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }
}

/// This program and the tracer, in memory: from the host's disk a page would come when the host likes, and idle
/// time passes at once here, so that a time limit would be over.
fn programs(bench: &Bench) -> Result<(PathBuf, PathBuf)> {
    let copied = |program: &Path| -> Result<PathBuf> {
        let to = bench.tmpfs.join(program.file_name().context("a program has a name")?);
        fs::copy(program, &to).with_context(|| format!("cannot copy {}", program.display()))?;
        Ok(to)
    };
    Ok((copied(&std::env::current_exe()?)?, copied(&bench.tracer)?))
}

fn version(tracer: &Path) -> Result<String> {
    let output = Command::new(tracer).arg("-V").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// One line of what was measured.
fn print(bench: &Bench, kind: &str, mut line: Value) {
    line["kind"] = json!(kind);
    line["kernel"] = json!(bench.kernel);
    line["cpus"] = json!(possible_cpus());
    println!("{line}");
}
