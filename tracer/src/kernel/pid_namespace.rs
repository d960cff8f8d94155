//! Pids as the caller's pid namespace has them, and as the kernel side sees them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use crate::model::attach::Refusal;
use crate::probes::Kernel;

/// Both directions; empty in the initial namespace, where the two are the same.
#[derive(Default)]
pub struct Names {
    own: Option<Translation>,
}

#[derive(Default)]
struct Translation {
    to_tgid: BTreeMap<u32, u32>,
    to_pid: BTreeMap<u32, u32>,
}

impl Names {
    /// Calibrates the kernel side, which tells what this process is called there.
    pub fn learn(kernel: &mut Kernel) -> Result<Self> {
        let tgid = kernel.calibrate()?;
        let mut names = Names::default();
        if tgid != std::process::id() {
            names.own = Some(Translation::default());
            names.refresh(kernel)?;
            if names.tgid(std::process::id())? != tgid {
                bail!(
                    "pids of this namespace cannot be translated\n  run tracer in the host's pid namespace"
                );
            }
        }
        Ok(names)
    }

    /// Where no program can tell: pids are then those of the initial namespace, or nothing can be counted.
    pub fn untold(cause: &Refusal) -> Result<Self> {
        if !in_initial_namespace() {
            bail!(
                "pids of this namespace cannot be translated: {}\n  run tracer in the host's pid namespace \
                 (docker run --pid=host), or {}",
                cause.why,
                cause.hint
            );
        }
        Ok(Names::default())
    }

    /// Learns about processes that are new.
    pub fn refresh(&mut self, kernel: &mut Kernel) -> Result<()> {
        let Some(own) = &mut self.own else { return Ok(()) };
        own.to_tgid = kernel.namespace_pids().context(
            "this is not the initial pid namespace, and the kernel refuses the iterator that translates pids\n  \
             run tracer in the host's pid namespace (docker run --pid=host)",
        )?;
        // Names of processes that have ended are kept: their counts are still shown.
        own.to_pid.extend(own.to_tgid.iter().map(|(pid, tgid)| (*tgid, *pid)));
        Ok(())
    }

    pub fn is_initial(&self) -> bool {
        self.own.is_none()
    }

    /// The kernel side's name for a pid of ours.
    pub fn tgid(&self, pid: u32) -> Result<u32> {
        match &self.own {
            None => Ok(pid),
            Some(own) => {
                own.to_tgid.get(&pid).copied().with_context(|| format!("process {pid} has just ended"))
            }
        }
    }

    /// Our name for a process of the kernel side's; its own where ours has none.
    pub fn pid(&self, tgid: u32) -> u32 {
        match &self.own {
            None => tgid,
            Some(own) => own.to_pid.get(&tgid).copied().unwrap_or(tgid),
        }
    }
}

/// `PROC_PID_INIT_INO`, include/linux/proc_ns.h: the same on every kernel.
const INITIAL: u32 = 0xEFFF_FFFC;

pub fn in_initial_namespace() -> bool {
    own_namespace() == INITIAL
}

/// True if what this process leaves behind may hold up the end of a pid namespace: it is in another one than the
/// initial one, or is the first process of one, or cannot tell because /proc is not there.
pub fn may_end_with_namespace() -> bool {
    std::process::id() == 1 || read_own_namespace() != Some(INITIAL)
}

/// Inode of this process's pid namespace, or that of the initial one if /proc is not there.
pub fn own_namespace() -> u32 {
    read_own_namespace().unwrap_or(INITIAL)
}

/// `pid:[4026531836]`. It is the same through another namespace's /proc, in which this process has another pid.
fn read_own_namespace() -> Option<u32> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}
