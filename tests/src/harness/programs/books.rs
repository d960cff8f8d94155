//! The bytes of one program's window, by path, and what they must be.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::compare::Differences;
use crate::harness::ledger::{DIRECTIONS, Ledger};
use crate::harness::metrics;

/// The quantities that are looked at, under the names that JSON gives them or their parts.
const FIELDS: [&str; 7] = [
    "payload_bytes",
    "zero_copied_bytes",
    "discarded_bytes",
    "crypto_bytes",
    "to_user",
    "from_user",
    "in_kernel",
];

/// What disks moved for the program stands beside the paths, under this name.
pub const DISK: &str = "disk";

/// With the disk's reads and writes: `op` of `tracer_device_bytes_total`.
const DISK_FIELDS: [&str; 2] = ["read", "write"];

/// Copies there are not of the data: pages shared since a fork, the kernel's own reading of a program.
const NOT_DATA: [&str; 2] = ["mmap_fault", "other_syscall"];

/// Bytes by path and field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Books(BTreeMap<(String, &'static str), u64>);

impl Books {
    pub fn of(ledger: Ledger) -> Books {
        let mut books = Books::default();
        for path in ledger.path_names() {
            for field in FIELDS {
                let bytes = match field {
                    field if DIRECTIONS.contains(&field) => ledger.copied(path, field),
                    field => ledger.of_path(path, field),
                };
                books.0.insert((path.into(), field), bytes);
            }
        }
        if let Some(devices) = ledger.device_bytes() {
            for op in DISK_FIELDS {
                books.0.insert((DISK.into(), op), devices["block"][op].as_u64().unwrap_or(0));
            }
        }
        books
    }

    /// Since counting began, from a scrape: for a program of which several windows are wanted.
    pub fn of_scrape(page: &str, pid: u32, paths: &[&str]) -> Books {
        let pid = pid.to_string();
        let mut books = Books::default();
        for path in paths {
            let of = [("pid", pid.as_str()), ("path", path)];
            for field in FIELDS {
                let copied = |direction, kind| {
                    let mut labels = of.to_vec();
                    labels.extend([("direction", direction), ("kind", kind)]);
                    metrics::sum(page, "tracer_copied_bytes_total", &labels)
                };
                let bytes = match field {
                    "payload_bytes" => metrics::sum(page, "tracer_payload_bytes_total", &of),
                    "zero_copied_bytes" => metrics::sum(page, "tracer_zero_copied_bytes_total", &of),
                    "discarded_bytes" => metrics::sum(page, "tracer_discarded_bytes_total", &of),
                    "crypto_bytes" => DIRECTIONS.iter().map(|direction| copied(direction, "crypto")).sum(),
                    direction => copied(direction, "copy"),
                };
                books.0.insert((path.to_string(), field), bytes);
            }
        }
        for op in DISK_FIELDS {
            let of = [("pid", pid.as_str()), ("device_kind", "block"), ("op", op)];
            books.0.insert((DISK.into(), op), metrics::sum(page, "tracer_device_bytes_total", &of));
        }
        books
    }

    /// What came after `before`.
    pub fn since(&self, before: &Books) -> Books {
        let later = self.0.iter().map(|(key, bytes)| {
            let earlier = before.0.get(key).copied().unwrap_or(0);
            (key.clone(), bytes.saturating_sub(earlier))
        });
        Books(later.collect())
    }

    pub fn get(&self, path: &str, field: &str) -> u64 {
        let of = self.0.iter().find(|((p, f), _)| p == path && *f == field);
        of.map_or(0, |(_, bytes)| *bytes)
    }

    /// Copied in one direction on the paths that carry data.
    pub fn copied(&self, direction: &str) -> u64 {
        let data = self.0.iter().filter(|((path, field), _)| {
            *field == direction && !NOT_DATA.contains(&path.as_str()) && path != DISK
        });
        data.map(|(_, bytes)| bytes).sum()
    }

