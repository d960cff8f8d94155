//! File systems besides tmpfs and ext4, most on a disk of their own: parts of the VM's second disk, a RAM disk, persistent
//! memory (which the VM's kernel is told to find at `memmap`, xtask/src/test/matrix.rs), a loop device.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use super::bench::run;
use super::nfs;
use crate::expect::Fs;

use crate::workload::scene::pages;

/// Where each is mounted, or why it is not: for whoever asks first.
#[derive(Default)]
pub struct Mounts([OnceLock<Result<PathBuf, String>>; Fs::ALL.len()]);

impl Mounts {
    /// Mounts it below `root`, unless it is.
    pub fn dir(&self, root: &Path, fs: Fs) -> Result<&Path, String> {
        let mounted = self.0[fs as usize].get_or_init(|| {
            let dir = root.join(fs.name());
            mount(fs, &dir).map(|()| dir).map_err(|error| format!("no {}: {error:#}", fs.name()))
        });
        mounted.as_deref().map_err(String::clone)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for dir in self.0.iter().filter_map(|mounted| mounted.get()?.as_ref().ok()) {
            // Best effort at the end.
            let _ = run("umount", &["-l", &dir.display().to_string()]);
        }
    }
}

fn mount(fs: Fs, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for module in modules(fs) {
        // What is missing then is said by the mount.
        let words: Vec<&str> = module.split(' ').collect();
        let _ = run("modprobe", &words);
    }
    match fs {
        Fs::Xfs => on_disk(&part(1)?, &["mkfs.xfs", "-q", "-f"], "xfs", "defaults", dir),
        Fs::Btrfs => on_disk(&part(2)?, &["mkfs.btrfs", "-q", "-f"], "btrfs", "defaults", dir),
        Fs::BtrfsZstd => on_disk(&part(3)?, &["mkfs.btrfs", "-q", "-f"], "btrfs", "compress-force=zstd", dir),
        Fs::F2fs => on_disk(&part(4)?, &["mkfs.f2fs", "-q", "-f"], "f2fs", "defaults", dir),
        Fs::Vfat => on_disk(&part(5)?, &["mkfs.vfat"], "vfat", "defaults", dir),
        Fs::RamDisk => on_disk("/dev/ram0", &["mkfs.ext4", "-q", "-F"], "ext4", "defaults", dir),
        Fs::Pmem => on_disk("/dev/pmem0", &["mkfs.ext4", "-q", "-F", "-b", "4096"], "ext4", "defaults", dir),
        Fs::Dax => on_disk("/dev/pmem1", &["mkfs.ext4", "-q", "-F", "-b", "4096"], "ext4", "dax", dir),
        Fs::Loop => {
            let image = dir.with_extension("img");
            fs::File::create(&image)?.set_len(64 << 20)?;
            run("mkfs.ext4", &["-q", "-F", &image.display().to_string()])?;
            run("mount", &["-o", "loop", &image.display().to_string(), &dir.display().to_string()])
        }
        Fs::Overlay => overlay(dir),
        Fs::Squashfs => squashfs(dir),
        Fs::Nfs => nfs::mount(dir, "actimeo=3600"),
        Fs::NfsNoac => nfs::mount(dir, "noac"),
    }
}

/// What is no disk's and no file system's own name.
fn modules(fs: Fs) -> &'static [&'static str] {
    match fs {
        Fs::RamDisk => &["brd rd_nr=1 rd_size=65536"],
        Fs::Pmem | Fs::Dax => &["nd_pmem", "nd_e820", "dax_pmem"],
        Fs::Loop => &["loop"],
        Fs::Squashfs => &["loop", "squashfs"],
        _ => &[],
    }
}

/// One file, in an image that is made here.
fn squashfs(dir: &Path) -> Result<()> {
    let (files, image) = (dir.with_extension("files"), dir.with_extension("img"));
    fs::create_dir_all(&files)?;
    fs::write(files.join(pages::READ_ONLY), pages::words())?;
    let [files, image, dir] = [&files, &image, dir].map(|path: &Path| path.display().to_string());
    run("mksquashfs", &[&files, &image, "-no-progress", "-processors", "1"])?;
    run("mount", &["-t", "squashfs", "-o", "loop", &image, &dir])
}

/// A part of the second disk, large enough for every file system: XFS wants 300 MB.
fn part(number: u64) -> Result<String> {
    const DISK: &str = "/dev/vdb";
    const SECTORS: u64 = 640 << 10;
    let path = format!("{DISK}{number}");
    ensure!(Path::new(DISK).exists(), "no {DISK}");
    if !Path::new(&path).exists() {
        let start = (number - 1) * SECTORS + 2048;
        run("addpart", &[DISK, &number.to_string(), &start.to_string(), &SECTORS.to_string()])?;
    }
    Ok(path)
}

/// Makes a file system with `mkfs` (a program and its options) and mounts it.
fn on_disk(disk: &str, mkfs: &[&str], kind: &str, options: &str, dir: &Path) -> Result<()> {
    ensure!(Path::new(disk).exists(), "no {disk}");
    // Debian builds most of them as modules.
    let _ = run("modprobe", &[kind]);
    let (program, arguments) = mkfs.split_first().context("no program")?;
    let arguments: Vec<&str> = arguments.iter().copied().chain([disk]).collect();
    run(program, &arguments)?;
    run("mount", &["-t", kind, "-o", options, disk, &dir.display().to_string()])
}

/// One directory of a tmpfs over another.
fn overlay(dir: &Path) -> Result<()> {
    let _ = run("modprobe", &["overlay"]);
    let layers = dir.with_extension("layers");
    for layer in ["lower", "upper", "work"] {
        fs::create_dir_all(layers.join(layer))?;
    }
    let layers = layers.display();
    let options = format!("lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work");
    run("mount", &["-t", "overlay", "-o", &options, "overlay", &dir.display().to_string()])
}
