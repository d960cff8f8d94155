//! A workload whose copies are known, counted on this kernel just before the window.
//!
//! It proves that these probes count these copies here and now: reading and writing a file, sending and
//! receiving, moving by reference, copying within the kernel. One byte off, and the check is inconclusive.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tracer_ebpf::abi::{Direction, Ledger, Path};

use super::child::Kept;
use super::meter::Meter;
use crate::check::verdict::Calibration;
use crate::kernel::process;
use crate::model::attach::Attach;
use crate::model::fault_injection::Fault;
use crate::model::snapshot::{Derived as _, Snapshot};
use crate::session::{Options, Selection, Session};

const KIB: usize = 1024;
/// Sizes that no sum of others equals, so that a byte in the wrong place shows.
const READ: usize = 192 * KIB;
const WRITTEN: usize = 128 * KIB;
const SENT: usize = 48 * KIB;
const BY_REFERENCE: usize = 32 * KIB;
const IN_KERNEL: usize = 64 * KIB;
const CHUNK: usize = 64 * KIB;

/// How long the workload may take to come to its stop.
const LIMIT: Duration = Duration::from_secs(30);
/// Tries, if the kernel skipped runs of the probes (7.2 preempts them).
const TRIES: usize = 3;

/// What must be counted: path, payload, and copied bytes by direction.
fn known() -> [(Path, usize, [usize; 3]); 5] {
    let received = SENT + BY_REFERENCE;
    [
        (Path::Read, READ, [READ, 0, 0]),
        (Path::Write, WRITTEN, [0, WRITTEN, 0]),
        (Path::Send, SENT, [0, SENT, 0]),
        (Path::Recv, received, [received, 0, 0]),
        (Path::Sendfile, BY_REFERENCE + IN_KERNEL, [0, 0, IN_KERNEL]),
    ]
}

/// Counts the workload with probes attached the same way as those of the check.
pub async fn calibrate(attach: Attach, fault: &Fault) -> Result<Calibration> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let window = count(attach, fault).await?;
        if !window.observed.copies {
            return Ok(Calibration::Off("copies are not observed".to_owned()));
        }
        let differences = differences(&window.sum());
        if window.lost_events() == 0 {
            return Ok(match differences.is_empty() {
                true => Calibration::Exact,
                false => Calibration::Off(differences.join("; ")),
            });
        }
        last = format!("{} events were missed in {TRIES} tries", window.lost_events());
    }
    Ok(Calibration::Off(last))
}

async fn count(attach: Attach, fault: &Fault) -> Result<Snapshot> {
    let options = Options { attach, audit: true, stats: false, copy_sizes: false, fault: fault.clone() };
    let session = Session::prepare(&Selection::AtExec { children: false }, &options)?;
    let mut meter = Meter::new(session);
    let mut workload = Kept::start(&["/proc/self/exe".into(), "__calibrate".into()]).await?;
    meter.session.count_at_exec(process::describe(workload.pid))?;
    workload.release().await?.context("cannot start the calibration workload")?;
    stopped(workload.pid).await?;
    meter.begin()?;
    // SAFETY: no memory is involved; the keeper has not reaped it.
    unsafe { libc::kill(workload.pid as i32, libc::SIGCONT) };
    tokio::time::timeout(LIMIT, workload.ended()).await.context("the calibration workload hangs")?;
    let counted = meter.end(true)?;
    let (end, _) = workload.end_in_words();
    ensure!(workload.status.is_some_and(|s| s.success()), "the calibration workload failed: {end}");
    Ok(counted.snapshot)
}

