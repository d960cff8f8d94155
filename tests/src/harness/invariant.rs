//! What holds in every window: `sum(processes) + ended + overflow == totals`, number by number (a full map costs
//! detail, never truth), and every byte of payload is explained.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The parts of a process that are sums.
const PARTS: [&str; 6] =
    ["paths", "other_kinds", "control_bytes", "mode_switches", "context_switches", "device_bytes"];

pub fn check(total: &Value) -> Result<()> {
    nothing_is_cut_short(total)?;
    but_for_cut_short(total)
}

/// For windows in which copies end at memory that is not mapped, on purpose.
pub fn but_for_cut_short(total: &Value) -> Result<()> {
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
    is_explained(total)
}

/// No copy ended before what was asked, where that can be observed.
fn nothing_is_cut_short(total: &Value) -> Result<()> {
    if total["observed"]["cut_short"] != true || total["observed"]["copies"] != true {
        return Ok(());
    }
    let parts = total["processes"].as_array().into_iter().flatten();
    for part in parts.chain([&total["overflow"], &total["ended"], &total["totals"]]).filter(|p| p.is_object())
    {
        let copies = part["cut_short"]["copies"].as_u64();
        let copies = copies.with_context(|| format!("no cut_short in {part}"))?;
        ensure!(copies == 0, "{copies} copies were cut short in {part}");
    }
    Ok(())
}

/// Every byte of payload was copied, handed on, moved by a device or discarded; where that can be observed at all.
fn is_explained(total: &Value) -> Result<()> {
    let observed = |what: &str| total["observed"][what] == true;
    let coverage = total["coverage"]["state"] == "complete";
    if !(observed("copies") && observed("payload") && observed("references") && coverage) {
        return Ok(());
    }
    // A copy whose event is reported as lost explains nothing; whoever wants a sound window refuses this one for it.
    if total["lost_events"].as_u64().is_some_and(|lost| lost > 0) {
        return Ok(());
    }
    let parts = total["processes"].as_array().into_iter().flatten();
    let parts = parts.chain([&total["overflow"], &total["ended"], &total["totals"]]);
    for part in parts.filter(|part| part.is_object()) {
        let paths = part["paths"].as_object().into_iter().flatten();
        for (path, counts) in paths {
            let bytes = counts["unexplained_bytes"].as_u64();
            let bytes = bytes.with_context(|| format!("{path} has no unexplained_bytes in {part}"))?;
            ensure!(bytes == 0, "{bytes} bytes of {path} are unexplained in {part}");
        }
    }
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

    #[test]
    fn copies_that_are_cut_short_are_named() {
        let window = |copies: Value| {
            json!({
                "observed": {"copies": true, "cut_short": true},
                "processes": [{"cut_short": {"copies": copies, "bytes_at_most": 0}}],
            })
        };
        check(&window(json!(0))).unwrap();
        but_for_cut_short(&window(json!(2))).unwrap();
        assert!(check(&window(json!(2))).unwrap_err().to_string().contains("2 copies were cut short"));
        assert!(check(&window(Value::Null)).unwrap_err().to_string().contains("no cut_short"));
    }

    #[test]
    fn every_byte_is_explained() {
        let window = |bytes: Value| {
            json!({
                "observed": {"copies": true, "payload": true, "references": true},
                "coverage": {"state": "complete"},
                "processes": [{"paths": {"send": {"unexplained_bytes": bytes}}}],
                "totals": {"paths": {"send": {"unexplained_bytes": bytes}}},
            })
        };
        check(&window(json!(0))).unwrap();
        let lost = |events: u64| {
            let mut window = window(json!(7));
            window["lost_events"] = json!(events);
            check(&window)
        };
        lost(1).unwrap();
        lost(0).unwrap_err();
        let message = check(&window(json!(7))).unwrap_err().to_string();
        assert!(message.contains("7 bytes of send are unexplained"), "{message}");
        assert!(check(&window(Value::Null)).unwrap_err().to_string().contains("no unexplained_bytes"));
    }
}
