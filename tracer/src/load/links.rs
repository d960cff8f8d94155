//! What keeps programs attached. Everything is held by descriptors alone, so that nothing stays attached when
//! tracer ends, however it ends.

use std::any::Any;
use std::collections::BTreeMap;

use anyhow::Result;
use aya::programs::kprobe::KProbeLink;
use aya::programs::links::FdLink;

use crate::sys;

/// Since this release the link of a kprobe tells how often its program did not run.
const TELLS_MISSED: (u16, u16) = (6, 7);

/// Threads that detach what needs no trampoline.
const DETACHERS: usize = 4;

/// Detaches a program when it is dropped.
pub struct Link {
    _attached: Box<dyn Any + Send>,
    is_trampoline: bool,
    /// The kernel's number of a kprobe's link, where it tells what was missed.
    id: Option<u32>,
}

impl Link {
    pub fn trampoline(link: impl Any + Send) -> Self {
        Link { _attached: Box::new(link), is_trampoline: true, id: None }
    }

    pub fn tracepoint(link: impl Any + Send) -> Self {
        Link { _attached: Box::new(link), is_trampoline: false, id: None }
    }
}

/// All links.
pub struct Links {
    tells_missed: bool,
    trampolines: Vec<Link>,
    others: Vec<Link>,
    /// Numbers of kprobes' links, by program.
    probes: BTreeMap<&'static str, Vec<u32>>,
}

impl Links {
    pub fn new(release: (u16, u16)) -> Self {
        Links {
            tells_missed: release >= TELLS_MISSED,
            trampolines: Vec::new(),
            others: Vec::new(),
            probes: BTreeMap::new(),
        }
    }

    /// The link of a kprobe. Up to 5.14 it is a perf event, which has no number.
    pub fn kprobe(&self, link: KProbeLink) -> Result<Link> {
        if !self.tells_missed {
            return Ok(Link::tracepoint(link));
        }
        let link = FdLink::try_from(link)?;
        let id = link.info()?.id();
        Ok(Link { id: Some(id), ..Link::tracepoint(link) })
    }

    /// Keeps a program attached.
    pub fn keep(&mut self, program: &'static str, link: Link) {
        if let Some(id) = link.id {
            self.probes.entry(program).or_default().push(id);
        }
        if link.is_trampoline { &mut self.trampolines } else { &mut self.others }.push(link);
    }

    /// Hits of kprobes that ran no program, as far as the kernel tells.
    pub fn missed(&self, programs: &[&str]) -> u64 {
        let ids = programs.iter().filter_map(|program| self.probes.get(program)).flatten();
        ids.filter_map(|id| sys::probe_missed(*id).ok()).sum()
    }
}

impl Drop for Links {
    /// Detaches in parallel: a trampoline waits under one lock of the kernel's, a kprobe partly under another
    /// (docs/coverage.md has the times).
    fn drop(&mut self) {
        let (trampolines, mut others) =
            (std::mem::take(&mut self.trampolines), std::mem::take(&mut self.others));
        let share = others.len().div_ceil(DETACHERS);
        std::thread::scope(|scope| {
            scope.spawn(move || drop(trampolines));
            while !others.is_empty() {
                let some = others.split_off(others.len().saturating_sub(share));
                scope.spawn(move || drop(some));
            }
        });
    }
}
