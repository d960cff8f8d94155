//! Recording rules and alerts, as data.

use serde::Serialize;

/// Paths whose calls report payload: what others copy is in no ratio.
pub const DATA_PATHS: &str =
    "read|write|recv|send|sendfile|splice|tee|vmsplice|copy_file_range|io_uring|process_vm";

/// Where processes are told apart by pid, what one did goes on under `pid="ended"` when its own series end: a rate
/// over both would count it twice.
pub const NOT_ENDED: &str = "pid!='ended'";

/// What a rule file has.
#[derive(Debug, Serialize)]
pub struct File {
    pub groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
pub struct Group {
    name: &'static str,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Rule {
    Record {
        record: String,
        expr: String,
    },
    Alert {
        alert: &'static str,
        expr: String,
        #[serde(rename = "for")]
        pending: &'static str,
        labels: Severity,
        annotations: Annotations,
    },
}

#[derive(Debug, Serialize)]
pub struct Severity {
    severity: &'static str,
}

#[derive(Debug, Serialize)]
pub struct Annotations {
    summary: &'static str,
    description: &'static str,
}

#[cfg(test)]
impl Rule {
    pub fn expr(&self) -> &str {
        match self {
            Rule::Record { expr, .. } | Rule::Alert { expr, .. } => expr,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Rule::Record { record, .. } => record,
            Rule::Alert { alert, .. } => alert,
        }
    }
}

/// All rules: what is computed first stands first.
pub fn file() -> File {
    File { groups: vec![records(), copies(), health()] }
}

/// Rates over five minutes, by machine and by name of the process.
fn records() -> Group {
    let mut rules = Vec::new();
    for (level, labels) in [("instance", "job, instance"), ("comm", "job, instance, comm")] {
        let mut record = |name: &str, expr: String| {
            rules.push(Rule::Record { record: format!("{level}:{name}"), expr });
        };
        let rate = |metric: &str, select: &str| {
            let comma = if select.is_empty() { "" } else { ", " };
            format!("sum by ({labels}) (rate({metric}{{{NOT_ENDED}{comma}{select}}}[5m]))")
        };
        let data = format!("path=~'{DATA_PATHS}'");
        record("tracer_copied_bytes:rate5m", rate("tracer_copied_bytes_total", "kind='copy'"));
        record("tracer_payload_bytes:rate5m", rate("tracer_payload_bytes_total", ""));
        record("tracer_mode_switches:rate5m", rate("tracer_mode_switches_total", ""));
        record("tracer_unexplained_bytes:rate5m", rate("tracer_unexplained_bytes_total", ""));
        // Payload that nothing explains may have been copied: beside it nothing is said to be without a copy.
        let unless = format!("unless {level}:tracer_unexplained_bytes:rate5m > 0");
        let per_payload = format!("/ ({level}:tracer_payload_bytes:rate5m > 0)");
        let copied = rate("tracer_copied_bytes_total", &format!("kind='copy', {data}"));
        record(
            "tracer_copies_per_byte:ratio_rate5m",
            format!("{copied} {per_payload} > 0 or {copied} {per_payload} {unless}"),
        );
        record(
            "tracer_zero_copy_share:ratio_rate5m",
            format!("{} {per_payload} {unless}", rate("tracer_zero_copied_bytes_total", "")),
        );
        record(
            "tracer_mode_switches_per_mib:ratio_rate5m",
            format!(
                "{level}:tracer_mode_switches:rate5m * 1048576 / ({level}:tracer_payload_bytes:rate5m > 0)"
            ),
        );
    }
    Group { name: "tracer-records", rules }
}

fn alert(
    alert: &'static str,
    severity: &'static str,
    pending: &'static str,
    expr: &str,
    summary: &'static str,
    description: &'static str,
) -> Rule {
    Rule::Alert {
        alert,
        expr: expr.into(),
        pending,
        labels: Severity { severity },
        annotations: Annotations { summary, description },
    }
}

/// Below a mebibyte per second a ratio is made by chance.
const BUSY: &str = "and comm:tracer_payload_bytes:rate5m > 1048576";

fn copies() -> Group {
    let rules = vec![
        alert(
            "TracerZeroCopyShareFell",
            "warning",
            "15m",
            &format!(
                "comm:tracer_zero_copy_share:ratio_rate5m \
                 < 0.5 * (comm:tracer_zero_copy_share:ratio_rate5m offset 1w > 0.1) {BUSY}"
            ),
            "{{ $labels.comm }} on {{ $labels.instance }} moves far fewer bytes without a copy than a week ago",
            "Of the bytes it moves, {{ $value | humanizePercentage }} go by reference: less than half of last week's \
             share. `tracer --pid` on one of its processes names the paths; docs/zero-copy-measured.md tells why a \
             mechanism copies all the same.",
        ),
        alert(
            "TracerCopiesPerByteRose",
            "warning",
            "15m",
            &format!(
                "comm:tracer_copies_per_byte:ratio_rate5m \
                 > 1.25 * comm:tracer_copies_per_byte:ratio_rate5m offset 1w + 0.1 {BUSY}"
            ),
            "{{ $labels.comm }} on {{ $labels.instance }} copies each byte more often than a week ago",
            "The CPU copies each byte {{ $value | printf \"%.2f\" }} times, a quarter more often than last week.",
        ),
    ];
    Group { name: "tracer-copies", rules }
}

fn health() -> Group {
    let rules = vec![
        alert(
            "TracerProbeMissing",
            "warning",
            "5m",
            "tracer_ready == 0 or tracer_coverage_complete == 0",
            "tracer on {{ $labels.instance }} may miss copies",
            "A required probe is not attached, or not every copy's call site is proven to be covered. `tracer doctor` on \
             that machine tells which, and what to do.",
        ),
        alert(
            "TracerEventsMissed",
            "warning",
            "0m",
            "sum by (job, instance) (increase(tracer_probe_missed_total[10m])) \
             + sum by (job, instance) (increase(tracer_events_lost_total[10m])) > 0",
            "tracer on {{ $labels.instance }} missed events",
            "{{ $value | humanize }} events in 10 minutes happened and were not counted, so that its counters are too low. \
             tracer_probe_missed_total and tracer_events_lost_total tell which and why.",
        ),
        alert(
            "TracerUnexplainedBytes",
            "warning",
            "0m",
            "sum by (job, instance, comm) (increase(tracer_unexplained_bytes_total{pid!='ended'}[10m])) > 0",
            "{{ $labels.comm }} on {{ $labels.instance }} moves bytes that nothing explains",
            "{{ $value | humanize1024 }}B in 10 minutes were neither copied, handed on by reference, moved by a device nor \
             discarded as far as tracer saw, so that its ratios of copies may be too low. `tracer audit --pid` on one of its \
             processes looks for what copied them, `tracer doctor` tells what is not covered.",
        ),
        alert(
            "TracerSeriesOverflow",
            "warning",
            "0m",
            "sum by (job, instance) (increase(tracer_groups_merged_total[10m])) > 0",
            "tracer on {{ $labels.instance }} has more groups than --max-series allows",
            "Groups gave up their names and are counted together: nothing is lost but the detail. Group by less, or raise \
             --max-series.",
        ),
        alert(
            "TracerDown",
            "warning",
            "5m",
            "up{job=~'.*tracer.*'} == 0",
            "tracer on {{ $labels.instance }} does not answer",
            "`journalctl -u tracer` on that machine tells why.",
        ),
    ];
    Group { name: "tracer-health", rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_uses_only_rules_before_it() {
        let mut known: Vec<String> = Vec::new();
        for rule in file().groups.into_iter().flat_map(|group| group.rules) {
            let words = rule.expr().split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, ':' | '_'));
            for word in words.filter(|word| word.contains(":tracer_")) {
                assert!(known.iter().any(|name| name == word), "{} uses {word}", rule.name());
            }
            known.push(rule.name().into());
        }
    }
}
