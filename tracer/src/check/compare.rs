//! One assertion against one window.

use std::cmp::Ordering;

use super::measure::{Measured, NoValue, Rules, measure, measure_without_cut_short};
use super::metric::Unit;
use super::policy::{Allow, Amount, Assertion, Bound, Change};
use super::reason::{Doubt, Reason};
use super::uncertainty::{Claim, is_certain};
use super::verdict::{InWindow, Status};
use crate::fmt::human;
use crate::model::window::Recording;

pub fn compare(
    assertion: &Assertion,
    recording: &Recording,
    baseline: Option<&Recording>,
    allow: &[Allow],
    doubts: &[Doubt],
) -> InWindow {
    let Measured { value, allowed } = measure(assertion, recording, Rules::ThatFit(allow));
    let mut result = InWindow {
        status: Status::Inconclusive,
        value: value.as_ref().ok().copied(),
        baseline: None,
        why: String::new(),
        reason: None,
        allowed,
    };
    let value = match value {
        Ok(value) => value,
        Err(none) => {
            let reason = match none {
                NoValue::NotObserved(_) => Reason::NotObserved,
                NoValue::Undefined(_) => Reason::NothingToJudge,
            };
            result.reason = Some(reason);
            result.why = none.text();
            return result;
        }
    };
    if let Some(name) = &assertion.baseline {
        let before = baseline.map(|baseline| measure(assertion, baseline, Rules::ThatFit(allow)).value);
        match before {
            Some(Ok(before)) => result.baseline = Some(before),
            other => {
                let why =
                    other.and_then(Result::err).map_or("it is not there".to_owned(), |none| none.text());
                result.reason = Some(Reason::BaselineUnusable);
                result.why = format!("baseline {}: {why}", human::label(name, 80));
                return result;
            }
        }
    }
    // With more calls than were seen, a rule of `allow` might hold that does not.
    let of_a_process = assertion.is_of_a_process();
    let calls_are_exact = doubts.iter().all(|doubt| match doubt {
        Doubt::CopiesMissing => true,
        Doubt::ProcessesMerged => !of_a_process,
        _ => false,
    });
    let rules = if calls_are_exact { Rules::ThatFit(allow) } else { Rules::All(allow) };
    let least = |recording, rules, value| {
        measure_without_cut_short(assertion, recording, rules).value.unwrap_or(value)
    };
    let values = Values {
        value,
        least: least(recording, Rules::ThatFit(allow), value),
        floor: least(recording, rules, value),
        baseline: result.baseline,
        least_baseline: baseline
            .zip(result.baseline)
            .map(|(baseline, value)| least(baseline, Rules::ThatFit(allow), value)),
    };
    (result.status, result.why, result.reason) = against(assertion, &values, doubts);
    result
}

/// What is compared, and between which values the truth lies.
struct Values {
    /// By what was counted.
    value: Amount,
    /// Without what may have been counted and not copied.
    least: Amount,
    /// And with everything taken out that could be allowed.
    floor: Amount,
    baseline: Option<Amount>,
    least_baseline: Option<Amount>,
}

/// The worst of all limits: a certain violation, else a doubt, else it holds.
fn against(assertion: &Assertion, values: &Values, doubts: &[Doubt]) -> (Status, String, Option<Reason>) {
    let &Values { value, floor, baseline, .. } = values;
    let row = assertion.metric.row();
    let of_a_process = assertion.is_of_a_process();
    let (mut inconclusive, mut reason) = (None, None);
    for bound in &assertion.bounds {
        let Some((limit, wanted)) = limit(*bound, baseline) else { continue };
        let order = value.compare(limit);
        let broken = !wanted.contains(&order);
        let claim = match (broken, wanted.len()) {
            // `equals` that holds says both.
            (false, 1) => Claim::Exactly,
            (false, _) if wanted.contains(&Ordering::Less) => Claim::AtMost,
            (false, _) => Claim::AtLeast,
            (true, _) if order == Ordering::Greater && limit.is_zero() => Claim::NotZero,
            // Less than all: the rest is not 0.
            (true, _) if row.unit == Unit::Share && limit == Amount::Ratio(1.0) => Claim::NotZero,
            (true, _) if order == Ordering::Greater => Claim::AtLeast,
            (true, _) => Claim::AtMost,
        };
        let floor_is_broken = !wanted.contains(&floor.compare(limit));
        let certain = is_certain(claim, row.nature, of_a_process, doubts) && (!broken || floor_is_broken);
        let text = value.text(row.unit);
        if !is_same_of_all(*bound, values, wanted, order) {
            let would = if broken { "be beyond the limit" } else { "hold" };
            inconclusive = Some(format!(
                "{text} would {would} ({}), but copies were cut short, so that less was copied than was counted",
                bound.key()
            ));
            reason = Some(Reason::CopiesCutShort);
            continue;
        }
        let relation = if order == Ordering::Greater { "above" } else { "below" };
        let because = match bound {
            Bound::MaxIncrease(_) | Bound::MaxDecrease(_) => {
                let before = baseline.map_or_else(String::new, |b| b.text(row.unit));
                format!(" (baseline {before}, {})", bound.text(row.unit))
            }
            _ => format!(" ({})", bound.key()),
        };
        match (broken, certain) {
            (true, true) => {
                let limit = limit.text(row.unit);
                return (Status::Violated, format!("{text} is {relation} {limit}{because}"), None);
            }
            (true, false) => {
                let why =
                    format!("{text} would be {relation} the limit{because}, but the window is in doubt");
                inconclusive = Some(why);
            }
            (false, false) => {
                let why = format!("{text} would hold, but the window is in doubt");
                inconclusive.get_or_insert(why);
            }
            (false, true) => {}
        }
    }
    match inconclusive {
        Some(why) => (Status::Inconclusive, why, reason),
        None => (Status::Holds, String::new(), None),
    }
}

