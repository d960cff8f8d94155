//! Reading maps of a policy: every key known, every mistake noted with its line.

use super::node::{self, Entry, Kind, Node, Value};
use super::problem::{Problem, unknown};
use crate::fmt::human;

/// A file's content as `read` makes it from the YAML, or everything that is wrong with it in the order of lines.
pub fn parse<T>(
    content: &[u8],
    kind: &Kind,
    read: impl FnOnce(&Node, &mut Problems) -> Option<T>,
) -> Result<T, Vec<Problem>> {
    let root = node::parse(content, kind).map_err(|problem| vec![problem])?;
    let mut problems = Problems::default();
    match read(&root, &mut problems) {
        Some(value) if problems.0.is_empty() => Ok(value),
        _ => {
            problems.0.sort_by_key(|problem| problem.line);
            Err(problems.0)
        }
    }
}

/// The mistakes found so far. All of them are shown, not only the first.
#[derive(Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub fn add(&mut self, line: usize, text: impl Into<String>) {
        self.0.push(Problem::at(line, text));
    }

    /// A value, or a note of what is wrong with it.
    pub fn check<T>(&mut self, line: usize, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.add(line, format!("{key}: {text}"))).ok()
    }
}

/// One map, whose keys are taken one by one; what is left over is unknown.
pub struct Map<'a> {
    what: &'a str,
    pub line: usize,
    entries: Vec<&'a Entry>,
}

impl<'a> Map<'a> {
    /// Notes if the node is no map, or has keys that are not in `known`.
    pub fn of(node: &'a Node, what: &'a str, known: &[&str], problems: &mut Problems) -> Option<Map<'a>> {
        let Value::Map(entries) = &node.value else {
            problems.add(node.line, format!("{what} must be a map (key: value), not {}", node.kind()));
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            problems.add(entry.line, unknown(&format!("key in {what}:"), &entry.key, known));
        }
        Some(Map { what, line: node.line, entries: entries.iter().collect() })
    }

    pub fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key).copied()
    }

    /// Notes any `version` but 1, the only one there is.
    pub fn version_1(&self, problems: &mut Problems) {
        if let Some((line, version)) = self.needed("version", problems)
            && version != "1"
        {
            let version = human::label(version, 20);
            problems.add(line, format!("version {version} is not known: this tracer reads version 1"));
        }
    }

    /// The text of a scalar; a list, a map or nothing is a mistake.
    pub fn text(&self, key: &str, problems: &mut Problems) -> Option<(usize, &'a str)> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Scalar { text, .. } if !entry.node.is_null() => Some((entry.node.line, text)),
            _ => {
                let text = format!("{key} must be one value, not {}", entry.node.kind());
                problems.add(entry.line, text);
                None
            }
        }
    }

    /// As `text`; its absence is a mistake too.
    pub fn needed(&self, key: &str, problems: &mut Problems) -> Option<(usize, &'a str)> {
        if self.entry(key).is_none() {
            problems.add(self.line, format!("{} needs `{key}`", self.what));
        }
        self.text(key, problems)
    }

    pub fn parsed<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        problems: &mut Problems,
    ) -> Option<T> {
        let (line, text) = self.text(key, problems)?;
        problems.check(line, key, parse(text))
    }

    /// One of some words, by its index.
    pub fn word(&self, key: &str, words: &[&str], problems: &mut Problems) -> Option<usize> {
        self.parsed(key, |text| index_of(key, text, words), problems)
    }

    pub fn flag(&self, key: &str, problems: &mut Problems) -> Option<bool> {
        self.parsed(key, flag, problems)
    }

    /// The items of a list.
    pub fn list(&self, key: &str, problems: &mut Problems) -> Option<&'a [Node]> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::List(nodes) => Some(nodes),
            _ => {
                problems.add(entry.line, format!("{key} must be a list, not {}", entry.node.kind()));
                None
            }
        }
    }
}

fn index_of(key: &str, text: &str, words: &[&str]) -> Result<usize, String> {
    words.iter().position(|word| *word == text).ok_or_else(|| unknown(key, text, words))
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{}` is neither true nor false", human::label(text, 40))),
    }
}
