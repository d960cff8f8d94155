//! Two windows side by side: only what changed, path by path.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::check::compare::notes;
use crate::fmt::human;
use crate::model::counts::{Part, Seen};
use crate::model::window::Recording;
use crate::output::json::ascii;

/// One number in both windows.
struct Row {
    /// A path, or `all`.
    group: String,
    what: &'static str,
    before: Seen,
    after: Seen,
    is_bytes: bool,
}

const DIRECTIONS: [(&str, &str); 3] =
    [("to_user", "copied to user"), ("from_user", "copied from user"), ("in_kernel", "copied in kernel")];

fn rows(before: &Recording, after: &Recording) -> Vec<Row> {
    let parts = (before.everything(), after.everything());
    let names: BTreeSet<&str> = parts.0.path_names().chain(parts.1.path_names()).collect();
    let mut rows = Vec::new();
    for name in names {
        of_path(&mut rows, Some(name), (before, &parts.0), (after, &parts.1));
    }
    of_path(&mut rows, None, (before, &parts.0), (after, &parts.1));
    let mut whole = |what, is_bytes, count: &dyn Fn(&Recording, &Part) -> Seen| {
        rows.push(Row {
            group: "all".to_owned(),
            what,
            before: count(before, &parts.0),
            after: count(after, &parts.1),
            is_bytes,
        });
    };
    whole("checksummed", true, &|r, p| p.other_kind(&r.observed, None, "checksum"));
    whole("encrypted", true, &|r, p| p.other_kind(&r.observed, None, "crypto"));
    whole("control copies", true, &|r, p| p.control(&r.observed, None));
    whole("mode switches", false, &|_, p| p.switches(None));
    whole("context switches", false, &|r, p| p.context_switches(&r.observed, None));
    whole("missed events", false, &|r, _| r.missed_events());
    rows
}

type Side<'a> = (&'a Recording, &'a Part);

fn of_path(rows: &mut Vec<Row>, path: Option<&str>, before: Side, after: Side) {
    let mut add = |what, is_bytes, count: &dyn Fn(Side) -> Seen| {
        let group = path.unwrap_or("all").to_owned();
        rows.push(Row { group, what, before: count(before), after: count(after), is_bytes });
    };
    add("calls", false, &|(_, part)| part.calls(path));
    add("payload", true, &|(_, part)| part.payload(path));
    for (direction, what) in DIRECTIONS {
        add(what, true, &|(r, part)| part.copied(&r.observed, path, Some(direction)));
    }
    add("without a copy", true, &|(_, part)| part.zero_copied(path));
    add("discarded", true, &|(_, part)| part.discarded(path));
    add("unexplained", true, &|(_, part)| part.unexplained(path));
    add("system calls", false, &|(_, part)| part.syscalls(path));
}

pub fn text(before: &Recording, after: &Recording, names: &(String, String)) -> String {
    let mut out = format!("{} -> {}\n", human::escape(&names.0), human::escape(&names.1));
    for note in remarks(before, after) {
        let _ = writeln!(out, "note: {note}");
    }
    let changed: Vec<Row> = rows(before, after).into_iter().filter(|row| row.before != row.after).collect();
    if changed.is_empty() {
        out += "nothing changed\n";
        return out;
    }
    let mut group = String::new();
    for row in &changed {
        if row.group != group {
            group.clone_from(&row.group);
            let _ = writeln!(out, "\n{}", human::label(&group, 40));
        }
        let (old, new) = (shown(row, row.before), shown(row, row.after));
        let _ = writeln!(out, "  {:<17} {old:>14} -> {new:<14} {}", row.what, change(row));
    }
    ratio(&mut out, before, after);
    out
}

/// Copies per byte, of which a person asks first.
fn ratio(out: &mut String, before: &Recording, after: &Recording) {
    let ratio = |recording: &Recording| {
        let part = recording.everything();
        let copied = part.copied(&recording.observed, None, None)?;
        let payload = part.payload(None).filter(|payload| *payload > 0)?;
        let is_known = copied > 0 || part.unexplained(None).unwrap_or(0) == 0;
        Some(if is_known { human::ratio(copied as f64 / payload as f64) } else { "unknown".to_owned() })
    };
    if let (Some(old), Some(new)) = (ratio(before), ratio(after)) {
        let _ = writeln!(out, "\ncopies per byte: {old} -> {new}");
    }
}

fn shown(row: &Row, seen: Seen) -> String {
    match seen {
        None => "not observed".to_owned(),
        Some(bytes) if row.is_bytes => human::bytes(bytes),
        Some(count) => human::count(count),
    }
}

/// `+12.5 %`.
fn change(row: &Row) -> String {
    match (row.before, row.after) {
        (Some(0), Some(_)) => "new".to_owned(),
        (Some(_), Some(0)) => "gone".to_owned(),
        (Some(old), Some(new)) => format!("{:+.1} %", (new as f64 / old as f64 - 1.0) * 100.0),
        _ => String::new(),
    }
}

fn remarks(before: &Recording, after: &Recording) -> Vec<String> {
    let mut remarks = notes(before, after);
    for (which, recording) in [("first", before), ("second", after)] {
        if recording.missed_events() != Some(0) {
            let missed = recording.missed_events().map_or("an unknown number of".to_owned(), human::count);
            remarks.push(format!("the {which} window missed {missed} events: its sums are lower bounds"));
        }
        match recording.coverage.state.as_deref() {
            Some("complete") => {}
            state => {
                remarks.push(format!("coverage of the {which} window is {}", state.unwrap_or("unknown")))
            }
        }
    }
    remarks.iter().map(|remark| human::label(remark, 300)).collect()
}

pub fn json(before: &Recording, after: &Recording, names: &(String, String)) -> String {
    let changed = rows(before, after).into_iter().filter(|row| row.before != row.after);
    let changes: Vec<Value> = changed
        .map(|row| {
            let unit = if row.is_bytes { "bytes" } else { "count" };
            let path = (row.group != "all").then_some(row.group);
            json!({"path": path, "what": row.what, "unit": unit, "before": row.before, "after": row.after})
        })
        .collect();
    let value = json!({
        "schema": "tracer-diff/1",
        "before": names.0,
        "after": names.1,
        "notes": remarks(before, after),
        "changes": changes,
    });
    ascii(&format!("{value:#}")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(text: &str) -> Recording {
        Recording::parse(text.as_bytes()).expect("valid").recording
    }

    #[test]
    fn only_what_changed() {
        let good = recording(include_str!("../../testdata/sample.json"));
        let bad = recording(include_str!("../../testdata/fallback.json"));
        let names = ("a.json".to_owned(), "b.json".to_owned());
        assert_eq!(text(&good, &good, &names), "a.json -> b.json\nnothing changed\n");
        let difference = text(&good, &bad, &names);
        for said in [
            "\nread\n  calls                          0 -> 1,024          new",
            "  copied to user               0 B -> 64.0 MiB       new",
            "\nsendfile\n  calls                         16 -> 0              gone",
            "copies per byte: 0.00 -> 1.00",
            "note: the baseline moved 1.00 MiB, this window 128 MiB",
        ] {
            assert!(difference.contains(said), "{said}\n{difference}");
        }
        let value: Value = serde_json::from_str(&json(&good, &bad, &names)).expect("JSON");
        assert_eq!(value["changes"][0]["path"], "read");
    }
}
