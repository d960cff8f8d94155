//! The tracer's JSON (`schema tracer/1`) as the tests read it: absent is zero
//! where the contract says so.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

pub const DIRECTIONS: [&str; 3] = ["to_user", "from_user", "in_kernel"];

/// What is said of one process (or of all together: the same shape).
#[derive(Clone, Copy)]
pub struct Ledger<'a>(&'a Value);

impl std::fmt::Display for Ledger<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The process `pid` of a total.
pub fn process(total: &Value, pid: u32) -> Result<Ledger<'_>> {
    ensure!(total["schema"] == "tracer/1", "schema is {}", total["schema"]);
    let processes = total["processes"].as_array().context("no `processes`")?;
    let mut found = processes.iter().filter(|process| process["pid"] == pid);
    let ledger = found.next().with_context(|| format!("no process {pid} in {total}"))?;
    ensure!(found.next().is_none(), "process {pid} is there twice");
    Ok(Ledger(ledger))
}

/// All processes of a total.
pub fn processes(total: &Value) -> Vec<Ledger<'_>> {
    total["processes"].as_array().into_iter().flatten().map(Ledger).collect()
}

pub fn totals(total: &Value) -> Ledger<'_> {
    Ledger(&total["totals"])
}

pub fn overflow(total: &Value) -> Ledger<'_> {
    Ledger(&total["overflow"])
}

/// Ended processes that are too many to be listed.
pub fn ended(total: &Value) -> Ledger<'_> {
    Ledger(&total["ended"])
}

/// What belongs to no process: softirqs, kernel threads.
pub fn unattributed(total: &Value) -> [Ledger<'_>; 2] {
    ["softirq", "kernel_thread"].map(|part| Ledger(&total["unattributed"][part]))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

impl<'a> Ledger<'a> {
    pub fn exists(&self) -> bool {
        self.0.is_object()
    }

    pub fn has_ended(&self) -> bool {
        self.0["exited"] == true
    }

    /// A number that is said beside the ledger itself.
    pub fn number(&self, field: &str) -> u64 {
        number(&self.0[field])
    }

    pub fn path_names(&self) -> Vec<&'a str> {
        let paths: Option<&Map<String, Value>> = self.0["paths"].as_object();
        paths.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }

    /// Payload bytes copied.
    pub fn copied(&self, path: &str, direction: &str) -> u64 {
        number(&self.0["paths"][path]["copied_bytes"][direction])
    }

    /// Copies by size, if they are counted.
    pub fn copy_sizes(&self, path: &str, direction: &str) -> Option<&'a Map<String, Value>> {
        self.0["paths"][path]["copy_sizes"][direction].as_object()
    }

    /// One of `calls`, `syscalls`, `payload_bytes`, `zero_copied_bytes`, `discarded_bytes`, `unexplained_bytes`,
    /// `crypto_bytes`.
    pub fn of_path(&self, path: &str, field: &str) -> u64 {
        number(&self.0["paths"][path][field])
    }

    pub fn copied_in_all(&self, direction: &str) -> u64 {
        self.path_names().iter().map(|path| self.copied(path, direction)).sum()
    }

    /// Payload copied, all paths and directions.
    pub fn copied_at_all(&self) -> u64 {
        DIRECTIONS.iter().map(|direction| self.copied_in_all(direction)).sum()
    }

    /// Payload copied, of a ledger that has no paths ([`unattributed`]).
    pub fn copied_without_path(&self) -> u64 {
        DIRECTIONS.iter().map(|direction| number(&self.0["copied_bytes"][*direction])).sum()
    }

    pub fn control(&self, direction: &str) -> u64 {
        number(&self.0["control_bytes"][direction])
    }

    pub fn other_kind(&self, kind: &str) -> u64 {
        number(&self.0["other_kinds"][kind])
    }

    /// `copies` or `bytes_at_most` of copies that were cut short.
    pub fn cut_short(&self, field: &str) -> u64 {
        number(&self.0["cut_short"][field])
    }

    /// Bytes that devices moved, if they were observed.
    pub fn device_bytes(&self) -> Option<&'a Value> {
        Some(&self.0["device_bytes"]).filter(|value| value.is_object())
    }

    pub fn mode_switches(&self, reason: &str) -> u64 {
        number(&self.0["mode_switches"][reason])
    }

    /// `device_bytes`; absent is an error, for it means "not observed".
    pub fn device(&self, kind: &str, op: &str) -> Result<u64> {
        let bytes = self.0["device_bytes"][kind][op].as_u64();
        bytes.with_context(|| format!("no device_bytes.{kind}.{op} in {}", self.0))
    }

    pub fn context_switches(&self, kind: &str) -> u64 {
        number(&self.0["context_switches"][kind])
    }
}
