//! What keeps programs attached. Everything is held by descriptors alone, so that nothing stays attached when
//! tracer ends, however it ends; unless it is pinned.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::PipeWriter;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::programs::links::{FdLink, LinkError};

use super::detach::Detach;
use super::pins::Pins;
use crate::kernel::Facts;
use crate::sys;

/// True if kprobes and tracepoints of perf have links (since 5.15); else they are perf events. As aya found out.
pub fn all_are_links() -> bool {
    aya::features().bpf_perf_link()
}

/// Locked by who detaches trampolines: any file that all tracers on a kernel have.
const TURN: &str = "/sys/kernel/btf/vmlinux";
const LONGEST_TURN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Threads that detach what needs no trampoline.
const DETACHERS: usize = 12;

/// What the kernel gave for an attachment.
enum Held {
    Link(FdLink),
    /// A perf event with a program, which can be neither pinned nor asked.
    Event(#[expect(dead_code, reason = "held to be dropped")] Box<dyn Any + Send>),
}

/// Detaches a program when it is dropped, unless it is pinned.
pub struct Link {
    held: Held,
    is_trampoline: bool,
    /// The kernel's number of a kprobe's link, where it tells what was missed.
    id: Option<u32>,
    is_pinned: bool,
    descriptor: RawFd,
    /// A kernel worker closes it if this process is killed.
    is_safe: bool,
}

/// aya keeps the descriptor of a link to itself, and makes the link's hash of it.
fn descriptor(link: &impl Hash) -> RawFd {
    struct Last(i32);
    impl Hasher for Last {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, _: &[u8]) {}
        fn write_i32(&mut self, number: i32) {
            self.0 = number;
        }
    }
    let mut last = Last(-1);
    link.hash(&mut last);
    last.0
}

impl Link {
    fn new(link: FdLink) -> Self {
        let descriptor = descriptor(&link);
        let held = Held::Link(link);
        Link { held, is_trampoline: false, id: None, is_pinned: false, descriptor, is_safe: false }
    }

    pub fn trampoline(link: impl Into<FdLink>) -> Self {
        Link { is_trampoline: true, ..Link::new(link.into()) }
    }

    pub fn raw_tracepoint(link: impl Into<FdLink>) -> Self {
        Link::new(link.into())
    }

    /// The link of a kprobe.
    pub fn kprobe<L>(link: L, tells_missed: bool) -> Result<Self>
    where
        L: TryInto<FdLink, Error = LinkError> + Hash + Any + Send,
    {
        let mut link = Link::perf(link)?;
        if tells_missed && let Held::Link(held) = &link.held {
            link.id = Some(held.info()?.id());
        }
        Ok(link)
    }

    /// The link of what attaches through perf.
    pub fn perf<L>(link: L) -> Result<Self>
    where
        L: TryInto<FdLink, Error = LinkError> + Hash + Any + Send,
    {
        if all_are_links() {
            return Ok(Link::new(link.try_into()?));
        }
        let descriptor = descriptor(&link);
        let held = Held::Event(Box::new(link));
        Ok(Link { held, is_trampoline: false, id: None, is_pinned: false, descriptor, is_safe: false })
    }

    /// From here on nothing waits for it in this process, however that ends (see [`Detach`]).
    pub fn make_safe(&mut self, detach: &Detach) {
        if !self.is_safe && !self.is_pinned {
            self.is_safe = detach.hold(self.descriptor);
        }
    }
}

/// All links.
pub struct Links {
    /// Links of kprobes tell how often their programs did not run.
    tells_missed: bool,
    /// With the names of their programs.
    trampolines: Vec<(String, Link)>,
    others: Vec<(String, Link)>,
    /// Numbers of kprobes' links, by program.
    probes: BTreeMap<String, Vec<u32>>,
    /// Descriptors of kprobes' links, by number: found when they are first asked.
    open: Mutex<BTreeMap<u32, OwnedFd>>,
    /// Nothing is detached before this process ends: for one whose end nobody shall wait for.
    leaves_all: bool,
    detach: Detach,
}

impl Links {
    pub fn new(facts: &Facts) -> Self {
        Links {
            tells_missed: facts.tells_missed_probes(),
            trampolines: Vec::new(),
            others: Vec::new(),
            probes: BTreeMap::new(),
            open: Mutex::default(),
            leaves_all: false,
            detach: Detach::choose(facts.waits_for_exits()),
        }
    }

