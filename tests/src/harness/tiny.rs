//! Programs of a few instructions, whose system calls are known to the last one: no loader, no runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Where the file is mapped, page-aligned, and where its code begins there (`Elf64_Ehdr`, `Elf64_Phdr`).
const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// Writes `code` as a program called `name` into a directory: x86-64, one segment, entered at its first byte.
pub fn program(directory: &Path, name: &str, code: &[u8]) -> Result<PathBuf> {
    let bytes = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    let word = |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    let long = |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    // An executable for x86-64; entry, program headers, no sections; sizes and numbers of headers.
    half(&mut file, &[2, 62]);
    word(&mut file, &[1]);
    long(&mut file, &[BASE + HEADERS, 64, 0]);
    word(&mut file, &[0]);
    half(&mut file, &[64, 56, 1, 0, 0, 0]);
    // PT_LOAD, readable and executable: all of the file.
    word(&mut file, &[1, 5]);
    long(&mut file, &[0, BASE, BASE, bytes, bytes, 4096]);
    file.extend(code);
    let path = directory.join(name);
    fs::write(&path, file).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
