//! What the VMs and the host printed (`tests/src/overhead`), by kernel and observer.

use anyhow::{Context, Result};
use serde::Deserialize;

/// One JSON line.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Machine(Machine),
    Taken(Taken),
    Held(Held),
    Idle(Idle),
    Fleet(Fleet),
    Program(Program),
    Missing { kernel: String, observer: String, missing: String },
    Peer { kernel: String, observer: String, version: String },
    Wall(Wall),
}

#[derive(Debug, Clone, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub release: String,
    pub binary_bytes: u64,
    pub version: String,
}

/// Instructions per operation.
#[derive(Debug, Clone, Deserialize)]
pub struct Taken {
    pub kernel: String,
    pub observer: String,
    pub op: String,
    /// In the round that took the least.
    pub least: f64,
    /// In the middle one.
    pub middle: f64,
    /// In all rounds.
    pub mean: f64,
}

/// What an observer of ours holds while it counts.
#[derive(Debug, Clone, Deserialize)]
pub struct Held {
    pub kernel: String,
    pub observer: String,
    pub attach_ns: u64,
    /// Until the kernel held nothing of it any more.
    pub detach_ns: u64,
    /// Until the program had ended.
    pub ended_ns: u64,
    pub maps: usize,
    pub map_bytes: u64,
    pub resident_bytes: u64,
}

/// Voluntary context switches of an observer of ours that nobody asks.
#[derive(Debug, Clone, Deserialize)]
pub struct Idle {
    pub kernel: String,
    pub observer: String,
    pub wake_ups: u64,
    pub seconds: u64,
}

/// `tracer serve` beside so many processes.
#[derive(Debug, Clone, Deserialize)]
pub struct Fleet {
    pub kernel: String,
    pub processes: u64,
    /// Of them, those that were there when it started.
    pub room_for: u64,
    /// Of each process.
    pub threads: u64,
    pub arguments: String,
    /// Extra instructions of two operations of another process.
    pub getpid: f64,
    pub read: f64,
    pub first_scrape_ns: u64,
    pub scrape_ns: u64,
    pub scrape_bytes: u64,
    pub series: f64,
    pub counted: f64,
    pub resident_bytes: u64,
    pub map_bytes: u64,
}

/// What the verifier made of a BPF program.
#[derive(Debug, Clone, Deserialize)]
pub struct Program {
    pub kernel: String,
    pub program: String,
    pub instructions: u64,
    pub machine_bytes: u64,
    pub verified: Option<u64>,
}

/// Time with the tracer over time without it.
#[derive(Debug, Clone, Deserialize)]
pub struct Wall {
    pub release: String,
    pub op: String,
    pub pairs: u64,
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

pub const NOBODY: &str = "nobody";
pub const PID: &str = "tracer --pid";
pub const BYSTANDER: &str = "tracer --pid, another process";
pub const SERVE: &str = "tracer serve";
pub const OURS: [&str; 3] = [PID, BYSTANDER, SERVE];
pub const BPFTRACE: &str = "bpftrace";
/// It works after the event, in its own process: what that takes is in the mean of all rounds.
const PERF: &str = "perf trace -s";

/// What a kernel's figures are kept under, by how many CPUs it made room for.
pub fn with_cpus(kernel: &str, cpus: u64) -> String {
    if cpus == 1 { kernel.into() } else { format!("{kernel}{ROOM}{cpus}") }
}
const ROOM: &str = " with CPUs: ";

/// The scheduler has a shorter way now and then: on 7.2 one round of four took 11,370 instructions, the others 14,150. So
/// its figure is that of the middle round, of everything else that of the cheapest.
const OF_MIDDLE_ROUND: &str = "context switch pair";

impl Taken {
    fn figure(&self) -> f64 {
        if self.op == OF_MIDDLE_ROUND { self.middle } else { self.least }
    }
}

/// How far, in percent, an operation may be from itself untraced at the end: beyond it its figures mean nothing.
const STABLE: f64 = 1.0;

#[derive(Debug, Default)]
pub struct Measured {
    lines: Vec<Line>,
}

/// Lines of one kind, in the order in which they were measured.
macro_rules! of_kind {
    ($self:ident, $kind:ident) => {
        $self.lines.iter().filter_map(|line| if let Line::$kind(it) = line { Some(it) } else { None })
    };
}

impl Measured {
    pub fn add(&mut self, text: &str) -> Result<()> {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.lines.push(parse(line).with_context(|| format!("not a measured line: {line}"))?);
        }
        Ok(())
    }

