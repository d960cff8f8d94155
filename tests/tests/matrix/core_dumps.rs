//! A core dump is copied once, from the process's pages into the file, whatever it was in when the signal came.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tracer_tests::harness::bench::{Bench, watch};
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{LIMIT, ledger, until};

use crate::{Check, check, on_each_way, sound};

/// Follows an address that is none, when it is told to.
const FAULT: &str = r#"<STDIN>; unpack "p", pack "Q", 1"#;

pub fn checks() -> Vec<Check> {
    vec![
        on_each_way("core_dumps::of_a_sleeper", |bench| {
            is_exact(bench, Command::new("sleep").arg("1000"), |target| signal(target, libc::SIGQUIT))
        }),
        check("core_dumps::after_a_fault", |bench| {
            is_exact(bench, Command::new("perl").args(["-e", FAULT]), |target| {
                target.stdin.take().context("a pipe")?.write_all(b"\n").map_err(Into::into)
            })
        }),
    ]
}

fn signal(target: &Child, signal: i32) -> Result<()> {
    // SAFETY: takes no memory of ours; the child was not waited for.
    let ret = unsafe { libc::kill(target.id() as i32, signal) };
    ensure!(ret == 0, "kill: {}", std::io::Error::last_os_error());
    Ok(())
}

fn is_exact(bench: &Bench, command: &mut Command, end: impl Fn(&mut Child) -> Result<()>) -> Result<()> {
    let core = bench.tmpfs.join("core");
    fs::write("/proc/sys/kernel/core_pattern", core.as_os_str().as_encoded_bytes())?;
    fs::write("/proc/sys/kernel/core_uses_pid", "0")?;
    let mut target = dumping(command).stdin(Stdio::piped()).spawn()?;
    let pid = target.id();
    wait_until_asleep(pid)?;
    let mut tracer = Tracer::start(&bench.tracer, &watch(&[pid], &[]))?;
    tracer.wait_counting(&[pid])?;
    end(&mut target)?;
    let status = target.wait()?;
    let total = tracer.wait(LIMIT)?.total()?;
    ensure!(format!("{status}").contains("core dumped"), "no core was dumped: {status}");
    let written = copied_for_dump(&core, pages_are_copied_aside(bench))?;
    fs::remove_file(&core)?;
    ensure!(written > 64 * 1024, "a dump of {written} bytes");
    sound(&total)?;
    let process = ledger::process(&total, pid)?;
    let mut differences = Differences::default();
    differences.equal("other_syscall.in_kernel", process.copied("other_syscall", "in_kernel"), written);
    differences.equal("mmap_fault.in_kernel", process.copied("mmap_fault", "in_kernel"), 0);
    differences.equal("other_syscall.payload", process.of_path("other_syscall", "payload_bytes"), 0);
    differences.into_result("core dump")
}

/// In the call in which a target waits for its end: clock_nanosleep(2), or read(2) of its input.
fn wait_until_asleep(pid: u32) -> Result<()> {
    let (sleeps, reads) = (format!("{} ", libc::SYS_clock_nanosleep), format!("{} 0x0 ", libc::SYS_read));
    until(&format!("process {pid} sleeps"), LIMIT, || {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        Ok((call.starts_with(&sleeps) || call.starts_with(&reads)).then_some(()))
    })
}

/// With no limit on the size of its core dump.
fn dumping(command: &mut Command) -> &mut Command {
    let unlimited = || {
        let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the limit lives through the call, which may be made between fork and exec.
        match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: makes one system call.
    unsafe { command.pre_exec(unlimited) }
}

const PAGE: u64 = 4096;

/// Newer kernels copy each page aside first, because its memory may be broken (`dump_page_copy()`, fs/coredump.c).
fn pages_are_copied_aside(bench: &Bench) -> bool {
    ["6.12", "7.2"].contains(&bench.kernel.as_str())
}

/// Bytes that were copied: the headers and notes without what pads them, which the kernel steps over, and every page
/// that is no hole.
fn copied_for_dump(core: &Path, aside: bool) -> Result<u64> {
    let mut file = File::open(core).with_context(|| format!("no core at {}", core.display()))?;
    let notes = Notes::find(&mut file)?;
    let (mut pages, mut at) = (0, notes.end.next_multiple_of(PAGE));
    while let Some(data) = seek(&file, at, libc::SEEK_DATA)? {
        let hole = seek(&file, data, libc::SEEK_HOLE)?.context("data without an end")?;
        pages += hole - data;
        at = hole;
    }
    Ok(notes.end - notes.padding + if aside { 2 * pages } else { pages })
}

/// lseek(2); `None` behind the last data.
fn seek(file: &File, offset: u64, whence: i32) -> Result<Option<u64>> {
    // SAFETY: takes no memory of ours.
    let ret = unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) };
    let error = std::io::Error::last_os_error();
    match ret {
        0.. => Ok(Some(ret as u64)),
        _ if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        _ => Err(error).context("lseek"),
    }
}

/// The segment of notes, which the kernel writes first.
struct Notes {
    /// The offset behind it.
    end: u64,
    /// Bytes behind names and contents, up to a multiple of 4.
    padding: u64,
}

impl Notes {
    /// Those of an ELF file of 64 bits.
    fn find(file: &mut File) -> Result<Self> {
        const PT_NOTE: u64 = 4;
        let mut head = [0u8; 64 + 56];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut head)?;
        ensure!(head.starts_with(b"\x7fELF\x02") && number(&head[32..40]) == 64, "no ELF header of 64 bits");
        let segment = &head[64..];
        ensure!(number(&segment[..4]) == PT_NOTE, "the first segment holds no notes");
        let (start, len) = (number(&segment[8..16]), number(&segment[32..40]));
        let mut notes = vec![0u8; len as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut notes)?;
        Ok(Notes { end: start + len, padding: padding(&notes)? })
    }
}

fn padding(mut notes: &[u8]) -> Result<u64> {
    let mut padding = 0;
    while !notes.is_empty() {
        let header = notes.get(..12).context("half a note")?;
        let (name, content) = (number(&header[..4]), number(&header[4..8]));
        let padded = name.next_multiple_of(4) + content.next_multiple_of(4);
        padding += padded - name - content;
        notes = notes.get(12 + padded as usize..).context("half a note")?;
    }
    Ok(padding)
}

/// Little-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}
