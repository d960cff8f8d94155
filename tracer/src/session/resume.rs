//! A daemon goes on where its predecessor ended: everything stayed attached, and counted meanwhile.

use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tracer_ebpf::abi::{self, Config};
use tracer_ebpf::table::ROWS;

use super::{Options, Selection, Session};
use crate::callsites::coverage;
use crate::fmt::say;
use crate::kernel;
use crate::model::attach::{Attach, Refusal};
use crate::probes::pins::Pins;
use crate::probes::preemption::{AtBegin, Preemption};
use crate::probes::state_map::{Document, Kept};
use crate::probes::{Attached, Sizes, all_are_links, object_id};

/// How everything was attached, and when counting began.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Which BPF object it was.
    object: String,
    /// [`Config`]'s words, before the sizes are in it.
    config: Vec<u32>,
    pub(super) sizes: Sizes,
    attach: Attach,
    /// Rows of the table by name; the way that works by its number, or why none does; whether the kernel lacks them.
    rows: Vec<(String, Result<usize, Refusal>, bool)>,
    pub(super) coverage: coverage::Saved,
    pub(super) begin: Begin,
}

/// Counting began then, and so.
#[derive(Serialize, Deserialize)]
pub(super) struct Begin {
    started: SystemTime,
    missed_before: Vec<u64>,
    preemption: Option<AtBegin>,
}

impl Manifest {
    /// What is pinned; `None` if nothing is, or not all of it.
    fn read(pins: &Pins) -> Result<Option<Self>> {
        let Some(kept) = Kept::open(&pins.map("KEPT"))? else { return Ok(None) };
        let Some(bytes) = kept.read(Document::Session)? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&bytes).context("it was written by another version of tracer")?))
    }

    /// An error if it counts otherwise than is wanted now.
    pub(super) fn fits(&self, config: &Config, options: &Options) -> Result<()> {
        ensure!(self.object == object_id(), "it has the BPF programs of another version of tracer");
        ensure!(self.attach == options.attach, "it was attached by another --attach");
        ensure!(self.config == words(config), "the kernel, or what is asked of it, is not the same");
        Ok(())
    }

    pub(super) fn rows(&self) -> Result<Vec<Attached>> {
        let row = |(name, way, absent): &(String, Result<usize, Refusal>, bool)| {
            let row = ROWS.iter().find(|row| row.name == *name)?;
            let way = match way {
                Ok(way) => Ok(row.ways.get(*way)?),
                Err(refusal) => Err(refusal.clone()),
            };
            Some(Attached { row, way, absent: *absent })
        };
        self.rows
            .iter()
            .map(row)
            .collect::<Option<_>>()
            .context("it has a row that this tracer does not know")
    }
}

fn words(config: &Config) -> Vec<u32> {
    // SAFETY: `Config` is `repr(C)`, made of u32 only, and the array has its size and alignment.
    let words: &[u32; Config::WORDS] = unsafe { &*std::ptr::from_ref(config).cast() };
    words.to_vec()
}

impl Session {
    /// As [`Session::prepare`], but with everything pinned; goes on with what is pinned already if it can.
    ///
    /// # Errors
    /// Those of `prepare`; kernels before 5.15.
    pub fn prepare_pinned(selection: &Selection, options: &Options, pins: Pins) -> Result<Self> {
        let release = kernel::release()?;
        if !all_are_links() {
            bail!(
                "--pin needs Linux 5.15 or later: kprobes cannot be pinned on {release}\n  \
                 without it, counters start at 0 when the daemon does"
            );
        }
        let shown = pins.shown().into_owned();
        let before = Manifest::read(&pins).and_then(|manifest| match manifest {
            Some(manifest) => Self::build(selection, options, Some((&pins, Some(manifest)))).map(Some),
            None => Ok(None),
        });
        let mut session = match before {
            Ok(Some(session)) => session,
            other => {
                if let Err(error) = other {
                    say(&format!("what is pinned in {shown} cannot be used, counters start at 0: {error:#}"));
                }
                pins.clear()?;
                let session = Self::build(selection, options, Some((&pins, None)));
                session.inspect_err(|_| _ = pins.clear())?
            }
        };
        session.pins = Some(pins);
        Ok(session)
    }

