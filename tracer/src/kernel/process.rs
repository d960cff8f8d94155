//! The processes that the user named: do they exist, and what are they?

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, bail};

use crate::fmt::human;

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

    /// `7 (nginx)`: safe to print, whatever the process calls itself.
    pub fn label(&self) -> String {
        format!("{} ({})", self.pid, human::escape(&self.comm))
    }
}

/// Looks a process up, and refuses what cannot be counted.
pub fn resolve(pid: u32) -> Result<Target> {
    let Ok(status) = fs::read(format!("/proc/{pid}/status")) else {
        bail!(
            "no process {pid} in this pid namespace\n  \
             `ps -e` lists what there is; a container sees only its own processes"
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
        let parent = field("PPid").unwrap_or("its parent");
        bail!(
            "process {pid} has ended already: it is a zombie that its parent, {parent}, has not reaped\n  \
             `pgrep -a NAME` finds one that runs"
        );
    }
    let target = describe(pid);
    // Kernel threads have no user memory; `Kthread` is there since 6.8, an empty VmSize before.
    if field("VmSize").is_none() && field("Kthread") != Some("0") {
        bail!(
            "{} is a kernel thread: it has no user memory and makes no system calls\n  \
             `pgrep -a NAME` finds a process that has",
            target.label()
        );
    }
    Ok(target)
}

/// What `/proc` tells about a process; empty fields for what it does not.
pub fn describe(pid: u32) -> Target {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    Target {
        pid,
        comm: String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned(),
        start_time: start_time(pid),
        exe: exe.to_string_lossy().into_owned(),
        cgroup: cgroup(pid).unwrap_or_default(),
    }
}

/// The path of a process's cgroup.
pub fn cgroup(pid: u32) -> std::io::Result<String> {
    let text = fs::read(format!("/proc/{pid}/cgroup"))?;
    Ok(cgroup_path(&String::from_utf8_lossy(&text)))
}

/// The unified hierarchy's path (`0::/...`), else the first one's.
fn cgroup_path(text: &str) -> String {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let unified = text.lines().find(|line| line.starts_with("0::"));
    unified.or(text.lines().next()).and_then(path).unwrap_or_default()
}

fn start_time(pid: u32) -> Option<SystemTime> {
    Some(boot_time()? + Stat::of(pid)?.started()?)
}

fn ticks_per_second() -> Option<u64> {
    // SAFETY: no memory is involved.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|n| *n > 0)
}

/// What `/proc/PID/stat` tells about a process that may be counted.
pub struct Found {
    /// Since boot.
    pub started: Duration,
    pub comm: Vec<u8>,
}

/// `/proc/PID/stat`: the name, which may hold spaces and parentheses, and the fields behind it, from field 3 on.
struct Stat {
    comm: Vec<u8>,
    fields: Vec<String>,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        let (open, close) = (stat.iter().position(|b| *b == b'(')?, stat.iter().rposition(|b| *b == b')')?);
        let fields = std::str::from_utf8(&stat[close + 1..]).ok()?.split_whitespace();
        Some(Stat { comm: stat.get(open + 1..close)?.to_vec(), fields: fields.map(str::to_owned).collect() })
    }

    /// A field by its number in proc(5), where the first is 1.
    fn number(&self, n: usize) -> Option<u64> {
        self.fields.get(n - 3)?.parse().ok()
    }

    fn has_ended(&self) -> bool {
        matches!(self.fields.first().map(String::as_str), None | Some("Z" | "X"))
    }

    fn is_kernel_thread(&self) -> Option<bool> {
        const PF_KTHREAD: u64 = 0x0020_0000;
        Some(self.number(9)? & PF_KTHREAD != 0)
    }

    /// Since boot.
    fn started(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.number(22)? * 1000 / ticks_per_second()?))
    }
}

/// A process that can still run, and is no kernel thread. (A leader that has ended is a zombie as long as
/// its other threads run.)
pub fn countable(pid: u32) -> Option<Found> {
    let stat = Stat::of(pid)?;
    if stat.is_kernel_thread()? || (stat.has_ended() && stat.number(20)? < 2) {
        return None;
    }
    Some(Found { started: stat.started()?, comm: stat.comm })
}

