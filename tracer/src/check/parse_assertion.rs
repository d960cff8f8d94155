//! One assertion of a policy.

use super::metric::{Metric, Selector, Unit};
use super::policy::{Amount, Assertion, Bound, Change, Select, Severity};
use super::units;
use crate::config::node::Node;
use crate::config::problem::unknown;
use crate::config::reader::{Map, Problems};

/// Keys beside the selectors and the bounds.
const OWN: [&str; 4] = ["name", "metric", "baseline", "severity"];

/// Every key that an assertion may have.
pub fn keys() -> Vec<&'static str> {
    let selectors = Selector::ALL.map(Selector::name);
    OWN[..2].iter().chain(&selectors).chain(&Bound::KEYS).chain(&OWN[2..]).copied().collect()
}

pub fn assertion(node: &Node, problems: &mut Problems) -> Option<Assertion> {
    let map = Map::of(node, "an assertion", &keys(), problems)?;
    let name = map.text("name", problems).map(|(_, name)| name.to_owned());
    let baseline = map.text("baseline", problems).map(|(_, file)| file.to_owned());
    let severity = match map.word("severity", &Severity::WORDS, problems) {
        Some(1) => Severity::Warn,
        _ => Severity::Error,
    };
    let (line, word) = map.needed("metric", problems)?;
    let Some(metric) = Metric::named(word) else {
        problems.add(line, unknown("metric", word, &Metric::names()));
        return None;
    };
    let select = select(&map, metric, problems);
    let bounds = bounds(&map, metric, problems);
    let mut assertion =
        Assertion { line: map.line, name: String::new(), metric, select, bounds, baseline, severity };
    assertion.name = name.unwrap_or_else(|| format!("{}: {}", assertion.subject(), assertion.limits()));
    consistent(&map, &assertion, problems);
    Some(assertion)
}

fn select(map: &Map, metric: Metric, problems: &mut Problems) -> Select {
    let row = metric.row();
    let mut select = Select::default();
    for selector in Selector::ALL {
        let Some((line, word)) = map.text(selector.name(), problems) else { continue };
        if !row.selectors.contains(&selector) {
            let takes: Vec<&str> = row.selectors.iter().map(|s| s.name()).collect();
            let text = format!("{} has no {}: it takes {}", row.name, selector.name(), takes.join(", "));
            problems.add(line, text);
            continue;
        }
        match selector.words(metric) {
            Some(words) if !words.contains(&word) => {
                problems.add(line, unknown(selector.name(), word, &words));
            }
            _ => select.0.push((selector, word.to_owned())),
        }
    }
    select
}

fn bounds(map: &Map, metric: Metric, problems: &mut Problems) -> Vec<Bound> {
    let unit = metric.row().unit;
    let mut bounds = Vec::new();
    let amount = |text: &str| amount(text, metric);
    bounds.extend(map.parsed("min", amount, problems).map(Bound::Min));
    bounds.extend(map.parsed("max", amount, problems).map(Bound::Max));
    bounds.extend(map.parsed("equals", amount, problems).map(Bound::Equals));
    bounds.extend(
        map.parsed("max_increase", |text| change(text, unit, metric), problems).map(Bound::MaxIncrease),
    );
    bounds.extend(
        map.parsed("max_decrease", |text| change(text, unit, metric), problems).map(Bound::MaxDecrease),
    );
    bounds
}

fn amount(text: &str, metric: Metric) -> Result<Amount, String> {
    let result = match metric.row().unit {
        Unit::Bytes => units::bytes(text).map(Amount::Whole),
        Unit::Count => units::count(text).map(Amount::Whole),
        Unit::Ratio => units::number(text).map(Amount::Ratio),
        Unit::Share => units::share(text).map(Amount::Ratio),
    };
    let written = match metric.row().unit {
        Unit::Bytes => "in bytes (4096, 4KiB)",
        Unit::Count => "a whole number",
        Unit::Ratio => "a number",
        Unit::Share => "a share (0.99 or 99%)",
    };
    result.map_err(|error| format!("{error}; {} is {written}", metric.name()))
}

fn change(text: &str, unit: Unit, metric: Metric) -> Result<Change, String> {
    match units::percent(text) {
        Some(factor) => factor.map(Change::Relative),
        // 0.05 could be 5 % of the baseline or 5 points.
        None if unit == Unit::Share => {
            Err("write a percentage of the baseline's value, such as 5%".to_owned())
        }
        None => amount(text, metric).map(Change::Absolute),
    }
}

/// What only the whole assertion shows.
fn consistent(map: &Map, assertion: &Assertion, problems: &mut Problems) {
    let has = |key: &str| map.entry(key).is_some();
    if !Bound::KEYS.iter().any(|key| has(key)) {
        let keys = Bound::KEYS.join(", ");
        problems.add(map.line, format!("an assertion needs a limit: one of {keys}"));
    }
    let compares = has("max_increase") || has("max_decrease");
    if compares && !has("baseline") {
        problems
            .add(map.line, "max_increase and max_decrease need `baseline`: a file saved by `tracer record`");
    }
    if has("baseline") && !compares {
        problems.add(map.line, "a baseline needs max_increase or max_decrease: how far may the value move?");
    }
    if has("equals") && (has("min") || has("max")) {
        problems.add(map.line, "equals says it all: take min and max away");
    }
    if let [Bound::Min(min), Bound::Max(max), ..] = assertion.bounds[..]
        && min.compare(max).is_gt()
    {
        problems.add(map.line, "min is above max, so that nothing can hold");
    }
    let by_kind =
        assertion.select.get(Selector::Kind).is_some_and(|kind| kind == "checksum" || kind == "crypto");
    if by_kind && assertion.select.get(Selector::Direction).is_some() {
        problems.add(map.line, "direction is known for kind copy only");
    }
    if assertion.metric == Metric::PayloadShare
        && assertion.select.get(Selector::Path).is_none()
        && !has("path")
    {
        problems.add(map.line, "payload_share needs `path`: whose part of all payload?");
    }
}
