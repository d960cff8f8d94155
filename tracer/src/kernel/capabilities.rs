//! Why the kernel says "not permitted", from what this process may do.

use std::fs;

use crate::kernel;
use crate::model::attach::Refusal;

/// Bits of `CapEff`, include/uapi/linux/capability.h.
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Kernels from here on charge BPF maps to the cgroup and not to the locked-memory limit.
const MEMORY_BY_CGROUP: (u16, u16) = (5, 11);

/// What decides whether BPF is permitted.
#[derive(Clone, Debug)]
pub struct Privilege {
    root: bool,
    /// Effective capabilities; none if they could not be read.
    capabilities: u64,
    /// In a user namespace root is root of nothing that BPF asks for.
    user_namespace: bool,
    seccomp: bool,
    lockdown: Option<String>,
    /// `kernel.perf_event_paranoid`; kprobes are perf events.
    paranoid: Option<i32>,
    /// Bytes, if there is a limit and the kernel counts BPF maps against it.
    locked_memory: Option<u64>,
}

impl Privilege {
    /// This process's.
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let release = kernel::version(&read("/proc/sys/kernel/osrelease"));
        let (status, uid_map) = (read("/proc/self/status"), read("/proc/self/uid_map"));
        let locked_memory = crate::sys::locked_memory().filter(|_| release < MEMORY_BY_CGROUP);
        let lockdown = kernel::lockdown();
        let paranoid = read("/proc/sys/kernel/perf_event_paranoid").trim().parse().ok();
        Privilege { lockdown, paranoid, locked_memory, ..Self::parse(&status, &uid_map) }
    }

    fn parse(status: &str, uid_map: &str) -> Self {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let effective_user = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1));
        // The initial namespace's map is the identity over all ids: `0 0 4294967295`.
        let mut map = uid_map.split_whitespace();
        let initial = uid_map.is_empty() || map.nth(2) == Some("4294967295");
        Privilege {
            root: effective_user == Some("0"),
            capabilities: field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0),
            user_namespace: !initial,
            seccomp: field("Seccomp:").is_some_and(|mode| mode != "0"),
            lockdown: None,
            paranoid: None,
            locked_memory: None,
        }
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    /// Capabilities that BPF needs and this process lacks.
    fn missing(&self) -> Vec<&'static str> {
        let needed = [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")];
        let lacks = |(bit, _): &(u32, _)| !self.has(*bit) && !self.has(SYS_ADMIN);
        let mut missing: Vec<_> = needed.into_iter().filter(lacks).map(|(_, name)| name).collect();
        if !self.has(SYS_RESOURCE) && self.locked_memory.is_some() {
            missing.push("CAP_SYS_RESOURCE");
        }
        missing
    }

    /// `root`, `root, without CAP_BPF`, `not root, without CAP_BPF and CAP_PERFMON`.
    pub fn describe(&self) -> String {
        let mut text = if self.root { "root" } else { "not root" }.to_owned();
        if self.user_namespace {
            text += " (of a user namespace)";
        }
        match self.missing().as_slice() {
            [] => text,
            missing => format!("{text}, without {}", missing.join(" and ")),
        }
    }

    /// What EPERM or EACCES means for this process, and what helps.
    pub fn refusal(&self) -> Refusal {
        let missing = self.missing().join(" and ");
        let (why, hint) = if self.user_namespace {
            (
                "the root of a user namespace is not the kernel's".to_owned(),
                "run tracer as root of the host, outside of the (rootless) container",
            )
        } else if missing == "CAP_SYS_RESOURCE" {
            let limit = self.locked_memory.unwrap_or(0) >> 10;
            (
                format!(
                    "the limit of locked memory is {limit} KiB, and {missing}, which lifts it, is missing"
                ),
                "raise it as root before the start: ulimit -l unlimited",
            )
        } else if !missing.is_empty() && !self.root {
            (format!("this user lacks {missing}"), "run it as root: sudo tracer ...")
        } else if !missing.is_empty() {
            (
                format!("this process is root without {missing}, as in a container"),
                "run tracer on the host, or start the container with `docker run --privileged --pid=host`",
            )
        } else if self.lockdown.as_deref() == Some("confidentiality") {
            return Refusal::locked_down();
        } else {
            let filter = if self.seccomp { " or the seccomp filter" } else { "" };
            (
                format!("a security module of this kernel{filter} forbids it, capabilities or not"),
                "run tracer outside of the container or sandbox",
            )
        };
        Refusal { why: format!("not permitted: {why}"), hint: hint.to_owned() }
    }

    /// The same of a kprobe, which is a perf event: Debian's kernels know a level 3 that asks for more than
    /// CAP_PERFMON (up to 5.10 at least).
    pub fn refusal_of_kprobe(&self) -> Refusal {
        match self.paranoid {
            Some(level @ 3..) if !self.has(SYS_ADMIN) && self.missing().is_empty() => Refusal {
                why: format!(
                    "not permitted: kernel.perf_event_paranoid is {level}, and CAP_SYS_ADMIN is missing"
                ),
                hint: "run it as root, or allow perf events: sysctl kernel.perf_event_paranoid=2".to_owned(),
            },
            _ => self.refusal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "000001ffffffffff";
    const HOST: &str = "         0          0 4294967295\n";

    fn privilege(user: u32, capabilities: &str) -> Privilege {
        let status =
            format!("Name:\tx\nUid:\t{user}\t{user}\t{user}\t{user}\nCapEff:\t{capabilities}\nSeccomp:\t0\n");
        Privilege::parse(&status, HOST)
    }

    #[test]
    fn what_is_missing_is_named() {
        let nobody = privilege(65534, "0000000000000000");
        assert_eq!(nobody.describe(), "not root, without CAP_BPF and CAP_PERFMON");
        assert_eq!(nobody.refusal().why, "not permitted: this user lacks CAP_BPF and CAP_PERFMON");
        assert!(nobody.refusal().hint.contains("sudo"));
        // Without bits 38 and 21, as `docker run --cap-add BPF` has it.
        let container = privilege(0, "0000008000000000");
        assert_eq!(container.describe(), "root, without CAP_PERFMON");
        assert!(container.refusal().hint.contains("--privileged"));
        // CAP_SYS_ADMIN alone stands for both.
        assert_eq!(privilege(1000, "0000000000200000").describe(), "not root");
        assert_eq!(privilege(0, ALL).describe(), "root");
    }

    #[test]
    fn a_kprobe_is_a_perf_event() {
        let paranoid = |level| Privilege { paranoid: Some(level), ..privilege(1000, "000000c000000000") };
        assert!(paranoid(3).refusal_of_kprobe().why.contains("perf_event_paranoid is 3"));
        assert!(paranoid(3).refusal_of_kprobe().hint.contains("perf_event_paranoid=2"));
        assert_eq!(paranoid(2).refusal_of_kprobe(), paranoid(2).refusal());
        let root = Privilege { paranoid: Some(3), ..privilege(0, ALL) };
        assert_eq!(root.refusal_of_kprobe(), root.refusal());
    }

    #[test]
    fn locked_memory_counts_only_without_the_right_to_lift_it() {
        let limited = |capabilities| Privilege { locked_memory: Some(65536), ..privilege(0, capabilities) };
        assert_eq!(limited("000001fffeffffff").describe(), "root, without CAP_SYS_RESOURCE");
        assert!(limited("000001fffeffffff").refusal().why.contains("64 KiB"));
        assert_eq!(limited(ALL).describe(), "root");
        assert_eq!(privilege(0, "000001fffeffffff").describe(), "root");
    }

    #[test]
    fn root_with_every_capability_is_refused_by_something_else() {
        assert!(privilege(0, ALL).refusal().why.contains("a security module of this kernel forbids it"));
        let filtered = Privilege { seccomp: true, ..privilege(0, ALL) };
        assert!(filtered.refusal().why.contains("seccomp"));
        let locked = Privilege { lockdown: Some("confidentiality".into()), ..privilege(0, ALL) };
        assert!(locked.refusal().hint.contains("lockdown="));
        let rootless = Privilege::parse("Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n", "0 100000 65536\n");
        assert!(rootless.refusal().why.contains("user namespace"));
        assert_eq!(rootless.describe(), "root (of a user namespace)");
    }
}
