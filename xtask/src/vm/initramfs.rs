//! The initramfs: a static busybox, the modules it takes to reach the host, two scripts, and the
//! command as data. Rebuilt for every boot: 5 MB in a few milliseconds, and nothing goes stale.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::newc::{self, ModeFileType};

use super::{Mount, VmSpec, modules};
use crate::kernels::Cached;
use crate::sh;

const INIT: &str = include_str!("init.sh");
const STAGE2: &str = include_str!("stage2.sh");

pub fn write(path: &Path, kernel: &Cached, spec: &VmSpec) -> Result<()> {
    let modules = modules::load(&kernel.modules)?;
    let order: String = modules.iter().map(|(name, _)| format!("{name}\n")).collect();
    let mut archive = Archive { out: Vec::new(), inode: 0 };
    for dir in ["bin", "dev", "modules", "vm"] {
        archive.add(dir, 0o755, ModeFileType::Directory, b"")?;
    }
    // Without a console device in the initramfs, init has no stderr and dies without a word.
    archive.device("dev/console", 5, 1)?;
    archive.file("bin/busybox", 0o755, &busybox()?)?;
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("vm/stage2", 0o755, STAGE2.as_bytes())?;
    archive.file("vm/command", 0o644, command_script(spec)?.as_bytes())?;
    archive.file("vm/mounts", 0o644, mounts_table(&spec.mounts)?.as_bytes())?;
    if spec.programs.is_some() {
        archive.file("vm/programs", 0o644, b"")?;
    }
    archive.file("modules/order", 0o644, order.as_bytes())?;
    for (name, content) in &modules {
        archive.file(&format!("modules/{name}"), 0o644, content)?;
    }
    newc::trailer(&mut archive.out).context("cannot write the initramfs")?;
    fs::write(path, &archive.out).with_context(|| format!("cannot write {}", path.display()))
}

/// The shell script that becomes the command. /usr/bin/env, because it looks the command up in PATH
/// (busybox's shell would take its own applet instead) and gives 126 and 127 their meaning.
fn command_script(spec: &VmSpec) -> Result<String> {
    let mut script = String::new();
    if let Some(cwd) = &spec.cwd {
        script += &format!("cd {} || exit 125\n", sh::quote(text(cwd)?));
    }
    script += "exec /usr/bin/env -i";
    for (key, value) in &spec.env {
        script += &format!(" {}", sh::quote(&format!("{key}={value}")));
    }
    for word in &spec.command {
        script += &format!(" {}", sh::quote(word));
    }
    script.push('\n');
    Ok(script)
}

/// Tag, mode and place of each mount, separated by tabs.
fn mounts_table(mounts: &[Mount]) -> Result<String> {
    let mut table = String::new();
    for (number, mount) in mounts.iter().enumerate() {
        let mode = if mount.writable { "rw" } else { "ro" };
        let guest = text(&mount.guest)?;
        if guest.contains(['\t', '\n']) || !guest.starts_with('/') {
            bail!("cannot mount at {guest:?} in the VM: it has to be absolute, on one line, without tabs");
        }
        table += &format!("{}\t{mode}\t{guest}\n", tag(number));
    }
    Ok(table)
}

/// The 9p tag of the nth mount; QEMU's side uses the same.
pub fn tag(number: usize) -> String {
    format!("mount{number}")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The shell of the initramfs has to be static: there is no libc in it.
fn busybox() -> Result<Vec<u8>> {
    let candidates = ["/bin/busybox", "/usr/bin/busybox", "/usr/bin/busybox-static", "/sbin/busybox"];
    for path in candidates.map(PathBuf::from).into_iter().chain(sh::which("busybox")) {
        if let Ok(bytes) = fs::read(&path) {
            if is_static_elf(&bytes) {
                return Ok(bytes);
            }
        }
    }
    bail!("no static busybox found; `apt-get install busybox-static` or `cargo xtask setup`")
}

/// No PT_INTERP among the program headers of a 64-bit little-endian ELF.
fn is_static_elf(bytes: &[u8]) -> bool {
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u64_at =
        |at: usize| -> Option<u64> { Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
    let (Some(b"\x7fELF\x02\x01"), Some(offset), Some(size), Some(count)) =
        (bytes.get(..6), u64_at(32), u16_at(54), u16_at(56))
    else {
        return false;
    };
    let header = |n: u16| bytes.get(usize::try_from(offset).ok()? + usize::from(n) * usize::from(size)..);
    const PT_INTERP: [u8; 4] = [3, 0, 0, 0];
    (0..count).all(|n| header(n).is_some_and(|h| h.len() >= 4 && h[..4] != PT_INTERP))
}

struct Archive {
    out: Vec<u8>,
    inode: u32,
}

impl Archive {
    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.add(name, mode, ModeFileType::Regular, content)
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.inode += 1;
        let builder = newc::Builder::new(name)
            .ino(self.inode)
            .mode(0o600)
            .set_mode_file_type(ModeFileType::Char)
            .rdev_major(major)
            .rdev_minor(minor);
        self.write(builder, name, b"")
    }

    fn add(&mut self, name: &str, mode: u32, kind: ModeFileType, content: &[u8]) -> Result<()> {
        self.inode += 1;
        let builder = newc::Builder::new(name).ino(self.inode).mode(mode).set_mode_file_type(kind);
        self.write(builder, name, content)
    }

    fn write(&mut self, builder: newc::Builder, name: &str, content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
        let mut writer = builder.write(&mut self.out, size);
        writer
            .write_all(content)
            .and_then(|()| writer.finish().map(drop))
            .with_context(|| format!("cannot put {name} into the initramfs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_words() {
        let spec = VmSpec {
            command: vec!["sh".into(), "-c".into(), "echo 'a b'; exit 7".into()],
            env: vec![("A".into(), "1 2".into())],
            cwd: Some("/share".into()),
            ..VmSpec::new("6.1")
        };
        assert_eq!(
            command_script(&spec).unwrap(),
            "cd '/share' || exit 125\nexec /usr/bin/env -i 'A=1 2' 'sh' '-c' 'echo '\\''a b'\\''; exit 7'\n"
        );
    }

    #[test]
    fn mounts_are_numbered() {
        let mounts = [
            Mount { host: "/a".into(), guest: "/a b".into(), writable: true },
            Mount { host: "/c".into(), guest: "/d".into(), writable: false },
        ];
        assert_eq!(mounts_table(&mounts).unwrap(), "mount0\trw\t/a b\nmount1\tro\t/d\n");
        let wrong = [Mount { host: "/a".into(), guest: "b".into(), writable: true }];
        assert!(mounts_table(&wrong).is_err());
    }

    #[test]
    fn dynamic_programs_are_not_static() {
        assert!(!is_static_elf(&fs::read("/bin/sh").unwrap()));
        assert!(!is_static_elf(b"#!/bin/sh"));
    }
}
