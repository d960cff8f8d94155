//! Attaching: rows by their ways and side by side, call sites one by one.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow, bail};
use aya::Btf;
use aya::programs::{KProbe, ProbeKind, Program};
use tracer_ebpf::table::{Method, Row, Way};

use super::detach::Detach;
use super::links::Link;
use super::rows::{Attached, settle_hosted};
use super::{Kernel, pairs};
use crate::model::attach::{Attach, Refusal};
use crate::model::fault_injection::Fault;
use crate::probes::plan::{self, Choice, Offers};
use crate::sys;

/// Rows that attach at a time. The kernel lets some of them wait, the first trampoline for a grace period of
/// RCU tasks and all of them for a tracer that detaches meanwhile, and what needs no waiting goes on.
const ATTACHERS: usize = 16;

/// Programs of the object, by their names.
type Programs<'a> = BTreeMap<&'a str, &'a mut Program>;

/// A row that is to be attached, with the programs of all its ways.
struct Job<'a> {
    choice: Choice,
    programs: Programs<'a>,
}

/// How a row ended up, and what keeps it attached.
type Outcome = (Attached, Vec<(&'static str, Link)>);

/// What attaching takes besides programs.
#[derive(Clone, Copy)]
struct Attacher<'a> {
    functions: &'a Btf,
    fault: &'a Fault,
    detach: &'a Detach,
    tells_missed: bool,
}

impl Attacher<'_> {
    /// Attaches rows in parallel; what came of them is in their order.
    fn rows(self, jobs: Vec<Job<'_>>) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = jobs.iter().map(|_| None).collect();
        let threads = ATTACHERS.min(jobs.len());
        let queue = Mutex::new(jobs.into_iter().zip(&mut outcomes));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((mut job, outcome)) = next() {
                        *outcome = Some(self.row(job.choice, &mut job.programs));
                    }
                });
            }
        });
        drop(queue);
        outcomes.into_iter().flatten().collect()
    }

    /// Attaches a row by the first way that works.
    fn row(self, choice: Choice, programs: &mut Programs<'_>) -> Outcome {
        let mut refusal = choice.refused;
        for way in choice.ways {
            match self.way(choice.row, way, programs) {
                Ok(mut links) => {
                    // Others may have to go again.
                    if choice.row.needs.is_empty() {
                        links.iter_mut().for_each(|(_, link)| link.make_safe(self.detach));
                    }
                    return (Attached { row: choice.row, way: Ok(way), absent: choice.absent }, links);
                }
                Err(error) => {
                    let this = crate::probes::attach_error::explain(way, &error);
                    refusal = Some(match refusal {
                        Some(before) => before.and(this),
                        None => this,
                    });
                }
            }
        }
        let refusal = refusal.unwrap_or(Refusal { why: "no way to observe it".into(), hint: String::new() });
        (Attached { row: choice.row, way: Err(refusal), absent: choice.absent }, Vec::new())
    }

    fn way(
        self,
        row: &Row,
        way: &'static Way,
        programs: &mut Programs<'_>,
    ) -> Result<Vec<(&'static str, Link)>> {
        if self.fault.refuses(row.name) {
            bail!("refused on purpose by TRACER_FAULT");
        }
        let mut links = Vec::new();
        for &name in way.programs {
            let program = programs.get_mut(name);
            let link = program
                .ok_or_else(|| anyhow!("the BPF object has no program {name}"))
                .and_then(|program| self.program(name, program, way));
            match link {
                Ok(link) => links.push((name, link)),
                Err(error) => {
                    drop(links);
                    for name in way.programs {
                        programs.get_mut(name).into_iter().for_each(|program| unload(program));
                    }
                    return Err(error);
                }
            }
        }
        Ok(links)
    }

    fn program(self, name: &str, program: &mut Program, way: &Way) -> Result<Link> {
        Ok(match (program, way.method) {
            (Program::FEntry(program), Method::Trampoline) => {
                program.load(way.symbol, self.functions)?;
                let link = program.attach()?;
                Link::trampoline(program.take_link(link)?)
            }
            (Program::FExit(program), Method::Trampoline) => {
                program.load(way.symbol, self.functions)?;
                let link = program.attach()?;
                Link::trampoline(program.take_link(link)?)
            }
            (Program::KProbe(program), Method::Kprobe) => {
                program.load()?;
                let link = program.attach(way.symbol, 0)?;
                Link::kprobe(program.take_link(link)?, self.tells_missed)?
            }
            (Program::RawTracePoint(program), Method::RawTracepoint) => {
                program.load()?;
                let link = program.attach(way.symbol)?;
                Link::raw_tracepoint(program.take_link(link)?)
            }
            (Program::BtfTracePoint(program), Method::BtfTracepoint) => {
                program.load(way.symbol, self.functions)?;
                let link = program.attach()?;
                Link::raw_tracepoint(program.take_link(link)?)
            }
            (Program::TracePoint(program), Method::Tracepoint) => {
                let (category, event) =
                    way.symbol.split_once('/').ok_or_else(|| anyhow!("no category in {}", way.symbol))?;
                program.load()?;
                let link = program.attach(category, event)?;
                Link::perf(program.take_link(link)?)?
            }
            _ => bail!("program {name} is not of the kind that its row says"),
        })
    }
}

