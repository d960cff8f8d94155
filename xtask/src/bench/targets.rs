//! What tracer may cost, beside what it costs.

use super::measured::{BPFTRACE, BYSTANDER, Fleet, Held, Measured, PID};

/// Programs that do next to nothing, measured in the same VM (`tests/src/overhead/reference.rs`).
const EMPTY: &str = "empty program at sys_enter";
const COUNTING: &str = "counting program at sys_enter";
const FEXIT: &str = "counting fexit program";

/// One target on one kernel.
pub struct Verdict {
    pub found: f64,
    pub limit: f64,
    pub unit: &'static str,
}

impl Verdict {
    pub fn met(&self) -> bool {
        self.found <= self.limit
    }
}

type Judge = fn(&Measured, &str) -> Option<Verdict>;

pub struct Target {
    pub what: &'static str,
    pub wanted: &'static str,
    pub judge: Judge,
}

pub const TARGETS: [Target; 11] = [
    Target {
        what: "a copy event through a wrapper (reading 1 B, over getpid)",
        wanted: "1.25 times an fexit program that counts",
        judge: |m, k| {
            let found = m.extra(k, PID, "read 1 B")? - m.extra(k, PID, "getpid")?;
            instructions(found, 1.25 * m.extra(k, FEXIT, "read 1 B")?)
        },
    },
    Target {
        what: "read 64 KiB from the page cache",
        wanted: "1% more",
        judge: |m, k| percent(m.percent(k, PID, "read 64 KiB")?),
    },
    Target {
        what: "write 64 KiB to the page cache",
        wanted: "1% more",
        judge: |m, k| percent(m.percent(k, PID, "write 64 KiB")?),
    },
    Target {
        what: "sendfile 1 MiB to loopback",
        wanted: "1% more",
        judge: |m, k| percent(m.percent(k, PID, "sendfile 1 MiB")?),
    },
    Target {
        what: "a system call of the target (getpid)",
        wanted: "1.25 times a program at sys_enter that counts, and as much at sys_exit",
        judge: |m, k| instructions(m.extra(k, PID, "getpid")?, 2.5 * m.extra(k, COUNTING, "getpid")?),
    },
    Target {
        what: "a system call of a bystander (getpid)",
        wanted: "an empty program at sys_enter",
        judge: |m, k| instructions(m.extra(k, BYSTANDER, "getpid")?, m.extra(k, EMPTY, "getpid")?),
    },
    Target {
        what: "against bpftrace: the worst operation that both count",
        wanted: "half of what it adds",
        judge: against_bpftrace,
    },
    Target {
        what: "attach of everything",
        wanted: "1 s",
        judge: |m, k| longest(m, k, |held| held.attach_ns),
    },
    Target { what: "detach", wanted: "1 s", judge: |m, k| longest(m, k, |held| held.detach_ns) },
    Target {
        what: "scrape of 10,000 processes",
        wanted: "20 million instructions (20 ms at one per nanosecond)",
        judge: scrape,
    },
    Target {
        what: "wake-ups of a tracer that nobody asks",
        wanted: "none in 60 s",
        judge: |m, k| {
            let most = m.idle(k).into_iter().map(|idle| idle.wake_ups).max()?;
            Some(Verdict { found: most as f64, limit: 0.0, unit: "" })
        },
    },
];

/// Of those, the daemon as it is without options.
const MANY: u64 = 10_000;

fn scrape(measured: &Measured, kernel: &str) -> Option<Verdict> {
    let plain = |fleet: &&Fleet| fleet.processes == MANY && fleet.arguments.is_empty();
    let fleet = measured.fleets(kernel).into_iter().find(plain)?;
    Some(Verdict { found: fleet.scrape_ns as f64 / 1e6, limit: 20.0, unit: " million" })
}

fn instructions(found: f64, limit: f64) -> Option<Verdict> {
    Some(Verdict { found, limit, unit: "" })
}

fn percent(found: f64) -> Option<Verdict> {
    Some(Verdict { found, limit: 1.0, unit: "%" })
}

/// Its script counts these as the tracer does; of the others it sees a part.
const BOTH: [&str; 5] = ["getpid", "read 1 B", "read 64 KiB", "write 64 KiB", "page fault"];

fn against_bpftrace(measured: &Measured, kernel: &str) -> Option<Verdict> {
    let share = |op| Some(measured.extra(kernel, PID, op)? / measured.extra(kernel, BPFTRACE, op)?);
    let worst = BOTH.into_iter().filter_map(share).reduce(f64::max)?;
    Some(Verdict { found: 100.0 * worst, limit: 50.0, unit: "%" })
}

fn longest(measured: &Measured, kernel: &str, of: fn(&Held) -> u64) -> Option<Verdict> {
    let longest = measured.held(kernel).into_iter().map(of).max()?;
    Some(Verdict { found: longest as f64 / 1e9, limit: 1.0, unit: " s" })
}

#[cfg(test)]
mod tests {
    use super::super::measured::tests::measured;
    use super::*;

    #[test]
    fn verdicts_of_what_was_measured() {
        let measured = measured();
        let met: Vec<Option<bool>> =
            TARGETS.iter().map(|target| (target.judge)(&measured, "6.1").map(|v| v.met())).collect();
        // getpid takes 250.5, of 2.5 times 150; attaching 2 s.
        assert_eq!(met[4..], [Some(true), None, None, Some(false), Some(true), Some(true), Some(true)]);
        assert!(met[..4].iter().all(Option::is_none));
    }
}
