//! Who a process is, whom to count by name, and which labels that gives.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::cgroup;
use super::pattern::Pattern;
use crate::fmt::human;
use crate::fmt::rfc3339;
use crate::output::prometheus::{Labels, label_text, labels};

/// A process as it is known when it is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Who {
    pub pid: u32,
    pub start_time: Option<SystemTime>,
    pub comm: String,
    /// Empty if it cannot be read: another user's, or the process has ended.
    pub exe: String,
    pub cgroup: String,
}

impl Who {
    /// Of `tracer_process_info`.
    pub fn labels(&self) -> Labels {
        labels([
            ("pid", &self.pid.to_string()),
            ("comm", &human::escape(&self.comm)),
            ("start_time", &self.start_time.and_then(rfc3339).unwrap_or_default()),
            ("exe", &human::escape(&self.exe)),
            ("cgroup", &human::escape(&self.cgroup)),
        ])
    }
}

/// What series are told apart by.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, clap::ValueEnum, Serialize, Deserialize,
)]
pub enum Dimension {
    /// Process id, with the time of its start: a pid that is used again is another series
    Pid,
    /// Name of the process, as in /proc/PID/comm
    Comm,
    /// Path of its cgroup (v2)
    Cgroup,
    /// The innermost systemd unit (*.service, *.scope)
    Unit,
    /// Id of the innermost container
    Container,
    /// Uid of the Kubernetes pod
    Pod,
}

impl Dimension {
    pub const NAMES: [&str; 6] = ["pid", "comm", "cgroup", "unit", "container", "pod"];
    const ALL: [Dimension; 6] = [
        Dimension::Pid,
        Dimension::Comm,
        Dimension::Cgroup,
        Dimension::Unit,
        Dimension::Container,
        Dimension::Pod,
    ];

    pub fn parse(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        Self::ALL.get(at).copied()
    }

    fn labels(self) -> &'static [&'static str] {
        match self {
            Dimension::Pid => &["pid", "start_time"],
            Dimension::Comm => &["comm"],
            Dimension::Cgroup => &["cgroup"],
            Dimension::Unit => &["unit"],
            Dimension::Container => &["container"],
            Dimension::Pod => &["pod_uid"],
        }
    }

    fn of(self, who: &Who, key: &mut Vec<String>) {
        let shown = |text: &str| human::escape(text).into_owned();
        key.push(match self {
            Dimension::Pid => who.pid.to_string(),
            Dimension::Comm => shown(&who.comm),
            Dimension::Cgroup => shown(&who.cgroup),
            Dimension::Unit => shown(cgroup::unit(&who.cgroup)),
            Dimension::Container => cgroup::container(&who.cgroup).to_owned(),
            Dimension::Pod => cgroup::pod(&who.cgroup).unwrap_or_default(),
        });
        if self == Dimension::Pid {
            key.push(who.start_time.and_then(rfc3339).unwrap_or_default());
        }
    }
}

/// The values of a group's labels, in the order of [`GroupBy::labels`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Key(pub Vec<String>);

/// Groups that are no processes' own: every label says which.
pub const OVERFLOW: &str = "overflow";
pub const ENDED: &str = "ended";
pub const UNSELECTED: &str = "unselected";
pub const UNATTRIBUTED: &str = "unattributed";

/// The dimensions, each at most once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupBy(Vec<Dimension>);

impl Default for GroupBy {
    fn default() -> Self {
        GroupBy(vec![Dimension::Pid, Dimension::Comm])
    }
}

impl GroupBy {
    pub fn new(dimensions: &[Dimension]) -> Self {
        let mut dimensions = dimensions.to_vec();
        dimensions.sort_unstable();
        dimensions.dedup();
        GroupBy(dimensions)
    }

    pub fn by_pid(&self) -> bool {
        self.0.first() == Some(&Dimension::Pid)
    }

