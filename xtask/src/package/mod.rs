//! `cargo xtask package`: the Debian package, and its life in a VM.

mod trial;

pub use trial::with_systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{build, paths, setup, sh};

/// Builds the static tracer, its manual pages and completions, and packs them; the last line of stdout is the
/// path of the package.
///
/// Installs cargo-deb into the cache first where it is missing.
#[derive(clap::Args)]
pub struct Args {
    /// Then install, scrape, upgrade and purge it in a VM with this kernel of tests/kernels.toml, with systemd as
    /// its first process (repeatable, or separated by commas)
    #[arg(long = "try", value_delimiter = ',', value_name = "KERNEL")]
    kernels: Vec<String>,
}

pub fn main(args: &Args) -> Result<u8> {
    let package = make(Dependencies::Listed)?;
    let failed = trial::run(&package, &args.kernels)?;
    println!("{}", package.display());
    Ok(u8::from(failed))
}

/// Whether the program carries the list of what it was built from.
#[derive(Clone, Copy, PartialEq)]
pub enum Dependencies {
    /// As released: the list is part of the program.
    Listed,
    /// The program that the other tests have built already.
    Unlisted,
}

/// The package, made anew.
pub fn make(dependencies: Dependencies) -> Result<PathBuf> {
    setup::ensure_build()?;
    setup::ensure_package()?;
    let tracer = match dependencies {
        Dependencies::Unlisted => build::tracer(false)?,
        Dependencies::Listed => {
            setup::ensure_auditable()?;
            build::auditable_tracer()?
        }
    };
    let stage = paths::repo().join("target/package");
    lay_out(&tracer, &stage)?;
    pack(&stage)
}

/// Everything that is made and not kept in the repository, where tracer/Cargo.toml looks for it.
fn lay_out(tracer: &Path, stage: &Path) -> Result<()> {
    // A page of a command that is no more must not be packed.
    let _ = fs::remove_dir_all(stage);
    let (manual, completions) = (stage.join("man"), stage.join("completions"));
    paths::create(&manual)?;
    paths::create(&completions)?;
    let copy = stage.join("tracer");
    fs::copy(tracer, &copy).with_context(|| format!("cannot copy tracer to {}", copy.display()))?;
    sh::capture(Command::new(&copy).arg("__man").arg(&manual), "write the manual pages")?;
    for shell in ["bash", "zsh", "fish"] {
        let text = sh::capture(Command::new(&copy).args(["completions", shell]), "write completions")?;
        let path = completions.join(format!("tracer.{shell}"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn pack(stage: &Path) -> Result<PathBuf> {
    sh::progress("packing");
    let mut command = build::cargo()?;
    // The profile has stripped it.
    command.args(["deb", "--package", "tracer", "--no-build", "--no-strip", "--output"]).arg(stage);
    // The same commit makes the same package.
    if let Some(time) = commit_time() {
        command.env("SOURCE_DATE_EPOCH", time);
    }
    let said = sh::capture(&mut command, "make the package")?;
    match said.lines().map(PathBuf::from).find(|path| path.extension().is_some_and(|end| end == "deb")) {
        Some(path) => Ok(path),
        None => bail!("cargo-deb named no package; it said:\n{}", sh::tail(&said, 10)),
    }
}

/// Seconds; nothing outside of a clone.
fn commit_time() -> Option<String> {
    let mut command = Command::new("git");
    command.args(["log", "-1", "--format=%ct"]).current_dir(paths::repo());
    let time = sh::capture(&mut command, "ask for the time of the commit").ok()?;
    Some(time.trim().to_owned()).filter(|time| !time.is_empty())
}
