//! docs/zero-copy-measured.md: the rows in words and figures.

use std::fmt::Write;

use super::measured::{Field, Figure, Line, Measured, named};
use super::rows::{Hop, Row, Table};
use super::{programs, verdict};

/// The columns of a row's table; those that say the same nothing on every kernel are left out.
const COLUMNS: &[(&str, Field, Shown)] = &[
    ("to user", Field::ToUser, Shown::Always),
    ("from user", Field::FromUser, Shown::Always),
    ("in kernel", Field::InKernel, Shown::Always),
    ("by reference", Field::Referenced, Shown::Always),
    ("cipher", Field::Cipher, Shown::NotZero),
    ("receiver, to user", Field::Receiver, Shown::Measured),
    ("disk, read", Field::DiskRead, Shown::If(Hop::Disk)),
    ("disk, written", Field::DiskWrite, Shown::If(Hop::Disk)),
    ("network, sent", Field::Sent, Shown::If(Hop::Nic)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    /// On some kernel.
    Measured,
    NotZero,
    /// The run has the device, or it moved something all the same.
    If(Hop),
}

/// `date` is the only thing that another run changes.
pub fn write(table: &Table, measured: &Measured, date: &str) -> String {
    let mut text = head(measured, date);
    text += &summary(table, measured);
    for section in &table.sections {
        let rows: Vec<&Row> = table.of_section(section).collect();
        if rows.iter().any(|row| !measured.of(row.key()).is_empty()) {
            text += &format!("\n## {}\n\n{}\n", section.title, section.text);
            rows.iter().for_each(|row| text += &details(row, &measured.of(row.key())));
        }
    }
    text + &programs::section(&measured.programs, &measured.kernels)
}

fn head(measured: &Measured, date: &str) -> String {
    format!(
        "# Zero-copy, measured

What textbooks and articles say of each zero-copy mechanism, and what tracer measured.
Written by `cargo xtask claims` on {date}; do not edit.

Kernels: {}.

The figures come from one window of 1 MiB in chunks of 64 KiB (where a mechanism is called), every one of which
equals what is known beforehand (`tests/src/expect.rs`). Another run gives the same figures: what depends on
timing is marked (≥, varies), interrupts are left out. What is said, and why what was measured is so, stands in
`tests/claims.toml`; verdicts and pictures are computed from the figures.

How to read it:

- **Copies** are bytes copied by the CPU per byte moved, by direction: to user memory, from it, and within the
  kernel. They are those of the process that sends; the receiver's copy into its own buffer stands beside.
- **By reference** are bytes handed on without a copy, once per hop.
- **Disk and network** are bytes per byte that devices moved (DMA). *Not measured* is not 0.
- **Mode switches**: each system call is two, each page fault from user mode is two. Faults that the kernel
  takes while it copies are none.
- **Verdict**: numbers are compared. One that a run cannot tell (loopback has no NIC) is not judged.
",
        measured.releases().join(", ")
    )
}

fn summary(table: &Table, measured: &Measured) -> String {
    let mut text = String::from(
        "
| mechanism | said: copies by the CPU | measured | said: switches per chunk | measured | verdict |
| --- | --- | --- | --- | --- | --- |
",
    );
    for row in &table.rows {
        let lines = measured.of(row.key());
        if lines.is_empty() {
            continue;
        }
        let said = |claimed: Option<u64>| claimed.map_or("".into(), |claimed| claimed.to_string());
        let switches = if row.in_all { String::new() } else { together(&lines, Field::SwitchesPerChunk) };
        let _ = writeln!(
            text,
            "| [{}](#{}) | {} | {} | {} | {switches} | {} |",
            row.title,
            anchor(&row.title),
            said(row.claim.cpu),
            together(&lines, Field::Cpu),
            said(row.claim.switches),
            verdict::judge(row, &lines).word(),
        );
    }
    text
}

/// A figure on all kernels that have the row.
fn together(lines: &[&Line], field: Field) -> String {
    let present = lines.iter().filter(|line| line.worker.is_some());
    let texts: Vec<(&str, String)> =
        present.map(|line| (line.kernel.as_str(), line.figure(field).to_string())).collect();
    named(&texts).join(", ")
}

/// As the usual renderers of Markdown make it of a heading.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn details(row: &Row, lines: &[&Line]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("\n### {}\n\n", row.title);
    let present: Vec<&Line> = lines.iter().copied().filter(|line| line.worker.is_some()).collect();
    if row.picture.is_some() && !present.is_empty() {
        let _ = writeln!(text, "![{}](pictures/{}.svg)\n", row.title, row.id);
    }
    if !row.said.is_empty() {
        text += &paragraph(&format!("**Said:** {}", row.said));
    }
    let verdict = verdict::judge(row, lines);
    let sentence = verdict.sentence().unwrap_or("The textbook has no number for it.".into());
    text += &paragraph(&format!("**Verdict:** {sentence}"));
    if !present.is_empty() {
        text += &figures(row, &present);
    }
    text += &witnesses(&present);
    text += &lacking(row, lines);
    text += &paragraph(&format!("**Why:** {} Source: {}.", row.why, row.source.join(", ")));
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// In lines of at most 110 columns, and an empty one.
fn paragraph(text: &str) -> String {
    const COLUMNS: usize = 110;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= COLUMNS {
            *line += " ";
            *line += word;
        } else {
            lines.push(word.into());
        }
    }
    lines.join("\n") + "\n\n"
}