/// True if a limit is kept, or broken in the same way, by all that the values may be in truth.
fn is_same_of_all(bound: Bound, values: &Values, wanted: &[Ordering], order: Ordering) -> bool {
    [values.baseline, values.least_baseline].into_iter().all(|baseline| {
        let Some((limit, _)) = limit(bound, baseline) else { return true };
        [values.value, values.least].into_iter().all(|value| {
            let other = value.compare(limit);
            other == order || (wanted.contains(&other) && wanted.contains(&order))
        })
    })
}

/// The limit, and the orders of value to limit with which the bound holds.
fn limit(bound: Bound, baseline: Option<Amount>) -> Option<(Amount, &'static [Ordering])> {
    const AT_MOST: &[Ordering] = &[Ordering::Less, Ordering::Equal];
    const AT_LEAST: &[Ordering] = &[Ordering::Greater, Ordering::Equal];
    Some(match bound {
        Bound::Min(limit) => (limit, AT_LEAST),
        Bound::Max(limit) => (limit, AT_MOST),
        Bound::Equals(limit) => (limit, &[Ordering::Equal]),
        Bound::MaxIncrease(change) => (moved(baseline?, change, true), AT_MOST),
        Bound::MaxDecrease(change) => (moved(baseline?, change, false), AT_LEAST),
    })
}

/// The baseline's value, moved as far as allowed.
fn moved(from: Amount, change: Change, up: bool) -> Amount {
    match (from, change) {
        (Amount::Whole(from), Change::Relative(factor)) => {
            // In billionths: 15 % more than 100 is 115, which floats make 114.99999999999999.
            let billionths = (factor * 1e9).round() as u128;
            let by = u64::try_from(u128::from(from) * billionths / 1_000_000_000).unwrap_or(u64::MAX);
            Amount::Whole(if up { from.saturating_add(by) } else { from.saturating_sub(by) })
        }
        (Amount::Whole(from), Change::Absolute(by)) => {
            let by = by.as_f64() as u64;
            Amount::Whole(if up { from.saturating_add(by) } else { from.saturating_sub(by) })
        }
        (from, change) => {
            let by = match change {
                Change::Relative(factor) => from.as_f64() * factor,
                Change::Absolute(by) => by.as_f64(),
            };
            Amount::Ratio(if up { from.as_f64() + by } else { (from.as_f64() - by).max(0.0) })
        }
    }
}

/// What differs between a baseline and a window apart from the numbers: compared all the same, and said.
pub fn notes(baseline: &Recording, window: &Recording) -> Vec<String> {
    let mut notes = Vec::new();
    if !baseline.is_known_schema() {
        let schema = human::label(&baseline.schema, 40);
        notes.push(format!("the baseline's schema is {schema}, not {}", crate::model::window::SCHEMA));
    }
    if baseline.kernel != window.kernel {
        let (then, now) = (human::label(&baseline.kernel, 60), human::label(&window.kernel, 60));
        notes.push(format!("the baseline is of kernel {then}, this window of {now}"));
    }
    if let (Some(then), Some(now)) = (baseline.everything().payload(None), window.everything().payload(None))
        && then.abs_diff(now) > then / 10
    {
        let (then, now) = (human::bytes(then), human::bytes(now));
        notes.push(format!("the baseline moved {then}, this window {now}"));
    }
    notes
}
