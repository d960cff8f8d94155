//! Pages of machines with more processes than the recorded one: its processes, again and again, with pids and names
//! of their own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

/// Processes that have a name in common.
const PER_NAME: usize = 7;
/// What kubelets allow by default.
pub const PODS: usize = 110;
/// systemd units of a busy machine that have processes.
pub const UNITS: usize = 80;

/// What series are told apart by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    PidComm,
    Comm,
    Unit,
    CommPod,
    Pod,
}

impl By {
    pub const ALL: [By; 5] = [By::PidComm, By::CommPod, By::Comm, By::Pod, By::Unit];

    /// As `--group-by` has it.
    pub fn name(self) -> &'static str {
        match self {
            By::PidComm => "pid,comm",
            By::Comm => "comm",
            By::Unit => "unit",
            By::CommPod => "comm,pod",
            By::Pod => "pod",
        }
    }
}

/// A page that was recorded with `--group-by pid,comm`.
pub struct Recorded {
    /// `# HELP` and `# TYPE` of each metric, in the order of the page.
    heads: Vec<(String, String)>,
    /// Series of no process, by metric.
    own: Vec<(String, String)>,
    /// Series of each process.
    processes: Vec<Vec<Series>>,
}

struct Series {
    metric: String,
    /// Without what says whose it is.
    rest: Vec<(String, String)>,
    value: f64,
}

impl Recorded {
    pub fn parse(page: &str) -> Result<Recorded> {
        let mut heads: Vec<(String, String)> = Vec::new();
        let (mut own, mut processes) = (Vec::new(), BTreeMap::<String, Vec<Series>>::new());
        for line in page.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let name = comment.split(' ').nth(1).context("a comment without a name")?.to_owned();
                match heads.last_mut().filter(|(last, _)| *last == name) {
                    Some((_, text)) => *text += &format!("{line}\n"),
                    None => heads.push((name, format!("{line}\n"))),
                }
                continue;
            }
            let (metric, labels, value) = split(line).with_context(|| format!("no sample: {line}"))?;
            let pid = labels.iter().find(|(name, _)| name == "pid").map(|(_, pid)| pid.clone());
            match pid.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())) {
                None => own.push((metric.to_owned(), format!("{line}\n"))),
                Some(pid) => {
                    let rest =
                        labels.into_iter().filter(|(name, _)| !WHOSE.contains(&name.as_str())).collect();
                    let series = Series { metric: metric.to_owned(), rest, value };
                    processes.entry(pid).or_default().push(series);
                }
            }
        }
        ensure!(processes.len() > 10, "only {} processes are on the recorded page", processes.len());
        Ok(Recorded { heads, own, processes: processes.into_values().collect() })
    }

    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// The page of a machine with so many processes.
    pub fn page(&self, count: usize, by: By) -> String {
        let mut sums: BTreeMap<&str, BTreeMap<String, f64>> = BTreeMap::new();
        for i in 0..count {
            let who = who(i, count, by);
            for series in &self.processes[i % self.processes.len()] {
                let is_info = series.metric == "tracer_process_info";
                if is_info && by != By::PidComm {
                    continue;
                }
                let labels = labels(&who, &series.rest);
                // Machines do not count in step.
                let value = if is_info { 1.0 } else { (series.value * (0.5 + spread(i))).floor() };
                *sums.entry(&series.metric).or_default().entry(labels).or_default() += value;
            }
        }
        let mut page = String::new();
        for (metric, head) in &self.heads {
            // Only grouped by pid do ended processes have series of their own.
            let there = |line: &str| by == By::PidComm || !line.contains("{pid=\"ended\"");
            let own = self
                .own
                .iter()
                .filter(|(name, line)| is_of(name, metric) && there(line))
                .map(|(_, line)| line.clone());
            let summed = sums.get(metric.as_str()).into_iter().flatten();
            let lines: BTreeSet<String> =
                own.chain(summed.map(|(labels, value)| format!("{metric}{{{labels}}} {value}\n"))).collect();
            page += head;
            page.extend(lines);
        }
        page
    }
}

/// Labels that a clone gets anew.
const WHOSE: [&str; 3] = ["pid", "start_time", "comm"];

/// A sample's metric may have the ending of a histogram's part.
fn is_of(sample: &str, metric: &str) -> bool {
    sample.strip_prefix(metric).is_some_and(|ending| ["", "_bucket", "_sum", "_count"].contains(&ending))
}

