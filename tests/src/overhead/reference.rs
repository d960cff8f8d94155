//! The cheapest BPF programs there are, as a measure: what a kernel takes for calling one at all, and for one that
//! counts. Written in BPF instructions, so that no compiler has a part in them.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya_obj::btf::{Btf, BtfKind};

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
    let btf = Btf::from_sys_fs().context("no BTF of the kernel")?;
    btf.id_by_type_name_kind(name, BtfKind::Func)
        .with_context(|| format!("{name} is not in the kernel's BTF"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_as_the_kernel_has_them() {
        // struct bpf_insn of `r2 = r10`, `*(u32 *)(r10 - 4) = 0`.
        assert_eq!(code(0xbf, 2, 10, 0, 0).to_le_bytes(), [0xbf, 0xa2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code(0x62, 10, 0, -4, 0).to_le_bytes(), [0x62, 0x0a, 0xfc, 0xff, 0, 0, 0, 0]);
    }
}