    pub fn sum(&self, field: &str) -> u64 {
        self.0.iter().filter(|((_, f), _)| *f == field).map(|(_, bytes)| bytes).sum()
    }

    /// What disks moved, if that was observed.
    pub fn disk(&self) -> Value {
        let of = self.0.iter().filter(|((path, _), _)| path == DISK);
        let fields: serde_json::Map<_, _> =
            of.map(|((_, op), bytes)| (op.to_string(), (*bytes).into())).collect();
        if fields.is_empty() { Value::Null } else { Value::Object(fields) }
    }

    /// By path, without zeros.
    pub fn json(&self) -> Value {
        let mut paths = serde_json::Map::new();
        let moved = self.0.iter().filter(|((path, _), bytes)| **bytes > 0 && path != DISK);
        for ((path, field), bytes) in moved {
            let path = paths.entry(path.clone()).or_insert_with(|| Value::Object(Default::default()));
            path[*field] = (*bytes).into();
        }
        Value::Object(paths)
    }

    /// Compares with what is known. What is copied anywhere else must be nothing at all, on the paths
    /// that carry data; and so must what disks move.
    pub fn compare(&self, expected: &[Expected], differences: &mut Differences) {
        for line in expected {
            let what = format!("{}.{}", line.path, line.field);
            differences.between(&what, self.get(line.path, line.field), line.least, line.most);
        }
        for ((path, field), bytes) in &self.0 {
            let named = expected.iter().any(|line| line.path == path && line.field == *field);
            let is_data = DIRECTIONS.contains(field) && !NOT_DATA.contains(&path.as_str());
            if !named && (is_data || path == DISK) {
                differences.equal(&format!("{path}.{field}"), *bytes, 0);
            }
        }
    }
}

/// One number of the books.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    path: &'static str,
    field: &'static str,
    least: u64,
    most: u64,
}

impl Expected {
    pub fn is_exact(&self) -> bool {
        self.room() == 0
    }

    /// Bytes between the least and the most.
    pub fn room(&self) -> u64 {
        self.most - self.least
    }

    pub fn is_of(&self, path: &str, field: &str) -> bool {
        self.path == path && self.field == field
    }
}

pub fn exactly(path: &'static str, field: &'static str, bytes: u64) -> Expected {
    Expected { path, field, least: bytes, most: bytes }
}

/// `bytes`, and up to `more` of a kind that is not known to the byte: the caller says which.
pub fn about(path: &'static str, field: &'static str, bytes: u64, more: u64) -> Expected {
    Expected { path, field, least: bytes, most: bytes + more }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(path: &str, field: &'static str, bytes: u64) -> Books {
        Books([((path.to_string(), field), bytes)].into())
    }

    #[test]
    fn what_is_not_named_must_be_nothing() {
        let failed = |books: &Books, expected: &[Expected]| {
            let mut differences = Differences::default();
            books.compare(expected, &mut differences);
            differences.into_result("").is_err()
        };
        let read = books("read", "to_user", 10);
        assert!(failed(&read, &[]));
        assert!(failed(&read, &[exactly("read", "to_user", 9)]));
        assert!(!failed(&read, &[about("read", "to_user", 9, 1)]));
        assert!(!failed(&books("mmap_fault", "in_kernel", 4096), &[]));
        assert!(!failed(&books("read", "payload_bytes", 1), &[]));
    }

    #[test]
    fn windows_of_a_scrape() {
        let page = |bytes: u64| {
            let labels = "pid=\"7\",comm=\"x\",path=\"read\"";
            let copied =
                format!("tracer_copied_bytes_total{{{labels},direction=\"to_user\",kind=\"copy\"}} {bytes}");
            format!("{copied}\ntracer_payload_bytes_total{{{labels}}} {bytes}\n")
        };
        let [before, after] = [3, 10].map(|bytes| Books::of_scrape(&page(bytes), 7, &["read"]));
        let window = after.since(&before);
        assert_eq!((window.get("read", "to_user"), window.get("read", "payload_bytes")), (7, 7));
        assert_eq!(window.copied("to_user"), 7);
    }
}
