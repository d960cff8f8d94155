//! Attaching: rows by their ways, call sites one by one.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use anyhow::{Result, anyhow, bail};
use aya::programs::{KProbe, ProbeKind, Program};
use tracer_ebpf::table::{Method, Row, Way};

use super::Kernel;
use super::links::Link;
use super::rows::{Attached, settle_hosted};
use crate::plan::{Choice, Refusal};
use crate::sys;
use crate::text::scan::Site;

impl Kernel {
    /// Attaches every row of the plan, by the first way that works.
    pub fn attach(&mut self, plan: Vec<Choice>) {
        for choice in plan {
            let mut refusal = choice.refused;
            let mut way = None;
            for candidate in choice.ways {
                match self.attach_way(choice.row, candidate) {
                    Ok(()) => {
                        way = Some(candidate);
                        break;
                    }
                    Err(error) => {
                        let this = crate::refusal::explain(candidate, &error);
                        refusal = Some(match refusal {
                            Some(before) => before.and(this),
                            None => this,
                        });
                    }
                }
            }
            let way = way.ok_or_else(|| {
                refusal.unwrap_or(Refusal { why: "no way to observe it".into(), hint: String::new() })
            });
            self.rows.push(Attached { row: choice.row, way });
        }
        settle_hosted(&mut self.rows);
    }

    /// Tries again what a module may have brought since: optional rows without a way.
    pub fn attach_again(&mut self) {
        let absent: Vec<usize> = (0..self.rows.len())
            .filter(|i| self.rows[*i].row.optional && self.rows[*i].way.is_err())
            .collect();
        for index in absent {
            let row = self.rows[index].row;
            for way in row.ways.iter().filter(|way| way.method == Method::Kprobe) {
                if self.attach_way(row, way).is_ok() {
                    self.rows[index].way = Ok(way);
                    break;
                }
            }
        }
    }

    fn attach_way(&mut self, row: &Row, way: &Way) -> Result<()> {
        if self.fault.refuses(row.name) {
            bail!("refused on purpose by TRACER_FAULT");
        }
        let mut links = Vec::new();
        for &name in way.programs {
            match self.attach_program(name, way) {
                Ok(link) => links.push((name, link)),
                Err(error) => {
                    drop(links);
                    way.programs.iter().for_each(|name| self.unload(name));
                    return Err(error);
                }
            }
        }
        for (name, link) in links {
            self.links.keep(name, link);
        }
        Ok(())
    }

    fn attach_program(&mut self, name: &str, way: &Way) -> Result<Link> {
        let program =
            self.ebpf.program_mut(name).ok_or_else(|| anyhow!("the BPF object has no program {name}"))?;
        Ok(match (program, way.method) {
            (Program::FEntry(program), Method::Trampoline) => {
                program.load(way.symbol, &self.functions)?;
                let link = program.attach()?;
                Link::trampoline(program.take_link(link)?)
            }
            (Program::FExit(program), Method::Trampoline) => {
                program.load(way.symbol, &self.functions)?;
                let link = program.attach()?;
                Link::trampoline(program.take_link(link)?)
            }
            (Program::KProbe(program), Method::Kprobe) => {
                program.load()?;
                let link = program.attach(way.symbol, 0)?;
                self.links.kprobe(program.take_link(link)?)?
            }
            (Program::RawTracePoint(program), Method::RawTracepoint) => {
                program.load()?;
                let link = program.attach(way.symbol)?;
                Link::raw_tracepoint(program.take_link(link)?)
            }
            (Program::TracePoint(program), Method::Tracepoint) => {
                let (category, event) =
                    way.symbol.split_once('/').ok_or_else(|| anyhow!("no category in {}", way.symbol))?;
                program.load()?;
                let link = program.attach(category, event)?;
                self.links.perf(program.take_link(link)?)?
            }
            _ => bail!("program {name} is not of the kind that its row says"),
        })
    }

    fn unload(&mut self, name: &str) {
        // Not loaded is fine: this tidies up after a failure.
        let _ = match self.ebpf.program_mut(name) {
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            Some(Program::KProbe(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            Some(Program::TracePoint(program)) => program.unload(),
            _ => Ok(()),
        };
    }

    /// Puts a kprobe on one call instruction.
    ///
    /// In the kernel itself the place is named `_stext` plus an offset: function names need not be unique
    /// (6.1 has two `do_fault`), and kernels since 6.6 refuse such names.
    pub fn attach_site(&mut self, name: &'static str, site: &Site, text_start: u64) -> Result<()> {
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
        let link = match &site.module {
            Some(_) => program.attach(&site.function, site.offset)?,
            None => program.attach("_stext", site.addr - text_start)?,
        };
        let link = self.links.kprobe(program.take_link(link)?)?;
        self.links.keep(name, link);
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
                _ => (4, "raw_tracepoint"),
            })
            .collect();
        kinds.into_values().next().unwrap_or(way.method.name())
    }
}
