//! The program: parses the command line and runs one command.

use std::process::ExitCode;

use clap::Parser as _;
use tracer::cli::{Cli, Command};
use tracer::command::{self, status};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => command::live::live(cli.live),
        Some(Command::Run(args)) => command::run::run(args),
        Some(Command::Doctor(args)) => command::doctor::doctor(args),
        Some(Command::Probes(args)) => command::probes::probes(args),
        Some(Command::Audit(args)) => command::audit::audit(args),
        Some(Command::Check(args)) => command::check::check(args),
        Some(Command::Record(args)) => command::record::record(args),
        Some(Command::Diff(args)) => command::diff::diff(args),
        Some(Command::Policy(args)) => command::policy::policy(args),
        Some(Command::Serve(args)) => command::serve::serve(&args),
        Some(Command::Completions(args)) => command::texts::completions(args.shell),
        Some(Command::Man { directory }) => command::texts::manual(&directory),
        Some(Command::Keep { command }) => {
            tracer::check::run::supervisor::keep(command).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Calibrate) => tracer::check::run::calibrate::workload().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        tracer::output::say(&format!("{error:#}"));
        ExitCode::from(status::FAILED)
    })
}
