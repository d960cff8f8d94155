//! The real programs in the document: a table for each, with a row per way to run it.

use std::fmt::Write;

use serde::Deserialize;

use super::measured::{Figure, named};

/// What stands before a record in the tests' output (`tests/src/harness/programs/record.rs`).
const MARK: &str = "programs: ";

/// One way to run a program, on one kernel.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    pub program: String,
    variant: String,
    kernel: String,
    /// Events that the tracer says it lost: such a window proves nothing.
    lost_events: u64,
    /// Of data.
    bytes: u64,
    /// The test knows each number to the byte; else a handshake or a loader may add to them.
    exact: bool,
    copied: Copied,
    referenced: u64,
    encrypted: u64,
    disk: Option<Disk>,
    explanation: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Copied {
    to_user: u64,
    from_user: u64,
    in_kernel: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct Disk {
    read: Amount,
    write: Amount,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Amount {
    Bytes(u64),
    /// A word: it depends on when the kernel writes.
    Word(String),
}

/// The records in the output of the tests, as JSON lines.
pub fn records(output: &str) -> String {
    let found = output.lines().filter_map(|line| line.trim().strip_prefix(MARK));
    found.map(|record| format!("{record}\n")).collect()
}

type Shown = fn(&Record) -> String;

const COLUMNS: [(&str, Shown); 8] = [
    ("copies", |r| r.per_byte(r.copied.to_user + r.copied.from_user + r.copied.in_kernel)),
    ("to user", |r| r.per_byte(r.copied.to_user)),
    ("from user", |r| r.per_byte(r.copied.from_user)),
    ("in kernel", |r| r.per_byte(r.copied.in_kernel)),
    ("by reference", |r| r.per_byte(r.referenced)),
    ("cipher", |r| r.per_byte(r.encrypted)),
    ("disk, read", |r| r.disk(|disk| &disk.read)),
    ("disk, written", |r| r.disk(|disk| &disk.write)),
];

impl Record {
    fn per_byte(&self, bytes: u64) -> String {
        if self.exact || bytes == 0 {
            return Figure::ratio(bytes, self.bytes).to_string();
        }
        // Tenths: what is known to a hundredth of the bytes, or less.
        format!("≈ {:.1}", bytes as f64 / self.bytes.max(1) as f64).replace(".0", "")
    }

    fn disk(&self, of: fn(&Disk) -> &Amount) -> String {
        match self.disk.as_ref().map(of) {
            None => Figure::NotMeasured.to_string(),
            Some(Amount::Bytes(bytes)) => self.per_byte(*bytes),
            Some(Amount::Word(word)) => word.clone(),
        }
    }
}

/// The document's section; empty without records. `kernels` in the order of the matrix.
pub fn section(records: &[Record], kernels: &[String]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let mut text = String::from(HEAD);
    for name in distinct(records.iter().map(|record| record.program.as_str())) {
        let of: Vec<&Record> = records.iter().filter(|record| record.program == name).collect();
        text += &table(name, &of, kernels);
    }
    text
}

/// Each once, in the order of its first.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.fold(Vec::new(), |mut known, name| {
        if !known.contains(&name) {
            known.push(name);
        }
        known
    })
}

const HEAD: &str = "
## Real programs

From Debian 12's packages, driven by real clients, counted from outside with `tracer --pid` over a window in which
the program serves only this load ([how](programs.md)). Figures are per byte of the load; where they are marked ≈,
a handshake, a loader or the program's own files add what the test only bounds. *Varies*: the kernel writes to the
disk when it likes. Where kernels differ, they are named.
";

fn table(program: &str, records: &[&Record], kernels: &[String]) -> String {
    let sound: Vec<&Record> = records.iter().copied().filter(|record| record.lost_events == 0).collect();
    // Always the sum; of the rest, what is anywhere more than nothing.
    let shown =
        |(name, of): &&(&str, Shown)| *name == "copies" || sound.iter().any(|record| of(record) != "0");
    let columns: Vec<_> = COLUMNS.iter().filter(shown).collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut text = format!(
        "\n### {program}\n\n| how it is run | {} | why |\n|{}\n",
        names.join(" | "),
        " --- |".repeat(columns.len() + 2)
    );
    for variant in distinct(records.iter().map(|record| record.variant.as_str())) {
        let mut of: Vec<&Record> = sound.iter().copied().filter(|record| record.variant == variant).collect();
        of.sort_by_key(|record| kernels.iter().position(|kernel| *kernel == record.kernel));
        let cells: Vec<String> = columns.iter().map(|(_, figure)| cell(&of, *figure)).collect();
        let why = records.iter().find(|record| record.variant == variant).map_or("", |r| &r.explanation);
        let absent = absent(records, variant, &of, kernels);
        let _ = writeln!(text, "| {variant} | {} | {why}{absent} |", cells.join(" | "));
    }
    text
}

/// A figure on all kernels.
fn cell(records: &[&Record], figure: Shown) -> String {
    let texts: Vec<(&str, String)> =
        records.iter().map(|record| (record.kernel.as_str(), figure(record))).collect();
    named(&texts).join(", ")
}

/// Why a row has no figures of some kernels; empty if it has all.
fn absent(records: &[&Record], variant: &str, sound: &[&Record], kernels: &[String]) -> String {
    let has = |records: &[&Record], kernel: &str| {
        records.iter().any(|record| record.variant == variant && record.kernel == kernel)
    };
    let lacking = kernels.iter().map(String::as_str).filter(|kernel| !has(sound, kernel));
    let (lost, never): (Vec<&str>, Vec<&str>) = lacking.partition(|kernel| has(records, kernel));
    let causes = [(lost, "; inconclusive, for events were lost, on "), (never, "; not on ")];
    let some = causes.into_iter().filter(|(kernels, _)| !kernels.is_empty());
    some.map(|(kernels, cause)| format!("{cause}{}", kernels.join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kernel: &str, variant: &str, to_user: u64, exact: bool, lost: u64) -> Record {
        let text = format!(
            r#"{{"program":"p","variant":"{variant}","kernel":"{kernel}","kernels":"all","lost_events":{lost},
                "bytes":1000,"exact":{exact},"copied":{{"to_user":{to_user},"from_user":0,"in_kernel":0}},
                "referenced":0,"encrypted":0,"disk":{{"read":1000,"write":"varies"}},"paths":{{}},
                "explanation":"so"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn records_are_found_in_the_output_of_tests() {
        let output = "test 6.1::programs::x ... \n  programs: {\"a\":1}\nok\nprograms:\n";
        assert_eq!(records(output), "{\"a\":1}\n");
    }

    #[test]
    fn kernels_that_differ_are_named_and_loss_proves_nothing() {
        let all = [
            record("6.1", "on", 0, true, 0),
            record("5.10", "on", 1000, true, 0),
            record("7.2", "on", 500, true, 3),
            record("6.1", "off", 1996, false, 0),
            record("5.10", "off", 1996, false, 0),
        ];
        let text = section(&all, &["5.10".into(), "6.1".into(), "7.2".into()]);
        for wanted in [
            "### p\n\n| how it is run | copies | to user | disk, read | disk, written | why |\n",
            "| on | 1 (5.10), 0 (6.1) | 1 (5.10), 0 (6.1) | 1 | varies | so; inconclusive, for events were lost, on 7.2 |\n",
            "| off | ≈ 2 | ≈ 2 | ≈ 1 | varies | so; not on 7.2 |\n",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        assert_eq!(section(&[], &[]), "");
    }
}
