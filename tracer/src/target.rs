//! The processes that the user named: do they exist, and what are they?

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};

/// A process as `/proc` describes it.
#[derive(Clone, Debug)]
pub struct Target {
    pub pid: u32,
    pub comm: String,
    pub start_time: Option<SystemTime>,
    pub exe: String,
    pub cgroup: String,
}

impl Target {
    /// A process that cannot be looked up any more.
    pub fn unknown(pid: u32) -> Self {
        Target { pid, comm: String::new(), start_time: None, exe: String::new(), cgroup: String::new() }
    }
}

/// Looks a process up, and refuses what cannot be counted.
pub fn resolve(pid: u32) -> Result<Target> {
    let Ok(status) = fs::read(format!("/proc/{pid}/status")) else {
        bail!(
            "no process {pid} in this pid namespace\n  \
             `ps -e` lists what there is; inside a container, only the container's own"
        );
    };
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let tgid = field("Tgid").and_then(|tgid| tgid.parse().ok()).unwrap_or(pid);
    if tgid != pid {
        bail!("{pid} is a thread of process {tgid}\n  count the whole process: tracer --pid {tgid}");
    }
    if field("State").is_some_and(|state| state.starts_with(['Z', 'X'])) {
        bail!("process {pid} has ended already (a zombie, not yet reaped by its parent)");
    }
    let target = describe(pid);
    // Kernel threads have no user memory; `Kthread` is there since 6.8, an empty VmSize before.
    if field("VmSize").is_none() && field("Kthread") != Some("0") {
        bail!("{pid} ({}) is a kernel thread: it has no user memory and makes no system calls", target.comm);
    }
    Ok(target)
}

/// What `/proc` tells about a process; empty fields for what it does not.
pub fn describe(pid: u32) -> Target {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let cgroup = fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Target {
        pid,
        comm: String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned(),
        start_time: start_time(pid),
        exe: exe.to_string_lossy().into_owned(),
        cgroup: cgroup_path(&String::from_utf8_lossy(&cgroup)),
    }
}

/// The unified hierarchy's path (`0::/...`), else the first one's.
fn cgroup_path(text: &str) -> String {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let unified = text.lines().find(|line| line.starts_with("0::"));
    unified.or(text.lines().next()).and_then(path).unwrap_or_default()
}

fn start_time(pid: u32) -> Option<SystemTime> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let ticks = start_ticks(&String::from_utf8_lossy(&stat))?;
    // SAFETY: no memory is involved.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|n| *n > 0)?;
    Some(boot_time()? + Duration::from_millis(ticks * 1000 / per_second))
}

/// Field 22 of `/proc/PID/stat`; field 2 (comm) may hold spaces and parentheses.
fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// When this machine started, to the second (`btime`).
pub fn boot_time() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// True while the process can still run: neither gone nor a zombie.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return false };
    let stat = String::from_utf8_lossy(&stat);
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Every process that has user memory, but this one.
pub fn everyone() -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own && fs::read_link(format!("/proc/{pid}/exe")).is_ok())
        .collect()
}

/// Processes with this name.
pub fn by_comm(comm: &str) -> Vec<u32> {
    everyone().into_iter().filter(|pid| describe(*pid).comm == comm).collect()
}

/// Processes in a cgroup (v2) and below; the path as in `/proc/PID/cgroup` or under `/sys/fs/cgroup`.
pub fn by_cgroup(path: &str) -> Result<Vec<u32>> {
    let path = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path).trim_end_matches('/');
    let root = format!("/sys/fs/cgroup{path}");
    fs::metadata(format!("{root}/cgroup.procs")).with_context(|| {
        format!("no cgroup {path}\n  `systemd-cgls` lists them; the path begins with a slash")
    })?;
    let below = format!("{path}/");
    Ok(everyone()
        .into_iter()
        .filter(|pid| {
            let cgroup = describe(*pid).cgroup;
            cgroup == path || cgroup.starts_with(&below)
        })
        .collect())
}

/// Direct and indirect children of some processes, themselves included.
pub fn with_children(pids: &[u32]) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        everyone().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut all = pids.to_vec();
    let mut next = 0;
    while next < all.len() {
        let parent = all[next];
        for (child, _) in parents.iter().filter(|(_, p)| *p == parent) {
            if !all.contains(child) {
                all.push(*child);
            }
        }
        next += 1;
    }
    all
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    String::from_utf8_lossy(&stat).rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A pid as typed: `1..=4194304` (PID_MAX_LIMIT of 64-bit kernels).
pub fn parse_pid(text: &str) -> Result<u32> {
    match text.trim().parse::<i64>() {
        Ok(pid @ 1..=4_194_304) => Ok(pid as u32),
        Ok(pid) => Err(anyhow!("{pid} is no pid: they go from 1 to 4194304")),
        Err(_) => Err(anyhow!("`{text}` is no pid: a number is needed (`pgrep NAME` finds it)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(start_ticks(stat), Some(4711));
    }

    #[test]
    fn pids() {
        assert_eq!(parse_pid("1234").expect("valid"), 1234);
        for bad in ["0", "-1", "4194305", "99999999999999", "nginx", ""] {
            assert!(parse_pid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cgroup_of_both_versions() {
        assert_eq!(cgroup_path("0::/system.slice/nginx.service\n"), "/system.slice/nginx.service");
        assert_eq!(cgroup_path("4:memory:/a\n0::/b\n"), "/b");
        assert_eq!(cgroup_path(""), "");
    }

    #[test]
    fn this_process_is_no_candidate_but_exists() {
        assert!(!everyone().contains(&std::process::id()));
        assert!(resolve(std::process::id()).is_ok());
    }
}
