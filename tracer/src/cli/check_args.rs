//! The command line of `check` and its family.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::check::report::Format as ReportFormat;
use crate::cli::{Format, parse_duration};
use crate::model::attach::Attach;

/// Judge a window against a policy
#[derive(Args, Debug)]
pub struct Check {
    /// The policy (YAML); docs/check.md explains it, `tracer policy init` writes one
    pub policy: PathBuf,
    /// Judge this saved window instead of running anything; needs no privilege. Repeatable: all must hold
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pid", "duration", "timeout", "attach", "save", "command"])]
    pub input: Vec<PathBuf>,
    /// Also write a report: json, junit, markdown or github, and a file (- is stdout). Repeatable
    #[arg(long = "report", value_name = "FORMAT=FILE", value_parser = parse_report)]
    pub reports: Vec<ReportTo>,
    /// Save the windows here, as `tracer record` does
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    pub trial: TrialArgs,
}

/// What runs, and what is counted of it
#[derive(Args, Debug)]
pub struct TrialArgs {
    /// Count this process, which runs already, in place of the policy's target. Repeatable
    #[arg(long, short, value_name = "PID", value_parser = crate::kernel::process::parse_pid, allow_hyphen_values = true)]
    pub pid: Vec<u32>,
    /// End each window after this time, in place of the policy's `window.duration`
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// End everything after this time
    #[arg(long, value_parser = parse_duration, value_name = "TIME", default_value = "10m")]
    pub timeout: Duration,
    /// How to attach to the kernel
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    pub attach: Attach,
    /// The target; with processes that run already, the driver
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Save a window to a file
#[derive(Args, Debug)]
pub struct Record {
    /// Where to (- is stdout)
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Run target, driver and windows of this policy
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Without the built-in workload that shows that this kernel counts right
    #[arg(long)]
    pub no_calibrate: bool,
    #[command(flatten)]
    pub trial: TrialArgs,
}

/// Compare two saved windows, path by path
#[derive(Args, Debug)]
pub struct Diff {
    pub before: PathBuf,
    pub after: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Args, Debug)]
pub struct Policy {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Write a commented policy whose limits come from a run of your own program
    Init(PolicyInit),
}

#[derive(Args, Debug)]
pub struct PolicyInit {
    /// Where to (- is stdout); an existing file is left alone
    #[arg(long, short, value_name = "FILE", default_value = "tracer-policy.yaml")]
    pub output: PathBuf,
    /// Take the limits from this saved window, instead of running anything
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pid", "duration", "timeout", "attach", "driver"])]
    pub input: Option<PathBuf>,
    /// What makes the target work, as one word list: --driver './load.sh 64MiB'
    #[arg(long, value_name = "CMD")]
    pub driver: Option<String>,
    #[command(flatten)]
    pub trial: TrialArgs,
}

/// `junit=report.xml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTo {
    pub format: ReportFormat,
    pub file: PathBuf,
}

fn parse_report(text: &str) -> Result<ReportTo, String> {
    let known = ReportFormat::NAMES.join(", ");
    let (format, file) =
        text.split_once('=').ok_or_else(|| format!("write FORMAT=FILE; formats are {known}"))?;
    let format =
        ReportFormat::named(format).ok_or_else(|| format!("no format `{format}`; there are {known}"))?;
    if file.is_empty() {
        return Err("the file is missing: write FORMAT=FILE, or FORMAT=- for stdout".to_owned());
    }
    Ok(ReportTo { format, file: file.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn check(arguments: &[&str]) -> Result<Check, clap::Error> {
        let all = ["tracer", "check"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Some(Command::Check(check)) => Ok(check),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_check() {
        let parsed =
            check(&["p.yaml", "--report", "junit=a=b.xml", "--report", "github=-", "--", "./srv", "--x"]);
        let parsed = parsed.expect("valid");
        assert_eq!(parsed.trial.command, ["./srv", "--x"]);
        assert_eq!(parsed.reports[0], ReportTo { format: ReportFormat::Junit, file: "a=b.xml".into() });
        assert_eq!(parsed.trial.timeout, Duration::from_secs(600));
    }

    #[test]
    fn what_does_not_go_together() {
        for bad in [
            &["p.yaml", "--input", "a.json", "--pid", "1"][..],
            &["p.yaml", "--input", "a.json", "--", "./srv"],
            &["p.yaml", "--input", "a.json", "--timeout", "1s"],
            &["p.yaml", "--report", "xml=x"],
            &["p.yaml", "--report", "junit"],
            &["p.yaml", "--report", "junit="],
            &["p.yaml", "--timeout", "0"],
            &["p.yaml", "--inconclusive-is", "pass"],
            &["p.yaml", "./srv"],
            &[],
        ] {
            let error = check(bad).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }
}