/// Not loaded is fine: this tidies up after a failure.
fn unload(program: &mut Program) {
    let _ = match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        Program::BtfTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        _ => Ok(()),
    };
}

impl Kernel {
    /// Attaches every row of the plan, by the first way that works.
    pub fn attach(&mut self, plan: Vec<Choice>) {
        let mut rows = self.attach_rows(plan);
        pairs::settle(&mut rows);
        for (attached, links) in rows {
            self.rows.push(attached);
            self.keep(links);
        }
        settle_hosted(&mut self.rows);
    }

    /// Rows whose kprobe is on a function of a module that was removed since, or loaded again: the kernel has killed it.
    pub fn lose_killed(&mut self, is_killed: impl Fn(&str) -> bool) {
        for attached in &mut self.rows {
            let by_kprobe = attached.way.as_ref().ok().filter(|way| way.method == Method::Kprobe);
            if let Some(way) = by_kprobe.filter(|way| is_killed(way.symbol)) {
                let why = format!("the module of {} was removed, and its probe with it", way.symbol);
                (attached.way, attached.absent) = (Err(Refusal { why, hint: String::new() }), true);
            }
        }
    }

    /// Tries again what a module may have brought since: optional rows without a way.
    pub fn attach_again(&mut self, offers: &impl Offers, attach: Attach) {
        let is_absent = |attached: &Attached| attached.row.optional && attached.way.is_err();
        let absent: Vec<usize> = (0..self.rows.len()).filter(|i| is_absent(&self.rows[*i])).collect();
        let choice = |index: &usize| {
            let choice = plan::choose_row(self.rows[*index].row, offers, attach);
            let ways = choice.ways.into_iter().filter(|way| way.method == Method::Kprobe).collect();
            Choice { ways, ..choice }
        };
        let plan = absent.iter().map(choice).collect();
        for (index, (attached, links)) in absent.into_iter().zip(self.attach_rows(plan)) {
            let is_attached = |name: &str| self.rows.iter().find(|row| row.row.name == name);
            if attached.way.is_ok() && pairs::missing(attached.row, is_attached).is_none() {
                self.rows[index] = attached;
                self.keep(links);
            } else if attached.way.is_err() && !attached.absent {
                // The module has the function, and no way to observe it works.
                self.rows[index] = attached;
            }
        }
    }