/// Waits until the workload has stopped itself: all is prepared then.
async fn stopped(pid: u32) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        match stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()) {
            Some('T') => return Ok(()),
            None | Some('Z' | 'X') => {
                bail!("the calibration workload failed (is the temporary directory full?)")
            }
            Some(_) if Instant::now() > deadline => bail!("the calibration workload hangs"),
            Some(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

/// `read copied 5 to_user, known are 4`.
fn differences(ledger: &Ledger) -> Vec<String> {
    let mut differences = Vec::new();
    for (path, payload, copied) in known() {
        let mut compare = |what: &str, counted: u64, known: usize| {
            if counted != known as u64 {
                differences.push(format!("{} {what} {counted}, known are {known}", path.name()));
            }
        };
        compare("moved", ledger.payload[path as usize].bytes, payload);
        for direction in Direction::ALL {
            let counted = ledger.copied[path as usize][direction as usize].bytes;
            compare(&format!("copied {}", direction.name()), counted, copied[direction as usize]);
        }
    }
    let all: usize = known().iter().map(|(_, _, copied)| copied.iter().sum::<usize>()).sum();
    let counted: u64 =
        Path::ALL.iter().filter(|p| **p != Path::MmapFault).map(|p| ledger.copied(*p).bytes).sum();
    if differences.is_empty() && counted != all as u64 {
        differences.push(format!("{counted} bytes copied on all paths, known are {all}"));
    }
    differences
}

/// Runs as `tracer __calibrate`.
pub fn workload() -> Result<()> {
    let mut source = temporary().context("cannot make a temporary file")?;
    source.write_all(&vec![b'x'; READ])?;
    source.rewind()?;
    // Filled once, so that the window has nothing but the copies.
    let mut sink = temporary()?;
    sink.write_all(&vec![b'y'; WRITTEN])?;
    sink.rewind()?;
    let copy = temporary()?;
    copy.write_all_at(&vec![b'z'; IN_KERNEL], 0)?;
    let (sender, receiver) = UnixStream::pair()?;
    let mut buffer = vec![1_u8; CHUNK];
    // SAFETY: stops this process until tracer continues it.
    unsafe { libc::raise(libc::SIGSTOP) };
    for _ in 0..READ / CHUNK {
        source.read_exact(&mut buffer)?;
    }
    for _ in 0..WRITTEN / CHUNK {
        sink.write_all(&buffer)?;
    }
    send(&sender, &buffer[..SENT])?;
    receive(&receiver, &mut buffer[..SENT])?;
    sendfile(sender.as_raw_fd(), &source, BY_REFERENCE)?;
    receive(&receiver, &mut buffer[..BY_REFERENCE])?;
    sendfile(copy.as_raw_fd(), &source, IN_KERNEL)?;
    // SAFETY: ends at once: what the runtime does at its exit is not known to the byte.
    unsafe { libc::_exit(0) }
}

/// A file without a name, where temporary files are.
fn temporary() -> io::Result<File> {
    let name = format!("tracer-calibrate-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// `std` would use write, which is another path.
fn send(socket: &UnixStream, bytes: &[u8]) -> Result<()> {
    // SAFETY: reads `bytes` only.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    ensure!(sent == bytes.len() as isize, "send: {sent}: {}", io::Error::last_os_error());
    Ok(())
}

fn receive(socket: &UnixStream, mut buffer: &mut [u8]) -> Result<()> {
    while !buffer.is_empty() {
        // SAFETY: writes into `buffer` only.
        let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        ensure!(got > 0, "recv: {got}: {}", io::Error::last_os_error());
        buffer = &mut buffer[got as usize..];
    }
    Ok(())
}

fn sendfile(to: i32, from: &File, bytes: usize) -> Result<()> {
    let mut offset = 0;
    while (offset as usize) < bytes {
        // SAFETY: the kernel moves the offset, which is ours.
        let moved = unsafe { libc::sendfile(to, from.as_raw_fd(), &raw mut offset, bytes - offset as usize) };
        ensure!(moved > 0, "sendfile: {moved}: {}", io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_in_the_wrong_place_shows() {
        let mut ledger = Ledger::ZERO;
        for (path, payload, copied) in known() {
            ledger.payload[path as usize].bytes = payload as u64;
            for (direction, bytes) in copied.into_iter().enumerate() {
                ledger.copied[path as usize][direction].bytes = bytes as u64;
            }
        }
        assert_eq!(differences(&ledger), Vec::<String>::new());
        ledger.copied[Path::Read as usize][0].bytes -= 1;
        assert_eq!(differences(&ledger), ["read copied to_user 196607, known are 196608"]);
        ledger.copied[Path::Read as usize][0].bytes += 1;
        ledger.copied[Path::Ioctl as usize][0].bytes += 1;
        assert!(differences(&ledger)[0].contains("on all paths"));
    }
}
