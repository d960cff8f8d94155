//! Another observer: a BPF program of its own that reads the memory of whoever makes a system call, as profilers and
//! security agents do.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::bpf;

const MAP_CREATE: u32 = 0; // BPF_MAP_CREATE
const MAP_LOOKUP: u32 = 1; // BPF_MAP_LOOKUP_ELEM
const PROGRAM_LOAD: u32 = 5; // BPF_PROG_LOAD
const TRACEPOINT_OPEN: u32 = 17; // BPF_RAW_TRACEPOINT_OPEN
const ARRAY: u32 = 2; // BPF_MAP_TYPE_ARRAY
const RAW_TRACEPOINT: u32 = 17; // BPF_PROG_TYPE_RAW_TRACEPOINT

/// Bytes that it reads at each call.
pub const LOOK: i32 = 64;

/// Reads until it is dropped.
pub struct Observer {
    looks: OwnedFd,
    _link: OwnedFd,
    _program: OwnedFd,
}

impl Observer {
    /// At each write(2) it reads the first bytes of what is written, at each other call the top of the stack.
    pub fn start() -> Result<Self> {
        // map_type, key_size, value_size, max_entries, flags, inner_map_fd, numa_node.
        let looks =
            bpf::open(MAP_CREATE, &mut [ARRAY, 4, 8, 1, 0, 0, 0]).context("no map for the observer")?;
        let program = load(&instructions(looks.as_raw_fd())).context("the observer is refused")?;
        #[repr(C)]
        struct Attributes {
            name: u64,
            program: u32,
            _pad: u32,
        }
        let name = c"sys_enter".as_ptr() as u64;
        let mut attributes = Attributes { name, program: program.as_raw_fd() as u32, _pad: 0 };
        let link = bpf::open(TRACEPOINT_OPEN, &mut attributes).context("the observer does not attach")?;
        Ok(Observer { looks, _link: link, _program: program })
    }

    /// How often it has read [`LOOK`] bytes.
    pub fn looks(&self) -> Result<u64> {
        let (key, mut value) = (0u32, 0u64);
        #[repr(C)]
        struct Attributes {
            map: u64,
            key: u64,
            value: u64,
        }
        let mut attributes = Attributes {
            map: self.looks.as_raw_fd() as u64,
            key: &raw const key as u64,
            value: &raw mut value as u64,
        };
        bpf::call(MAP_LOOKUP, &mut attributes).context("the observer's map")?;
        Ok(value)
    }
}

/// `struct bpf_insn`
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    constant: i32,
}

/// `destination`, `source`: numbers of registers; 10 is the frame.
const fn instruction(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset, constant }
}

/// One raw tracepoint program of `sys_enter(regs, id)`.
fn instructions(looks: i32) -> Vec<Instruction> {
    const LOAD: u8 = 0x79; // destination = *(u64 *)(source + offset)
    const MOVE: u8 = 0xbf;
    const SET: u8 = 0xb7; // destination = constant
    const ADD: u8 = 0x07; // destination += constant
    const CALL: u8 = 0x85;
    const UNLESS: u8 = 0x55; // jump if destination != constant
    const IF: u8 = 0x15; // jump if destination == constant
    const WRITE: i32 = 1; // its number
    const SI: i32 = 104; // in struct pt_regs
    const SP: i32 = 152;
    let of = instruction;
    vec![
        of(LOAD, 7, 1, 8, 0), // the call's number
        of(LOAD, 3, 1, 0, 0), // the registers
        of(MOVE, 6, 3, 0, 0),
        of(ADD, 3, 0, 0, SP),
        of(UNLESS, 7, 0, 2, WRITE),
        of(MOVE, 3, 6, 0, 0),
        of(ADD, 3, 0, 0, SI),
        of(MOVE, 1, 10, 0, 0),
        of(ADD, 1, 0, 0, -8),
        of(SET, 2, 0, 0, 8),
        of(CALL, 0, 0, 0, 113), // bpf_probe_read_kernel(frame - 8, 8, registers + ...)
        of(LOAD, 3, 10, -8, 0),
        of(MOVE, 1, 10, 0, 0),
        of(ADD, 1, 0, 0, -8 - LOOK),
        of(SET, 2, 0, 0, LOOK),
        of(CALL, 0, 0, 0, 112), // bpf_probe_read_user(frame - 8 - LOOK, LOOK, what stands there)
        of(UNLESS, 0, 0, 9, 0),
        of(0x62, 10, 0, -8, 0), // *(u32 *)(frame - 8) = 0
        of(MOVE, 2, 10, 0, 0),
        of(ADD, 2, 0, 0, -8),
        of(0x18, 1, 1, 0, looks), // the map, in two instructions
        of(0, 0, 0, 0, 0),
        of(CALL, 0, 0, 0, 1), // bpf_map_lookup_elem(map, frame - 8)
        of(IF, 0, 0, 2, 0),
        of(SET, 1, 0, 0, 1),
        of(0xdb, 0, 1, 0, 0), // atomically: *(u64 *)value += 1
        of(SET, 0, 0, 0, 0),
        of(0x95, 0, 0, 0, 0),
    ]
}

fn load(instructions: &[Instruction]) -> Result<OwnedFd> {
    /// union bpf_attr as far as it is needed.
    #[repr(C)]
    struct Attributes {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    let mut log = vec![0u8; 1 << 16];
    let mut attributes = Attributes {
        kind: RAW_TRACEPOINT,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
    };
    let program = bpf::open(PROGRAM_LOAD, &mut attributes);
    program.with_context(|| String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned())
}