    pub fn labels(&self) -> Vec<&'static str> {
        self.0.iter().flat_map(|dimension| dimension.labels()).copied().collect()
    }

    /// The labels of a group, as a page has them before others.
    pub fn text(&self, key: &Key) -> String {
        label_text(self.labels().into_iter().zip(key.0.iter().map(String::as_str))) + ","
    }

    pub fn key(&self, who: &Who) -> Key {
        let mut key = Vec::with_capacity(self.0.len() + 1);
        self.0.iter().for_each(|dimension| dimension.of(who, &mut key));
        Key(key)
    }

    /// Of a group with a name of its own. It has no start time.
    pub fn special(&self, name: &str) -> Key {
        self.named(name, name)
    }

    /// What no process owns; by comm it tells softirqs from kernel threads.
    pub fn unattributed(&self, comm: &str) -> Key {
        self.named(UNATTRIBUTED, comm)
    }

    fn named(&self, name: &str, comm: &str) -> Key {
        let value = |label: &str| match label {
            "start_time" => "",
            "comm" => comm,
            _ => name,
        };
        Key(self.labels().into_iter().map(|label| value(label).to_owned()).collect())
    }

    /// Where an ended process's counts go: they lose its pid, and keep what else tells it.
    pub fn ended(&self, key: &Key) -> Key {
        let mut ended = key.clone();
        if self.by_pid() {
            ended.0[0] = ENDED.to_owned();
            ended.0[1].clear();
        }
        ended
    }
}

/// Which processes have groups of their own. Of each kind that has patterns one must match.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Select {
    pub pids: Vec<u32>,
    pub comm: Vec<Pattern>,
    pub exe: Vec<Pattern>,
    pub cgroup: Vec<Pattern>,
    pub unit: Vec<Pattern>,
    pub container: Vec<Pattern>,
}

impl Select {
    pub fn takes(&self, who: &Who) -> bool {
        let any = |patterns: &[Pattern], name: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
        };
        (self.pids.is_empty() || self.pids.contains(&who.pid))
            && any(&self.comm, &who.comm)
            && any(&self.exe, &who.exe)
            && any(&self.cgroup, &who.cgroup)
            && any(&self.unit, cgroup::unit(&who.cgroup))
            && any(&self.container, cgroup::container(&who.cgroup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Who {
        let cgroup = "/system.slice/nginx.service".to_owned();
        Who { pid: 7, start_time: None, comm: "a\n\"b".into(), exe: "/usr/bin/x".into(), cgroup }
    }

    #[test]
    fn keys_are_escaped_and_in_order() {
        let by = GroupBy::new(&[Dimension::Unit, Dimension::Comm, Dimension::Pid, Dimension::Comm]);
        assert_eq!(by.labels(), ["pid", "start_time", "comm", "unit"]);
        assert_eq!(by.key(&who()).0, ["7", "", "a\\n\"b", "nginx.service"]);
        assert_eq!(by.special(OVERFLOW).0, ["overflow", "", "overflow", "overflow"]);
        assert_eq!(by.unattributed("softirq").0, ["unattributed", "", "softirq", "unattributed"]);
        assert_eq!(by.ended(&by.key(&who())).0, ["ended", "", "a\\n\"b", "nginx.service"]);
        let comm = GroupBy::new(&[Dimension::Comm]);
        assert_eq!(comm.ended(&comm.key(&who())), comm.key(&who()));
    }

    #[test]
    fn every_kind_must_match_and_of_each_one_pattern() {
        let patterns = |texts: &[&str]| texts.iter().map(|t| Pattern::parse(t).expect("valid")).collect();
        let mut select = Select::default();
        assert!(select.takes(&who()));
        select.unit = patterns(&["haproxy*", "nginx*"]);
        assert!(select.takes(&who()));
        select.pids = vec![8];
        assert!(!select.takes(&who()));
        select.pids = vec![8, 7];
        select.container = patterns(&["*"]);
        assert!(select.takes(&who()));
        select.container = patterns(&["?*"]);
        assert!(!select.takes(&who()));
    }

    #[test]
    fn names_of_dimensions() {
        for name in Dimension::NAMES {
            let dimension = Dimension::parse(name).expect("known");
            let value = clap::ValueEnum::to_possible_value(&dimension).expect("shown");
            assert_eq!(value.get_name(), name);
        }
        assert_eq!(Dimension::parse("exe"), None);
    }
}
