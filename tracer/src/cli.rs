//! The command line: one description, from which help, man page and completions follow.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::Attach;

/// How often did the CPU copy each byte that a Linux process moved, and how often did the process cross
/// the user/kernel boundary to move it?
#[derive(Parser, Debug)]
#[command(name = "tracer", version, args_conflicts_with_subcommands = true, after_help = SEES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub live: Live,
}

const SEES: &str = "\
What is counted: copies between user memory and the kernel, and between kernel buffers, by wrappers
around the kernel's copy functions, the hardened-usercopy check, and probes on call instructions that
neither covers. `tracer probes` lists them, `tracer doctor` tries them on this kernel.

What stays invisible: structures of constant size (stat, timespec, sockaddr of fixed length), copies
that a program makes in its own memory, and copies by devices (DMA is not a copy). `tracer audit`
measures the first with hardware breakpoints.";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start a command and count it, and what it forks, from its exec on
    ///
    /// Exit status: the command's own (128+n for signal n); 125 tracer failed, 126 the command cannot be
    /// executed, 127 it was not found.
    Run(Run),
    /// Tell what this kernel offers: try every probe, explain every refusal, prove coverage
    ///
    /// Exit status: 0 copies can be counted, 1 they cannot.
    Doctor(Doctor),
    /// List the probe table
    Probes(Probes),
    /// Check the count against hardware breakpoints on the copy functions (x86_64)
    ///
    /// Exit status: 0 no residual, 1 a residual, 3 could not audit.
    Audit(Audit),
}

/// Count processes that run already
#[derive(Args, Debug)]
pub struct Live {
    #[command(flatten)]
    pub select: Select,
    #[command(flatten)]
    pub output: Output,
    /// Stop after this time (10s, 500ms, 2m); else with Ctrl-C or when the last target ends
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// Time between two blocks of output
    #[arg(long, value_parser = parse_duration, value_name = "TIME", default_value = "1s")]
    pub interval: Duration,
}

#[derive(Args, Debug)]
pub struct Select {
    /// Process to count, as this pid namespace names it; all its threads. Repeatable
    #[arg(long, short, value_name = "PID", value_parser = crate::target::parse_pid, allow_hyphen_values = true)]
    pub pid: Vec<u32>,
    /// Processes with this name (as in /proc/PID/comm)
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,
    /// Processes in this cgroup (v2) and below
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<String>,
    /// Also their children, those of now and those to come
    #[arg(long)]
    pub children: bool,
}

#[derive(Args, Debug)]
pub struct Output {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// How to attach to the kernel; every way but auto has losses, which are said
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    pub attach: Attach,
    /// Also count copies by size, in powers of two (shown in JSON and metrics)
    #[arg(long)]
    pub sizes: bool,
    /// Serve Prometheus metrics here as well (9435, 127.0.0.1:9435, [::1]:9435)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One object per window and line, the last one the total (schema tracer/1)
    Json,
}

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub output: Output,
    /// Count the command alone, without what it forks
    #[arg(long)]
    pub no_children: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Args, Debug)]
pub struct Doctor {
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// One line: can copies be counted here?
    #[arg(long)]
    pub quick: bool,
    /// Also list the call sites of every copy function, with what covers them
    #[arg(long)]
    pub sites: bool,
}

#[derive(Args, Debug)]
pub struct Probes {
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Args, Debug)]
pub struct Audit {
    /// Process to audit
    #[arg(long, short, value_name = "PID", value_parser = crate::target::parse_pid, allow_hyphen_values = true)]
    pub pid: u32,
    /// How long, over all rounds of four breakpoints
    #[arg(long, value_parser = parse_duration, value_name = "TIME", default_value = "10s")]
    pub duration: Duration,
    /// Only these copy functions, up to four, in one round (default: all, in rounds of four)
    #[arg(long, value_name = "FUNCTION")]
    pub primitive: Vec<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `10s`, `500ms`, `2m`; more than nothing, at most a year.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error} (write 10s, 500ms or 2m)"))?;
    if duration < Duration::from_millis(1) {
        return Err("must be more than 0, or nothing can be counted".into());
    }
    if duration > Duration::from_secs(366 * 24 * 3600) {
        return Err("must be at most a year".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_description_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        for bad in ["0", "0s", "-1s", "10", "ten", "", "100000000h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_pid_needs_no_command() {
        let cli = Cli::try_parse_from(["tracer", "--pid", "1234"]).expect("valid");
        assert_eq!(cli.live.select.pid, [1234]);
        assert!(Cli::try_parse_from(["tracer", "--pid", "-1"]).is_err());
        assert!(Cli::try_parse_from(["tracer", "run"]).is_err());
    }
}
