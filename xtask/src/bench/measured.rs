//! What the VMs printed (`tests/src/overhead`), by kernel and observer.

use anyhow::{Context, Result};
use serde::Deserialize;

/// One JSON line.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Line {
    Taken(Taken),
    Held(Held),
    Machine(Machine),
    Missing { kernel: String, observer: String, missing: String },
    Peer { kernel: String, observer: String, version: String },
}

/// Instructions per operation.
#[derive(Debug, Clone, Deserialize)]
pub struct Taken {
    kernel: String,
    observer: String,
    op: String,
    pub least: f64,
}

/// What an observer of ours holds while it counts.
#[derive(Debug, Clone, Deserialize)]
pub struct Held {
    kernel: String,
    pub observer: String,
    pub attach_ns: u64,
    pub detach_ns: u64,
    pub maps: usize,
    pub map_bytes: u64,
    pub resident_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub release: String,
    pub binary_bytes: u64,
    pub version: String,
}

pub const NOBODY: &str = "nobody";
pub const PID: &str = "tracer --pid";
pub const BYSTANDER: &str = "tracer --pid, another process";
pub const BPFTRACE: &str = "bpftrace";

#[derive(Debug, Default)]
pub struct Measured {
    lines: Vec<Line>,
}

impl Measured {
    pub fn add(&mut self, text: &str) -> Result<()> {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let parsed =
                serde_json::from_str(line).with_context(|| format!("not a measured line: {line}"))?;
            self.lines.push(parsed);
        }
        Ok(())
    }

    /// In the order in which they were measured.
    pub fn machines<'a>(&'a self) -> Vec<&'a Machine> {
        let machine = |line: &'a Line| if let Line::Machine(machine) = line { Some(machine) } else { None };
        self.lines.iter().filter_map(machine).collect()
    }

    pub fn held<'a>(&'a self, kernel: &str) -> Vec<&'a Held> {
        let held = |line: &'a Line| if let Line::Held(held) = line { Some(held) } else { None };
        self.lines.iter().filter_map(held).filter(|held: &&Held| held.kernel == kernel).collect()
    }

    /// Operations of a kernel, as measured.
    pub fn operations(&self, kernel: &str) -> Vec<&str> {
        let untraced = |taken: &&Taken| taken.kernel == kernel && taken.observer == NOBODY;
        let mut names: Vec<&str> = Vec::new();
        for taken in self.taken().filter(untraced) {
            if !names.contains(&taken.op.as_str()) {
                names.push(&taken.op);
            }
        }
        names
    }

    /// Observers of a kernel that measured something, nobody left out.
    pub fn observers(&self, kernel: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for taken in self.taken().filter(|taken| taken.kernel == kernel && taken.observer != NOBODY) {
            if !names.contains(&taken.observer.as_str()) {
                names.push(&taken.observer);
            }
        }
        names
    }

    fn taken(&self) -> impl Iterator<Item = &Taken> {
        self.lines.iter().filter_map(|line| if let Line::Taken(taken) = line { Some(taken) } else { None })
    }

    /// All measurements: nobody's are two, at the beginning and at the end.
    fn of(&self, kernel: &str, observer: &str, op: &str) -> Vec<f64> {
        let wanted = |t: &&Taken| t.kernel == kernel && t.observer == observer && t.op == op;
        self.taken().filter(wanted).map(|taken| taken.least).collect()
    }

    /// Without an observer, before the first.
    pub fn untraced(&self, kernel: &str, op: &str) -> Option<f64> {
        self.of(kernel, NOBODY, op).first().copied()
    }

    /// Without an observer, after the last, over before the first: what stayed.
    pub fn left_behind(&self, kernel: &str, op: &str) -> Option<f64> {
        match self.of(kernel, NOBODY, op)[..] {
            [before, after] => Some(after - before),
            _ => None,
        }
    }

    /// Over the same operation without an observer.
    pub fn extra(&self, kernel: &str, observer: &str, op: &str) -> Option<f64> {
        Some(self.of(kernel, observer, op).first()? - self.untraced(kernel, op)?)
    }

    pub fn percent(&self, kernel: &str, observer: &str, op: &str) -> Option<f64> {
        Some(100.0 * self.extra(kernel, observer, op)? / self.untraced(kernel, op)?)
    }

    /// Peers: what was measured, or why not.
    pub fn peers(&self) -> Vec<String> {
        let said = |line: &Line| match line {
            Line::Missing { kernel, observer, missing } => {
                Some(format!("{kernel}: {observer} was not measured: {missing}"))
            }
            Line::Peer { kernel, observer, version } => Some(format!("{kernel}: {observer}: {version}")),
            _ => None,
        };
        self.lines.iter().filter_map(said).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const LINES: &str = r#"{"binary_bytes":9,"kernel":"6.1","release":"6.1.0","version":"tracer 0.1.0"}
        {"kernel":"6.1","least":100.0,"middle":101.0,"observer":"nobody","op":"getpid"}
        {"kernel":"6.1","least":350.5,"middle":351.0,"observer":"tracer --pid","op":"getpid"}
        {"attach_ns":2000000000,"detach_ns":3,"kernel":"6.1","map_bytes":4096,"maps":2,"observer":"tracer --pid","resident_bytes":1048576}
        {"kernel":"6.1","missing":"not installed on the host","observer":"bpftrace"}
        {"kernel":"6.1","observer":"strace -f -c","version":"6.1"}
        {"kernel":"6.1","least":100.0,"middle":101.0,"observer":"nobody","op":"getpid"}"#;

    pub fn measured() -> Measured {
        let mut measured = Measured::default();
        measured.add(LINES).unwrap();
        measured
    }

    #[test]
    fn lines_are_told_apart() {
        let measured = measured();
        assert_eq!(measured.machines()[0].binary_bytes, 9);
        assert_eq!(measured.held("6.1")[0].maps, 2);
        assert_eq!(measured.operations("6.1"), ["getpid"]);
        assert_eq!(measured.observers("6.1"), [PID]);
        assert_eq!(measured.extra("6.1", PID, "getpid"), Some(250.5));
        assert_eq!(measured.percent("6.1", PID, "getpid"), Some(250.5));
        assert_eq!(measured.left_behind("6.1", "getpid"), Some(0.0));
        assert_eq!(measured.extra("6.1", BYSTANDER, "getpid"), None);
        assert_eq!(measured.peers().len(), 2);
        assert!(Measured::default().add("{}").is_err());
    }
}
