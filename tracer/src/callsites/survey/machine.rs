//! What this machine has of the survey's things, and how much they were used: from /proc and /sys.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Entry, Sign};

/// How much one thing was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// This machine has none.
    Absent,
    /// Users of this moment: 0 if nothing uses it.
    Users(u64),
    /// Sectors that moved since it is there.
    Sectors(u64),
}

/// Fields of /sys/block/DISK/stat.
const SECTORS_READ: usize = 2;
const SECTORS_WRITTEN: usize = 6;

/// What the signs are told by.
const TOLD_BY: [&str; 5] =
    ["sys/module", "sys/block", "proc/filesystems", "proc/self/mountinfo", "proc/net/protocols"];

/// The machine of one moment, below a root directory: `/`, or a test's.
pub struct Machine {
    root: PathBuf,
    /// All disks but swaps, once they are asked for.
    disks: OnceCell<Vec<String>>,
}

impl Machine {
    pub fn at(root: &Path) -> Self {
        Machine { root: root.to_owned(), disks: OnceCell::new() }
    }

    /// Of the places that tell, those that cannot be read: a thing that is not seen there may be there all the same.
    pub fn unread(&self) -> Vec<String> {
        let is_read = |path: &Path| match path.is_dir() {
            true => fs::read_dir(path).is_ok(),
            false => fs::read(path).is_ok(),
        };
        let places = TOLD_BY.map(|place| self.root.join(place));
        places.into_iter().filter(|path| !is_read(path)).map(|path| path.display().to_string()).collect()
    }

    /// True if a module, or a file system, disk or socket family that tells, is there. What every machine has is not
    /// asked.
    pub fn has(&self, entry: &Entry) -> bool {
        let module = !entry.module.is_empty() && self.root.join("sys/module").join(entry.module).exists();
        module || entry.signs().iter().any(|sign| self.uses(*sign) != Use::Absent)
    }

    /// How much a sign's thing was used.
    pub fn uses(&self, sign: Sign) -> Use {
        match sign {
            Sign::Module(name) => {
                let users = self.read(&format!("sys/module/{name}/refcnt"));
                users.trim().parse().map_or(Use::Absent, Use::Users)
            }
            Sign::FileSystem(kind) => self.file_system(kind),
            Sign::Disk(begin, end) => {
                self.disks(|name| is_numbered(name, begin, end), &[SECTORS_READ, SECTORS_WRITTEN])
            }
            Sign::Raid => self.disks(|name| self.has_parity(name), &[SECTORS_WRITTEN]),
            Sign::Protocol(family) => {
                let protocols = self.read("proc/net/protocols");
                let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                let mut lines = protocols.lines().map(words);
                let line = lines.find(|words| words.first().is_some_and(|name| name == family));
                // Behind the name and the size of a socket.
                line.and_then(|words| words.get(2)?.parse().ok()).map_or(Use::Absent, Use::Users)
            }
            Sign::Listed(path) => match self.read(path.trim_start_matches('/')).lines().count() {
                0 => Use::Absent,
                lines => Use::Users(lines as u64 - 1),
            },
        }
    }

    /// Mounts of this mount namespace. One on a disk is used by what moves to and from the disk.
    fn file_system(&self, kind: &str) -> Use {
        let known = self.read("proc/filesystems");
        let mounts = self.read("proc/self/mountinfo");
        // `id parent major:minor root mount-point options [tags] - kind source options`
        let devices = mounts.lines().filter_map(|line| {
            let (place, what) = line.split_once(" - ")?;
            (what.split(' ').next()? == kind).then(|| place.split(' ').nth(2))?
        });
        let devices: Vec<&str> = devices.collect();
        if devices.is_empty() {
            let is_there = known.lines().any(|line| line.split_whitespace().last() == Some(kind));
            return if is_there { Use::Users(0) } else { Use::Absent };
        }
        let stat = |device: &&str| {
            self.sectors(&format!("sys/dev/block/{device}"), &[SECTORS_READ, SECTORS_WRITTEN])
        };
        match devices.iter().map(stat).collect::<Option<Vec<u64>>>() {
            Some(sectors) => Use::Sectors(sectors.iter().sum()),
            None => Use::Users(devices.len() as u64),
        }
    }

    fn disks(&self, wanted: impl Fn(&str) -> bool, fields: &[usize]) -> Use {
        let disks = self.disks.get_or_init(|| self.all_disks()).iter().filter(|name| wanted(name));
        let sectors: Vec<u64> =
            disks.filter_map(|name| self.sectors(&format!("sys/block/{name}"), fields)).collect();
        if sectors.is_empty() { Use::Absent } else { Use::Sectors(sectors.iter().sum()) }
    }

    /// Swaps are left out: no payload moves there.
    fn all_disks(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join("sys/block")) else { return Vec::new() };
        let swaps = self.read("proc/swaps");
        let is_swap = |name: &String| {
            let path = format!("/dev/{name}");
            swaps.lines().any(|line| line.split_whitespace().next() == Some(&path))
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !is_swap(name)).collect()
    }

    fn has_parity(&self, disk: &str) -> bool {
        disk.starts_with("md") && {
            let level = self.read(&format!("sys/block/{disk}/md/level"));
            matches!(level.trim(), "raid4" | "raid5" | "raid6")
        }
    }

    fn sectors(&self, disk: &str, fields: &[usize]) -> Option<u64> {
        let stat = self.read(&format!("{disk}/stat"));
        let words: Vec<&str> = stat.split_whitespace().collect();
        fields.iter().map(|field| words.get(*field)?.parse::<u64>().ok()).sum()
    }

    /// "" for what is not there.
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }
}

/// `begin`, a number, `end`; for disks that are lettered, letters.
fn is_numbered(name: &str, begin: &str, end: &str) -> bool {
    let middle = name.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
    let plain = |c: char| c.is_ascii_digit() || c == '.' || (begin == "xvd" && c.is_ascii_lowercase());
    middle.is_some_and(|middle| !middle.is_empty() && middle.chars().all(plain))
}
