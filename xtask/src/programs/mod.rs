//! The programs root: Debian packages of real servers and clients (tests/programs.toml), unpacked in
//! the cache for the VMs; and another with what tracer is measured against (tests/peers.toml). Nothing of
//! it is installed on this machine.

mod fetch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::paths;

pub use fetch::newest;

/// tests/programs.toml or tests/peers.toml.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Debian suites; of each package the newest version in any of them is taken.
    pub suites: Vec<String>,
    pub packages: Vec<String>,
    /// Directories that are not unpacked.
    pub omit: Vec<String>,
}

/// What was fetched; kept beside the root as record.toml.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Record {
    /// UTC.
    pub fetched: String,
    pub wanted: Wanted,
    /// Each package with its version, dependencies included.
    pub versions: BTreeMap<String, String>,
}

/// A root that can be given to a VM.
#[derive(Debug, Clone)]
pub struct Cached {
    dir: PathBuf,
    pub record: Record,
}

impl Cached {
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }
}

impl Wanted {
    pub fn load() -> Result<Wanted> {
        Wanted::read("tests/programs.toml")
    }

    pub fn peers() -> Result<Wanted> {
        Wanted::read("tests/peers.toml")
    }

    fn read(list: &str) -> Result<Wanted> {
        let path = paths::repo().join(list);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the list of programs {}", path.display()))?;
        Wanted::parse(&text).with_context(|| format!("wrong list of programs {}", path.display()))
    }

    fn parse(text: &str) -> Result<Wanted> {
        let wanted: Wanted = toml::from_str(text)?;
        // Both become arguments and paths.
        let ok = |c: char| c.is_ascii_alphanumeric() || "+-._/".contains(c);
        let names = [&wanted.suites, &wanted.packages, &wanted.omit];
        if let Some(name) = names
            .into_iter()
            .flatten()
            .find(|name| !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(ok))
        {
            bail!("{name:?}: only letters, digits and `+-._/` after a letter or digit");
        }
        if wanted.suites.is_empty() || wanted.packages.is_empty() {
            bail!("it names no suites or no packages");
        }
        Ok(wanted)
    }

    /// Roots of two Debian releases do not mix; versions of one replace each other.
    fn dir(&self) -> Result<PathBuf> {
        Ok(paths::cache()?.join("programs").join(&self.suites[0]))
    }

    /// Of its lock, and of its package lists.
    fn name(&self) -> String {
        format!("programs-{}", self.suites[0])
    }
}

/// The root in the cache, if it is complete and of this list.
pub fn cached(wanted: &Wanted) -> Result<Option<Cached>> {
    let dir = wanted.dir()?;
    let record = read_record(&dir).filter(|record| record.wanted == *wanted);
    Ok(record.map(|record| Cached { dir, record }))
}

/// The root of an earlier list: tests of what it lacks are skipped.
fn older(wanted: &Wanted) -> Result<Option<Cached>> {
    let dir = wanted.dir()?;
    Ok(read_record(&dir).map(|record| Cached { dir, record }))
}

fn read_record(dir: &Path) -> Option<Record> {
    toml::from_str(&fs::read_to_string(dir.join("record.toml")).ok()?).ok()
}

/// The cached root, fetched first if there is none. Looks for newer versions only in `xtask setup`:
/// a test run must not depend on the network when it does not have to.
pub fn ensure() -> Result<Cached> {
    let wanted = Wanted::load()?;
    match cached(&wanted)? {
        Some(cached) => Ok(cached),
        None => newest(&wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../../tests/programs.toml");
    const PEERS: &str = include_str!("../../../tests/peers.toml");

    #[test]
    fn the_real_list_parses() {
        let wanted = Wanted::parse(REAL).unwrap();
        assert_eq!(wanted.suites[0], "bookworm");
        assert!(wanted.packages.contains(&"nginx".to_string()));
        // Each has a directory of its own.
        assert_ne!(Wanted::parse(PEERS).unwrap().name(), wanted.name());
    }

    #[test]
    fn wrong_lists_are_refused_by_name() {
        let list = |package: &str| format!("suites = [\"bookworm\"]\npackages = [{package:?}]\nomit = []\n");
        assert!(Wanted::parse(&list("nginx")).is_ok());
        for wrong in ["-o=x", "a b", "../x", ""] {
            let error = format!("{:#}", Wanted::parse(&list(wrong)).unwrap_err());
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
        assert!(Wanted::parse("suites = []\npackages = []\nomit = []\n").is_err());
    }

    #[test]
    fn records_round_trip() {
        let record = Record {
            fetched: "2026-11-22T00:00:00Z".into(),
            wanted: Wanted::parse(REAL).unwrap(),
            versions: [("mariadb-server-core".into(), "1:10.11.19-0+deb12u1".into())].into(),
        };
        let text = toml::to_string(&record).unwrap();
        assert_eq!(toml::from_str::<Record>(&text).unwrap(), record);
    }
}
