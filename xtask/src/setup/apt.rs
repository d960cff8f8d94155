//! apt with lists and cache of its own: other suites can be read without the machine's apt noticing.
//! Signatures are checked as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use super::sources;
use crate::kernels::resolve::{Stanza, parse_stanza};
use crate::{paths, sh};

/// A package that is to be downloaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub name: String,
    pub version: String,
    /// As apt names it.
    pub file: String,
    pub bytes: u64,
}

/// Lines of `--print-uris`: address, file name, size, hash. In the file's name a colon is `%3a`.
fn parse_plan(text: &str) -> Result<Vec<Planned>> {
    let parse = |line: &str| -> Option<Planned> {
        let mut words = line.split_whitespace().skip(1);
        let file = words.next()?;
        let bytes = words.next()?.parse().ok()?;
        let mut parts = file.strip_suffix(".deb")?.split('_');
        let (name, version) = (parts.next()?, parts.next()?);
        Some(Planned { name: name.into(), version: version.replace("%3a", ":"), file: file.into(), bytes })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| parse(line).with_context(|| format!("apt-get planned what cannot be read: {line}")))
        .collect()
}

pub struct Apt {
    dir: PathBuf,
    suites: String,
}

impl Apt {
    pub fn new(name: &str, suites: &[String]) -> Result<Apt> {
        if sh::which("apt-get").is_none() || sh::which("dpkg-deb").is_none() {
            bail!(
                "what the VMs run are Debian packages and this machine has no apt-get and dpkg-deb; \
                 run this on Debian, or copy <cache>/kernels and <cache>/programs from a machine that \
                 has them"
            );
        }
        let dir = paths::cache()?.join("apt").join(name);
        for folder in ["lists/partial", "cache/archives/partial"] {
            paths::create(&dir.join(folder))?;
        }
        let named = std::env::var(sources::MIRROR_VARIABLE).ok();
        let mirrors = sources::mirrors(&debian::source_files(), &debian::codename(), named.as_deref())?;
        let write = |file: &str, text: &str| {
            let path = dir.join(file);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("sources.list", &sources::list(&mirrors, suites))?;
        // Nothing is installed, as far as this apt knows: the candidate is simply the newest.
        write("status", "")?;
        Ok(Apt { dir, suites: suites.join(", ") })
    }

    pub fn update(&self) -> Result<()> {
        let mut command = self.command("apt-get");
        // Without it apt keeps old lists, warns and succeeds when the mirror is unreachable.
        command.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        sh::capture(&mut command, &format!("read Debian's package lists of {}", self.suites))?;
        Ok(())
    }

    /// The newest version of a package.
    pub fn show(&self, package: &str) -> Result<Stanza> {
        let mut command = self.command("apt-cache");
        command.args(["show", "--no-all-versions", package]);
        let text = sh::capture(&mut command, &format!("find {package} in {}", self.suites))?;
        parse_stanza(&text).with_context(|| format!("cannot read what apt says about {package}"))
    }

    /// Downloads the .deb into `dir` and returns its path. apt checks its hash.
    pub fn download(&self, package: &str, version: &str, dir: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        command.arg("download").arg(format!("{package}={version}")).current_dir(dir);
        sh::capture(&mut command, &format!("download {package} {version}"))?;
        let prefix = format!("{package}_");
        fs::read_dir(dir)
            .with_context(|| format!("cannot read {}", dir.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .with_context(|| format!("apt-get download left no {prefix}*.deb in {}", dir.display()))
    }

    /// These packages with all they depend on, as if nothing were installed.
    pub fn plan(&self, packages: &[String]) -> Result<Vec<Planned>> {
        let mut command = self.command("apt-get");
        command.args(["install", "--no-install-recommends", "--print-uris"]).args(packages);
        let purpose = format!("find {} in {}", packages.join(", "), self.suites);
        parse_plan(&sh::capture(&mut command, &purpose)?)
    }

    /// Downloads these into `dir`, under the names in `file`. apt checks their hashes.
    pub fn download_all(&self, packages: &[Planned], dir: &Path) -> Result<()> {
        let mut command = self.command("apt-get");
        command.arg("download").current_dir(dir);
        command.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        sh::capture(&mut command, &format!("download {}", names.join(", ")))?;
        match packages.iter().find(|package| !dir.join(&package.file).is_file()) {
            Some(package) => bail!("apt-get download left no {} in {}", package.file, dir.display()),
            None => Ok(()),
        }
    }

    fn command(&self, program: &str) -> Command {
        let at = |name: &str, file: &str| format!("{name}={}", self.dir.join(file).display());
        let mut command = Command::new(program);
        command.env("LC_ALL", "C.UTF-8").arg("-qq");
        let options = [
            at("Dir::State::Lists", "lists"),
            at("Dir::State::status", "status"),
            at("Dir::Cache", "cache"),
            at("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/dev/null".into(),
            // The machine's pins and default release are about what it installs, not about us.
            "Dir::Etc::Preferences=/dev/null".into(),
            "Dir::Etc::PreferencesParts=/dev/null".into(),
            "APT::Default-Release=".into(),
            "APT::Architecture=amd64".into(),
            // The cache may lie in a home directory that the user _apt cannot enter.
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::PDiffs=false".into(),
            "Acquire::Retries=3".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".into(),
        ];
        for option in options {
            command.arg("-o").arg(option);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_with_epochs() {
        let text = "'http://m/pool/main/n/netty/libnetty-java_4.1.48-7_all.deb' \
            libnetty-java_1%3a4.1.48-7+deb12u2_all.deb 3626988 MD5Sum:0\n";
        let plan = parse_plan(text).unwrap();
        assert_eq!(plan[0].name, "libnetty-java");
        assert_eq!(plan[0].version, "1:4.1.48-7+deb12u2");
        assert_eq!(plan[0].bytes, 3_626_988);
        assert!(parse_plan("E: no\n").is_err());
    }
}
