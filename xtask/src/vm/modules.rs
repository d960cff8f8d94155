//! Which modules the initramfs needs, from modules.dep and modules.builtin. Pure but for `load`.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::sh;

/// What reaching the host takes. Some of it is built in from 6.12 on.
pub const NEEDED: &[&str] = &["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];

/// A module's name: `kernel/net/9p/9pnet_virtio.ko.xz` is `9pnet_virtio`; `-` and `_` are the same.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Module name to its path and the paths of all that it depends on.
pub struct Index<'a> {
    modules: BTreeMap<String, (&'a str, Vec<&'a str>)>,
    builtin: HashSet<String>,
}

impl<'a> Index<'a> {
    pub fn parse(dep: &'a str, builtin: &str) -> Index<'a> {
        let modules = dep
            .lines()
            .filter_map(|line| {
                let (path, rest) = line.split_once(':')?;
                Some((name_of(path), (path, rest.split_whitespace().collect())))
            })
            .collect();
        Index { modules, builtin: builtin.lines().map(name_of).collect() }
    }

    /// Paths in the order in which they can be inserted.
    pub fn order(&self, wanted: &[&str]) -> Result<Vec<&'a str>> {
        let mut done = Vec::new();
        for name in wanted {
            if !self.builtin.contains(*name) {
                self.visit(name, &mut done)?;
            }
        }
        Ok(done)
    }

    fn visit(&self, name: &str, done: &mut Vec<&'a str>) -> Result<()> {
        let (path, depends) = self
            .modules
            .get(name)
            .ok_or_else(|| anyhow!("it has no module {name}, neither built in nor loadable"))?;
        if done.contains(path) {
            return Ok(());
        }
        // modules.dep has no cycles (depmod refuses them), so this ends.
        for dependency in depends {
            self.visit(&name_of(dependency), done)?;
        }
        done.push(path);
        Ok(())
    }
}

/// The needed modules of a kernel, uncompressed, in the order of loading: (file name, content).
/// Uncompressed here because busybox's insmod and kernels before 5.17 take only that.
pub fn load(dir: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
    let order = Index::parse(&dep, &builtin)
        .order(NEEDED)
        .with_context(|| format!("the kernel of {} cannot be used", dir.display()))?;
    order
        .into_iter()
        .map(|path| Ok((format!("{}.ko", name_of(path)), read_module(&dir.join(path))?)))
        .collect()
}

fn read_module(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let purpose = format!("unpack {}", path.display());
    let output = sh::output(Command::new(tool).arg("-dc").arg(path), &purpose)?;
    if !output.status.success() {
        return Err(anyhow!("cannot {purpose}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/9p/9p.ko: kernel/fs/fscache/fscache.ko kernel/fs/netfs/netfs.ko kernel/net/9p/9pnet.ko\n\
        kernel/fs/fscache/fscache.ko: kernel/fs/netfs/netfs.ko\n\
        kernel/fs/netfs/netfs.ko:\n\
        kernel/net/9p/9pnet.ko.xz:\n\
        kernel/drivers/char/hw_random/virtio-rng.ko:\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = Index::parse(DEP, "").order(&["9p", "fscache"]).unwrap();
        assert_eq!(
            order,
            [
                "kernel/fs/netfs/netfs.ko",
                "kernel/fs/fscache/fscache.ko",
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/fs/9p/9p.ko"
            ]
        );
    }

    #[test]
    fn built_in_ones_are_left_out() {
        let index = Index::parse(DEP, "kernel/drivers/virtio/virtio_pci.ko\n");
        assert!(index.order(&["virtio_pci"]).unwrap().is_empty());
    }

    #[test]
    fn a_missing_one_is_named() {
        let error = Index::parse(DEP, "").order(&["overlay"]).unwrap_err().to_string();
        assert!(error.contains("overlay"), "{error}");
    }

    #[test]
    fn dashes_are_underscores() {
        assert_eq!(name_of("kernel/a/virtio-rng.ko.zst"), "virtio_rng");
        assert_eq!(Index::parse(DEP, "").order(&["virtio_rng"]).unwrap().len(), 1);
    }
}
