//! From a policy file to a [`Policy`], or to everything that is wrong with it.

use super::metric::Metric;
use super::parse_assertion::assertion;
use super::policy::{Allow, Assertion, Coverage, Driver, Policy, Require, Target, What, Window};
use super::units;
use crate::config::node::{Kind, Node, Value};
use crate::config::problem::Problem;
use crate::config::reader::{self, Map, Problems};
use crate::fmt::human;

pub(super) const KIND: Kind = Kind { noun: "a policy", least: "`version` and `assertions`" };
const TOP: [&str; 7] = ["version", "target", "driver", "window", "require", "assertions", "allow"];
const TARGET: [&str; 5] = ["command", "pid", "comm", "cgroup", "children"];
const DRIVER: [&str; 1] = ["command"];
const WINDOW: [&str; 4] = ["warmup", "settle", "repeat", "duration"];
const REQUIRE: [&str; 4] = ["coverage", "missed_events", "min_payload", "calibrate"];
const ALLOW: [&str; 4] = ["what", "path", "direction", "max_bytes_per_call"];

/// More repeats than this are a typing mistake.
pub const MAX_REPEAT: u64 = 1000;

impl Policy {
    /// Reads a policy file's content. The problems are in the order of lines.
    pub fn parse(content: &[u8]) -> Result<Policy, Vec<Problem>> {
        reader::parse(content, &KIND, policy)
    }
}

fn policy(root: &Node, problems: &mut Problems) -> Option<Policy> {
    let map = Map::of(root, "a policy", &TOP, problems)?;
    map.version_1(problems);
    if map.entry("assertions").is_none() {
        problems.add(map.line, "a policy needs `assertions`: without one it would always pass");
    }
    let assertions = map.list("assertions", problems).unwrap_or_default();
    if let (Some(entry), true) = (map.entry("assertions"), assertions.is_empty())
        && matches!(entry.node.value, Value::List(_))
    {
        problems.add(entry.line, "assertions: an empty list would always pass");
    }
    let policy = Policy {
        target: map.entry("target").and_then(|entry| target(&entry.node, problems)),
        driver: map.entry("driver").and_then(|entry| driver(&entry.node, problems)),
        window: map.entry("window").map(|entry| window(&entry.node, problems)).unwrap_or_default(),
        require: map.entry("require").map(|entry| require(&entry.node, problems)).unwrap_or_default(),
        allow: map
            .list("allow", problems)
            .unwrap_or_default()
            .iter()
            .filter_map(|node| allow(node, problems))
            .collect(),
        assertions: assertions.iter().filter_map(|node| assertion(node, problems)).collect(),
    };
    same_names(&policy.assertions, problems);
    Some(policy)
}

/// Reports name assertions, so names are unique.
fn same_names(assertions: &[Assertion], problems: &mut Problems) {
    for (index, assertion) in assertions.iter().enumerate() {
        if let Some(first) = assertions[..index].iter().find(|other| other.name == assertion.name) {
            let name = human::label(&assertion.name, 60);
            let text = format!("the name `{name}` is taken by the assertion in line {}", first.line);
            problems.add(assertion.line, text);
        }
    }
}

fn target(node: &Node, problems: &mut Problems) -> Option<Target> {
    let map = Map::of(node, "target", &TARGET, problems)?;
    let given: Vec<&str> = TARGET[..4].iter().filter(|key| map.entry(key).is_some()).copied().collect();
    if given.len() != 1 {
        let found = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
        problems.add(map.line, format!("target needs one of command, pid, comm, cgroup; here is {found}"));
    }
    let children = map.flag("children", problems).unwrap_or(true);
    let what = match *given.first()? {
        "command" => What::Command(command(&map, problems)?),
        "pid" => What::Pids(pids(&map, problems)?),
        "comm" => What::Comm(map.text("comm", problems)?.1.to_owned()),
        _ => What::Cgroup(map.text("cgroup", problems)?.1.to_owned()),
    };
    Some(Target { line: map.line, what, children })
}

