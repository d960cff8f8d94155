//! The command line: one description, from which help, man page and completions follow.

pub mod check_args;
pub mod commands;
pub mod serve_args;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::attach::Attach;

/// How often did the CPU copy each byte that a Linux process moved, and how often did the process cross
/// the user/kernel boundary to move it?
///
/// `sudo tracer --pid PID` counts a process that runs already, with all its threads; `sudo tracer run -- CMD`
/// starts one. Exit status without a command: 0; 1 if nothing can be counted; 2 for wrong usage.
#[derive(Parser, Debug)]
#[command(
    name = "tracer",
    version,
    long_version = LONG_VERSION,
    override_usage = "tracer --pid PID [OPTIONS]\n       tracer COMMAND",
    args_conflicts_with_subcommands = true,
    after_long_help = SEES,
    after_help = "`tracer --help` tells what is traced, by which probes, and what cannot be seen."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub live: Live,
}

const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nbuilt by rustc ",
    env!("TRACER_RUST_VERSION"),
    " for ",
    env!("TRACER_TARGET")
);

// Paragraphs are single lines: the terminal's width breaks them.
const SEES: &str = "\
What is traced: the system calls of the process, what the kernel copies for it, its page faults, interrupts \
and context switches, by BPF programs that count inside the kernel. Nothing is recorded but sums.

By which probes: copies by fexit, fentry or kprobes on the functions around the kernel's copy functions, on the \
hardened-usercopy check, and on the call instructions that neither covers; payload and system calls by the \
raw tracepoint sys_exit; page faults by page_fault_user; context switches by sched_switch. \
`tracer probes` lists them all, `tracer doctor` tries each on this kernel.

What cannot be seen: copies of structures of constant size (stat, timespec, addresses of fixed length), which \
`tracer audit` measures; copies that a program makes in its own memory; plain memcpy inside the kernel (packet \
headers, some drivers, loop and dm devices); what devices move by themselves (DMA is no copy). What this kernel \
does not let tracer observe is said first and left out, never shown as 0.";

const SEES_RUN: &str = "\
What is traced, by which probes, and what cannot be seen: as with `tracer --pid`, see `tracer --help`. Counting \
begins at the command's exec, and what runs before it in the new process is not counted.";

const SEES_DOCTOR: &str = "\
What it does: attaches every probe of `tracer probes` by the first way that works, counts nothing, and detaches. \
For a probe that does not attach it tells the kernel's reason and what would help. Then it reads the kernel's \
live text (/proc/kcore), finds every call of a copy function, and says which probe covers it.

What it cannot see: whether an attached probe counts right. `tracer audit` measures that.";

const SEES_AUDIT: &str = "\
What is traced: the copies of one process, twice: by the probes of `tracer probes`, and by hardware breakpoints \
on the copy functions themselves, four at a time, because a CPU has four. What the breakpoints saw and the \
probes did not is the residual, by function and direction.

What it cannot see: copies that the compiler put in line (single values). A breakpoint sees what a copy was \
asked for, so a copy that is tried again counts twice there. Each round sees only its own part of the time.";

const SEES_PROBES: &str = "\
The table is that of all kernels, and nothing is asked of this one: `tracer doctor` tells what works here.";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start a command and count it, and what it forks, from its exec on
    ///
    /// The total goes to standard error when the command ends. Exit status: the command's own (128+n for
    /// signal n); 125 tracer failed, 126 the command cannot be executed, 127 it was not found; 2 for wrong
    /// usage.
    #[command(after_long_help = SEES_RUN, override_usage = "tracer run [OPTIONS] -- CMD [ARGS]...")]
    Run(Run),
    /// Tell what this kernel offers: try every probe, explain every refusal, prove coverage
    ///
    /// Exit status: 0 copies can be counted, 1 they cannot, or not completely.
    #[command(after_long_help = SEES_DOCTOR)]
    Doctor(Doctor),
    /// List the probe table
    ///
    /// Exit status: 0.
    #[command(after_long_help = SEES_PROBES)]
    Probes(Probes),
    /// Check the count against hardware breakpoints on the copy functions (x86_64)
    ///
    /// Exit status: 0 no residual, 1 a residual, 2 for wrong usage, 3 could not audit.
    #[command(after_long_help = SEES_AUDIT)]
    Audit(Audit),
    /// Judge a window against a policy: is it still zero-copy?
    ///
    /// Exit status: 0 it holds, 1 it is violated, 2 wrong usage or policy, 3 inconclusive (never a pass),
    /// 4 the target or its driver failed.
    Check(check_args::Check),
    /// Save a window, to be judged or compared later
    ///
    /// Exit status: 0 saved, 2 wrong usage or policy, 3 could not count, 4 the target or its driver failed.
    Record(check_args::Record),
    /// Tell what changed between two saved windows, path by path
    ///
    /// Exit status: 0 compared, 2 wrong usage, or a file that is no saved window.
    Diff(check_args::Diff),
    /// Make a policy for `check`
    Policy(check_args::Policy),
    /// Count every process and serve Prometheus metrics: the daemon
    ///
    /// Ends at SIGTERM or SIGINT; reads its configuration again at SIGHUP, and when the file changes. Exit
    /// status: 0; 1 if nothing can be counted; 2 for wrong usage or a wrong configuration.
    Serve(serve_args::Serve),
    /// Print what a shell needs to complete tracer's options
    ///
    /// Exit status: 0; 2 for wrong usage.
    Completions(Completions),
    /// tracer's own: writes the manual pages of this version into a directory
    #[command(name = "__man", hide = true)]
    Man { directory: std::path::PathBuf },
    /// tracer's own: keeps a program that tracer started
    #[command(name = "__keep", hide = true)]
    Keep {
        #[arg(last = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// tracer's own: a workload with known copies
    #[command(name = "__calibrate", hide = true)]
    Calibrate,
}

