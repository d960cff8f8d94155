//! Fetches the newest kernel of a suite: download, unpack (never install), depmod, record.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::{Cached, Kernel, Record, cached, dir, resolve};
use crate::setup::apt::Apt;
use crate::{paths, sh};

/// The newest, or, when Debian cannot be asked, the one in the cache (and says so).
pub fn newest(kernel: &Kernel) -> Result<Cached> {
    let _lock = paths::lock(&format!("kernel-{}", kernel.name))?;
    let have = cached(&kernel.name)?;
    match (fetch(kernel, have.as_ref()), have) {
        (Ok(found), _) => Ok(found),
        (Err(error), Some(have)) => {
            sh::progress(&format!(
                "kernel {}: cannot look for a newer one, using {} (Debian {}, fetched {}): {error:#}",
                kernel.name, have.record.release, have.record.version, have.record.fetched
            ));
            Ok(have)
        }
        (Err(error), None) => Err(error.context(format!(
            "no kernel {}: fetching it from Debian ({}) failed, and none is cached in {}",
            kernel.name,
            kernel.suites.join(", "),
            dir(&kernel.name)?.display()
        ))),
    }
}

fn fetch(kernel: &Kernel, have: Option<&Cached>) -> Result<Cached> {
    let suites = kernel.suites.join(", ");
    sh::progress(&format!("kernel {} ({}): asking {suites}", kernel.name, kernel.note));
    let apt = Apt::new(&format!("kernel-{}", kernel.name), &kernel.suites)?;
    apt.update()?;
    let meta = apt.show("linux-image-amd64")?;
    let image = apt.show(resolve::image_of(&meta)?)?;
    if let Some(have) = have.filter(|have| have.record.version == image.version) {
        sh::progress(&format!("kernel {}: {} is the newest", kernel.name, have.record.release));
        return Ok(have.clone());
    }
    let packages = resolve::content_of(&image);
    let target = dir(&kernel.name)?;
    let parent = target.parent().context("a kernel's directory has a parent")?;
    paths::create(parent)?;
    let debs = paths::TempDir::new_in(parent, ".debs-")?;
    let root = paths::TempDir::new_in(parent, ".root-")?;
    for package in &packages {
        sh::progress(&format!("kernel {}: downloading {package} {}", kernel.name, image.version));
        let deb = apt.download(package, &image.version, debs.path())?;
        sh::progress(&format!("kernel {}: unpacking {package}", kernel.name));
        unpack(&deb, root.path())?;
    }
    let record = Record {
        release: image.package.trim_start_matches("linux-image-").to_string(),
        version: image.version.clone(),
        packages,
        fetched: now()?,
    };
    let ready = paths::TempDir::new_in(parent, ".ready-")?;
    arrange(root.path(), ready.path(), &record)?;
    replace(ready.path(), &target)?;
    sh::progress(&format!("kernel {}: {} is ready", kernel.name, record.release));
    cached(&kernel.name)?.ok_or_else(|| anyhow!("{} is incomplete after unpacking", target.display()))
}

pub fn unpack(deb: &Path, root: &Path) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    command.arg("-x").arg(deb).arg(root);
    sh::capture(&mut command, &format!("unpack {}", deb.display()))?;
    // Room matters: a kernel needs 100 MB packed and 400 MB unpacked.
    fs::remove_file(deb).with_context(|| format!("cannot remove {}", deb.display()))
}

/// Keeps vmlinuz, config, System.map and the modules; makes modules.dep and the record.
fn arrange(root: &Path, ready: &Path, record: &Record) -> Result<()> {
    let release = &record.release;
    let modules = ready.join("lib/modules");
    paths::create(&modules)?;
    // Before 6.12 packages ship lib/modules, since then usr/lib/modules.
    let from = ["usr/lib/modules", "lib/modules"]
        .map(|folder| root.join(folder).join(release))
        .into_iter()
        .find(|folder| folder.is_dir())
        .ok_or_else(|| anyhow!("{} hold no lib/modules/{release}", record.packages.join(", ")))?;
    rename(&from, &modules.join(release))?;
    for (name, needed) in [("vmlinuz", true), ("config", false), ("System.map", false)] {
        let places = [root.join("boot").join(format!("{name}-{release}")), modules.join(release).join(name)];
        match places.iter().find(|place| place.is_file()) {
            Some(place) => rename(place, &ready.join(name))?,
            None if needed => bail!("{} hold no {name}", record.packages.join(", ")),
            None => {}
        }
    }
    let depmod =
        sh::which("depmod").context("depmod is missing; `apt-get install kmod` or `cargo xtask setup`")?;
    let mut command = Command::new(depmod);
    command.arg("-b").arg(ready).arg(release);
    sh::capture(&mut command, "compute the kernel modules' dependencies")?;
    let text = toml::to_string(record).context("cannot write kernel.toml")?;
    let path = ready.join("kernel.toml");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// `target` is never seen half-made: the old one is moved away, the new one into its place.
pub fn replace(ready: &Path, target: &Path) -> Result<()> {
    if target.exists() {
        let old: PathBuf = ready.with_extension("old");
        rename(target, &old)?;
        rename(ready, target)?;
        let _ = fs::remove_dir_all(old);
        return Ok(());
    }
    rename(ready, target)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

pub fn now() -> Result<String> {
    let text = sh::capture(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]), "ask the date")?;
    Ok(text.trim().to_string())
}