fn labels(who: &[(&str, String)], rest: &[(String, String)]) -> String {
    let own = who.iter().map(|(name, value)| format!("{name}=\"{value}\""));
    let rest = rest.iter().map(|(name, value)| format!("{name}=\"{value}\""));
    own.chain(rest).collect::<Vec<_>>().join(",")
}

/// The labels of the i-th process. Neighbours are in the same pod and unit, as processes that were started together.
fn who(i: usize, count: usize, by: By) -> Vec<(&'static str, String)> {
    let comm = || {
        (
            "comm",
            format!(
                "{}-{}",
                NAMES[i % NAMES.len()],
                i / NAMES.len() % (count / PER_NAME / NAMES.len()).max(1)
            ),
        )
    };
    let pod = || {
        let number = i * PODS / count;
        (
            "pod_uid",
            format!(
                "{:08x}-1a2b-4c5d-8e9f-{:012x}",
                2_654_435_761_u64.wrapping_mul(number as u64 + 1) as u32,
                number
            ),
        )
    };
    match by {
        By::PidComm => {
            // Not in steps that would compress.
            let pid = 300 + i * 31 + (spread(i) * 29.0) as usize;
            let (minute, milli) = (i * 60 / count, (spread(i) * 59_999.0) as usize);
            let start = format!("2026-11-22T09:{minute:02}:{:02}.{:03}Z", milli / 1000, milli % 1000);
            vec![("pid", pid.to_string()), ("start_time", start), comm()]
        }
        By::Comm => vec![comm()],
        By::Unit => vec![("unit", format!("unit-{}.service", i * UNITS / count))],
        By::CommPod => vec![comm(), pod()],
        By::Pod => vec![pod()],
    }
}

const NAMES: [&str; 24] = [
    "nginx",
    "haproxy",
    "postgres",
    "redis",
    "java",
    "node",
    "python3",
    "sshd",
    "journald",
    "cron",
    "dockerd",
    "kubelet",
    "etcd",
    "envoy",
    "rsyslogd",
    "chronyd",
    "mysqld",
    "memcached",
    "rabbitmq",
    "consul",
    "php-fpm",
    "gunicorn",
    "beam.smp",
    "clickhouse",
];

/// Between 0 and 1, the same for the same number.
fn spread(i: usize) -> f64 {
    let mixed = (i as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

type Labels = Vec<(String, String)>;

/// Metric, labels as they are written, value. Of a page that tracer wrote: nothing else is expected.
fn split(line: &str) -> Option<(&str, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((metric, labels)) = series.split_once('{') else { return Some((series, Vec::new(), value)) };
    let mut rest = labels.strip_suffix('}')?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let mut escaped = false;
        let end = after.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        found.push((name.to_owned(), after[..end].to_owned()));
        rest = after[end + 1..].strip_prefix(',').unwrap_or("");
    }
    Some((metric, found, value))
}

/// Number of samples on a page.
pub fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Recorded {
        let mut page =
            String::from("# HELP a_total x\n# TYPE a_total counter\na_total{pid=\"ended\",comm=\"z\"} 1\n");
        for pid in 1..=20 {
            page += &format!(
                "a_total{{pid=\"{pid}\",start_time=\"t\",comm=\"q\\\"}}\",path=\"read\"}} {pid}00\n"
            );
        }
        page += "# HELP b x\n# TYPE b gauge\nb 5\n";
        Recorded::parse(&page).unwrap()
    }

    #[test]
    fn clones_are_series_of_their_own() {
        let recorded = recorded();
        assert_eq!(recorded.processes(), 20);
        assert_eq!(series(&recorded.page(1000, By::PidComm)), 1000 + 2);
        assert_eq!(series(&recorded.page(1000, By::Pod)), PODS + 1);
        assert_eq!(series(&recorded.page(1000, By::Unit)), UNITS + 1);
        let names = series(&recorded.page(1000, By::Comm)) - 1;
        assert!((100..200).contains(&names), "{names}");
    }

    #[test]
    fn groups_have_what_their_processes_have() {
        let recorded = recorded();
        let sum = |by| -> f64 {
            let page = recorded.page(500, by);
            page.lines()
                .filter_map(split)
                .filter(|(metric, labels, _)| *metric == "a_total" && labels[0].1 != "ended")
                .map(|(.., value)| value)
                .sum()
        };
        assert!(By::ALL.into_iter().all(|by| sum(by) == sum(By::PidComm)));
    }
}