/// Count processes that run already
#[derive(Args, Debug)]
pub struct Live {
    #[command(flatten)]
    pub select: Select,
    #[command(flatten)]
    pub output: Output,
    /// Stop after this time (10s, 500ms, 2m); else with Ctrl-C or when the last target ends
    #[arg(long, value_parser = parse_duration, value_name = "TIME", allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// Time between two blocks of output, at least 10ms
    #[arg(
        long,
        value_parser = parse_interval,
        value_name = "TIME",
        default_value = "1s",
        allow_hyphen_values = true
    )]
    pub interval: Duration,
}

#[derive(Args, Debug)]
pub struct Select {
    /// Process to count, as this pid namespace names it; all its threads. Repeatable
    #[arg(long, short, value_name = "PID", value_parser = crate::kernel::process::parse_pid, allow_hyphen_values = true)]
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

impl Select {
    /// True if no option names a process.
    pub fn is_empty(&self) -> bool {
        self.pid.is_empty() && self.comm.is_empty() && self.cgroup.is_empty()
    }
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
    #[arg(long, value_name = "ADDR", value_parser = crate::http::parse_listen)]
    pub listen: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For scripts: JSON, one object per line (schema tracer/1); the last one is the total
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
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// One line: can copies be counted here?
    #[arg(long)]
    pub quick: bool,
    /// Also list the call sites of every copy function, with what covers them
    #[arg(long)]
    pub sites: bool,
    /// Only list the calls of FUNCTION in the kernel's live text; repeatable
    #[arg(long, value_name = "FUNCTION", conflicts_with_all = ["quick", "sites", "format"])]
    pub calls_of: Vec<String>,
    /// Only compare the survey of docs/coverage.md with the kernel's live text
    #[arg(long, conflicts_with_all = ["quick", "sites", "format", "calls_of"])]
    pub survey: bool,
}

#[derive(Args, Debug)]
pub struct Probes {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub struct Audit {
    /// Process to audit
    #[arg(long, short, value_name = "PID", value_parser = crate::kernel::process::parse_pid, allow_hyphen_values = true)]
    pub pid: u32,
    /// How long, over all rounds of four breakpoints
    #[arg(
        long,
        value_parser = parse_duration,
        value_name = "TIME",
        default_value = "10s",
        allow_hyphen_values = true
    )]
    pub duration: Duration,
    /// Only these copy functions, up to four, in one round (default: all, in rounds of four)
    #[arg(long, value_name = "FUNCTION")]
    pub primitive: Vec<String>,
    /// Only the calls of memcpy and the like in this function of the survey (repeatable; `tracer doctor --survey`
    /// lists them)
    #[arg(long, value_name = "FUNCTION")]
    pub memcpy_in: Vec<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `10s`, `500ms`, `2m`; more than nothing, at most a year.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write 10s, 500ms or 2m"))?;
    if duration.is_zero() {
        return Err("must be more than 0, or nothing can be counted".into());
    }
    if duration > Duration::from_secs(366 * 24 * 3600) {
        return Err("must be at most a year".into());
    }
    Ok(duration)
}

/// As [`parse_duration`], but no shorter than anybody can read.
fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval < Duration::from_millis(10) => Err("must be at least 10ms".into()),
        interval => Ok(interval),
    }
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
    fn intervals_that_nobody_can_read() {
        assert_eq!(parse_interval("10ms"), Ok(Duration::from_millis(10)));
        for bad in ["9ms", "1ns", "0", "-1s"] {
            assert!(parse_interval(bad).is_err(), "{bad}");
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
