//! What people who work on tracer run:
//! `cargo xtask setup|build|demo|vm|test|tidy|bench|claims|dashboards|package|soak|scale|stack|ci`.
//!
//! Progress goes to stderr, results to stdout, so that `$(cargo xtask build | tail -1)` works.

mod ask;
mod background;
mod bench;
mod build;
mod ci;
mod claims;
mod dashboards;
mod demo;
mod kernels;
mod package;
mod paths;
mod programs;
mod scale;
mod setup;
mod sh;
mod soak;
mod stack;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set up, build, test and try tracer", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing needs, and fetch the kernels (idempotent, asks nothing)
    Setup(setup::Args),
    /// Build the static release binary; the last line of stdout is its path
    Build(build::Args),
    /// Send a 64 MiB file four ways and print the four ledgers (here, or in a VM if it must be)
    Demo(demo::Args),
    /// Run a command as root in a VM with a kernel of the matrix
    Vm(vm::cli::Args),
    /// Run all tests: those of the host, then the matrix, one VM per kernel
    Test(test::Args),
    /// Check the tree: which room imports which, files named and missing, lengths, subjects of commits
    Tidy,
    /// Count the instructions that tracer and its peers cost, and write docs/overhead.md
    Bench(bench::Args),
    /// Measure every zero-copy mechanism on every kernel, and write docs/zero-copy-measured.md
    Claims(claims::Args),
    /// Write Grafana's pages and Prometheus's rules
    Dashboards(dashboards::Args),
    /// Measure what a fleet costs, and write docs/scale.md
    Scale(scale::Args),
    /// Run tracer, Prometheus and, if there is one, Grafana on this machine
    Stack(stack::Args),
    /// Make the Debian package; the last line of stdout is its path
    Package(package::Args),
    /// Run the installed package for minutes on every kernel, and write docs/soak.md
    Soak(soak::Args),
    /// What .ci/run runs: format check, clippy, all tests
    Ci,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // As for `tracer run`: the exit statuses below 125 belong to the command in the VM.
    let failure = if matches!(command, Command::Vm(_)) { 125 } else { 1 };
    let result = match command {
        Command::Setup(args) => setup::main(&args),
        Command::Build(args) => build::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Vm(args) => vm::cli::main(args),
        Command::Test(args) => test::main(&args),
        Command::Tidy => tidy::main(),
        Command::Bench(args) => bench::main(&args),
        Command::Claims(args) => claims::main(&args),
        Command::Dashboards(args) => dashboards::main(&args),
        Command::Scale(args) => scale::main(&args),
        Command::Stack(args) => stack::main(&args),
        Command::Package(args) => package::main(&args),
        Command::Soak(args) => soak::main(&args),
        Command::Ci => ci::main(),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failure)
        }
    }
}
