//! Where things are: the repository, and the cache that outlives a clone.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{FlockOperation, flock};

/// The workspace's root: of the checkout that cargo runs xtask in, which may have been copied or moved with its `target/`
/// since it was compiled; without cargo, of the one that it was compiled in.
pub fn repo() -> PathBuf {
    let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|own| own.ends_with("xtask"));
    let own = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    own.parent().unwrap_or(&own).to_path_buf()
}

/// `$TRACER_CACHE`, else `~/.cache/tracer`: kernels and tools are 1 GB, so fresh clones share them.
pub fn cache() -> Result<PathBuf> {
    let dir = match (env::var_os("TRACER_CACHE"), env::var_os("XDG_CACHE_HOME"), env::home_dir()) {
        (Some(dir), _, _) if !dir.is_empty() => PathBuf::from(dir),
        (_, Some(dir), _) if !dir.is_empty() => PathBuf::from(dir).join("tracer"),
        (_, _, Some(home)) if !home.as_os_str().is_empty() => home.join(".cache/tracer"),
        _ => {
            return Err(anyhow!("no home directory to cache in; set TRACER_CACHE to a directory"));
        }
    };
    create(&dir)?;
    // QEMU and apt get this path, and both run elsewhere: it has to be absolute.
    dir.canonicalize().with_context(|| format!("cannot resolve {}", dir.display()))
}

/// Where bpf-linker and promtool are installed. A folder of PATH's shape.
pub fn tools_bin() -> Result<PathBuf> {
    Ok(cache()?.join("tools/bin"))
}

/// PATH with our own tools first.
pub fn path_with_tools() -> Result<std::ffi::OsString> {
    let old = env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(tools_bin()?).chain(env::split_paths(&old));
    env::join_paths(dirs).context("PATH cannot be extended with the cache directory (a `:` in it?)")
}

pub fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

/// Held while something in the cache is made, so that two xtasks do not make it twice.
pub struct Lock {
    _file: File,
}

pub fn lock(name: &str) -> Result<Lock> {
    let path = cache()?.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        crate::sh::progress(&format!("waiting for another xtask that makes {name}"));
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(Lock { _file: file })
}

/// A directory that is removed when dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Made in `parent` (on the same file system as what it will be renamed to).
    pub fn new_in(parent: &Path, prefix: &str) -> Result<TempDir> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("{prefix}{}-{number}", std::process::id()));
        // A leftover of a killed process with the same id.
        let _ = fs::remove_dir_all(&dir);
        create(&dir)?;
        Ok(TempDir(dir))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Removes what killed processes (Ctrl-C) left: directories made by `TempDir::new_in` whose process
/// is gone. Only old ones: in a /tmp shared between containers, ids do not tell.
pub fn remove_stale(parent: &Path, prefix: &str) {
    const OLD: std::time::Duration = std::time::Duration::from_secs(3600);
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        let gone = id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists();
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let old = changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > OLD));
        if gone && old {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
