//! What the daemon is told: by its command line, and by a file that may change while it runs.

use super::labels::{Dimension, GroupBy, Select};
use super::pattern::Pattern;
use crate::config::node::{Kind, Node, Value};
use crate::config::problem::{Problem, unknown};
use crate::config::reader::{self, Map, Problems};
use crate::fmt::human;

/// Of groups, all metrics together: about 1,000 processes.
pub const MAX_SERIES: usize = 50_000;
/// Fewer would not hold the groups that are always there.
const LEAST_SERIES: usize = 500;

const KIND: Kind = Kind { noun: "a configuration", least: "`version`" };
const TOP: [&str; 4] = ["version", "select", "group_by", "max_series"];
const SELECT: [&str; 6] = ["pid", "comm", "exe", "cgroup", "unit", "container"];

/// What was told; what was not is `None` or empty.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Settings {
    pub select: Option<Select>,
    pub group_by: Option<GroupBy>,
    pub max_series: Option<usize>,
}

impl Settings {
    /// These, and what they leave open from `others`.
    pub fn or(self, others: Settings) -> Settings {
        Settings {
            select: self.select.or(others.select),
            group_by: self.group_by.or(others.group_by),
            max_series: self.max_series.or(others.max_series),
        }
    }

    /// Reads a configuration file's content.
    pub fn parse(content: &[u8]) -> Result<Settings, Vec<Problem>> {
        reader::parse(content, &KIND, settings)
    }
}

fn settings(root: &Node, problems: &mut Problems) -> Option<Settings> {
    let map = Map::of(root, KIND.noun, &TOP, problems)?;
    map.version_1(problems);
    Some(Settings {
        select: map.entry("select").and_then(|entry| select(&entry.node, problems)),
        group_by: map.list("group_by", problems).map(|nodes| group_by(nodes, problems)),
        max_series: map.parsed("max_series", parse_max_series, problems),
    })
}

/// A number of series that leaves room for the groups that are always there.
pub fn parse_max_series(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n >= LEAST_SERIES => Ok(n),
        _ => Err(format!("`{}` is no number of at least {LEAST_SERIES}", human::label(text, 20))),
    }
}

fn group_by(nodes: &[Node], problems: &mut Problems) -> GroupBy {
    let mut dimensions = Vec::new();
    for (line, name) in texts("group_by", nodes, problems) {
        match Dimension::parse(name) {
            Some(dimension) => dimensions.push(dimension),
            None => problems.add(line, unknown("dimension", name, &Dimension::NAMES)),
        }
    }
    if nodes.is_empty() {
        // Reported where the list is not known to have a line of its own.
        problems.0.push(Problem::whole("group_by: an empty list would leave nothing to tell series apart"));
    }
    GroupBy::new(&dimensions)
}

fn select(node: &Node, problems: &mut Problems) -> Option<Select> {
    let map = Map::of(node, "select", &SELECT, problems)?;
    let mut patterns = |key| {
        let nodes = map.list(key, problems).unwrap_or_default();
        let texts = texts(key, nodes, problems);
        let parsed = texts.into_iter().map(|(line, text)| problems.check(line, key, Pattern::parse(text)));
        parsed.collect::<Vec<_>>().into_iter().flatten().collect()
    };
    let (comm, exe, cgroup) = (patterns("comm"), patterns("exe"), patterns("cgroup"));
    let (unit, container) = (patterns("unit"), patterns("container"));
    let mut pids = Vec::new();
    for (line, text) in texts("pid", map.list("pid", problems).unwrap_or_default(), problems) {
        let pid = crate::kernel::process::parse_pid(text).map_err(|error| error.to_string());
        pids.extend(problems.check(line, "pid", pid));
    }
    Some(Select { pids, comm, exe, cgroup, unit, container })
}

fn texts<'a>(key: &str, nodes: &'a [Node], problems: &mut Problems) -> Vec<(usize, &'a str)> {
    let mut texts = Vec::new();
    for node in nodes {
        match &node.value {
            Value::Scalar { text, .. } => texts.push((node.line, text.as_str())),
            _ => problems.add(node.line, format!("{key}: each item is one value, not {}", node.kind())),
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "version: 1\nselect:\n  pid: [7]\n  comm: ['nginx*', java]\n  unit: ['*.service']\n\
        group_by: [comm, unit]\nmax_series: 1000\n";

    #[test]
    fn everything_there_is() {
        let settings = Settings::parse(FULL.as_bytes()).expect("valid");
        let select = settings.select.as_ref().expect("select");
        assert_eq!((select.pids.as_slice(), select.comm.len(), select.unit.len()), ([7].as_slice(), 2, 1));
        assert_eq!(settings.group_by, Some(GroupBy::new(&[Dimension::Comm, Dimension::Unit])));
        assert_eq!(settings.max_series, Some(1000));
        let told = Settings { max_series: Some(9), ..Settings::default() };
        let both = told.or(settings.clone());
        assert_eq!((both.max_series, both.group_by), (Some(9), settings.group_by));
        assert_eq!(Settings::parse(b"version: 1\n"), Ok(Settings::default()));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let bad = "version: 2\nselect: {comm: [''], pid: [x]}\ngroup_by: [com]\nmax_series: 3\nlisten: 1\n";
        let problems = Settings::parse(bad.as_bytes()).expect_err("bad");
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for expected in [
            "1: version 2 is not known",
            "2: comm: an empty pattern",
            "2: pid: `x` is no pid",
            "3: unknown dimension `com`; did you mean `comm`?",
            "4: max_series: `3` is no number of at least 500",
            "5: unknown key in a configuration: `listen`",
        ] {
            assert!(said.iter().any(|line| line.starts_with(expected)), "{expected}: {said:#?}");
        }
        assert!(Settings::parse(b"").expect_err("empty")[0].text.contains("a configuration has at least"));
    }

    #[test]
    fn rubbish_is_refused_and_never_a_panic() {
        let mut seed = 7u64;
        for _ in 0..2_000 {
            let mut text = FULL.as_bytes().to_vec();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (seed >> 33) as usize % text.len();
                text[at] = (seed >> 20) as u8;
            }
            let _ = Settings::parse(&text);
        }
    }
}
