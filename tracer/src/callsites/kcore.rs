//! Live kernel text out of `/proc/kcore`, an ELF core file of the running kernel.
//!
//! The image on disk would not do: alternatives, static calls and static keys are
//! patched at boot, and modules are linked when they are loaded.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::text::KernelText;

const PATH: &str = "/proc/kcore";
/// Names the file where a container has it: runtimes hide [`PATH`] behind an empty file and let nothing be mounted
/// below `/proc`, but do let the host's file be mounted elsewhere.
const VARIABLE: &str = "TRACER_KCORE";
/// Bytes per read: kcore copies page by page anyway, larger ones only save system calls.
const CHUNK: usize = 4 << 20;
/// No kernel text is larger; a length beyond comes from broken symbols.
const MAX_LEN: usize = 1 << 28;
const ELF_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const PT_LOAD: u32 = 1;

/// One loaded part of the address space, and where it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    addr: u64,
    size: u64,
    offset: u64,
}

/// An ELF64 core file, open.
#[derive(Debug)]
pub struct Kcore {
    file: File,
    loads: Vec<Load>,
}

impl Kcore {
    /// Opens the running kernel's memory.
    pub fn open() -> Result<Self> {
        let path = std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(PATH), PathBuf::from);
        let file = File::open(&path)
            .map_err(|error| anyhow!(refusal(&path, error.kind(), &error.to_string(), lockdown())))?;
        Self::from_file(file).with_context(|| {
            let path = path.display();
            format!(
                "{path} is not readable as an ELF core file. Containers hide /proc/kcore: mount the host's \
                 elsewhere, and name that in {VARIABLE}"
            )
        })
    }

    /// Reads the program headers of any little-endian ELF64 file.
    pub fn from_file(file: File) -> Result<Self> {
        let mut header = [0; ELF_HEADER];
        file.read_exact_at(&mut header, 0).context("cannot read the ELF header")?;
        ensure!(header[..6] == *b"\x7fELF\x02\x01", "no little-endian ELF64 magic");
        let start = u64_at(&header, 32).context("no program headers")?;
        let entry = u16_at(&header, 54);
        ensure!(usize::from(entry) == PROGRAM_HEADER, "program headers of {entry} bytes");
        let mut table = vec![0; usize::from(u16_at(&header, 56)) * PROGRAM_HEADER];
        file.read_exact_at(&mut table, start).context("cannot read the program headers")?;
        Ok(Self { file, loads: table.chunks_exact(PROGRAM_HEADER).filter_map(load).collect() })
    }

    /// The file offset of `addr`, and how many bytes follow there.
    fn locate(&self, addr: u64) -> Option<(u64, u64)> {
        self.loads.iter().find_map(|load| {
            let within = addr.checked_sub(load.addr).filter(|within| *within < load.size)?;
            Some((load.offset.checked_add(within)?, load.size - within))
        })
    }
}

impl KernelText for Kcore {
    fn read(&self, addr: u64, len: usize) -> Result<Vec<u8>> {
        ensure!(len <= MAX_LEN, "{len} bytes at {addr:#x} are more than any kernel's text");
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = addr.wrapping_add(done as u64);
            let Some((offset, left)) = self.locate(at) else {
                bail!("address {at:#x} is in no segment of the core file");
            };
            let left = usize::try_from(left).unwrap_or(CHUNK);
            let end = len.min(done + left.min(CHUNK));
            match self.file.read_at(&mut bytes[done..end], offset) {
                Ok(0) => bail!("the core file ends at address {at:#x}, {} bytes short", len - done),
                Ok(read) => done += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read address {at:#x}"));
                }
            }
        }
        Ok(bytes)
    }
}

