//! The page of the daemon: groups in place of processes. It can have half a million series, so their text is
//! written at once, and not by way of [`Families`].

use std::fmt::Write as _;

use prometheus::proto::MetricType;
use tracer_ebpf::abi::Ledger;

use super::families::{Families, Labels};
use super::metrics::{METRICS, Metric};
use super::samples::{Active, samples};
use super::{coverage, own, probes};
use crate::model::snapshot::{Highest, Observed, Snapshot};

/// One group.
pub struct GroupSeries<'a> {
    /// As [`label_text`] has them, with a comma behind.
    pub labels: &'a str,
    /// Paths on which anything was counted.
    pub active: Active,
    pub ledger: &'a Ledger,
    pub highest: &'a Highest,
}

/// A metric of the daemon itself.
pub struct Own {
    pub name: &'static str,
    pub labels: Labels,
    pub value: f64,
}

/// Makes pages.
#[derive(Default)]
pub struct GroupPages {
    /// Bytes that each metric's text had last: the next one takes about as many.
    sizes: [usize; Metric::COUNT],
}

impl GroupPages {
    /// The whole page, in parts. `groups` are in the order of their labels, no two with the same ones; so are
    /// `infos`, the labels of `tracer_process_info`.
    pub fn render<'a>(
        &mut self,
        snapshot: &Snapshot,
        groups: impl IntoIterator<Item = GroupSeries<'a>>,
        infos: impl IntoIterator<Item = &'a str>,
        more: Vec<Own>,
    ) -> Vec<String> {
        let mut texts: [Text; Metric::COUNT] = std::array::from_fn(|i| Text::new(i, self.sizes[i]));
        for group in groups {
            samples(
                group.ledger,
                group.active,
                &snapshot.observed,
                group.highest,
                |metric, detail, value| texts[metric as usize].sample(group.labels, &detail.text, value),
            );
        }
        for info in infos {
            texts[Metric::ProcessInfo as usize].sample(info, "} ", 1);
        }
        for (size, text) in self.sizes.iter_mut().zip(&texts) {
            *size = text.text.len();
        }
        let mut parts: Vec<String> = texts.into_iter().filter_map(Text::into_part).collect();
        let mut families = Families::default();
        probes(snapshot, &mut families);
        coverage(snapshot, &mut families);
        own(&mut families);
        for metric in more {
            families.set(metric.name, metric.labels, metric.value);
        }
        parts.push(families.encode());
        parts
    }
}

/// Number of series that a group has.
pub fn series(observed: &Observed, ledger: &Ledger, active: Active, has_info: bool) -> usize {
    let mut series = usize::from(has_info);
    samples(ledger, active, observed, &Highest::default(), |_, _, _| series += 1);
    series
}

/// Labels as text, without brackets.
pub fn label_text<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

/// The series of one metric.
struct Text {
    /// Name and bracket, with which each sample begins.
    head: String,
    text: String,
    /// Bytes of what comes before the samples.
    preface: usize,
}

impl Text {
    fn new(metric: usize, size: usize) -> Self {
        let (name, kind, help) = METRICS[metric];
        let kind = if kind == MetricType::COUNTER { "counter" } else { "gauge" };
        // Some more, so that a page which grows a little is not moved.
        let mut text = String::with_capacity(size + size / 16);
        // A string takes everything.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Text { head: format!("{name}{{"), preface: text.len(), text }
    }

    fn sample(&mut self, labels: &str, detail: &str, value: u64) {
        let text = &mut self.text;
        text.push_str(&self.head);
        // No label comes after the last one.
        text.push_str(if detail.starts_with('}') { labels.trim_end_matches(',') } else { labels });
        text.push_str(detail);
        number(text, value);
        text.push('\n');
    }

    /// Nothing, if it has no sample.
    fn into_part(self) -> Option<String> {
        (self.text.len() > self.preface).then_some(self.text)
    }
}

/// As a float is written, which every value is one of for Prometheus.
fn number(text: &mut String, value: u64) {
    const EXACT: u64 = 1 << 53;
    match value {
        0..=EXACT => text.push_str(itoa::Buffer::new().format(value)),
        _ => _ = write!(text, "{}", value as f64),
    }
}

#[cfg(test)]
#[path = "groups_tests.rs"]
pub mod tests;
