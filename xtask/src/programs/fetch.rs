//! Fetches the programs root: resolve against an empty system, download, unpack, record.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::{Cached, Record, Wanted, cached};
use crate::kernels::fetch::{now, replace};
use crate::setup::apt::{Apt, Planned};
use crate::{paths, sh};

/// Packages that are fetched and unpacked at a time: progress is shown in between, and the packed
/// ones need no room all at once.
const CHUNK: usize = 25;

/// The newest, or, when Debian cannot be asked, the one in the cache (and says so).
pub fn newest(wanted: &Wanted) -> Result<Cached> {
    let _lock = paths::lock(&wanted.name())?;
    let have = cached(wanted)?;
    match (fetch(wanted, have.as_ref()), have) {
        (Ok(found), _) => Ok(found),
        (Err(error), Some(have)) => {
            sh::progress(&format!(
                "programs: cannot look for newer ones, using those of {}: {error:#}",
                have.record.fetched
            ));
            Ok(have)
        }
        (Err(error), None) if super::older(wanted)?.is_some() => {
            sh::progress(&format!("programs: the list has changed and Debian cannot be asked: {error:#}"));
            super::older(wanted)?.context("the older programs are gone")
        }
        (Err(error), None) => Err(error.context(format!(
            "no programs for the VMs: fetching them from Debian ({}) failed; when the mirror can be \
             reached again, run `cargo xtask setup` (everything but the tests of real programs works \
             without them)",
            wanted.suites.join(", ")
        ))),
    }
}

fn fetch(wanted: &Wanted, have: Option<&Cached>) -> Result<Cached> {
    sh::progress(&format!("programs: asking {}", wanted.suites.join(", ")));
    let apt = Apt::new(&wanted.name(), &wanted.suites)?;
    apt.update()?;
    let planned = apt.plan(&wanted.packages)?;
    let versions = planned.iter().map(|package| (package.name.clone(), package.version.clone())).collect();
    if let Some(have) = have.filter(|have| have.record.versions == versions) {
        sh::progress(&format!("programs: all {} packages are the newest", planned.len()));
        return Ok(have.clone());
    }
    let target = wanted.dir()?;
    let parent = target.parent().context("the programs' directory has a parent")?;
    paths::create(parent)?;
    let ready = paths::TempDir::new_in(parent, ".ready-")?;
    let root = ready.path().join("root");
    merged_usr(&root)?;
    unpack_all(&apt, &planned, wanted, &root)?;
    let record = Record { fetched: now()?, wanted: wanted.clone(), versions };
    let text = toml::to_string(&record).context("cannot write record.toml")?;
    let path = ready.path().join("record.toml");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    replace(ready.path(), &target)?;
    sh::progress(&format!("programs: {} packages are ready", planned.len()));
    cached(wanted)?.ok_or_else(|| anyhow!("{} is incomplete after unpacking", target.display()))
}

/// Debian 12's packages still ship /bin, /lib and so on; on the system these are links into /usr. A
/// directory of that name would hide the host's link, and with it all that is behind it.
fn merged_usr(root: &Path) -> Result<()> {
    for name in ["bin", "lib", "lib64", "sbin"] {
        paths::create(&root.join("usr").join(name))?;
        let link = root.join(name);
        std::os::unix::fs::symlink(Path::new("usr").join(name), &link)
            .with_context(|| format!("cannot make the link {}", link.display()))?;
    }
    Ok(())
}

fn unpack_all(apt: &Apt, planned: &[Planned], wanted: &Wanted, root: &Path) -> Result<()> {
    let megabytes = |packages: &[Planned]| packages.iter().map(|p| p.bytes).sum::<u64>() / 1_000_000;
    let total = megabytes(planned);
    for (number, chunk) in planned.chunks(CHUNK).enumerate() {
        let done = number * CHUNK;
        sh::progress(&format!(
            "programs: {done} of {} packages, {} of {total} MB",
            planned.len(),
            megabytes(&planned[..done])
        ));
        let debs = paths::TempDir::new_in(root.parent().unwrap_or(root), ".debs-")?;
        apt.download_all(chunk, debs.path())?;
        for package in chunk {
            unpack(&debs.path().join(&package.file), root, &wanted.omit)?;
        }
    }
    Ok(())
}

/// As `dpkg-deb -x`, which would put directories in the place of the links of `merged_usr`.
fn unpack(deb: &Path, root: &Path, omit: &[String]) -> Result<()> {
    let purpose = format!("unpack {}", deb.display());
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot {purpose}: cannot start dpkg-deb"))?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"]).arg(root);
    tar.args(omit.iter().map(|folder| format!("--exclude=./{folder}")));
    tar.stdin(reader.stdout.take().context("dpkg-deb has no stdout")?).stderr(Stdio::piped());
    let output = tar.output().with_context(|| format!("cannot {purpose}: cannot start tar"))?;
    let read = reader.wait().with_context(|| format!("cannot {purpose}"))?;
    if !output.status.success() || !read.success() {
        bail!(
            "cannot {purpose}: dpkg-deb {read}, tar {}\n{}",
            output.status,
            sh::tail(&String::from_utf8_lossy(&output.stderr), 5)
        );
    }
    Ok(())
}