    /// Those with one CPU.
    pub fn machines(&self) -> Vec<&Machine> {
        of_kind!(self, Machine).filter(|machine| !machine.kernel.contains(ROOM)).collect()
    }

    pub fn held(&self, kernel: &str) -> Vec<&Held> {
        of_kind!(self, Held).filter(|held| held.kernel == kernel).collect()
    }

    pub fn idle(&self, kernel: &str) -> Vec<&Idle> {
        of_kind!(self, Idle).filter(|idle| idle.kernel == kernel).collect()
    }

    pub fn fleets(&self, kernel: &str) -> Vec<&Fleet> {
        of_kind!(self, Fleet).filter(|fleet| fleet.kernel == kernel).collect()
    }

    /// Of all kernels.
    pub fn programs(&self) -> Vec<&Program> {
        of_kind!(self, Program).collect()
    }

    pub fn wall(&self) -> Vec<&Wall> {
        of_kind!(self, Wall).collect()
    }

    /// Operations of a kernel, as measured.
    pub fn operations(&self, kernel: &str) -> Vec<&str> {
        let untraced = |taken: &&Taken| taken.kernel == kernel && taken.observer == NOBODY;
        distinct(of_kind!(self, Taken).filter(untraced).map(|taken| taken.op.as_str()))
    }

    /// Observers of a kernel that measured something, nobody left out.
    pub fn observers(&self, kernel: &str) -> Vec<&str> {
        let watched = |taken: &&Taken| taken.kernel == kernel && taken.observer != NOBODY;
        distinct(of_kind!(self, Taken).filter(watched).map(|taken| taken.observer.as_str()))
    }

    /// All measurements: nobody's are two, at the beginning and at the end.
    fn of(&self, kernel: &str, observer: &str, op: &str) -> Vec<&Taken> {
        let wanted = |t: &&Taken| t.kernel == kernel && t.observer == observer && t.op == op;
        of_kind!(self, Taken).filter(wanted).collect()
    }

    /// Without an observer, before the first.
    pub fn untraced(&self, kernel: &str, op: &str) -> Option<f64> {
        Some(self.of(kernel, NOBODY, op).first()?.figure())
    }

    /// Without an observer, after the last, over before the first: what stayed.
    pub fn left_behind(&self, kernel: &str, op: &str) -> Option<f64> {
        match self.of(kernel, NOBODY, op)[..] {
            [before, after] => Some(after.figure() - before.figure()),
            _ => None,
        }
    }

    /// The operation takes at the end what it took at the beginning. Nothing is known of one that was not measured
    /// twice.
    pub fn stable(&self, kernel: &str, op: &str) -> bool {
        let change = self.left_behind(kernel, op).zip(self.untraced(kernel, op));
        change.is_some_and(|(left, before)| left.abs() <= STABLE / 100.0 * before)
    }

    /// Over the same operation without an observer; nothing of an operation that is not stable.
    pub fn extra(&self, kernel: &str, observer: &str, op: &str) -> Option<f64> {
        let (with, without) = (self.of(kernel, observer, op), self.of(kernel, NOBODY, op));
        let (with, without) = (with.first()?, without.first()?);
        let extra =
            if observer == PERF { with.mean - without.mean } else { with.figure() - without.figure() };
        self.stable(kernel, op).then_some(extra)
    }

    pub fn percent(&self, kernel: &str, observer: &str, op: &str) -> Option<f64> {
        Some(100.0 * self.extra(kernel, observer, op)? / self.untraced(kernel, op)?)
    }

    /// Peers: what was measured, or why not.
    pub fn peers(&self) -> Vec<String> {
        let said = |line: &Line| match line {
            Line::Missing { kernel, observer, missing } => {
                let missing: Vec<&str> = missing.split_whitespace().collect();
                Some(format!("{kernel}: {observer} was not measured: {}", missing.join(" ")))
            }
            Line::Peer { kernel, observer, version } => Some(format!("{kernel}: {observer}: {version}")),
            _ => None,
        };
        self.lines.iter().filter_map(said).collect()
    }
}

