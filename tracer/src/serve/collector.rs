//! From the kernel side to the books: whose a slot is, as `/proc` and the kernel side tell.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::cgroup_paths::Paths;
use super::groups::Books;
use super::labels::Who;
use super::persist::{Identity, Saved, SavedBooks, identity};
use super::settings::{MAX_SERIES, Settings};
use crate::fmt::say;
use crate::kernel::process;
use crate::model::reading::Reading;
use crate::model::snapshot::Highest;
use crate::output::prometheus::GroupPages;
use crate::probes::state_map::Document;
use crate::session::Session;

/// Of those who worked, about so many are looked up in `/proc` again at a reading, in turns: who was called
/// otherwise, or moved to another cgroup. (Of an exec and of an end the kernel side tells.)
const ASKED_AGAIN: u32 = 128;

/// The books, and what it takes to keep them.
pub struct Census {
    pub books: Books,
    pub max_series: usize,
    pub pages: GroupPages,
    /// Of what is no process's, as far as any page had it.
    pub unattributed: BTreeMap<&'static str, Highest>,
    paths: Paths,
    booted: Option<SystemTime>,
    /// The executable is shown or asked for.
    wants_exe: bool,
    /// Number of readings, and of processes that had done anything at the last one.
    readings: u32,
    worked: u32,
    /// How often the books could not be left to the next daemon.
    pub not_saved: u64,
}

impl Census {
    pub fn new(settings: &Settings) -> Self {
        let settings = settings.clone();
        let (group_by, select) = (settings.group_by.unwrap_or_default(), settings.select.unwrap_or_default());
        Census {
            max_series: settings.max_series.unwrap_or(MAX_SERIES),
            pages: GroupPages::default(),
            unattributed: BTreeMap::new(),
            paths: Paths::new(),
            booted: process::boot_time(),
            wants_exe: group_by.by_pid() || !select.exe.is_empty(),
            books: Books::new(group_by, select),
            readings: 0,
            worked: 0,
            not_saved: 0,
        }
    }

    /// Goes on with what the last daemon left.
    pub fn resume(session: &mut Session, settings: &Settings) -> Result<Self> {
        let mut census = Census::new(settings);
        let Some(left) = session.left::<Saved<SavedBooks>>(Document::Books)? else { return Ok(census) };
        // It may have ended between the two steps of giving slots back.
        let closed = |(slot, closed): &(u32, Identity)| {
            let reading = session.reading(*slot)?;
            (identity(&reading.process) == *closed && reading.process.exited != 0).then_some(*slot)
        };
        let closed: Vec<u32> = left.closed.iter().filter_map(closed).collect();
        session.free(&closed)?;
        census.booted = left.booted;
        let (group_by, select) = (census.books.group_by().clone(), census.books.select().clone());
        census.books = Books::restore(left.books, select.clone());
        if *census.books.group_by() != group_by {
            census.read(session)?;
            census.books.rearrange(group_by, select);
        }
        Ok(census)
    }

    pub fn wants_exe(&self) -> bool {
        self.wants_exe
    }

    /// Goes on by other settings. What was counted so far was under the old ones.
    pub fn rearrange(&mut self, session: &mut Session, settings: &Settings) -> Result<()> {
        self.read(session)?;
        let settings = settings.clone();
        let (group_by, select) = (settings.group_by.unwrap_or_default(), settings.select.unwrap_or_default());
        self.wants_exe = group_by.by_pid() || !select.exe.is_empty();
        self.max_series = settings.max_series.unwrap_or(MAX_SERIES);
        self.books.rearrange(group_by, select);
        Ok(())
    }

    /// Takes the last word on those that have ended.
    pub fn reap(&mut self, session: &mut Session) -> Result<()> {
        let mut closed = Vec::new();
        // One at a time: a reading has 3 KB, and where this is late there are many.
        for slot in session.retire() {
            let Some(reading) = session.reading(slot) else { continue };
            self.books.end(&reading, || ended(&reading, &mut self.paths, self.booted));
            closed.push((slot, identity(&reading.process)));
        }
        if closed.is_empty() {
            return Ok(());
        }
        let slots: Vec<u32> = closed.iter().map(|(slot, _)| *slot).collect();
        self.save(session, closed);
        session.free(&slots)
    }

    /// Leaves everything to the next daemon, if there shall be one. `closed`: slots whose last word is in the
    /// books, and which are given back after this.
    pub fn save(&mut self, session: &mut Session, closed: Vec<(u32, Identity)>) {
        if session.pins().is_none() {
            return;
        }
        let saved = Saved { booted: self.booted, books: self.books.save(), closed };
        if let Err(error) = session.keep(Document::Books, &saved) {
            if self.not_saved == 0 {
                say(&format!("{error:#}; after a restart counters may be lower"));
            }
            self.not_saved += 1;
        }
    }

    /// Takes a reading of everybody who did anything since the last one.
    pub fn read(&mut self, session: &mut Session) -> Result<()> {
        self.reap(session)?;
        let (paths, booted, wants_exe) = (&mut self.paths, self.booted, self.wants_exe);
        self.readings = self.readings.wrapping_add(1);
        let turns = 1 + self.worked / ASKED_AGAIN;
        self.books.slots_used = 0;
        self.worked = 0;
        for (slot, process) in session.occupied() {
            self.books.slots_used += 1;
            if self.books.has_read(slot, &process, session.stamp(slot)) {
                continue;
            }
            self.worked += 1;
            let reading = session.read(slot, process);
            if self.books.knows(slot, &process) && !self.readings.wrapping_add(slot).is_multiple_of(turns) {
                self.books.read_known(&reading);
                continue;
            }
            self.books.read(&reading, || match process.exited {
                0 => living(&reading, paths, booted, wants_exe),
                _ => ended(&reading, paths, booted),
            });
        }
        Ok(())
    }
}

fn start_time(reading: &Reading, booted: Option<SystemTime>) -> Option<SystemTime> {
    Some(booted? + Duration::from_nanos(reading.process.start_boottime))
}

/// What the kernel side noted at its end.
fn ended(reading: &Reading, paths: &mut Paths, booted: Option<SystemTime>) -> Who {
    let process = &reading.process;
    let comm = process.comm.split(|b| *b == 0).next().unwrap_or_default();
    Who {
        pid: process.tgid,
        start_time: start_time(reading, booted),
        comm: String::from_utf8_lossy(comm).into_owned(),
        exe: String::new(),
        cgroup: paths.of(process.cgroup).to_owned(),
    }
}

/// What `/proc` tells, which knows of new names and of moves between cgroups.
fn living(reading: &Reading, paths: &mut Paths, booted: Option<SystemTime>, exe: bool) -> Who {
    let pid = reading.process.tgid;
    let (Ok(comm), Ok(cgroup)) = (fs::read(format!("/proc/{pid}/comm")), process::cgroup(pid)) else {
        return ended(reading, paths, booted);
    };
    // In a cgroup namespace of our own others are only reached by `/../..`; the mount may still show all.
    let cgroup = match cgroup.starts_with("/..") {
        true => paths.of(reading.process.cgroup).to_owned(),
        false => cgroup,
    };
    let exe = exe.then(|| fs::read_link(format!("/proc/{pid}/exe")).ok()).flatten().unwrap_or_default();
    Who {
        pid,
        start_time: start_time(reading, booted),
        comm: String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned(),
        exe: exe.to_string_lossy().into_owned(),
        cgroup,
    }
}
