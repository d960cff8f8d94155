//! What a process has written to disks, by the kernel's own trace: it knows of more than `/proc/PID/io`, such as the
//! zeros that ext4 puts around a direct write into a block that was never written (`iomap_dio_zero`, fs/iomap/direct-io.c).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::process;

/// For each CPU; a transfer takes about 64 bytes.
const BUFFER_KIB: &str = "4096";
const SECTOR: u64 = 512;

/// A trace of the transfers that one process submits, its threads that are not there yet included.
pub struct DiskTrace {
    instance: PathBuf,
}

impl DiskTrace {
    pub fn start(pid: u32) -> Result<DiskTrace> {
        let instance = PathBuf::from(format!("/sys/kernel/tracing/instances/disk-{pid}"));
        fs::create_dir(&instance).with_context(|| format!("cannot create {}", instance.display()))?;
        let trace = DiskTrace { instance };
        trace.set("buffer_size_kb", BUFFER_KIB)?;
        trace.set("options/event-fork", "1")?;
        let threads: Vec<_> = process::tasks(pid)?
            .iter()
            .filter_map(|dir| dir.file_name()?.to_str().map(String::from))
            .collect();
        trace.set("set_event_pid", &threads.join(" "))?;
        trace.set("events/block/block_bio_queue/enable", "1")?;
        Ok(trace)
    }

    /// Bytes of what was submitted since.
    pub fn written(&self) -> Result<u64> {
        self.set("events/enable", "0")?;
        for cpu in fs::read_dir(self.instance.join("per_cpu"))? {
            let stats = fs::read_to_string(cpu?.path().join("stats"))?;
            let lost = process::number(&stats, "overrun:")?;
            ensure!(lost == 0, "{lost} events had no room in the buffer of {}", self.instance.display());
        }
        written(&fs::read_to_string(self.instance.join("trace"))?)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.instance.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
    }
}

impl Drop for DiskTrace {
    fn drop(&mut self) {
        // Best effort: the VM ends soon.
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Of lines like `mariadbd-88 [000] ..... 7.9: block_bio_queue: 254,0 WS 2048 + 8 [mariadbd]`. The second part of a
/// transfer that is split has no line of its own (`BIO_TRACE_COMPLETION`, block/blk-core.c).
fn written(trace: &str) -> Result<u64> {
    let mut sectors = 0;
    for (_, event) in trace.lines().filter_map(|line| line.split_once("block_bio_queue: ")) {
        let words: Vec<&str> = event.split(' ').collect();
        let [_, kind, _, "+", length, ..] = words[..] else { anyhow::bail!("not understood: {event}") };
        if kind.contains('W') {
            sectors += length.parse::<u64>().with_context(|| format!("not understood: {event}"))?;
        }
    }
    Ok(sectors * SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_trace() {
        let queued = |rest: &str| format!("  x-88  [000] .....  7.951: block_bio_queue: 254,0 {rest} [x]\n");
        let lines = ["WS 2048 + 8", "R 1 + 16", "FWFS 0 + 0", "W 99 + 3"].map(queued).concat();
        assert_eq!(written(&format!("# tracer: nop\n{lines}")).unwrap(), 11 * SECTOR);
        assert!(written(&queued("WS 2048")).is_err());
    }
}