fn load(header: &[u8]) -> Option<Load> {
    let kind = u32::from_le_bytes(header.get(..4)?.try_into().ok()?);
    // The size is that in the file: what lies behind it (.bss) cannot be read.
    let load = Load { addr: u64_at(header, 16)?, size: u64_at(header, 32)?, offset: u64_at(header, 8)? };
    (kind == PT_LOAD && load.size > 0).then_some(load)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

/// The lockdown level in force, such as `confidentiality`.
fn lockdown() -> Option<String> {
    let levels = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let level = levels.split('[').nth(1)?.split(']').next()?;
    Some(level.to_owned())
}

fn refusal(path: &Path, kind: ErrorKind, error: &str, lockdown: Option<String>) -> String {
    let why = match (kind, lockdown.as_deref()) {
        (_, Some("confidentiality")) => {
            "kernel lockdown is at `confidentiality`, which hides kernel memory. \
             Boot with `lockdown=integrity`, or go without the proof of completeness"
        }
        (ErrorKind::PermissionDenied, _) => {
            "it needs root with CAP_SYS_RAWIO. Run with sudo, or in a container give that capability"
        }
        (ErrorKind::NotFound, _) => {
            "the kernel has no CONFIG_PROC_KCORE, or the container hides it. Run on the host"
        }
        _ => "see `tracer doctor`",
    };
    format!("cannot open {}: {error}: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A core file with one segment of `bytes` at `addr`, whose header says `size`.
    fn core(addr: u64, bytes: &[u8], size: u64) -> Vec<u8> {
        let mut file = vec![0; ELF_HEADER + PROGRAM_HEADER];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&(ELF_HEADER as u64).to_le_bytes());
        file[54..56].copy_from_slice(&(PROGRAM_HEADER as u16).to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        let header = &mut file[ELF_HEADER..];
        header[0] = 1;
        header[8..16].copy_from_slice(&((ELF_HEADER + PROGRAM_HEADER) as u64).to_le_bytes());
        header[16..24].copy_from_slice(&addr.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
        file.extend_from_slice(bytes);
        file
    }

    fn open(name: &str, content: &[u8]) -> Result<Kcore> {
        let path = std::env::temp_dir().join(format!("kcore-{}-{name}", std::process::id()));
        File::create(&path).unwrap().write_all(content).unwrap();
        let kcore = Kcore::from_file(File::open(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        kcore
    }

    #[test]
    fn reads_by_address() {
        let kcore = open("read", &core(0xffff_ffff_8100_0000, b"abcdef", 6)).unwrap();
        assert_eq!(kcore.read(0xffff_ffff_8100_0002, 3).unwrap(), b"cde");
        assert_eq!(kcore.read(0xffff_ffff_8100_0000, 0).unwrap(), b"");
    }

    #[test]
    fn what_is_missing_is_an_error_not_zeroes() {
        let kcore = open("short", &core(0x1000, b"abcdef", 100)).unwrap();
        assert!(kcore.read(0x1000, 7).unwrap_err().to_string().contains("short"));
        assert!(kcore.read(0x0fff, 2).is_err());
        assert!(kcore.read(0x1063, 2).is_err());
        assert!(kcore.read(u64::MAX, 2).is_err());
        assert!(kcore.read(0x1000, usize::MAX).is_err());
    }

    #[test]
    fn broken_files_are_errors() {
        let whole = core(0x1000, b"abcdef", 6);
        for len in 0..ELF_HEADER + PROGRAM_HEADER {
            assert!(open("broken", &whole[..len]).is_err(), "{len} bytes");
        }
        assert!(open("noise", &[0xff; 4096]).is_err());
    }

    #[test]
    fn refusals_name_cause_and_remedy() {
        let locked =
            refusal(Path::new(PATH), ErrorKind::PermissionDenied, "EPERM", Some("confidentiality".into()));
        assert!(locked.contains("lockdown=integrity"), "{locked}");
        let unprivileged =
            refusal(Path::new(PATH), ErrorKind::PermissionDenied, "EACCES", Some("none".into()));
        assert!(unprivileged.contains("sudo"), "{unprivileged}");
        assert!(refusal(Path::new(PATH), ErrorKind::NotFound, "ENOENT", None).contains("CONFIG_PROC_KCORE"));
    }
}
