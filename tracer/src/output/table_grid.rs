//! Rows of figures as aligned columns, with the least needed ones left out where it is narrow.

use std::ops::RangeInclusive;

use tracer_ebpf::abi::{DIRECTIONS, Direction, Path};

use super::{mode_switches_are_observed, zero_copied_is_observed};
use crate::fmt::human;
use crate::model::snapshot::{Derived, Observed, Tally};

/// One row's numbers, before anything is decided about how they look.
pub struct Figures {
    label: String,
    calls: u64,
    payload: u64,
    copied: [u64; DIRECTIONS],
    zero_copied: u64,
    unexplained: u64,
    copies_per_byte: Option<f64>,
    switches_per_mib: Option<f64>,
}

impl Figures {
    pub fn of_path(ledger: &Tally, path: Path) -> Self {
        let payload = ledger.payload[path as usize];
        let switches = 2 * ledger.syscalls[path as usize];
        Figures {
            label: path.name().to_owned(),
            calls: payload.calls,
            payload: payload.bytes,
            copied: ledger.copied[path as usize].map(|count| count.bytes),
            zero_copied: ledger.zero_copied(path),
            unexplained: ledger.unexplained(path),
            copies_per_byte: ledger.sure_path_copies_per_byte(path),
            switches_per_mib: (payload.bytes > 0)
                .then(|| switches as f64 / payload.bytes as f64 * f64::from(1 << 20)),
        }
    }

    pub fn of_all(label: String, ledger: &Tally) -> Self {
        let payload = ledger.payload();
        Figures {
            label,
            calls: payload.calls,
            payload: payload.bytes,
            copied: Direction::ALL.map(|direction| ledger.copied_in(direction).bytes),
            zero_copied: Path::ALL.iter().map(|&path| ledger.zero_copied(path)).sum(),
            unexplained: ledger.unexplained_in_all(),
            copies_per_byte: ledger.sure_copies_per_byte(),
            switches_per_mib: ledger.mode_switches_per_mib(),
        }
    }
}

struct Column {
    heading: [&'static str; 2],
    observed: fn(&Observed) -> bool,
    cell: fn(&Figures) -> String,
    /// True if it is left out where no row has anything in it.
    if_any: Option<fn(&Figures) -> bool>,
    /// The layouts that have it, as indices of [`GAPS`].
    layouts: RangeInclusive<usize>,
}

/// Blanks between columns, by layout. The first layout that is narrow enough is taken: all columns; without
/// the switches, which the lines below the table tell as well; closer together; without the calls; with one
/// column for all directions of copies.
const GAPS: [usize; 5] = [2, 2, 1, 1, 1];
const ALL: RangeInclusive<usize> = 0..=4;
/// The layouts with a column per direction.
const DIRECTED: RangeInclusive<usize> = 0..=3;

const COLUMNS: [Column; 10] = [
    Column {
        heading: ["", "calls"],
        observed: |o| o.payload,
        cell: |f| human::count(f.calls),
        if_any: None,
        layouts: 0..=2,
    },
    Column {
        heading: ["", "payload"],
        observed: |o| o.payload,
        cell: |f| human::bytes(f.payload),
        if_any: None,
        layouts: ALL,
    },
    Column {
        heading: ["copied", "to user"],
        observed: |o| o.copies,
        cell: |f| human::bytes(f.copied[Direction::ToUser as usize]),
        if_any: None,
        layouts: DIRECTED,
    },
    Column {
        heading: ["copied", "from user"],
        observed: |o| o.copies,
        cell: |f| human::bytes(f.copied[Direction::FromUser as usize]),
        if_any: None,
        layouts: DIRECTED,
    },
    Column {
        heading: ["copied", "in kernel"],
        observed: |o| o.copies,
        cell: |f| human::bytes(f.copied[Direction::InKernel as usize]),
        if_any: None,
        layouts: DIRECTED,
    },
    Column {
        heading: ["", "copied"],
        observed: |o| o.copies,
        cell: |f| human::bytes(f.copied.iter().sum()),
        if_any: None,
        layouts: 4..=4,
    },
    Column {
        heading: ["zero-", "copied"],
        observed: zero_copied_is_observed,
        cell: |f| human::bytes(f.zero_copied),
        if_any: None,
        layouts: ALL,
    },
    Column {
        heading: ["unex-", "plained"],
        observed: zero_copied_is_observed,
        cell: |f| human::bytes(f.unexplained),
        if_any: Some(|f| f.unexplained > 0),
        layouts: ALL,
    },
    Column {
        heading: ["copies", "/byte"],
        observed: |o| o.copies && o.payload,
        cell: |f| f.copies_per_byte.map_or("-".to_owned(), human::ratio),
        if_any: None,
        layouts: ALL,
    },
    Column {
        heading: ["switches", "/MiB"],
        observed: |o| mode_switches_are_observed(o) && o.payload,
        cell: |f| f.switches_per_mib.map_or("-".to_owned(), human::rate),
        if_any: None,
        layouts: 0..=0,
    },
];

/// The table as lines, two of them headings.
pub fn lines(title: &str, rows: &[Figures], observed: &Observed, width: Option<u16>) -> Vec<String> {
    let limit = width.map_or(usize::MAX, usize::from);
    let mut text = Vec::new();
    for (layout, gap) in GAPS.into_iter().enumerate() {
        let is_needed = |c: &&Column| c.if_any.is_none_or(|has| rows.iter().any(has));
        let is_shown = |c: &&Column| (c.observed)(observed) && c.layouts.contains(&layout);
        let columns: Vec<_> = COLUMNS.iter().filter(is_shown).filter(is_needed).collect();
        text = align(&cells(title, rows, &columns), gap);
        if text.iter().all(|line| human::columns(line) <= limit) {
            break;
        }
    }
    text
}

fn cells(title: &str, rows: &[Figures], columns: &[&Column]) -> Vec<Vec<String>> {
    let heading = |label: &str, line: usize| {
        let names = columns.iter().map(|c| c.heading[line].to_owned());
        std::iter::once(label.to_owned()).chain(names).collect()
    };
    let mut cells = vec![heading("", 0), heading(title, 1)];
    cells.extend(rows.iter().map(|row| {
        let values = columns.iter().map(|c| (c.cell)(row));
        std::iter::once(row.label.clone()).chain(values).collect::<Vec<_>>()
    }));
    cells
}

/// First column to the left, numbers to the right.
fn align(cells: &[Vec<String>], gap: usize) -> Vec<String> {
    let columns = cells.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|i| cells.iter().map(|row| human::columns(&row[i])).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let blanks = |i: usize| " ".repeat(widths[i] - human::columns(&row[i]));
        let mut line = row[0].clone() + &blanks(0);
        for (i, cell) in row.iter().enumerate().skip(1) {
            line += &" ".repeat(gap);
            line += &blanks(i);
            line += cell;
        }
        line.trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}
