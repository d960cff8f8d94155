//! The program: parses the command line and runs one command.

use std::process::ExitCode;

use clap::Parser as _;
use tracer::cli::commands::{self, status};
use tracer::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => commands::live::live(cli.live),
        Some(Command::Run(args)) => commands::run::run(args),
        Some(Command::Doctor(args)) => commands::doctor::doctor(args),
        Some(Command::Probes(args)) => commands::probes::probes(args),
        Some(Command::Audit(args)) => commands::audit::audit(args),
        Some(Command::Check(args)) => commands::check::check(args),
        Some(Command::Record(args)) => commands::record::record(args),
        Some(Command::Diff(args)) => commands::diff::diff(args),
        Some(Command::Policy(args)) => commands::policy::policy(args),
        Some(Command::Serve(args)) => commands::serve::serve(&args),
        Some(Command::Completions(args)) => commands::texts::completions(args.shell),
        Some(Command::Man { directory }) => commands::texts::manual(&directory),
        Some(Command::Keep { command }) => {
            tracer::check::run::supervisor::keep(command).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Calibrate) => tracer::check::run::calibrate::workload().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        tracer::fmt::say(&format!("{error:#}"));
        ExitCode::from(status::FAILED)
    })
}
