//! What /proc says of a process: whether it rests, and the kernel's own count
//! of faults and switches, an independent truth to compare with.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{LIMIT, until};

const RT_SIGTIMEDWAIT: &str = "128";

/// The kernel's own books of a process, all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Faults that needed no disk, from user mode or from within a copy.
    pub faults: u64,
    pub voluntary: u64,
    pub involuntary: u64,
}

impl std::ops::Sub for Truth {
    type Output = Truth;

    fn sub(self, before: Truth) -> Truth {
        Truth {
            faults: self.faults - before.faults,
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }
}

/// Bytes that disks read for a process: what it submitted itself (`task_io_account_read`, block/blk-core.c).
pub fn read_from_disk(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/io");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    number(&text, "read_bytes:")
}

pub fn truth(pid: u32) -> Result<Truth> {
    let mut truth = Truth { faults: minor_faults(pid)?, ..Truth::default() };
    for task in tasks(pid)? {
        let status = fs::read_to_string(task.join("status"))?;
        truth.voluntary += number(&status, "voluntary_ctxt_switches:")?;
        truth.involuntary += number(&status, "nonvoluntary_ctxt_switches:")?;
    }
    Ok(truth)
}

/// What stands behind `name` in a file of `/proc` with a field per line.
pub fn field<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(str::trim).with_context(|| format!("no {name} in {text}"))
}

/// The same of a number, whatever its unit (`kB`).
pub fn number(text: &str, name: &str) -> Result<u64> {
    Ok(field(text, name)?.trim_end_matches(" kB").parse()?)
}

/// BPF maps that a process holds: what the kernel charges for each, by id.
pub fn maps(pid: u32) -> Result<BTreeMap<u64, u64>> {
    let mut held = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        if text.contains("map_type:") {
            held.insert(number(&text, "map_id:")?, number(&text, "memlock:")?);
        }
    }
    Ok(held)
}

fn minor_faults(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks; the seventh field after it is minflt.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    Ok(fields.split(' ').nth(7).context("no minflt")?.parse()?)
}

/// The threads' directories.
pub fn tasks(pid: u32) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Waits until all threads of a workload are in `rt_sigtimedwait`: nothing
/// more happens by itself, and the call that ends a window has been entered.
pub fn wait_until_waiting(pid: u32) -> Result<()> {
    wait_until(pid, |number| number == RT_SIGTIMEDWAIT)
}

/// Waits until all threads of a peer are blocked in some call.
pub fn wait_until_blocked(pid: u32) -> Result<()> {
    wait_until(pid, |number| number != "running")
}

fn wait_until(pid: u32, rests: impl Fn(&str) -> bool) -> Result<()> {
    let rests = |(task, is_helper): &(PathBuf, bool)| {
        let call = fs::read_to_string(task.join("syscall")).unwrap_or_default();
        let number = call.split_whitespace().next().unwrap_or("running");
        if *is_helper { number != "running" } else { rests(number) }
    };
    until(&format!("process {pid} comes to rest"), LIMIT, || {
        let mut tasks = tasks(pid)?.into_iter().filter_map(working).collect::<Vec<_>>();
        // A helper that ends its work wakes who gave it, and who gives work wakes a helper: if all of both rest twice
        // in this order, none has still to wake another.
        tasks.sort_by_key(|(_, is_helper)| !is_helper);
        Ok((0..2).all(|_| tasks.iter().all(rests)).then_some(()))
    })
}

/// A thread, and whether it is a helper, of io_uring's or vhost's, which makes no calls; nothing for one that polls.
fn working(task: PathBuf) -> Option<(PathBuf, bool)> {
    let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
    let is_helper = name.starts_with("iou-") || name.starts_with("vhost-");
    (!name.starts_with("iou-sqp")).then_some((task, is_helper))
}
