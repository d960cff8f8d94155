//! What a trial is to do, once the policy and the command line are one.

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::check::policy::{Policy, What, Window};
use crate::kernel::process::{self, Target};
use crate::model::attach::Attach;

pub struct Plan {
    pub counted: Counted,
    pub driver: Option<Vec<OsString>>,
    pub window: Window,
    pub calibrate: bool,
    pub attach: Attach,
}

pub enum Counted {
    /// Started by tracer, counted from its exec on.
    Command { command: Vec<OsString>, children: bool },
    /// Ran already.
    Processes { targets: Vec<Target>, children: bool },
}

/// What the command line says in place of the policy.
#[derive(Clone, Debug, Default)]
pub struct Override {
    pub pids: Vec<u32>,
    pub duration: Option<Duration>,
    /// The target; with processes that run already, the driver.
    pub command: Vec<OsString>,
}

impl Plan {
    pub fn of(policy: &Policy, given: &Override, attach: Attach) -> Result<Plan> {
        let mut window = policy.window.clone();
        window.duration = given.duration.or(window.duration);
        let children = policy.target.as_ref().is_none_or(|target| target.children);
        let words = |command: &[String]| command.iter().map(OsString::from).collect::<Vec<_>>();
        let mut driver = policy.driver.as_ref().map(|driver| words(&driver.command));
        let what = match (&policy.target, given.pids.as_slice()) {
            (_, pids @ [_, ..]) => What::Pids(pids.to_vec()),
            (Some(target), []) => target.what.clone(),
            (None, []) => What::Command(Vec::new()),
        };
        let pids = match what {
            What::Command(command) => {
                let command = if given.command.is_empty() { words(&command) } else { given.command.clone() };
                if command.is_empty() {
                    bail!(
                        "nothing to count: the policy has no `target`\n  give -- CMD, --pid PID or --input FILE"
                    );
                }
                let counted = Counted::Command { command, children };
                return Ok(Plan { counted, driver, window, calibrate: true, attach });
            }
            What::Pids(pids) => pids,
            What::Comm(comm) => process::by_comm(&comm)?.into_iter().map(|target| target.pid).collect(),
            What::Cgroup(path) => process::by_cgroup(&path)?.into_iter().map(|target| target.pid).collect(),
        };
        if pids.is_empty() {
            bail!(
                "no process matches the policy's target\n  `ps -e -o pid,comm` lists names; start it first"
            );
        }
        if !given.command.is_empty() {
            driver = Some(given.command.clone());
        }
        if driver.is_none() && window.duration.is_none() {
            bail!(
                "when is the window over? The target runs already\n  \
                 give a driver (in the policy, or -- CMD), `window: {{duration: 10s}}`, or --duration 10s"
            );
        }
        let mut pids = if children { process::with_children(&pids) } else { pids };
        pids.sort_unstable();
        pids.dedup();
        let targets: Vec<Target> = pids.into_iter().map(process::resolve).collect::<Result<_>>()?;
        Ok(Plan {
            counted: Counted::Processes { targets, children },
            driver,
            window,
            calibrate: true,
            attach,
        })
    }
}

impl Counted {
    /// Opened before anything is attached: a pid that is given to another process later cannot fool them.
    pub fn pidfds(&self) -> Result<Vec<OwnedFd>> {
        let Counted::Processes { targets, .. } = self else { return Ok(Vec::new()) };
        targets
            .iter()
            .map(|t| crate::sys::pidfd(t.pid).with_context(|| format!("process {} has just ended", t.pid)))
            .collect()
    }
}

/// Resolves when all have ended; never if there are none.
pub async fn all_ended(pidfds: &[OwnedFd]) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        if !pidfds.is_empty() && pidfds.iter().all(has_ended) {
            return;
        }
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd`, for the length of the call, which does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

/// A command line as a shell takes it.
pub fn shown(command: &[OsString]) -> String {
    command.iter().map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// In single quotes, if it needs them.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rest: &str) -> Policy {
        let text = format!("version: 1\nassertions: [{{metric: copies, max: 0}}]\n{rest}\n");
        Policy::parse(text.as_bytes()).expect("valid")
    }

    fn plan(rest: &str, given: Override) -> Result<Plan> {
        Plan::of(&policy(rest), &given, Attach::Auto)
    }

    fn words(plan: &Plan) -> (String, String) {
        let target = match &plan.counted {
            Counted::Command { command, .. } => shown(command),
            Counted::Processes { targets, .. } => format!("{}", targets[0].pid),
        };
        (target, plan.driver.as_deref().map_or_else(String::new, shown))
    }

    #[test]
    fn a_command_is_the_target_or_drives_what_runs_already() {
        let both = "target: {command: [server]}\ndriver: {command: [load, a b]}";
        assert_eq!(
            words(&plan(both, Override::default()).expect("valid")),
            ("server".into(), "load 'a b'".into())
        );
        let command = || Override { command: vec!["mine".into()], ..Override::default() };
        assert_eq!(words(&plan(both, command()).expect("valid")), ("mine".into(), "load 'a b'".into()));
        let own = std::process::id();
        let given = Override { pids: vec![own], ..command() };
        assert_eq!(
            words(&plan("target: {command: [x], children: false}", given).expect("valid")),
            (own.to_string(), "mine".into())
        );
    }

    #[test]
    fn what_cannot_work_is_said_before_anything_runs() {
        let pid = |duration| Override { pids: vec![std::process::id()], duration, ..Override::default() };
        let refused = |rest: &str, given| plan(rest, given).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused("", Override::default()).contains("nothing to count"));
        assert!(refused("", pid(None)).contains("when is the window over"));
        assert!(plan("target: {pid: 1, children: false}", pid(Some(Duration::from_secs(1)))).is_ok());
        assert!(
            refused("target: {comm: no-such-process}\nwindow: {duration: 1s}", Override::default())
                .contains("no process")
        );
    }

    #[test]
    fn quoting() {
        assert_eq!(
            (quoted("a-b/c.d"), quoted(""), quoted("it's")),
            ("a-b/c.d".into(), "''".into(), r"'it'\''s'".into())
        );
    }
}