fn figures(row: &Row, lines: &[&Line]) -> String {
    let shown = |field: Field, shown: Shown| {
        let mut figures = lines.iter().map(|line| line.figure(field));
        match shown {
            Shown::If(hop) if row.has(hop) => true,
            Shown::Always => true,
            Shown::Measured => figures.any(|figure| figure != Figure::NotMeasured),
            Shown::NotZero | Shown::If(_) => {
                figures.any(|figure| figure != Figure::NotMeasured && !figure.is_zero())
            }
        }
    };
    let mut columns: Vec<(String, Field)> = COLUMNS
        .iter()
        .filter(|(_, field, when)| shown(*field, *when))
        .map(|(name, field, _)| ((*name).into(), *field))
        .collect();
    if row.in_all {
        columns.push(("switches in all".into(), Field::SwitchesInAll));
    } else {
        columns.push(("switches per 64 KiB".into(), Field::SwitchesPerChunk));
        columns.push(("per MiB".into(), Field::SwitchesPerMib));
    }
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("| kernel | {} |\n|{}\n", names.join(" | "), " --- |".repeat(columns.len() + 1));
    for line in lines {
        let figures: Vec<String> = columns.iter().map(|(_, field)| line.figure(*field).to_string()).collect();
        let _ = writeln!(text, "| {} | {} |", line.kernel, figures.join(" | "));
    }
    text + "\n"
}

/// The kernel's own word on zero-copy sends.
fn witnesses(lines: &[&Line]) -> String {
    let said = lines.iter().filter_map(|line| {
        let witness = line.witness.as_ref()?;
        let text = format!("{} of {} sends were copied after all", witness.copied_after_all, witness.sends);
        Some((line.kernel.as_str(), text))
    });
    let said: Vec<(&str, String)> = said.collect();
    if said.is_empty() {
        return String::new();
    }
    paragraph(&format!("**The kernel's own notifications:** {}.", named(&said).join("; ")))
}

fn lacking(row: &Row, lines: &[&Line]) -> String {
    let without: Vec<&Line> = lines.iter().copied().filter(|line| line.lacking.is_some()).collect();
    if without.is_empty() {
        return String::new();
    }
    let kernels: Vec<&str> = without.iter().map(|line| line.kernel.as_str()).collect();
    let cause = match row.needs.is_empty() {
        false => row.needs.clone(),
        true => {
            without.iter().filter_map(|line| line.lacking.as_deref()).next().unwrap_or("").to_string() + "."
        }
    };
    paragraph(&format!("**Not on {}:** {cause}", kernels.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [[section]]
        id = "s"
        title = "Some"
        text = "Of them."
        [[row]]
        id = "a"
        section = "s"
        title = "read + write, a"
        run = "w"
        said = "2 copies."
        claim = { cpu = 2 }
        why = "So."
        source = ["`f.c`: `f()`"]
        needs = "It came with 6.0."
    "#;
    const LINES: &str = r#"
        {"row":"w","kernel":"6.1","release":"6.1.0","bytes":65536,"chunk":65536,
         "worker":{"to_user":65536,"mode_switches":{"syscall":4}}}
        {"row":"w","kernel":"5.10","release":"5.10.0","lacking":"no such thing"}
    "#;

    #[test]
    fn paragraphs_are_no_wider_than_the_page() {
        let text = paragraph(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.len() <= 110) && text.ends_with("word\n\n"), "{text}");
    }

    #[test]
    fn says_what_differs_and_what_is_lacking() {
        let table: Table = toml::from_str(TABLE).unwrap();
        let mut measured = Measured::new(vec!["5.10".into(), "6.1".into()]);
        measured.add(&LINES.replace(",\n         ", ",")).unwrap();
        let text = write(&table, &measured, "2026-01-01");
        for wanted in [
            "on 2026-01-01; do not edit.",
            "Kernels: 5.10.0, 6.1.0.",
            "| [read + write, a](#read--write-a) | 2 | 1 |  | 4 | **corrected** |",
            "**Verdict:** Corrected: copies per byte by the CPU, 1 instead of 2.",
            "| 6.1 | 1 | 0 | 0 | 0 | 4 | 64 |",
            "**Not on 5.10:** It came with 6.0.",
            "**Why:** So. Source: `f.c`: `f()`.",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
    }
}