/// Those that run, with their names.
pub fn kernel_threads() -> impl Iterator<Item = (u32, String)> {
    everyone().into_iter().filter_map(|pid| {
        let stat = Stat::of(pid)?;
        stat.is_kernel_thread()?.then(|| (pid, String::from_utf8_lossy(&stat.comm).into_owned()))
    })
}

/// The process of a thread.
pub fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

/// When this machine started, to the second (`btime`).
pub fn boot_time() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// True while the process can still run: neither gone nor a zombie.
pub fn is_alive(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| !stat.has_ended())
}

/// Every process but this one.
pub fn everyone() -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own).collect()
}

/// Bytes of a name that the kernel keeps (`TASK_COMM_LEN` without its NUL).
const COMM: usize = 15;

/// Processes with this name that can be counted, one at least.
pub fn by_comm(comm: &str) -> Result<Vec<Target>> {
    let pids = everyone().into_iter().filter(|pid| describe(*pid).comm == comm);
    let found: Vec<Target> = pids.filter_map(|pid| resolve(pid).ok()).collect();
    if found.is_empty() {
        let mut hint = "`ps -e -o pid,comm` lists the names".to_owned();
        if comm.len() > COMM {
            let kept = String::from_utf8_lossy(&comm.as_bytes()[..COMM]);
            hint = format!("the kernel keeps {COMM} bytes of a name: try --comm '{}'", human::escape(&kept));
        }
        bail!("no process is called `{}`\n  {hint}", human::escape(comm));
    }
    Ok(found)
}

/// Processes in a cgroup (v2) and below that can be counted, one at least; the path as in
/// `/proc/PID/cgroup` or under `/sys/fs/cgroup`.
pub fn by_cgroup(path: &str) -> Result<Vec<Target>> {
    let shown = human::escape(path);
    let path = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path).trim_end_matches('/');
    if let Err(cause) = fs::metadata(format!("/sys/fs/cgroup{path}/cgroup.procs")) {
        bail!(
            "no cgroup {shown} (of version 2): {cause}\n  \
             `cat /proc/PID/cgroup` tells a process's, behind `0::`; the path begins with a slash"
        );
    }
    let below = format!("{path}/");
    let is_in = |cgroup: &str| cgroup == path || cgroup.starts_with(&below);
    let pids = everyone().into_iter().filter(|pid| is_in(&describe(*pid).cgroup));
    let found: Vec<Target> = pids.filter_map(|pid| resolve(pid).ok()).collect();
    if found.is_empty() {
        bail!(
            "cgroup {shown} has no process that can be counted\n  `systemd-cgls` lists cgroups with processes"
        );
    }
    Ok(found)
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
    Stat::of(pid)?.number(4)?.try_into().ok()
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
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn stat_with_a_hostile_name() {
        let stat = b"7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        let stat = Stat::parse(stat).expect("whole");
        assert_eq!(stat.number(22), Some(4711));
        assert_eq!((stat.comm.as_slice(), stat.number(4)), (b"a) b (c".as_slice(), Some(1)));
        assert!(!stat.has_ended() && stat.is_kernel_thread() == Some(false));
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

    #[test]
    fn a_hostile_name_is_harmless_where_it_is_printed() {
        // A line break, a terminal escape, a byte that is not UTF-8; the shell waits on its stdin.
        let script = r"printf 'a\n\033[2J\377' > /proc/$$/comm; echo; read line";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut ready = [0];
        child.stdout.take().expect("piped").read_exact(&mut ready).expect("echo");
        let target = resolve(child.id()).expect("it runs");
        drop(child.stdin.take());
        child.wait().expect("ended");
        assert_eq!(target.comm, "a\n\x1b[2J\u{fffd}");
        let escaped = "(a\\n\\u{1b}[2J\u{fffd})";
        assert_eq!(target.label(), format!("{} {escaped}", target.pid));
        let error = by_comm("no\x1bsuch").expect_err("nothing is called so").to_string();
        assert!(error.starts_with(r"no process is called `no\u{1b}such`"), "{error}");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_for_the_user() {
        let error = by_comm("a-name-of-twenty-bytes").expect_err("nothing is called so").to_string();
        assert!(error.contains("--comm 'a-name-of-twent'"), "{error}");
    }
}
