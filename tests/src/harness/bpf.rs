//! bpf(2): which BPF objects the kernel holds (what a tracer that has ended must not have left behind), and what
//! its verifier made of the programs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{LIMIT, until};

const PROGRAM_NEXT: u32 = 11; // BPF_PROG_GET_NEXT_ID
const PROGRAM_OPEN: u32 = 13; // BPF_PROG_GET_FD_BY_ID
const INFO: u32 = 15; // BPF_OBJ_GET_INFO_BY_FD
const MAP_NEXT: u32 = 12; // BPF_MAP_GET_NEXT_ID
const LINK_NEXT: u32 = 31; // BPF_LINK_GET_NEXT_ID

/// Ids of programs, maps and links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    programs: Vec<u32>,
    maps: Vec<u32>,
    links: Vec<u32>,
}

impl Objects {
    pub fn now() -> Result<Self> {
        Ok(Objects { programs: ids(PROGRAM_NEXT)?, maps: ids(MAP_NEXT)?, links: ids(LINK_NEXT)? })
    }

    /// Waits until only these are left.
    pub fn wait_until_as_before(&self) -> Result<()> {
        wait_until_freed(LIMIT, || Ok(Objects::now()?.without(self)))
    }

    fn without(mut self, others: &Objects) -> Objects {
        self.programs.retain(|id| !others.programs.contains(id));
        self.maps.retain(|id| !others.maps.contains(id));
        self.links.retain(|id| !others.links.contains(id));
        self
    }

    fn count(&self) -> usize {
        self.programs.len() + self.maps.len() + self.links.len()
    }
}

/// Waits until nothing is left. The kernel frees one after the other, after grace periods that take as long as the
/// machine is busy: the limit is for one, not for all.
fn wait_until_freed(limit: Duration, mut left: impl FnMut() -> Result<Objects>) -> Result<()> {
    let mut last = left()?;
    while last.count() > 0 {
        let freed = until("another BPF object is freed", limit, || {
            Ok(Some(left()?).filter(|now| now.count() < last.count()))
        });
        last = freed.with_context(|| format!("left behind in the kernel: {last:?}"))?;
    }
    Ok(())
}

/// One call: `attributes` are union bpf_attr as far as the command reads it.
pub fn call<T>(command: u32, attributes: &mut T) -> io::Result<u32> {
    // SAFETY: the kernel reads and writes no more than `attributes`, and the memory that its addresses name, which
    // the callers keep alive.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *mut T, size_of::<T>()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret as u32) }
}

/// A call that returns a file descriptor.
pub fn open<T>(command: u32, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn ids(command: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut start = 0;
    loop {
        // start_id, next_id, open_flags.
        let mut attributes = [start, 0u32, 0u32];
        if let Err(error) = call(command, &mut attributes) {
            ensure!(error.raw_os_error() == Some(libc::ENOENT), "bpf({command}): {error}");
            return Ok(found);
        }
        start = attributes[1];
        found.push(start);
    }
}

/// What the kernel tells of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its first 15 characters.
    pub name: String,
    /// BPF instructions after the verifier's rewriting.
    pub instructions: u32,
    /// Bytes of machine code.
    pub machine_bytes: u32,
    /// Instructions that the verifier went through, on all paths; since 5.16.
    pub verified: Option<u32>,
}

/// All programs, by id.
pub fn programs() -> Result<Vec<Program>> {
    let mut found = Vec::new();
    for id in ids(PROGRAM_NEXT)? {
        // prog_id, next_id, open_flags. One may be freed in between.
        if let Ok(fd) = open(PROGRAM_OPEN, &mut [id, 0u32, 0u32]) {
            found.push(program(&fd).with_context(|| format!("no information about BPF program {id}"))?);
        }
    }
    Ok(found)
}

fn program(fd: &OwnedFd) -> Result<Program> {
    // struct bpf_prog_info, up to and with verified_insns.
    const WORDS: usize = 56;
    let mut info = [0u32; WORDS];
    #[repr(C)]
    struct Attributes {
        fd: u32,
        length: u32,
        info: u64,
    }
    let length = size_of_val(&info) as u32;
    let mut attributes = Attributes { fd: fd.as_raw_fd() as u32, length, info: info.as_mut_ptr() as u64 };
    call(INFO, &mut attributes)?;
    let name: Vec<u8> = info[16..20].iter().flat_map(|word| word.to_le_bytes()).collect();
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Program {
        name: String::from_utf8_lossy(name).into_owned(),
        instructions: info[5] / 8,
        machine_bytes: info[4],
        // An older kernel leaves it 0.
        verified: Some(info[54]).filter(|&verified| verified > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(programs: u32, links: u32) -> Objects {
        Objects { programs: (0..programs).collect(), maps: vec![], links: (0..links).collect() }
    }

    /// The last of these stays.
    fn wait(left: &[Objects]) -> Result<()> {
        let mut each = left.iter().chain(left.last().into_iter().cycle()).cloned();
        wait_until_freed(Duration::ZERO, || each.next().context("endless"))
    }

    #[test]
    fn freeing_may_take_long_as_long_as_it_goes_on() {
        wait(&[objects(2, 2), objects(2, 1), objects(1, 1), objects(0, 1), objects(0, 0)]).unwrap();
        let error = wait(&[objects(2, 1), objects(1, 1)]).unwrap_err();
        assert!(format!("{error:#}").contains("left behind"), "{error:#}");
    }

    #[test]
    fn what_was_there_before_is_not_left_behind() {
        assert_eq!(objects(3, 1).without(&objects(2, 1)), Objects { programs: vec![2], ..objects(0, 0) });
    }
}
