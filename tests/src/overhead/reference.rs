//! The cheapest BPF programs there are, as a measure: what a kernel takes for calling one at all, and for one that
//! counts. Written in BPF instructions, so that no compiler has a part in them.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use crate::harness::bpf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A raw tracepoint program at sys_enter.
    Enter,
    /// The same, and one at sys_exit.
    EnterExit,
    /// A program at the return of `FUNCTION`.
    Fexit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Returns at once.
    Empty,
    /// Counts in a per-CPU array, for one process.
    Counting,
}

/// Every read passes it once.
const FUNCTION: &str = "vfs_read";

const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const RAW_TRACEPOINT_OPEN: u32 = 17;
const PERCPU_ARRAY: u32 = 6;
const RAW_TRACEPOINT: u32 = 17;
const TRACING: u32 = 26;
const TRACE_FEXIT: u32 = 25;

/// Programs that run until it is dropped.
pub struct Attached {
    _held: Vec<OwnedFd>,
}

pub fn attach(place: Place, body: Body, pid: u32) -> Result<Attached> {
    let mut held = Vec::new();
    let instructions = match body {
        Body::Empty => vec![code(0xb7, 0, 0, 0, 0), EXIT],
        Body::Counting => {
            // map_type, key_size, value_size, max_entries.
            let map = bpf::open(MAP_CREATE, &mut [PERCPU_ARRAY, 4, 8, 1]).context("no map")?;
            let instructions = counting(pid, map.as_raw_fd());
            held.push(map);
            instructions
        }
    };
    let points: &[Option<&std::ffi::CStr>] = match place {
        Place::Enter => &[Some(c"sys_enter")],
        Place::EnterExit => &[Some(c"sys_enter"), Some(c"sys_exit")],
        Place::Fexit => &[None],
    };
    for point in points {
        let program = load(&instructions, point.is_none())?;
        // name, prog_fd. A tracing program knows its place.
        let name = point.map_or(0, |name| name.as_ptr() as u64);
        let mut attributes = [name, program.as_raw_fd() as u64];
        held.push(bpf::open(RAW_TRACEPOINT_OPEN, &mut attributes).context("it does not attach")?);
        held.push(program);
    }
    Ok(Attached { _held: held })
}

fn load(instructions: &[u64], tracing: bool) -> Result<OwnedFd> {
    let license = c"GPL";
    // union bpf_attr as words: prog_type, insn_cnt, insns, license, ..., expected_attach_type, ..., attach_btf_id.
    let mut attributes = [0u32; 32];
    let mut address = |word: usize, address: u64| {
        attributes[word] = address as u32;
        attributes[word + 1] = (address >> 32) as u32;
    };
    address(2, instructions.as_ptr() as u64);
    address(4, license.as_ptr() as u64);
    attributes[0] = if tracing { TRACING } else { RAW_TRACEPOINT };
    attributes[1] = instructions.len() as u32;
    if tracing {
        attributes[17] = TRACE_FEXIT;
        attributes[27] = function_id(FUNCTION)?;
    }
    bpf::open(PROG_LOAD, &mut attributes).context("it does not load")
}

const EXIT: u64 = code(0x95, 0, 0, 0, 0);

const fn code(operation: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    let registers = to | (from << 4);
    operation as u64 | (registers as u64) << 8 | (offset as u16 as u64) << 16 | (value as u32 as u64) << 32
}

fn counting(pid: u32, map: i32) -> Vec<u64> {
    vec![
        code(0x85, 0, 0, 0, 14),          // r0 = bpf_get_current_pid_tgid()
        code(0x77, 0, 0, 0, 32),          // r0 >>= 32
        code(0x55, 0, 0, 10, pid as i32), // if r0 != pid goto end
        code(0x62, 10, 0, -4, 0),         // *(u32 *)(r10 - 4) = 0
        code(0xbf, 2, 10, 0, 0),          // r2 = r10
        code(0x07, 2, 0, 0, -4),          // r2 += -4
        code(0x18, 1, 1, 0, map),         // r1 = map, in two
        0,
        code(0x85, 0, 0, 0, 1), // r0 = bpf_map_lookup_elem(r1, r2)
        code(0x15, 0, 0, 3, 0), // if r0 == 0 goto end
        code(0x79, 1, 0, 0, 0), // r1 = *(u64 *)r0
        code(0x07, 1, 0, 0, 1), // r1 += 1
        code(0x7b, 0, 1, 0, 0), // *(u64 *)r0 = r1
        code(0xb7, 0, 0, 0, 0), // end: r0 = 0
        EXIT,
    ]
}

/// A function's id in the kernel's own BTF.
fn function_id(name: &str) -> Result<u32> {
    let bytes = fs::read("/sys/kernel/btf/vmlinux").context("no BTF")?;
    find_function(&bytes, name).with_context(|| format!("{name} is not in the kernel's BTF"))
}

fn find_function(bytes: &[u8], name: &str) -> Option<u32> {
    const FUNC: u32 = 12;
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    // struct btf_header: hdr_len, type_off, type_len, str_off from byte 4 on; then the types, 12 bytes and more each.
    let header = word(4)? as usize;
    let (start, strings) = (header + word(8)? as usize, header + word(16)? as usize);
    let end = start + word(12)? as usize;
    let (mut at, mut id) = (start, 0);
    while at < end {
        id += 1;
        let (name_at, info) = (strings + word(at)? as usize, word(at + 4)?);
        let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
        let named = || bytes.get(name_at..)?.strip_prefix(name.as_bytes())?.first().copied();
        if kind == FUNC && named() == Some(0) {
            return Some(id);
        }
        at += 12 + more(kind, count).ok()?;
    }
    None
}

/// Bytes of a type after the first 12, by BTF_KIND_*.
fn more(kind: u32, count: usize) -> Result<usize> {
    Ok(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        2 | 7..=12 | 16 | 18 => 0,
        kind => bail!("BTF of a newer kind, {kind}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_among_types() {
        // An int "a", then functions "ab" and "b".
        let strings = b"\0a\0ab\0b\0";
        let types: [u32; 10] = [1, 1 << 24, 4, 32, 3, 12 << 24, 0, 6, 12 << 24, 0];
        let header: [u32; 6] = [0x0001_eb9f, 24, 0, 40, 40, strings.len() as u32];
        let words = header.into_iter().chain(types).flat_map(u32::to_le_bytes);
        let bytes: Vec<u8> = words.chain(strings.iter().copied()).collect();
        assert_eq!(find_function(&bytes, "ab"), Some(2));
        assert_eq!(find_function(&bytes, "b"), Some(3));
        assert_eq!(find_function(&bytes, "a"), None);
    }

    #[test]
    fn instructions_as_the_kernel_has_them() {
        // struct bpf_insn of `r2 = r10`, `*(u32 *)(r10 - 4) = 0`.
        assert_eq!(code(0xbf, 2, 10, 0, 0).to_le_bytes(), [0xbf, 0xa2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code(0x62, 10, 0, -4, 0).to_le_bytes(), [0x62, 0x0a, 0xfc, 0xff, 0, 0, 0, 0]);
    }
}