/// A line of a kernel with room for several CPUs is that of another kernel.
fn parse(line: &str) -> Result<Line> {
    let mut line: serde_json::Value = serde_json::from_str(line)?;
    if let (Some(kernel), Some(cpus)) = (line["kernel"].as_str(), line["cpus"].as_u64()) {
        line["kernel"] = with_cpus(kernel, cpus).into();
    }
    Ok(serde_json::from_value(line)?)
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const LINES: &str = r#"{"kind":"machine","binary_bytes":9,"kernel":"6.1","release":"6.1.0","version":"tracer 0.1.0"}
        {"kind":"taken","kernel":"6.1","least":100.0,"mean":110.0,"middle":101.0,"observer":"nobody","op":"getpid"}
        {"kind":"taken","kernel":"6.1","least":100.0,"mean":110.0,"middle":101.0,"observer":"nobody","op":"recv"}
        {"kind":"taken","kernel":"6.1","least":350.5,"mean":360.0,"middle":351.0,"observer":"tracer --pid","op":"getpid"}
        {"kind":"held","attach_ns":2000000000,"detach_ns":30000000,"ended_ns":3,"kernel":"6.1","map_bytes":4096,"maps":2,"observer":"tracer --pid","resident_bytes":1048576}
        {"kind":"program","kernel":"6.1","program":"copy","instructions":10,"machine_bytes":70,"verified":12}
        {"kind":"taken","kernel":"6.1","least":250.0,"mean":260.0,"middle":251.0,"observer":"counting program at sys_enter","op":"getpid"}
        {"kind":"missing","kernel":"6.1","missing":"it is\nnot there","observer":"bpftrace"}
        {"kind":"taken","kernel":"6.1","least":400.0,"mean":910.0,"middle":401.0,"observer":"perf trace -s","op":"getpid"}
        {"kind":"peer","kernel":"6.1","observer":"perf trace -s","version":"6.1"}
        {"kind":"taken","kernel":"6.1","least":100.0,"mean":110.0,"middle":101.0,"observer":"nobody","op":"getpid"}
        {"kind":"taken","kernel":"6.1","least":98.0,"mean":110.0,"middle":101.0,"observer":"nobody","op":"recv"}
        {"kind":"machine","binary_bytes":9,"kernel":"6.1","cpus":2,"release":"6.1.0","version":"tracer 0.1.0"}
        {"kind":"taken","kernel":"6.1","cpus":2,"least":110.0,"mean":110.0,"middle":110.0,"observer":"nobody","op":"getpid"}
        {"kind":"taken","kernel":"6.1","cpus":2,"least":365.0,"mean":365.0,"middle":365.0,"observer":"tracer --pid","op":"getpid"}
        {"kind":"taken","kernel":"6.1","cpus":2,"least":110.0,"mean":110.0,"middle":110.0,"observer":"nobody","op":"getpid"}
        {"kind":"idle","kernel":"6.1","observer":"tracer serve","wake_ups":0,"seconds":60}
        {"kind":"fleet","kernel":"6.1","processes":10000,"room_for":10000,"threads":1,"arguments":"","getpid":300.0,"read":500.0,"first_scrape_ns":9000000,"scrape_ns":8000000,"scrape_bytes":1048576,"series":50000,"counted":10010,"resident_bytes":1048576,"map_bytes":4096}
        {"kind":"wall","release":"6.18","op":"getpid","pairs":15,"low":1.2,"median":1.25,"high":1.3}"#;

    pub fn measured() -> Measured {
        let mut measured = Measured::default();
        measured.add(LINES).unwrap();
        measured
    }

    #[test]
    fn lines_are_told_apart() {
        let measured = measured();
        assert_eq!(measured.machines().len(), 1);
        assert_eq!(measured.machines()[0].binary_bytes, 9);
        assert_eq!(measured.extra(&with_cpus("6.1", 2), PID, "getpid"), Some(255.0));
        assert_eq!(measured.held("6.1")[0].maps, 2);
        assert_eq!(measured.operations("6.1"), ["getpid", "recv"]);
        assert_eq!(measured.observers("6.1")[0], PID);
        assert_eq!(measured.extra("6.1", PID, "getpid"), Some(250.5));
        assert_eq!(measured.percent("6.1", PID, "getpid"), Some(250.5));
        assert_eq!(measured.left_behind("6.1", "getpid"), Some(0.0));
        assert_eq!(measured.extra("6.1", BYSTANDER, "getpid"), None);
        assert_eq!(measured.peers().len(), 2);
        assert!(measured.peers()[0].ends_with("it is not there"));
        assert!(Measured::default().add("{}").is_err());
    }

    #[test]
    fn what_is_not_stable_is_no_figure() {
        let measured = measured();
        assert!(measured.stable("6.1", "getpid") && !measured.stable("6.1", "recv"));
        assert_eq!(measured.extra("6.1", PERF, "recv"), None);
    }

    #[test]
    fn perf_is_measured_with_what_it_does_later() {
        assert_eq!(measured().extra("6.1", PERF, "getpid"), Some(800.0));
    }
}
