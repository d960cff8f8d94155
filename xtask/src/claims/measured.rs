//! What was measured: the JSON lines of `claims` (or of any test that prints the same), and figures of them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::programs::Record;
use super::rows::Table;

/// One row on one kernel.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    pub row: String,
    pub kernel: String,
    pub release: String,
    /// Why this kernel has no such row.
    pub lacking: Option<String>,
    #[serde(default)]
    pub bytes: u64,
    pub chunk: Option<u64>,
    /// The process that moves the bytes.
    pub worker: Option<Side>,
    /// The one that receives them.
    pub peer: Option<Side>,
    pub witness: Option<Witness>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Side {
    pub to_user: u64,
    pub from_user: u64,
    pub in_kernel: u64,
    pub referenced: u64,
    pub crypto: u64,
    pub mode_switches: BTreeMap<String, u64>,
    pub device_bytes: Option<Device>,
    /// Fields that depend on timing: `{"at_least": N}` or `"varies"`.
    open: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Device {
    pub block: Block,
    pub net: Net,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Block {
    pub read: u64,
    pub write: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Net {
    pub rx: u64,
    pub tx: u64,
}

/// What the kernel itself says of zero-copy sends.
#[derive(Debug, Clone, Deserialize)]
pub struct Witness {
    pub sends: u64,
    pub copied_after_all: u64,
}

/// A number of the document, in hundredths: what is printed is what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Exact(u64),
    /// The rest depends on timing.
    AtLeast(u64),
    Varies,
    NotMeasured,
}

impl Figure {
    pub fn ratio(part: u64, whole: u64) -> Figure {
        if whole == 0 {
            return Figure::NotMeasured;
        }
        let hundredths = (u128::from(part) * 100 + u128::from(whole) / 2) / u128::from(whole);
        Figure::Exact(u64::try_from(hundredths).unwrap_or(u64::MAX))
    }

    /// Whole parts only: what is known of a figure that may be larger.
    fn at_least(self) -> Figure {
        match self {
            Figure::Exact(value) | Figure::AtLeast(value) => Figure::AtLeast(value / 100 * 100),
            other => other,
        }
    }

    pub fn plus(self, other: Figure) -> Figure {
        use Figure::{AtLeast, Exact, NotMeasured, Varies};
        match (self, other) {
            (NotMeasured, _) | (_, NotMeasured) => NotMeasured,
            (Varies, _) | (_, Varies) => Varies,
            (Exact(a), Exact(b)) => Exact(a + b),
            (Exact(a) | AtLeast(a), Exact(b) | AtLeast(b)) => AtLeast(a + b),
        }
    }

    pub fn is_zero(self) -> bool {
        self == Figure::Exact(0)
    }

    /// True if a claim of `whole` is right; None if nothing was measured.
    pub fn agrees_with(self, whole: u64) -> Option<bool> {
        match self {
            Figure::Exact(value) | Figure::AtLeast(value) => Some(value == whole * 100),
            Figure::Varies | Figure::NotMeasured => None,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let number = |value: &u64| {
            let text = format!("{}.{:02}", value / 100, value % 100);
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        };
        match self {
            Figure::Exact(value) => out.write_str(&number(value)),
            Figure::AtLeast(value) => write!(out, "≥ {}", number(value)),
            Figure::Varies => out.write_str("varies"),
            Figure::NotMeasured => out.write_str("not measured"),
        }
    }
}

/// What can be asked of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    ToUser,
    FromUser,
    InKernel,
    /// All copies of the sending side.
    Cpu,
    Referenced,
    Cipher,
    /// The receiver's copies into its own buffer.
    Receiver,
    DiskRead,
    DiskWrite,
    /// Both.
    Disk,
    Sent,
    SwitchesPerChunk,
    SwitchesPerMib,
    SwitchesInAll,
}

impl Line {
    pub fn figure(&self, field: Field) -> Figure {
        let Some(worker) = &self.worker else { return Figure::NotMeasured };
        let device = |of: fn(&Device) -> u64| {
            worker.device_bytes.as_ref().map_or(Figure::NotMeasured, |device| self.per_byte(of(device)))
        };
        match field {
            Field::ToUser => self.side(worker, "to_user", worker.to_user),
            Field::FromUser => self.side(worker, "from_user", worker.from_user),
            Field::InKernel => self.side(worker, "in_kernel", worker.in_kernel),
            Field::Cpu => self
                .figure(Field::ToUser)
                .plus(self.figure(Field::FromUser))
                .plus(self.figure(Field::InKernel)),
            Field::Referenced => self.side(worker, "referenced", worker.referenced),
            Field::Cipher => self.side(worker, "crypto", worker.crypto),
            Field::Receiver => self
                .peer
                .as_ref()
                .map_or(Figure::NotMeasured, |peer| self.side(peer, "to_user", peer.to_user)),
            Field::DiskRead => device(|device| device.block.read),
            Field::DiskWrite => device(|device| device.block.write),
            Field::Disk => device(|device| device.block.read + device.block.write),
            Field::Sent => match &worker.device_bytes {
                Some(device) => self.side(worker, "net_tx", device.net.tx),
                None => Figure::NotMeasured,
            },
            Field::SwitchesPerChunk => self.switches(worker, self.chunk.unwrap_or(0)),
            Field::SwitchesPerMib => self.switches(worker, 1 << 20),
            Field::SwitchesInAll => self.switches(worker, self.bytes),
        }
    }

    fn per_byte(&self, bytes: u64) -> Figure {
        Figure::ratio(bytes, self.bytes)
    }

    fn side(&self, side: &Side, field: &str, bytes: u64) -> Figure {
        match side.open.get(field) {
            None => self.per_byte(bytes),
            Some(Value::Object(_)) => self.per_byte(bytes).at_least(),
            Some(_) => Figure::Varies,
        }
    }

    /// Interrupts are left out: they are the machine's, not the mechanism's.
    fn switches(&self, worker: &Side, unit: u64) -> Figure {
        if worker.mode_switches.is_empty() || unit == 0 || self.bytes == 0 {
            return Figure::NotMeasured;
        }
        let of = |reason: &str| worker.mode_switches.get(reason).copied().unwrap_or(0);
        let figure = Figure::ratio((of("syscall") + of("fault")).saturating_mul(unit), self.bytes);
        if worker.open.contains_key("mode_switches") { figure.at_least() } else { figure }
    }
}

/// All lines, kernels in the order of the matrix.
pub struct Measured {
    pub lines: Vec<Line>,
    pub programs: Vec<Record>,
    pub kernels: Vec<String>,
}

impl Measured {
    pub fn new(kernels: Vec<String>) -> Measured {
        Measured { lines: Vec::new(), programs: Vec::new(), kernels }
    }

    /// Adds JSON lines: of mechanisms and of programs.
    pub fn add(&mut self, text: &str) -> Result<()> {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let about = || format!("no measured line: {line}");
            match serde_json::from_str(line).with_context(about)? {
                Either::Row(row) => self.lines.push(*row),
                Either::Program(record) => self.programs.push(*record),
            }
        }
        Ok(())
    }

    /// Fails on lines that no row of the table is for.
    pub fn check(&self, table: &Table) -> Result<()> {
        for line in &self.lines {
            let known = table.rows.iter().any(|row| row.key() == line.row);
            ensure!(known, "a line for {}, which is no row of tests/claims.toml", line.row);
        }
        Ok(())
    }

    /// One line per kernel that has any.
    pub fn of<'a>(&'a self, key: &'a str) -> Vec<&'a Line> {
        let named = self.lines.iter().filter(|line| line.row == key);
        let mut lines: Vec<&Line> = named.collect();
        lines.sort_by_key(|line| self.kernels.iter().position(|kernel| *kernel == line.kernel));
        lines
    }

    /// The releases that were booted, in order.
    pub fn releases(&self) -> Vec<&str> {
        let release = |kernel: &String| {
            self.lines.iter().find(|line| line.kernel == *kernel).map(|line| line.release.as_str())
        };
        self.kernels.iter().filter_map(release).collect()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Row(Box<Line>),
    Program(Box<Record>),
}

/// What is said of each kernel, said once where all agree: `5.10: 1; 6.1, 6.12, 7.2: 0`.
pub fn by_kernel(texts: &[(&str, String)]) -> Vec<(String, String)> {
    let mut groups: Vec<(Vec<&str>, &String)> = Vec::new();
    for (kernel, text) in texts {
        match groups.iter_mut().find(|(_, known)| *known == text) {
            Some((kernels, _)) => kernels.push(kernel),
            None => groups.push((vec![kernel], text)),
        }
    }
    let one = groups.len() == 1;
    let name = |kernels: Vec<&str>| if one { String::new() } else { kernels.join(", ") };
    groups.into_iter().map(|(kernels, text)| (name(kernels), text.clone())).collect()
}

/// The same in one text each, with the kernels behind it where they differ: `1 (5.10)`, `0 (6.1, 6.12, 7.2)`.
pub fn named(texts: &[(&str, String)]) -> Vec<String> {
    let name = |(kernels, text): (String, String)| {
        if kernels.is_empty() { text } else { format!("{text} ({kernels})") }
    };
    by_kernel(texts).into_iter().map(name).collect()
}

#[cfg(test)]
pub fn parsed(text: &str) -> Measured {
    let mut measured = Measured::new(Vec::new());
    measured.add(text).unwrap();
    measured
}

#[cfg(test)]
#[path = "measured_tests.rs"]
mod tests;