    /// Counting goes on as it began.
    pub(super) fn resume(&mut self, begin: Begin) -> Result<()> {
        self.missed_before = begin.missed_before;
        self.started = begin.started;
        let before = SystemTime::now().duration_since(begin.started).unwrap_or_default();
        self.opened = Instant::now().checked_sub(before).unwrap_or(self.opened);
        if let Some(at_begin) = begin.preemption {
            self.preemption = Some(Preemption::resume(&mut self.kernel, at_begin)?);
        }
        self.resumed = true;
        self.leave_out_self()?;
        let exited = |(slot, process): (u32, abi::Process)| (process.exited != 0).then_some(slot);
        // Their records may have been read by the last daemon, which did not come to act on them.
        self.left_over = self.occupied().filter_map(exited).collect();
        Ok(())
    }

    /// This process was counted until here, like every other.
    fn leave_out_self(&mut self) -> Result<()> {
        let own = std::process::id();
        let mut slots = self.kernel.process_map("SLOTS")?;
        let Ok(slot) = slots.get(&own, 0) else { return Ok(()) };
        if slots.remove(&own).is_ok() && slot != abi::OVERFLOW {
            let process = self.kernel.processes.get(slot as usize).unwrap_or_default();
            self.kernel.processes.set(slot as usize, abi::Process { exited: 1, ..process });
        }
        Ok(())
    }

    /// From here on everything stays attached when this process ends.
    pub fn pin(&mut self) -> Result<()> {
        let Some(pins) = self.pins.take() else { return Ok(()) };
        let pinned = self.kernel.pin(&pins).and_then(|()| self.keep_manifest());
        if pinned.is_err() {
            // Half of it is of no use to anybody.
            let _ = pins.clear();
        }
        self.pins = Some(pins);
        pinned
    }

    fn keep_manifest(&mut self) -> Result<()> {
        let way = |row: &Attached| {
            row.way.clone().map(|way| row.row.ways.iter().position(|one| std::ptr::eq(one, way)).unwrap_or(0))
        };
        let manifest = Manifest {
            object: object_id(),
            config: words(&self.config),
            sizes: self.kernel.sizes,
            attach: self.attach,
            rows: self
                .kernel
                .rows
                .iter()
                .map(|row| (row.row.name.to_owned(), way(row), row.absent))
                .collect(),
            coverage: self.coverage.save(),
            begin: Begin {
                started: self.started,
                missed_before: self.missed_before.clone(),
                preemption: self.preemption.as_ref().map(|preemption| preemption.at_begin),
            },
        };
        self.keep(Document::Session, &manifest)
    }

    /// Leaves something to the next daemon.
    pub fn keep(&mut self, document: Document, content: &impl Serialize) -> Result<()> {
        match &mut self.kernel.kept {
            Some(kept) => kept.write(document, &serde_json::to_vec(content)?),
            None => Ok(()),
        }
    }

    /// What the last daemon left; `None` if it left nothing, or there was none.
    pub fn left<T: for<'a> Deserialize<'a>>(&self, document: Document) -> Result<Option<T>> {
        let Some(kept) = self.kernel.kept.as_ref().filter(|_| self.resumed) else { return Ok(None) };
        let content = kept.read(document).and_then(|bytes| match bytes {
            Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            None => Ok(None),
        });
        let shown = self.pins.as_ref().map_or_else(String::new, |pins| pins.shown().into_owned());
        content.with_context(|| {
            format!(
                "what the last daemon left in {shown} cannot be read; `rm -r {shown}` lets counters start at 0"
            )
        })
    }

    /// Where everything is pinned.
    pub fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }
}
