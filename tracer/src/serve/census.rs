//! From the kernel side to the books: whose a slot is, as `/proc` and the kernel side tell.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::books::Books;
use super::paths::Paths;
use super::settings::{MAX_SERIES, Settings};
use super::who::Who;
use crate::session::{Reading, Session};
use crate::target;

/// The books, and what it takes to keep them.
pub struct Census {
    pub books: Books,
    pub max_series: usize,
    paths: Paths,
    booted: Option<SystemTime>,
    /// The executable is shown or asked for.
    wants_exe: bool,
}

impl Census {
    pub fn new(settings: &Settings) -> Self {
        let settings = settings.clone();
        let (group_by, select) = (settings.group_by.unwrap_or_default(), settings.select.unwrap_or_default());
        Census {
            max_series: settings.max_series.unwrap_or(MAX_SERIES),
            paths: Paths::new(),
            booted: target::boot_time(),
            wants_exe: group_by.by_pid() || !select.exe.is_empty(),
            books: Books::new(group_by, select),
        }
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
        let (books, paths, booted) = (&mut self.books, &mut self.paths, self.booted);
        session.reap_into(|reading| {
            books.end(&reading, || ended(&reading, paths, booted));
        })
    }

    /// Takes a reading of everybody.
    pub fn read(&mut self, session: &mut Session) -> Result<()> {
        self.reap(session)?;
        let (paths, booted, wants_exe) = (&mut self.paths, self.booted, self.wants_exe);
        self.books.slots_used = 0;
        for reading in session.readings() {
            self.books.slots_used += 1;
            self.books.read(&reading, || match reading.process.exited {
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
    let (Ok(comm), Ok(cgroup)) = (fs::read(format!("/proc/{pid}/comm")), target::cgroup(pid)) else {
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
