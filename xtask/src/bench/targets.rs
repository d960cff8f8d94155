//! What tracer may cost, beside what it costs.

use super::measured::{BPFTRACE, BYSTANDER, Measured, PID};

/// Instructions of a program that does next to nothing, over the same kernel without it. Measured in such VMs.
struct Reference {
    kernel: &'static str,
    /// An fexit program that counts in a per-CPU array.
    fexit: f64,
    /// A raw tracepoint program at sys_enter that does so.
    raw_tp: f64,
    /// One that returns at once.
    empty: f64,
}

const REFERENCES: [Reference; 4] = [
    Reference { kernel: "5.10", fexit: 94.0, raw_tp: 124.0, empty: 89.0 },
    Reference { kernel: "6.1", fexit: 219.0, raw_tp: 151.0, empty: 116.0 },
    Reference { kernel: "6.12", fexit: 232.0, raw_tp: 172.0, empty: 136.0 },
    Reference { kernel: "7.2", fexit: 204.0, raw_tp: 212.0, empty: 176.0 },
];

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

pub const TARGETS: [Target; 9] = [
    Target {
        what: "a copy event through a wrapper (reading 1 B, over getpid)",
        wanted: "1.25 times an fexit program that counts",
        judge: |m, k| {
            let found = m.extra(k, PID, "read 1 B")? - m.extra(k, PID, "getpid")?;
            instructions(found, 1.25 * reference(k)?.fexit)
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
        judge: |m, k| instructions(m.extra(k, PID, "getpid")?, 2.5 * reference(k)?.raw_tp),
    },
    Target {
        what: "a system call of a bystander (getpid)",
        wanted: "an empty program at sys_enter",
        judge: |m, k| instructions(m.extra(k, BYSTANDER, "getpid")?, reference(k)?.empty),
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
];

fn reference(kernel: &str) -> Option<&'static Reference> {
    REFERENCES.iter().find(|reference| reference.kernel == kernel)
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

fn longest(measured: &Measured, kernel: &str, of: fn(&super::measured::Held) -> u64) -> Option<Verdict> {
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
        assert_eq!(met[4..], [Some(true), None, None, Some(false), Some(true)]);
        assert!(met[..4].iter().all(Option::is_none));
    }
}
