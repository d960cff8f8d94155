//! A kernel image of the user's own: which release it is, and where its modules are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Cached, Record};

/// The part of an image that holds its header and the text of its version: at most 0x200 + 64 KiB + the text.
const HEAD: u64 = 0x200 + (64 << 10) + 512;

pub fn open(image: &Path) -> Result<Cached> {
    let vmlinuz = image.canonicalize().with_context(|| format!("no kernel image {}", image.display()))?;
    let mut head = Vec::new();
    File::open(&vmlinuz)
        .and_then(|file| file.take(HEAD).read_to_end(&mut head))
        .with_context(|| format!("cannot read {}", vmlinuz.display()))?;
    let Some(release) = release(&head) else {
        bail!("{} is no x86 kernel image: give the vmlinuz (bzImage) of a kernel package", vmlinuz.display());
    };
    let places = module_places(&vmlinuz, &release);
    let Some(modules) = places.iter().find(|place| place.join("modules.dep").is_file()) else {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        bail!(
            "the modules of {release} (with modules.dep, which `depmod -b DIR {release}` makes) are in none of {}",
            places.join(", ")
        );
    };
    Ok(Cached {
        name: image.display().to_string(),
        modules: modules.clone(),
        vmlinuz,
        record: Record { release, version: String::new(), packages: Vec::new(), fetched: String::new() },
    })
}

/// As `uname -r` prints it. The boot protocol (Documentation/arch/x86/boot.rst) has "HdrS" at 0x202, and at
/// 0x20e where, from 0x200 on, the text "RELEASE (who made it) ..." begins.
fn release(head: &[u8]) -> Option<String> {
    if head.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = 0x200 + usize::from(u16::from_le_bytes(head.get(0x20e..0x210)?.try_into().ok()?));
    let text = head.get(at..)?;
    let end = text.iter().position(|byte| matches!(byte, 0 | b' '))?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    // It becomes a part of a path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~".contains(c);
    (release.starts_with(|c: char| c.is_ascii_digit()) && release.chars().all(plain))
        .then(|| release.to_owned())
}

/// A package unpacked (boot/vmlinuz-R beside lib/modules/R or usr/lib/modules/R), a folder with both, an image
/// that lies among its modules, this machine's own.
fn module_places(vmlinuz: &Path, release: &str) -> Vec<PathBuf> {
    let dir = vmlinuz.parent().unwrap_or(Path::new("/"));
    let roots = [Some(dir), dir.parent(), Some(Path::new("/"))];
    let mut places = vec![dir.to_path_buf()];
    for root in roots.into_iter().flatten() {
        places.extend(["lib/modules", "usr/lib/modules"].map(|folder| root.join(folder).join(release)));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(version: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 0x400];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        head[0x300..0x300 + version.len()].copy_from_slice(version);
        head
    }

    #[test]
    fn the_release_is_in_the_header() {
        let release_of = |version: &[u8]| release(&image(version));
        assert_eq!(release_of(b"6.1.0-56-amd64 (x@y) #1 SMP"), Some("6.1.0-56-amd64".into()));
        assert_eq!(release_of(b"6.12.117+deb13-amd64 "), Some("6.12.117+deb13-amd64".into()));
        assert_eq!(release_of(b"../../etc "), None);
        assert_eq!(release_of(b""), None);
        assert_eq!(release(b"\x7fELF"), None);
        // The header points beyond the end.
        assert_eq!(release(&image(b"6.1 ")[..0x2f0]), None);
    }

    #[test]
    fn modules_are_looked_for_where_packages_have_them() {
        let places = module_places(Path::new("/k/boot/vmlinuz-6.1"), "6.1");
        assert!(places.contains(&"/k/lib/modules/6.1".into()) && places.contains(&"/lib/modules/6.1".into()));
        let places = module_places(Path::new("/k/usr/lib/modules/7.2/vmlinuz"), "7.2");
        assert!(places.contains(&"/k/usr/lib/modules/7.2".into()), "{places:?}");
    }
}