    /// No program is in two rows.
    fn attach_rows(&mut self, plan: Vec<Choice>) -> Vec<Outcome> {
        let detach = self.links.detach();
        let attacher = Attacher {
            functions: &self.functions,
            fault: &self.fault,
            detach,
            tells_missed: self.links.tells_missed(),
        };
        let mut programs: Programs<'_> = self.ebpf.programs_mut().collect();
        let job = |choice: Choice| {
            let names = choice.ways.iter().flat_map(|way| way.programs);
            let programs = names.filter_map(|name| programs.remove_entry(name)).collect();
            Job { choice, programs }
        };
        attacher.rows(plan.into_iter().map(job).collect())
    }

    fn keep(&mut self, links: Vec<(&'static str, Link)>) {
        for (name, link) in links {
            self.links.keep(name, link);
            self.expect_detached(name);
        }
    }

    /// Has the end wait for this program, if a worker of the kernel detaches it.
    fn expect_detached(&mut self, name: &str) {
        if matches!(self.links.detach(), Detach::Worker(_))
            && let Some(Ok(info)) = self.ebpf.program(name).map(Program::info)
        {
            self.detached.programs.push(info.id());
        }
    }

    /// Puts a kprobe on one call instruction.
    ///
    /// The place is named `_stext` plus an offset, also in a module: function names need not be unique (6.1 has two
    /// `do_fault`; `raw_getsockopt` is in the kernel and in can_raw), and kernels since 6.6 refuse such names.
    pub fn attach_site(&mut self, name: &'static str, address: u64, text_start: u64) -> Result<()> {
        if self.fault.refuses("call_site") {
            bail!("refused on purpose by TRACER_FAULT");
        }
        let program: &mut KProbe = self
            .ebpf
            .program_mut(name)
            .ok_or_else(|| anyhow!("the BPF object has no program {name}"))?
            .try_into()?;
        if program.fd().is_err() {
            program.load()?;
        }
        let link = program.attach("_stext", address.wrapping_sub(text_start))?;
        let link = Link::kprobe(program.take_link(link)?, self.links.tells_missed())?;
        self.links.keep(name, link);
        self.expect_detached(name);
        Ok(())
    }

    /// Statistics of a row's programs, summed.
    pub fn stats(&self, programs: &[&str]) -> sys::ProgramStats {
        let mut sum = sys::ProgramStats { missed: self.links.missed(programs), ..Default::default() };
        for name in programs {
            let Some(Ok(fd)) = self.ebpf.program(name).map(Program::fd) else { continue };
            if let Ok(stats) = sys::program_stats(fd.as_fd()) {
                sum.runs += stats.runs;
                sum.run_time_ns += stats.run_time_ns;
                sum.missed += stats.missed;
            }
        }
        sum
    }

    /// `fexit`, `fentry`, `kprobe`, `kretprobe`, `raw_tracepoint`: the strongest of a way's programs.
    pub fn method(&self, way: &Way) -> &'static str {
        let kinds: BTreeMap<_, _> = way
            .programs
            .iter()
            .filter_map(|name| self.ebpf.program(name))
            .map(|program| match program {
                Program::FExit(_) => (0, "fexit"),
                Program::FEntry(_) => (1, "fentry"),
                Program::KProbe(p) if matches!(p.kind(), ProbeKind::Return) => (2, "kretprobe"),
                Program::KProbe(_) => (3, "kprobe"),
                Program::TracePoint(_) => (5, "tracepoint"),
                Program::BtfTracePoint(_) => (6, "btf_tracepoint"),
                _ => (4, "raw_tracepoint"),
            })
            .collect();
        kinds.into_values().next().unwrap_or(way.method.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tracer_ebpf::table::ROWS;

    #[test]
    fn no_program_is_in_two_rows() {
        let mut seen = BTreeSet::new();
        for row in ROWS {
            let programs: BTreeSet<_> = row.ways.iter().flat_map(|way| way.programs).collect();
            assert!(programs.into_iter().all(|program| seen.insert(program)), "{}", row.name);
        }
    }
}
