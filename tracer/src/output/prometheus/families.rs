//! Series by metric and labels, and how they become text.

use std::collections::{BTreeMap, HashMap};

use prometheus::TextEncoder;
use prometheus::proto::{self, MetricType};
use tracer_ebpf::abi::{BUCKETS, bound};

use super::METRICS;

pub type Labels = Vec<(&'static str, String)>;

pub fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// Series by metric and labels. Two with equal labels (a pid used again under the same name) become
/// their sum: two lines for one series would make Prometheus refuse the whole scrape.
#[derive(Default)]
pub(super) struct Families(HashMap<&'static str, BTreeMap<Labels, Value>>);

/// A counter or gauge; of a histogram the sum, with the number of events by bucket.
#[derive(Default)]
struct Value {
    number: f64,
    buckets: [u64; BUCKETS],
}

impl Families {
    pub(super) fn add(&mut self, name: &'static str, labels: Labels, value: u64) {
        self.add_float(name, labels, value as f64);
    }

    pub(super) fn add_float(&mut self, name: &'static str, labels: Labels, value: f64) {
        self.0.entry(name).or_default().entry(labels).or_default().number += value;
    }

    pub(super) fn observe(&mut self, name: &'static str, labels: Labels, buckets: &[u64; BUCKETS], sum: u64) {
        let value = self.0.entry(name).or_default().entry(labels).or_default();
        value.number += sum as f64;
        value.buckets.iter_mut().zip(buckets).for_each(|(all, more)| *all += more);
    }

    /// Not a sum, also if it is there already.
    pub(super) fn set(&mut self, name: &'static str, labels: Labels, value: f64) {
        self.0.entry(name).or_default().entry(labels).or_default().number = value;
    }

    pub(super) fn encode(mut self) -> String {
        let mut families = Vec::new();
        for (name, kind, help) in METRICS {
            let Some(series) = self.0.remove(name) else { continue };
            let mut family = proto::MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
                .set_metric(series.into_iter().map(|(labels, value)| metric(kind, labels, &value)).collect());
            families.push(family);
        }
        debug_assert!(self.0.is_empty(), "not in METRICS: {:?}", self.0.keys());
        // Fails only for families without series or with wrong names, of which there are none.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

fn metric(kind: MetricType, labels: Labels, value: &Value) -> proto::Metric {
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    let mut metric = proto::Metric::from_label(pairs.collect());
    match kind {
        MetricType::COUNTER => {
            let mut counter = proto::Counter::default();
            counter.set_value(value.number);
            metric.set_counter(counter);
        }
        MetricType::HISTOGRAM => metric.set_histogram(histogram(value)),
        _ => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value.number);
            metric.set_gauge(gauge);
        }
    }
    metric
}

/// Buckets hold all that is not larger; the encoder adds `+Inf`, which is the count.
fn histogram(value: &Value) -> proto::Histogram {
    let mut count = 0;
    let mut buckets = Vec::new();
    for (i, events) in value.buckets.iter().enumerate() {
        count += events;
        if let Some(bound) = bound(i) {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound as f64);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(count);
    histogram.set_sample_sum(value.number);
    histogram
}
