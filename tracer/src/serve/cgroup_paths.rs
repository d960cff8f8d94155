//! From a cgroup's id, which the kernel side notes, to its path.
//!
//! The id is the inode number of the cgroup's directory. A process that has ended has no `/proc` entry that
//! would tell its cgroup; the directory mostly outlives it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Shown for a cgroup that was removed before its path was learnt.
pub const GONE: &str = "gone";
/// Ids remembered; systems with more cgroups than this walk more often.
const MAX_KNOWN: usize = 65_536;
const MAX_DEPTH: usize = 32;
/// A walk takes milliseconds; ids that nothing explains must not cause one each.
const BETWEEN_WALKS: Duration = Duration::from_millis(200);

/// Paths by id.
pub struct Paths {
    /// Where cgroup v2 is mounted, if it is.
    root: Option<PathBuf>,
    known: HashMap<u64, String>,
    walked: Option<Instant>,
}

impl Paths {
    pub fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self::below(mount_point(&mounts))
    }

    fn below(root: Option<PathBuf>) -> Self {
        let mut paths = Paths { root, known: HashMap::new(), walked: None };
        paths.walk();
        paths
    }

    /// The path of a cgroup; [`GONE`] if nobody knows any more, nothing if cgroups are not known at all.
    pub fn of(&mut self, id: u64) -> &str {
        if self.root.is_none() || id == 0 {
            return "";
        }
        let may_walk = self.walked.is_none_or(|walked| walked.elapsed() > BETWEEN_WALKS);
        if may_walk && !self.known.contains_key(&id) {
            self.walk();
        }
        self.known.get(&id).map_or(GONE, String::as_str)
    }

    /// Learns what `/proc` tells of a process that lives.
    pub fn learn(&mut self, id: u64, path: &str) {
        if id != 0 && self.known.get(&id).is_none_or(|known| known != path) {
            self.make_room();
            self.known.insert(id, path.to_owned());
        }
    }

    /// Looks at every directory. What was removed keeps its path: its last processes may be read later.
    pub fn walk(&mut self) {
        let Some(root) = self.root.clone() else { return };
        self.make_room();
        visit(&root, &root, 0, &mut self.known);
        self.walked = Some(Instant::now());
    }

    fn make_room(&mut self) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
    }
}

impl Default for Paths {
    fn default() -> Self {
        Self::new()
    }
}

fn visit(directory: &Path, root: &Path, depth: usize, known: &mut HashMap<u64, String>) {
    if depth > MAX_DEPTH || known.len() >= MAX_KNOWN {
        return;
    }
    let Ok(metadata) = fs::symlink_metadata(directory) else { return };
    let below = directory.strip_prefix(root).unwrap_or(Path::new("")).to_string_lossy();
    known.insert(metadata.ino(), format!("/{below}"));
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        visit(&entry.path(), root, depth + 1, known);
    }
}

/// Where cgroup v2 is mounted: the second word of a line of type `cgroup2`.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (point, kind) = (words.nth(1)?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point.replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_all_kinds() {
        let hybrid =
            "cgroup /sys/fs/cgroup/memory cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_point(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("proc /proc proc rw 0 0\n"), None);
        assert_eq!(mount_point(""), None);
    }

    #[test]
    fn directories_that_come_and_go() {
        let root = std::env::temp_dir().join(format!("tracer-paths-{}", std::process::id()));
        let inner = root.join("a.slice/b\n.service");
        fs::create_dir_all(&inner).expect("directory");
        let mut paths = Paths::below(Some(root.clone()));
        let id = fs::metadata(&inner).expect("metadata").ino();
        assert_eq!(paths.of(id), "/a.slice/b\n.service");
        let later = root.join("later");
        fs::create_dir(&later).expect("directory");
        let new = fs::metadata(&later).expect("metadata").ino();
        std::thread::sleep(BETWEEN_WALKS + Duration::from_millis(10));
        assert_eq!(paths.of(new), "/later");
        fs::remove_dir_all(&root).expect("removed");
        paths.walk();
        assert_eq!(paths.of(id), "/a.slice/b\n.service");
        assert_eq!(paths.of(u64::MAX), GONE);
        assert_eq!(Paths::below(None).of(7), "");
    }
}