/// A number or a list of numbers.
fn pids(map: &Map, problems: &mut Problems) -> Option<Vec<u32>> {
    let entry = map.entry("pid")?;
    let nodes = match &entry.node.value {
        Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    let mut pids = Vec::new();
    for node in nodes {
        let result = match &node.value {
            Value::Scalar { text, .. } => {
                crate::kernel::process::parse_pid(text).map_err(|error| error.to_string())
            }
            _ => Err(format!("a pid is a number, not {}", node.kind())),
        };
        pids.extend(problems.check(node.line, "pid", result));
    }
    if nodes.is_empty() {
        problems.add(entry.line, "pid: the list is empty");
    }
    Some(pids)
}

fn driver(node: &Node, problems: &mut Problems) -> Option<Driver> {
    let map = Map::of(node, "driver", &DRIVER, problems)?;
    if map.entry("command").is_none() {
        problems.add(map.line, "driver needs `command`");
    }
    Some(Driver { line: map.line, command: command(&map, problems)? })
}

/// `command: [./server, --root, www]`.
fn command(map: &Map, problems: &mut Problems) -> Option<Vec<String>> {
    let entry = map.entry("command")?;
    let Value::List(nodes) = &entry.node.value else {
        let text =
            format!("command must be a list of words: [./server, --root, www], not {}", entry.node.kind());
        problems.add(entry.line, text);
        return None;
    };
    let mut words = Vec::new();
    for node in nodes {
        match &node.value {
            Value::Scalar { text, .. } if text.contains('\0') => {
                problems.add(node.line, "command: a word with a NUL byte cannot be an argument");
            }
            Value::Scalar { text, plain } if !(*plain && node.is_null()) => words.push(text.clone()),
            _ => problems.add(node.line, format!("command: a word is text, not {}", node.kind())),
        }
    }
    if nodes.is_empty() || words.first().is_some_and(String::is_empty) {
        problems.add(entry.line, "command: the first word must name a program");
        return None;
    }
    Some(words)
}

fn window(node: &Node, problems: &mut Problems) -> Window {
    let default = Window::default();
    let Some(map) = Map::of(node, "window", &WINDOW, problems) else { return default };
    let repeat = |text: &str| match units::count(text)? {
        n @ 1..=MAX_REPEAT => Ok(n as u32),
        n => Err(format!("{n} is not between 1 and {MAX_REPEAT}")),
    };
    let some_time = |text: &str| match units::duration(text)? {
        duration if duration.is_zero() => Err("must be more than 0, or nothing can be counted".to_owned()),
        duration => Ok(duration),
    };
    Window {
        warmup: map.parsed("warmup", units::duration, problems).unwrap_or(default.warmup),
        settle: map.parsed("settle", units::duration, problems).unwrap_or(default.settle),
        repeat: map.parsed("repeat", repeat, problems).unwrap_or(default.repeat),
        duration: map.parsed("duration", some_time, problems),
    }
}

fn require(node: &Node, problems: &mut Problems) -> Require {
    let default = Require::default();
    let Some(map) = Map::of(node, "require", &REQUIRE, problems) else { return default };
    let coverage = match map.word("coverage", &Coverage::WORDS, problems) {
        Some(1) => Coverage::Unproven,
        _ => Coverage::Complete,
    };
    Require {
        coverage,
        missed_events: map.parsed("missed_events", units::count, problems).unwrap_or(0),
        min_payload: map.parsed("min_payload", units::bytes, problems).unwrap_or(default.min_payload),
        calibrate: map.flag("calibrate", problems),
    }
}

fn allow(node: &Node, problems: &mut Problems) -> Option<Allow> {
    use super::metric::Selector;
    let map = Map::of(node, "allow", &ALLOW, problems)?;
    let what = map.needed("what", problems).map(|(_, text)| text.to_owned());
    map.needed("path", problems);
    let paths = Selector::Path.words(Metric::CopiedBytes).unwrap_or_default();
    let path = map.word("path", &paths, problems).map(|index| paths[index].to_owned());
    let directions = Selector::Direction.words(Metric::CopiedBytes).unwrap_or_default();
    let direction = map.word("direction", &directions, problems).map(|index| directions[index].to_owned());
    map.needed("max_bytes_per_call", problems);
    let most = map.parsed("max_bytes_per_call", units::bytes, problems);
    Some(Allow { line: map.line, what: what?, path: path?, direction, max_bytes_per_call: most? })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
