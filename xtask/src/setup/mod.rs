//! `cargo xtask setup`: all that building and testing needs. Does only what is missing, so that the
//! other commands can call it.

pub mod apt;
mod checkers;
mod debian;
mod sources;
pub mod tools;

use anyhow::Result;

use crate::{kernels, paths, programs, sh};
use debian::Need;

/// Installs and fetches what is missing; asks nothing. Run again, it looks for newer kernels
/// and programs.
///
/// On Debian 12, as root or with sudo that needs no password, it installs the packages itself;
/// elsewhere it prints what to install. Kernels, tools and
/// the programs that the VMs run (tests/programs.toml) go to $TRACER_CACHE or ~/.cache/tracer,
/// and nothing there is installed on the machine.
#[derive(clap::Args)]
pub struct Args {
    /// Only these kernels of tests/kernels.toml
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    kernels: Vec<String>,
    /// Neither kernels nor programs: only what `cargo xtask build` needs
    #[arg(long, conflicts_with = "kernels")]
    no_kernels: bool,
}

pub fn main(args: &Args) -> Result<u8> {
    // Before any work: a misspelled kernel should not cost minutes.
    let selected = kernels::Matrix::load()?.select(&args.kernels)?;
    debian::install_missing(&[Need::Build, Need::Vm, Need::Service])?;
    sh::progress("Debian packages: all there");
    tools::build_tools(true)?;
    tools::prometheus()?;
    checkers::ensure();
    if !args.no_kernels {
        ensure_package()?;
        for kernel in &selected {
            kernels::fetch::newest(kernel)?;
        }
        programs::newest(&programs::Wanted::load()?)?;
    }
    sh::progress(&format!("all set up in {}", paths::cache()?.display()));
    Ok(0)
}

/// What `build` needs, quietly when it is there.
pub fn ensure_build() -> Result<()> {
    debian::install_missing(&[Need::Build])?;
    tools::build_tools(false)
}

/// What booting a VM needs, kernels apart (those are fetched one by one when they are booted).
pub fn ensure_vm() -> Result<()> {
    debian::install_missing(&[Need::Vm])
}

/// What running the installed service in a VM needs on top: the VM's system is this machine's.
pub fn ensure_service() -> Result<()> {
    debian::install_missing(&[Need::Service])
}

/// What makes the Debian package.
pub fn ensure_package() -> Result<()> {
    tools::from_registry(&tools::CARGO_DEB)
}

/// What checks the licences of the dependencies.
pub fn ensure_deny() -> Result<()> {
    tools::from_registry(&tools::CARGO_DENY)
}

/// What writes into a program what it was built from.
pub fn ensure_auditable() -> Result<()> {
    tools::from_registry(&tools::CARGO_AUDITABLE)
}

/// What the tests need on top of these.
pub fn ensure_prometheus() -> Result<()> {
    tools::prometheus()
}

/// What the tests of packaging/kubernetes/ need; without it they are skipped, and say so.
pub fn ensure_checkers() {
    checkers::ensure();
}
