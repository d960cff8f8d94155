//! The command line of `tracer serve`.

use std::path::PathBuf;

use clap::Args;

use crate::model::attach::Attach;
use crate::serve::labels::{Dimension, GroupBy, Select};
use crate::serve::pattern::Pattern;
use crate::serve::settings::{self, Settings};

const SEES: &str = "\
What is traced, by which probes, and what cannot be seen: as with `tracer --pid`, see `tracer --help`; of every \
process but the daemon itself. Kernel threads, and softirqs that work for nobody in particular, are \
`unattributed`.

Every count is in exactly one group. Special ones are `unselected` (processes that no pattern selects), `ended` \
(processes that have ended, if grouped by pid), `overflow` (what --max-series leaves no room for).

Patterns are those of shells (* and ?), for the whole name. Options given here stay as they are when the \
configuration file changes.";

#[derive(Args, Debug)]
#[command(after_long_help = SEES)]
pub struct Serve {
    /// Address to serve on; loopback unless a host is given
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:9435",
        value_parser = crate::http::parse_listen
    )]
    pub listen: String,
    /// Configuration file (YAML): select, group_by, max_series
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// TLS and passwords, in the file format of Prometheus' exporter-toolkit
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Only this process. Repeatable, as the patterns are
    #[arg(long, short, value_name = "PID", value_parser = crate::kernel::process::parse_pid, allow_hyphen_values = true)]
    pub pid: Vec<u32>,
    /// Only processes with such a name
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pub comm: Vec<Pattern>,
    /// Only processes with such an executable (needs CAP_SYS_PTRACE)
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pub exe: Vec<Pattern>,
    /// Only processes in such a cgroup (v2)
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pub cgroup: Vec<Pattern>,
    /// Only processes of such a systemd unit
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pub unit: Vec<Pattern>,
    /// Only processes of a container with such an id
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pub container: Vec<Pattern>,
    /// What series are told apart by [default: pid,comm]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub group_by: Vec<Dimension>,
    /// Most series of groups, all metrics together [default: 50000]
    #[arg(long, value_name = "N", value_parser = settings::parse_max_series)]
    pub max_series: Option<usize>,
    /// Keep maps and probes in this directory of bpffs, so that counting goes on while the daemon is down, and
    /// counters after it [default directory: /sys/fs/bpf/tracer]
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "/sys/fs/bpf/tracer"
    )]
    pub pin: Option<PathBuf>,
    /// How to attach to the kernel; every way but auto has losses, which are said
    #[arg(long, value_enum, default_value_t = Attach::Auto)]
    pub attach: Attach,
    /// Count nothing: serve this page, which was saved from /metrics, with counters that grow. Needs no privilege
    #[arg(long, value_name = "FILE", conflicts_with_all = COUNTING)]
    pub replay: Option<PathBuf>,
    /// Serve it on so many ports, from that of --listen on, as if they were so many machines
    #[arg(
        long,
        value_name = "N",
        requires = "replay",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub replay_targets: u16,
}

/// Options that say what to count, and how.
const COUNTING: [&str; 11] = [
    "config",
    "pin",
    "pid",
    "comm",
    "exe",
    "cgroup",
    "unit",
    "container",
    "group_by",
    "max_series",
    "attach",
];

impl Serve {
    /// What the command line says, which the configuration file cannot change.
    pub fn settings(&self) -> Settings {
        let select = Select {
            pids: self.pid.clone(),
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            cgroup: self.cgroup.clone(),
            unit: self.unit.clone(),
            container: self.container.clone(),
        };
        Settings {
            select: (select != Select::default()).then_some(select),
            group_by: (!self.group_by.is_empty()).then(|| GroupBy::new(&self.group_by)),
            max_series: self.max_series,
        }
    }
}
