//! `sum(processes) + ended + overflow == totals`, number by number: a full map costs
//! detail, never truth.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::Value;

/// The parts of a process that are sums.
const PARTS: [&str; 6] =
    ["paths", "other_kinds", "control_bytes", "mode_switches", "context_switches", "device_bytes"];

pub fn check(total: &Value) -> Result<()> {
    if total.get("totals").is_none() {
        // Optional in the schema.
        return Ok(());
    }
    ensure!(total["adds_up"] != false, "the tracer itself says that it does not add up");
    let mut differences = Vec::new();
    for part in PARTS {
        let processes = total["processes"].as_array().into_iter().flatten();
        let mut addends: Vec<&Value> = processes.map(|process| &process[part]).collect();
        addends.extend([&total["overflow"][part], &total["ended"][part]]);
        compare(part, &addends, &total["totals"][part], &mut differences);
    }
    ensure!(
        differences.is_empty(),
        "sum(processes) + ended + overflow differs from totals:\n  {}",
        differences.join("\n  ")
    );
    Ok(())
}

/// Only sums: a ratio of sums is no sum of ratios, and what a process is named
/// is no number at all.
fn compare(name: &str, addends: &[&Value], sum: &Value, differences: &mut Vec<String>) {
    let mut keys = BTreeSet::new();
    for value in addends.iter().copied().chain([sum]) {
        keys.extend(value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()));
    }
    if keys.is_empty() {
        let found: u64 = addends.iter().filter_map(|value| value.as_u64()).sum();
        let expected = sum.as_u64().unwrap_or(0);
        if found != expected {
            differences.push(format!("{name}: {found}, totals say {expected}"));
        }
    }
    // Not a sum: of each process, the lesser of what was referenced and what was not copied.
    keys.remove("zero_copied_bytes");
    for key in keys {
        let parts: Vec<&Value> = addends.iter().map(|value| &value[key]).collect();
        compare(&format!("{name}.{key}"), &parts, &sum[key], differences);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn total(overflow: u64) -> Value {
        let process = |bytes: u64| json!({"paths": {"read": {"copied_bytes": {"to_user": bytes}}}});
        json!({
            "processes": [process(3), process(4)],
            "overflow": process(overflow - 1),
            "ended": process(1),
            "totals": process(12),
        })
    }

    #[test]
    fn holds_if_the_overflow_has_the_rest() {
        check(&total(5)).unwrap();
    }

    #[test]
    fn names_what_is_lost() {
        let message = check(&total(4)).unwrap_err().to_string();
        assert!(message.contains("paths.read.copied_bytes.to_user: 11, totals say 12"), "{message}");
    }
}
