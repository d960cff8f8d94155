//! What `tracer doctor` says of copies that nothing counts, and of the text that they were found in.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::{Outcome, status};
use crate::callsites::survey::compare::{Calls, Found, is_as_surveyed};
use crate::callsites::survey::{Entry, Extent, Shows, Status};
use crate::kernel;

/// `--calls-of`: every call of these functions, with the number of bytes where it is a constant.
pub fn calls_of(functions: &[String]) -> Outcome {
    let names: Vec<&str> = functions.iter().map(String::as_str).collect();
    let mut text = String::new();
    for call in Calls::read()?.of(&names) {
        let module = call.module.map_or_else(String::new, |module| format!(" [{module}]"));
        let bytes = call.bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
        let _ = writeln!(text, "{}+{:#x}{module} -> {}{bytes}", call.function, call.offset, call.target);
    }
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `--survey`: what this kernel's text has of each place. Exit status 1 if it is not as on the kernels surveyed.
pub fn compare() -> Outcome {
    let (major, minor) = kernel::version(&kernel::release()?);
    let series = format!("{major}.{minor}");
    let mut text = String::new();
    let mut differs = false;
    for (entry, found) in Calls::read()?.of_survey() {
        let as_surveyed = is_as_surveyed(entry, found, &series);
        differs |= !as_surveyed;
        let verdict = if as_surveyed { "as surveyed" } else { "DIFFERS" };
        let found = match found {
            Found::Called => "calls",
            Found::Inlined => "no call",
            Found::Absent => "absent",
        };
        let module = if entry.module.is_empty() { "-" } else { entry.module };
        let _ = writeln!(text, "{verdict:<12} {found:<8} {module:<20} {} -> {}", entry.place(), entry.by);
    }
    super::print(&text)?;
    Ok(if differs { ExitCode::from(status::FAILED) } else { ExitCode::SUCCESS })
}

/// What this machine has of it.
pub fn as_text(text: &mut String, uncounted: &[(&Entry, bool)]) {
    text.push_str("\ncopies that nothing counts, of what this machine has (docs/coverage.md)\n");
    if uncounted.is_empty() {
        text.push_str("  none but those that every machine has\n");
    }
    for (entry, used) in uncounted {
        let _ = writeln!(text, "  {:<8} {}: {}, {}", state(*used), entry.what, how_much(entry), shown(entry));
    }
}

pub fn as_json(uncounted: &[(&Entry, bool)]) -> serde_json::Value {
    let entry = |(entry, used): &(&Entry, bool)| {
        json!({
            "what": entry.what,
            "functions": entry.functions,
            "module": entry.module,
            "refuses_complete": !entry.signs().is_empty(),
            "in_use": used,
        })
    };
    uncounted.iter().map(entry).collect()
}

fn state(used: bool) -> &'static str {
    if used { "IN USE" } else { "there" }
}

fn how_much(entry: &Entry) -> &'static str {
    match entry.status {
        Status::Open(_, Extent::Every(_)) => "every byte",
        Status::Open(_, Extent::Part(bound)) => bound,
        Status::Open(_, Extent::Remade) => "encrypted or compressed",
        Status::Rows(_) | Status::Sites => "counted",
    }
}

fn shown(entry: &Entry) -> &'static str {
    match entry.status {
        Status::Open(Shows::Unexplained, _) => "shown as unexplained where it is payload",
        Status::Open(Shows::ZeroCopied, _) => "shown as zero-copied",
        _ => "shown nowhere",
    }
}
