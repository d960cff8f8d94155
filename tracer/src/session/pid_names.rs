//! Pids as the caller's pid namespace has them, and as the kernel side sees them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use crate::kernel::pid_namespace::in_initial_namespace;
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
