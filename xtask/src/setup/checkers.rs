//! What checks packaging/kubernetes/: kustomize, a promtool that knows Kubernetes (Debian 12's is built without), and the schemas of
//! Kubernetes' objects. Without them, or without a network to fetch them from, tests are skipped that say so.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::tools::{self, FromDebian};
use crate::{paths, sh};

/// The suite that has kustomize, and promtool with Kubernetes' service discovery. It is stable.
const SUITE: &str = "trixie";
const PROGRAMS: [FromDebian<'static>; 2] = [
    FromDebian { package: "kustomize", programs: &[("kustomize", "kustomize")] },
    FromDebian { package: "promtool", programs: &[("promtool", "promtool-kubernetes")] },
];

const VALIDATOR: &str = "kubernetes-validate";
/// It carries the schemas of Kubernetes up to 1.37, so that checking needs no network.
const VALIDATOR_VERSION: &str = "1.37.0";

/// Fetches what is missing; what cannot be had is said, and is no error.
pub fn ensure() {
    for result in [programs(), validator()] {
        if let Err(error) = result {
            sh::progress(&format!("tests of packaging/kubernetes/ will be skipped: {error:#}"));
        }
    }
}

fn programs() -> Result<()> {
    let bin = paths::tools_bin()?;
    let is_there = |name: &str| sh::is_executable(&bin.join(name));
    tools::from_debian("checkers", &[SUITE.to_owned()], &PROGRAMS, is_there)
}

/// A virtual environment of Python's, with a link where the other tools are.
fn validator() -> Result<()> {
    let dir = paths::cache()?.join("tools").join(format!("{VALIDATOR}-{VALIDATOR_VERSION}"));
    let (program, link) = (dir.join("bin").join(VALIDATOR), paths::tools_bin()?.join(VALIDATOR));
    if !works(&program) {
        let _lock = paths::lock(VALIDATOR)?;
        if !works(&program) {
            install(&dir)?;
        }
    }
    if fs::read_link(&link).ok().as_deref() != Some(&program) {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&program, &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(())
}

fn install(dir: &Path) -> Result<()> {
    sh::progress(&format!("installing {VALIDATOR} {VALIDATOR_VERSION}"));
    // What a killed run left.
    let _ = fs::remove_dir_all(dir);
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(dir);
    sh::capture(&mut make, "make a Python environment (Debian: python3-venv)")?;
    let mut command = Command::new(dir.join("bin/pip"));
    command.args(["install", "--quiet", "--disable-pip-version-check"]);
    command.arg(format!("{VALIDATOR}=={VALIDATOR_VERSION}"));
    sh::capture(&mut command, &format!("install {VALIDATOR}")).map(drop)
}

/// Its files being there would not tell: the Python that it was made for may be gone.
fn works(program: &Path) -> bool {
    sh::is_executable(program)
        && sh::output(Command::new(program).arg("--version"), "ask for a version")
            .is_ok_and(|output| output.status.success())
}
