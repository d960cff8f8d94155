//! YAML as a tree in which every node knows its line.
//!
//! Policies and configurations need maps, lists and scalars. Whatever else YAML has (anchors, aliases, tags, several
//! documents, maps as keys) is refused, which also leaves nothing that could explode.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::Problem;
use crate::fmt::human;

/// What is read, for messages.
pub struct Kind {
    /// `a policy`.
    pub noun: &'static str,
    /// What it has at least.
    pub least: &'static str,
}

/// Far more than anybody writes.
const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 16;
const MAX_NODES: usize = 5_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// As written; `plain` if without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub line: usize,
    pub node: Node,
}

impl Node {
    /// `a list`, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, plain: true } if is_null(text) => "nothing",
            Value::Scalar { .. } => "one value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// True for `key:` with nothing behind it.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if is_null(text))
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads one document.
pub fn parse(bytes: &[u8], kind: &Kind) -> Result<Node, Problem> {
    let noun = kind.noun;
    if bytes.len() > MAX_BYTES {
        let most = human::bytes(MAX_BYTES as u64);
        return Err(Problem::whole(format!("larger than {most}: not {noun}")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        Problem::at(line, "not UTF-8 text: save the file as UTF-8")
    })?;
    let mut builder = Builder { noun, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let text = format!("not YAML: {}", human::escape(error.info()));
                return Err(Problem::at(error.marker().line(), text));
            }
        }
    }
    builder.root.ok_or_else(|| Problem::whole(format!("empty: {noun} has at least {}", kind.least)))
}

/// A list or map that is not closed yet.
struct Open {
    line: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, usize)> },
}

#[derive(Default)]
struct Builder {
    noun: &'static str,
    stack: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Builder {
    fn take(&mut self, event: Event, span: Span) -> Result<(), Problem> {
        let line = span.start.line();
        match event {
            Event::Alias(_) => Err(Problem::at(line, "aliases (*name) are not supported: repeat the value")),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                Err(Problem::at(line, "anchors (&name) are not supported: repeat the value"))
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                Err(Problem::at(line, "tags (!name) are not supported: write the plain value"))
            }
            Event::DocumentStart(_) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err(Problem::at(line, format!("a second document: {} is one document", self.noun))),
                }
            }
            Event::Scalar(text, style, ..) => self.scalar(text.into_owned(), style, line),
            Event::SequenceStart(..) => self.open(line, OpenKind::List(Vec::new())),
            Event::MappingStart(..) => self.open(line, OpenKind::Map { entries: Vec::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, line: usize) -> Result<(), Problem> {
        if let Some(Open { kind: OpenKind::Map { entries, key: key @ None }, .. }) = self.stack.last_mut() {
            if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                let text = human::label(&text, 60);
                let text = format!("`{text}` is here a second time; the first is in line {}", first.line);
                return Err(Problem::at(line, text));
            }
            *key = Some((text, line));
            return Ok(());
        }
        let plain = style == ScalarStyle::Plain;
        self.add(Node { line, value: Value::Scalar { text, plain } })
    }

    fn open(&mut self, line: usize, kind: OpenKind) -> Result<(), Problem> {
        if let Some(Open { kind: OpenKind::Map { key: None, .. }, .. }) = self.stack.last() {
            return Err(Problem::at(line, "a list or map as a key: keys are words"));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(Problem::at(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.stack.push(Open { line, kind });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        // The parser balances its events.
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let value = match open.kind {
            OpenKind::List(nodes) => Value::List(nodes),
            OpenKind::Map { entries, .. } => Value::Map(entries),
        };
        self.add(Node { line: open.line, value })
    }

    fn add(&mut self, node: Node) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Problem::at(node.line, format!("more than {MAX_NODES} values: not {}", self.noun)));
        }
        match self.stack.last_mut().map(|open| &mut open.kind) {
            None if node.is_null() => {}
            None => self.root = Some(node),
            Some(OpenKind::List(nodes)) => nodes.push(node),
            Some(OpenKind::Map { entries, key }) => {
                if let Some((key, line)) = key.take() {
                    entries.push(Entry { key, line, node });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { noun: "a policy", least: "`version`" };

    fn refused(text: &str) -> (Option<usize>, String) {
        let problem = parse(text.as_bytes(), &KIND).expect_err(text);
        (problem.line, problem.text)
    }

    #[test]
    fn every_node_has_its_line() {
        let root = parse(b"# comment\na: 1\nb:\n  - {c: '2'}\n  - x\n", &KIND).expect("valid");
        let Value::Map(entries) = &root.value else { panic!("{root:?}") };
        let lines: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.line, e.node.line)).collect();
        assert_eq!(lines, [("a", 2, 2), ("b", 3, 4)]);
        let Value::List(items) = &entries[1].node.value else { panic!() };
        assert_eq!(items.iter().map(|node| node.line).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn what_a_policy_does_not_need_is_refused() {
        let cases = [
            ("a: &x 1\n", 1, "anchors"),
            ("a: [&x [1]]\nb: *x\n", 1, "anchors"),
            ("a: !!str 1\n", 1, "tags"),
            ("a: 1\n---\nb: 1\n", 2, "second document"),
            ("a: 1\nb: 2\na: 3\n", 3, "second time; the first is in line 1"),
            ("? [a]\n: 1\n", 1, "as a key"),
            ("a: [1\nb: 2\n", 0, "not YAML"),
            ("a: \"x\n", 0, "not YAML"),
        ];
        for (text, line, message) in cases {
            let (found, said) = refused(text);
            assert!(said.contains(message), "{text}: {said}");
            assert!(line == 0 || found == Some(line), "{text}: line {found:?}");
        }
    }

    #[test]
    fn hostile_sizes() {
        assert!(refused("").1.contains("empty"));
        assert!(refused("# only a comment\n").1.contains("empty"));
        assert!(refused("~").1.contains("empty"));
        assert!(refused(&"a".repeat(MAX_BYTES + 1)).1.contains("larger"));
        assert!(parse(b"a: 1\nb: \xff\n", &KIND).expect_err("bytes").line == Some(2));
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
            for depth in [17, 300, 20_000] {
                let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                assert!(parse(text.as_bytes(), &KIND).is_err(), "{open} x {depth}");
            }
        }
        let many = format!("[{}]", "1,".repeat(MAX_NODES + 1));
        assert!(refused(&many).1.contains("more than"));
    }
}
