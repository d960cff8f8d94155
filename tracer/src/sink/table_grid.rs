//! Rows of figures as aligned columns, with the least needed one left out where it is narrow.

use tracer_ebpf::abi::{DIRECTIONS, Direction, Ledger, Path};

use super::{human, zero_copied_is_observed};
use crate::snapshot::{Derived, Observed};

/// One row's numbers, before anything is decided about how they look.
pub struct Figures {
    label: String,
    calls: u64,
    payload: u64,
    copied: [u64; DIRECTIONS],
    zero_copied: u64,
    copies_per_byte: Option<f64>,
    switches_per_mib: Option<f64>,
}

impl Figures {
    pub fn of_path(ledger: &Ledger, path: Path) -> Self {
        let payload = ledger.payload[path as usize];
        let switches = 2 * ledger.syscalls[path as usize];
        Figures {
            label: path.name().to_owned(),
            calls: payload.calls,
            payload: payload.bytes,
            copied: ledger.copied[path as usize].map(|count| count.bytes),
            zero_copied: ledger.zero_copied(path),
            copies_per_byte: ledger.path_copies_per_byte(path),
            switches_per_mib: (payload.bytes > 0)
                .then(|| switches as f64 / payload.bytes as f64 * f64::from(1 << 20)),
        }
    }

    pub fn of_all(label: String, ledger: &Ledger) -> Self {
        let payload = ledger.payload();
        Figures {
            label,
            calls: payload.calls,
            payload: payload.bytes,
            copied: Direction::ALL.map(|direction| ledger.copied_in(direction).bytes),
            zero_copied: Path::ALL.iter().map(|&path| ledger.zero_copied(path)).sum(),
            copies_per_byte: ledger.copies_per_byte(),
            switches_per_mib: ledger.mode_switches_per_mib(),
        }
    }
}

struct Column {
    heading: [&'static str; 2],
    observed: fn(&Observed) -> bool,
    cell: fn(&Figures) -> String,
    /// Left out where the table is wider than the terminal; the lines below the table say it too.
    optional: bool,
}

const COLUMNS: [Column; 8] = [
    Column {
        heading: ["", "calls"],
        observed: |o| o.payload,
        cell: |f| human::count(f.calls),
        optional: false,
    },
    Column {
        heading: ["", "payload"],
        observed: |o| o.payload,
        cell: |f| human::bytes(f.payload),
        optional: false,
    },
    Column {
        heading: ["copied", "to user"],
        observed: |o| o.copies,
        cell: |f| human::bytes(f.copied[Direction::ToUser as usize]),
        optional: false,
    },
    Column {
        heading: ["copied", "from user"],
        observed: |o| o.copies,
        cell: |f| human::bytes(f.copied[Direction::FromUser as usize]),
        optional: false,
    },
    Column {
        heading: ["copied", "in kernel"],
        observed: |o| o.copies,
        cell: |f| human::bytes(f.copied[Direction::InKernel as usize]),
        optional: false,
    },
    Column {
        heading: ["zero-", "copied"],
        observed: zero_copied_is_observed,
        cell: |f| human::bytes(f.zero_copied),
        optional: false,
    },
    Column {
        heading: ["copies", "/byte"],
        observed: |o| o.copies && o.payload,
        cell: |f| f.copies_per_byte.map_or("-".to_owned(), human::ratio),
        optional: false,
    },
    Column {
        heading: ["switches", "/MiB"],
        observed: |o| o.syscalls && o.payload,
        cell: |f| f.switches_per_mib.map_or("-".to_owned(), human::rate),
        optional: true,
    },
];

/// Tried in this order until one fits: is the optional column shown, and blanks between columns.
const LAYOUTS: [(bool, usize); 3] = [(true, 2), (false, 2), (false, 1)];

/// The table as lines, two of them headings.
pub fn lines(title: &str, rows: &[Figures], observed: &Observed, width: Option<u16>) -> Vec<String> {
    let limit = width.map_or(usize::MAX, usize::from);
    let mut text = Vec::new();
    for (all, gap) in LAYOUTS {
        let columns: Vec<_> =
            COLUMNS.iter().filter(|c| (c.observed)(observed) && (all || !c.optional)).collect();
        text = align(&cells(title, rows, &columns), gap);
        if text.iter().all(|line| line.chars().count() <= limit) {
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
        (0..columns).map(|i| cells.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line += &format!("{:gap$}{cell:>width$}", "");
        }
        line.trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}