    pub fn tells_missed(&self) -> bool {
        self.tells_missed
    }

    pub fn detach(&self) -> &Detach {
        &self.detach
    }

    pub fn leave_all(&mut self) {
        self.leaves_all = matches!(self.detach, Detach::Child);
    }

    /// Keeps a program attached.
    pub fn keep(&mut self, program: &str, mut link: Link) {
        link.make_safe(&self.detach);
        if let Some(id) = link.id {
            self.probes.entry(program.to_owned()).or_default().push(id);
        }
        if link.is_trampoline { &mut self.trampolines } else { &mut self.others }
            .push((program.to_owned(), link));
    }

    /// Takes over a link that is pinned.
    pub fn adopt(&mut self, program: &str, is_kprobe: bool, link: FdLink) -> Result<()> {
        let id = if is_kprobe && self.tells_missed { Some(link.info()?.id()) } else { None };
        self.keep(program, Link { id, is_pinned: true, ..Link::new(link) });
        Ok(())
    }

    /// Pins what is not pinned yet: it stays attached when this process ends.
    pub fn pin(&mut self, pins: &Pins) -> Result<()> {
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let every = self.trampolines.iter().chain(&self.others);
        for (program, _) in every.filter(|(_, link)| link.is_pinned) {
            *numbers.entry(program.clone()).or_default() += 1;
        }
        for links in [&mut self.trampolines, &mut self.others] {
            *links = std::mem::take(links)
                .into_iter()
                .map(|(program, link)| {
                    if link.is_pinned {
                        return Ok((program, link));
                    }
                    let Held::Link(held) = link.held else { bail!("a perf event cannot be pinned") };
                    let number = numbers.entry(program.clone()).or_default();
                    let pinned = held.pin(pins.link(&program, *number));
                    *number += 1;
                    let held = pinned.with_context(|| format!("cannot pin a link of {program}"))?;
                    let link = Link { held: Held::Link(held.into()), is_pinned: true, ..link };
                    Ok((program, link))
                })
                .collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// Hits of kprobes that ran no program, as far as the kernel tells.
    pub fn missed(&self, programs: &[&str]) -> u64 {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<u32> =
            programs.iter().filter_map(|program| self.probes.get(*program)).flatten().copied().collect();
        if ids.iter().any(|id| !open.contains_key(id)) {
            // Of these alone: a second descriptor of a breakpoint's link would keep the breakpoint after its round.
            *open = sys::own_links(|id| self.probes.values().flatten().any(|probe| *probe == id));
        }
        ids.iter().filter_map(|id| sys::probe_missed(open.get(id)?).ok()).sum()
    }
}

impl Drop for Links {
    /// Detaches what waits for RCU alone in parallel, and leaves trampolines to a child: each costs a grace period
    /// of RCU tasks under a lock of ftrace's (docs/coverage.md has the times), and nobody shall wait for that. In a
    /// pid namespace there is no child ([`Detach`]): what a kernel worker holds as well, it closes after this.
    fn drop(&mut self) {
        // They hold the links as well.
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut others = if self.leaves_all { Vec::new() } else { std::mem::take(&mut self.others) };
        let share = others.len().div_ceil(DETACHERS);
        std::thread::scope(|scope| {
            while !others.is_empty() {
                let some = others.split_off(others.len().saturating_sub(share));
                scope.spawn(move || drop(some));
            }
        });
        let mut left = self.trampolines.iter().chain(&self.others);
        let leaves = matches!(self.detach, Detach::Child) && !left.all(|(_, link)| link.is_pinned);
        let child = if leaves { child() } else { None };
        self.trampolines.clear();
        self.others.clear();
        drop(child);
    }
}

/// The child that closes what is left. There is one at a time: who runs tracers faster than the kernel detaches
/// them waits for the one before, so that they do not pile up.
fn child() -> Option<PipeWriter> {
    let turn = File::open(TURN).ok();
    if let Some(file) = &turn {
        // Anybody may lock it, and nobody shall stop the end by that.
        let latest = Instant::now() + LONGEST_TURN;
        while !sys::lock(file).unwrap_or(true) && Instant::now() < latest {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    sys::leave_closing(turn.as_ref())
}
