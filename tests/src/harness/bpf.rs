//! Which BPF objects the kernel holds: what a tracer that has ended must not
//! have left behind.

use std::io;

use anyhow::{Result, ensure};

use super::{LIMIT, until};

const PROGRAM_NEXT: u32 = 11; // BPF_PROG_GET_NEXT_ID
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

    /// Waits until only these are left: the kernel frees after a grace period.
    pub fn wait_until_as_before(&self) -> Result<()> {
        let only_old = |before: &[u32], now: &[u32]| now.iter().all(|id| before.contains(id));
        let mut last = self.clone();
        let waited = until("BPF objects are freed", LIMIT / 4, || {
            last = Objects::now()?;
            let clean = only_old(&self.programs, &last.programs)
                && only_old(&self.maps, &last.maps)
                && only_old(&self.links, &last.links);
            Ok(clean.then_some(()))
        });
        ensure!(waited.is_ok(), "left behind in the kernel: before {self:?}, now {last:?}");
        Ok(())
    }
}

fn ids(command: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut start = 0;
    loop {
        // start_id, next_id, open_flags of union bpf_attr.
        let mut attributes = [start, 0u32, 0u32];
        let (at, size) = (attributes.as_mut_ptr(), size_of_val(&attributes));
        // SAFETY: the kernel reads and writes `size` bytes of the array.
        let ret = unsafe { libc::syscall(libc::SYS_bpf, command, at, size) };
        if ret < 0 {
            let error = io::Error::last_os_error();
            ensure!(error.raw_os_error() == Some(libc::ENOENT), "bpf({command}): {error}");
            return Ok(found);
        }
        start = attributes[1];
        found.push(start);
    }
}
