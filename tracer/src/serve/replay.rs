//! A saved page of metrics that goes on by itself: every counter grows by its saved value an hour.

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};

/// In this time every counter grows by what it was when it was saved.
const PERIOD: f64 = 3600.0;

/// On each page, so that what is replayed is never taken for what was counted.
const MARK: &str = "# HELP tracer_replay_info Always 1: these are no counts of this machine, but a saved page.\n\
    # TYPE tracer_replay_info gauge\ntracer_replay_info 1\n";

/// A page in Prometheus's text format 0.0.4, in pieces.
#[derive(Debug)]
pub struct Recording {
    pieces: Vec<Piece>,
    series: usize,
}

#[derive(Debug)]
enum Piece {
    /// As it stands in the file, with line breaks.
    Text(String),
    /// A counter's value; name, labels and line break stand around it.
    Counter(f64),
}

impl Recording {
    pub fn parse(page: &str) -> Result<Recording> {
        let (mut pieces, mut series) = (Vec::new(), 0);
        let mut text = String::new();
        // The family whose samples follow, if they only grow.
        let mut counter = "";
        for (number, line) in (1..).zip(page.lines()) {
            if let Some(comment) = line.strip_prefix('#') {
                if let Some((name, kind)) = declared(comment) {
                    ensure!(name != "tracer_replay_info", "line {number}: this page is a replay already");
                    counter = if matches!(kind, "counter" | "histogram") { name } else { "" };
                }
            } else if !line.trim().is_empty() {
                let Some((name, head, value)) = sample(line) else {
                    bail!("line {number} is no sample of the text format: {line:.60?}");
                };
                series += 1;
                if grows(name, counter) {
                    text.push_str(head);
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Counter(value));
                    text.push('\n');
                    continue;
                }
            }
            text.push_str(line);
            text.push('\n');
        }
        ensure!(series > 0, "there is no sample in it");
        pieces.push(Piece::Text(text));
        Ok(Recording { pieces, series })
    }

    /// Number of samples, the mark apart.
    pub fn series(&self) -> usize {
        self.series
    }

    /// The page so many seconds later.
    pub fn page(&self, seconds: f64) -> String {
        let mut page = String::from(MARK);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => page.push_str(text),
                Piece::Counter(saved) => {
                    let now = saved * (1.0 + seconds / PERIOD);
                    // What counts whole things stays whole.
                    let now = if saved.fract() == 0.0 { now.floor() } else { now };
                    // A string takes everything.
                    let _ = write!(page, "{now}");
                }
            }
        }
        page
    }
}

/// Name and type, of `# TYPE name counter`.
fn declared(comment: &str) -> Option<(&str, &str)> {
    let mut words = comment.split_whitespace();
    (words.next()? == "TYPE").then(|| Some((words.next()?, words.next()?)))?
}

/// The samples of a histogram have its name with an ending.
fn grows(name: &str, counter: &str) -> bool {
    let ending = if counter.is_empty() { None } else { name.strip_prefix(counter) };
    ending.is_some_and(|ending| ["", "_bucket", "_sum", "_count"].contains(&ending))
}

/// Name; everything up to the value; the value. A time stamp would say that nothing moves, and is refused.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let name = line.split(['{', ' ']).next().filter(|name| !name.is_empty())?;
    let value = line[name.len()..].strip_prefix('{').map_or(Some(&line[name.len()..]), after_labels)?;
    let value = value.trim_start();
    let head = &line[..line.len() - value.len()];
    Some((name, head, value.trim_end().parse().ok()?))
}

/// What follows `}`; one between quotes is part of a value.
fn after_labels(labels: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(&labels[at + 1..]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total x\n# TYPE a_total counter\na_total{comm=\"a } \\\" b\"} 7200\na_total 0\n\
        # TYPE b gauge\nb 5\n# TYPE c_seconds_total counter\nc_seconds_total 0.5\n\
        # TYPE d histogram\nd_bucket{le=\"+Inf\"} 10\nd_sum 1e3\nd_count 10\na_total_more 4\n";

    #[test]
    fn counters_grow_and_gauges_stay() {
        let recording = Recording::parse(PAGE).unwrap();
        assert_eq!(recording.series(), 8);
        assert_eq!(recording.page(0.0), format!("{MARK}{}", PAGE.replace("1e3", "1000")));
        let page = recording.page(1.0);
        for line in ["a_total{comm=\"a } \\\" b\"} 7202", "a_total 0", "b 5", "d_sum 1000", "a_total_more 4"]
        {
            assert!(page.lines().any(|found| found == line), "{line}:\n{page}");
        }
        let page = recording.page(3600.0);
        for line in ["a_total{comm=\"a } \\\" b\"} 14400", "c_seconds_total 1", "d_bucket{le=\"+Inf\"} 20"] {
            assert!(page.lines().any(|found| found == line), "{line}:\n{page}");
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for (page, part) in [
            ("", "no sample"),
            ("# only a comment\n", "no sample"),
            ("{\"schema\": \"tracer/1\"}", "line 1"),
            ("a_total 1\na_total{x=\"} 1\n", "line 2"),
            ("a_total one\n", "line 1"),
            ("a_total 1 1700000000000\n", "line 1"),
            (&Recording::parse("a 1\n").unwrap().page(0.0), "replay already"),
        ] {
            let error = Recording::parse(page).unwrap_err().to_string();
            assert!(error.contains(part), "{page:?}: {error}");
        }
    }
}
