//! A directory of the BPF file system, which keeps maps, programs and links while no process has them open:
//! counting goes on without a daemon. Removing it ends the counting.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::links::PinnedLink;
use aya::programs::{FEntry, FExit, KProbe, Program, RawTracePoint, TracePoint};

use super::Kernel;
use super::rows::Attached;
use crate::fmt::human;
use crate::sys;

const PARTS: [&str; 3] = ["maps", "programs", "links"];

/// The directory, which no other tracer uses meanwhile.
pub struct Pins {
    directory: PathBuf,
    /// Locked.
    _open: File,
}

impl Pins {
    /// Takes the directory, and makes it if need be.
    ///
    /// # Errors
    /// It is not in a BPF file system, may not be used, or another tracer uses it.
    pub fn take(directory: &Path) -> Result<Self> {
        let shown = shown(directory);
        let parent = directory.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let on = if directory.exists() { directory } else { parent };
        if !sys::is_bpf_file_system(on).with_context(|| format!("cannot use {shown} for --pin"))? {
            bail!(
                "--pin: {shown} is not in a BPF file system\n  \
                 mount one (mount -t bpf bpf /sys/fs/bpf), and name a directory in it"
            );
        }
        make(directory)?;
        let open = File::open(directory).with_context(|| format!("cannot open {shown}"))?;
        if !sys::lock(&open)? {
            bail!("--pin: another tracer counts into {shown}\n  end it first, or name another directory");
        }
        Ok(Pins { directory: directory.to_owned(), _open: open })
    }

    /// The directory, for people.
    pub fn shown(&self) -> Cow<'_, str> {
        shown(&self.directory)
    }

    /// Removes everything that is pinned, which ends its counting, and makes room for new pins.
    pub fn clear(&self) -> Result<()> {
        for part in PARTS {
            let part = self.directory.join(part);
            if part.exists() {
                fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", shown(&part)))?;
            }
            make(&part)?;
        }
        Ok(())
    }

    /// Where a map is pinned. Names in this file system have no dots (kernel/bpf/inode.c).
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join("maps").join(name.trim_start_matches('.'))
    }

    fn program(&self, name: &str) -> PathBuf {
        self.directory.join("programs").join(name)
    }

    /// A link's place: its program and a number.
    pub(super) fn link(&self, program: &str, number: usize) -> PathBuf {
        self.directory.join("links").join(format!("{program}-{number}"))
    }

    /// Every pinned link, with the name of its program.
    fn links(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut links = Vec::new();
        for entry in fs::read_dir(self.directory.join("links"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let program = name.rsplit_once('-').map_or(name.as_str(), |(program, _)| program).to_owned();
            links.push((program, path));
        }
        Ok(links)
    }
}

fn shown(path: &Path) -> Cow<'_, str> {
    Cow::Owned(human::escape(&path.to_string_lossy()).into_owned())
}

/// For its owner alone: who can open a map can change it.
fn make(directory: &Path) -> Result<()> {
    if directory.exists() {
        return Ok(());
    }
    DirBuilder::new()
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make the directory {}", shown(directory)))
}

/// Maps of the object that outlive a daemon: all but constants, which are the same for the next.
pub(super) fn kept_maps(object: &[u8]) -> Result<Vec<String>> {
    let object = aya_obj::Object::parse(object).map_err(|error| anyhow!("{error}"))?;
    Ok(object.maps.into_keys().filter(|name| !name.starts_with(".rodata")).collect())
}

impl Kernel {
    /// Pins what is loaded and attached and is not pinned yet.
    pub fn pin(&mut self, pins: &Pins) -> Result<()> {
        for (name, program) in self.ebpf.programs_mut() {
            let path = pins.program(name);
            if program.fd().is_ok() && !path.exists() {
                program.pin(&path).with_context(|| format!("cannot pin program {name}"))?;
            }
        }
        self.links.pin(pins)
    }

    /// Takes over what is pinned; `rows` are how it was attached.
    pub fn adopt(&mut self, pins: &Pins, rows: Vec<Attached>) -> Result<()> {
        for (name, program) in self.ebpf.programs_mut() {
            let path = pins.program(name);
            if path.exists() {
                reopen(program, &path).with_context(|| format!("cannot open the pinned program {name}"))?;
            }
        }
        for (program, path) in pins.links()? {
            let link = PinnedLink::from_pin(&path);
            let link = link.with_context(|| format!("cannot open the pinned link {}", shown(&path)))?;
            let is_kprobe = matches!(self.ebpf.program(&program), Some(Program::KProbe(_)));
            self.links.adopt(&program, is_kprobe, link.into())?;
        }
        self.rows = rows;
        Ok(())
    }
}

/// Puts the program that is pinned in the place of one that is not loaded.
fn reopen(program: &mut Program, path: &Path) -> Result<()> {
    *program = match program {
        Program::FEntry(_) => Program::FEntry(FEntry::from_pin(path)?),
        Program::FExit(_) => Program::FExit(FExit::from_pin(path)?),
        Program::KProbe(probe) => Program::KProbe(KProbe::from_pin(path, probe.kind())?),
        Program::RawTracePoint(_) => Program::RawTracePoint(RawTracePoint::from_pin(path)?),
        Program::TracePoint(_) => Program::TracePoint(TracePoint::from_pin(path)?),
        _ => bail!("it is of a kind that is never pinned"),
    };
    Ok(())
}
