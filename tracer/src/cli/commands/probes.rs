//! `tracer probes`: the probe table as it is, without asking the kernel.

use std::process::ExitCode;

use serde_json::json;
use tracer_ebpf::table::{Group, Meant, ROWS, Row};

use super::Outcome;
use crate::cli::{Format, Probes};

pub fn probes(args: Probes) -> Outcome {
    let text = match args.format {
        Format::Json => {
            let rows: Vec<_> = ROWS.iter().map(row_as_json).collect();
            format!("{}\n", json!({"schema": "tracer/1", "probes": rows}))
        }
        Format::Table => ROWS.iter().map(row_as_text).collect(),
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn row_as_json(row: &Row) -> serde_json::Value {
    let ways: Vec<_> =
        row.ways.iter().map(|way| json!({"method": way.method.name(), "symbol": way.symbol})).collect();
    json!({
        "probe": row.name,
        "observes": group(row.group),
        "help": row.help,
        "kernels": kernels(row.meant),
        "ways": ways,
        "optional": row.optional,
    })
}

fn row_as_text(row: &Row) -> String {
    let mut symbols: Vec<&str> = row.ways.iter().map(|way| way.symbol).collect();
    symbols.dedup();
    symbols.sort_unstable();
    symbols.dedup();
    let ways = if symbols.is_empty() { "call instructions".to_owned() } else { symbols.join(" | ") };
    format!(
        "{:<24} {:<11} {}\n{:<24} {:<11} by {ways}{}\n",
        row.name,
        group(row.group),
        row.help,
        "",
        "",
        match kernels(row.meant).as_str() {
            "" => String::new(),
            kernels => format!(" ({kernels})"),
        },
    )
}

fn group(group: Group) -> &'static str {
    match group {
        Group::Copy => "copies",
        Group::Reference => "references",
        Group::Mark => "marks",
        Group::Switch => "switches",
        Group::Block => "block devices",
        Group::Net => "network devices",
        Group::Life => "processes",
    }
}

/// `kernels with do_splice`, or nothing.
fn kernels(meant: Meant) -> String {
    match meant {
        Meant::Always => String::new(),
        Meant::Has(function) => format!("kernels with {function}"),
        Meant::Lacks(function) => format!("kernels without {function}"),
        Meant::OldIterators => "kernels without iov_iter.iter_type (before 5.14)".to_owned(),
        Meant::Calls { function, primitive } => format!("kernels whose {function} calls {primitive}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row as docs/counting.md has it.
    fn row_as_line(row: &Row) -> String {
        let mut symbols: Vec<String> = Vec::new();
        for way in row.ways {
            let symbol = format!("`{}`", way.symbol);
            if !symbols.contains(&symbol) {
                symbols.push(symbol);
            }
        }
        let by = if symbols.is_empty() { "call instructions".to_owned() } else { symbols.join(", ") };
        let kernels = kernels(row.meant).replacen("kernels ", "", 1);
        format!("| `{}` | {} | {} | {by} | {kernels} |", row.name, group(row.group), row.help)
    }

    #[test]
    fn the_document_has_these_rows() {
        let text = include_str!("../../../../docs/counting.md");
        let begin = text.find("| `check` | copies |").expect("no table of rows");
        let lines: Vec<&str> = text[begin..].lines().take_while(|line| line.starts_with('|')).collect();
        let rows: Vec<String> = ROWS.iter().map(row_as_line).collect();
        assert_eq!(lines, rows);
    }
}
