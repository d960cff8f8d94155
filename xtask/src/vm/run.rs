//! One boot: sockets, QEMU, threads that read them, limits, verdict.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::{Accel, Outcome, Stream, VmSpec, initramfs, qemu};
use crate::kernels::Cached;
use crate::{paths, sh};

/// A kernel that has not started the command by then hangs. Boots take 5 to 10 s under TCG, more beside other VMs.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// Counting instructions takes several times as long.
const COUNTED_BOOT_LIMIT: Duration = Duration::from_secs(900);
/// Time to power off after the command has ended.
const GRACE: Duration = Duration::from_secs(10);
const PREFIX: &str = "tracer-vm-";
const POLL: Duration = Duration::from_millis(20);

/// What came through the ports.
#[derive(Debug, Default, Clone, Copy)]
struct Reported {
    up: Option<Instant>,
    exit: Option<(u8, Instant)>,
    /// When the command printed something last.
    said: Option<Instant>,
}

pub fn run(
    spec: &VmSpec,
    kernel: &Cached,
    accel: Accel,
    output: &(dyn Fn(Stream, &[u8]) + Sync),
) -> Result<Outcome> {
    // Not in the cache: socket paths may have no more than 107 bytes.
    paths::remove_stale(&std::env::temp_dir(), PREFIX);
    let dir = paths::TempDir::new_in(&std::env::temp_dir(), PREFIX)?;
    let dir = dir.path();
    initramfs::write(&dir.join("initramfs"), kernel, spec)?;
    let listen = |port: &str| {
        let path = dir.join(port);
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))
    };
    let [out, err, status] = qemu::PORTS.map(listen);
    let (out, err, status) = (out?, err?, status?);
    let stderr_file = dir.join("qemu-stderr");
    let stderr =
        fs::File::create(&stderr_file).with_context(|| format!("cannot create {}", stderr_file.display()))?;
    let mut command = qemu::command(dir, kernel, spec, accel)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);

    let reported = Mutex::new(Reported::default());
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {}", sh::show(&command)))?;
    let ended = thread::scope(|scope| {
        let said = |stream, bytes: &[u8]| {
            lock(&reported).said = Some(Instant::now());
            output(stream, bytes);
        };
        scope.spawn(move || copy(&out, |bytes| said(Stream::Out, bytes)));
        scope.spawn(move || copy(&err, |bytes| said(Stream::Err, bytes)));
        scope.spawn(|| read_status(&status, &reported));
        let ended = wait(&mut child, spec, started, &reported);
        // A QEMU that failed early never connected: let the readers see an end.
        for port in qemu::PORTS {
            let _ = UnixStream::connect(dir.join(port));
        }
        ended
    });
    let last = lock(&reported);
    match (ended, last.up, last.exit) {
        (_, Some(up), Some((status, _))) => Ok(Outcome { status, boot: up - started }),
        (ended, up, _) => Err(explain(dir, spec, kernel, accel, ended, up.is_some())),
    }
}

/// Why the wait ended.
#[derive(Debug, PartialEq)]
enum Ended {
    Exited(String),
    Limit(&'static str, Duration),
    /// The command has said nothing for so long.
    Silent(Duration),
}

fn wait(child: &mut Child, spec: &VmSpec, started: Instant, reported: &Mutex<Reported>) -> Ended {
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ended::Exited(status.to_string()),
            Ok(None) => {}
            Err(error) => break Ended::Exited(format!("cannot wait for it: {error}")),
        }
        let reported = *lock(reported);
        if let Some(ended) = over(spec, started, reported, Instant::now()) {
            break ended;
        }
        thread::sleep(POLL);
    };
    let _ = child.kill();
    let _ = child.wait();
    ended
}

/// Which limit is over now, if one is.
fn over(spec: &VmSpec, started: Instant, reported: Reported, now: Instant) -> Option<Ended> {
    let is_over = |since: Instant, limit: Duration| now.duration_since(since) > limit;
    if let Some((_, exit)) = reported.exit {
        return is_over(exit, GRACE).then_some(Ended::Limit("powering off", GRACE));
    }
    if is_over(started, spec.timeout) {
        return Some(Ended::Limit("the whole run", spec.timeout));
    }
    let Some(up) = reported.up else {
        let limit = if spec.counted { COUNTED_BOOT_LIMIT } else { BOOT_LIMIT };
        return is_over(started, limit).then_some(Ended::Limit("booting", limit));
    };
    let said = reported.said.unwrap_or(up);
    is_over(said, spec.silence).then_some(Ended::Silent(spec.silence))
}

/// From one port until QEMU is gone.
fn copy(listener: &UnixListener, each: impl Fn(&[u8])) {
    let Ok((mut stream, _)) = listener.accept() else {
        return;
    };
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        each(&buffer[..length]);
    }
}

fn read_status(listener: &UnixListener, reported: &Mutex<Reported>) {
    let Ok((stream, _)) = listener.accept() else {
        return;
    };
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let mut reported = lock(reported);
        match parse_status(&line) {
            Some(Report::Up) => reported.up = Some(Instant::now()),
            Some(Report::Exit(status)) => reported.exit = Some((status, Instant::now())),
            None => {}
        }
    }
}

#[derive(Debug, PartialEq)]
enum Report {
    Up,
    Exit(u8),
}

fn parse_status(line: &str) -> Option<Report> {
    match line.trim() {
        "up" => Some(Report::Up),
        other => other.strip_prefix("exit ")?.parse().ok().map(Report::Exit),
    }
}

/// A reader that panicked has been seen by the scope; its data are plain values.
fn lock(reported: &Mutex<Reported>) -> std::sync::MutexGuard<'_, Reported> {
    reported.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn explain(
    dir: &Path,
    spec: &VmSpec,
    kernel: &Cached,
    accel: Accel,
    ended: Ended,
    up: bool,
) -> anyhow::Error {
    let read = |name: &str| {
        let bytes = fs::read(dir.join(name)).unwrap_or_default();
        sh::tail(&String::from_utf8_lossy(&bytes).replace('\r', ""), 20)
    };
    let (console, stderr) = (read("console"), read("qemu-stderr"));
    let running = format!("`{}`", spec.command.join(" "));
    let what = match (ended, up) {
        (Ended::Limit(phase, limit), true) => {
            format!("{running} was still running: {phase} has a limit of {} s", limit.as_secs())
        }
        (Ended::Limit(phase, limit), false) => {
            format!("it did not boot: {phase} has a limit of {} s", limit.as_secs())
        }
        (Ended::Silent(limit), _) => {
            format!(
                "{running} was killed, because it had said nothing for {} s: what it began last hangs",
                limit.as_secs()
            )
        }
        (Ended::Exited(status), true) => format!("QEMU ended ({status}) while {running} was running"),
        (Ended::Exited(status), false) => format!("QEMU ended ({status}) before the command started"),
    };
    let section = |title: &str, text: &str| match text {
        "" => format!("\n{title}: (nothing)"),
        text => format!("\n{title}:\n{text}"),
    };
    anyhow!(
        "VM {} ({}, {accel}): {what}{}{}",
        kernel.name,
        kernel.record.release,
        section("end of its console", &console),
        section("QEMU said", &stderr)
    )
}

/// A first look at whether a VM of this kind works at all.
pub fn probe(kernel: &Cached, accel: Accel, limit: Duration) -> Result<()> {
    let spec = VmSpec { command: vec!["true".into()], timeout: limit, ..VmSpec::new(&kernel.name) };
    let outcome = run(&spec, kernel, accel, &|_, _| {})?;
    if outcome.status != 0 {
        bail!("`true` gave status {}", outcome.status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let started = Instant::now();
        let at = |seconds| started + Duration::from_secs(seconds);
        let mut spec = VmSpec { silence: Duration::from_secs(10), ..VmSpec::new("6.1") };
        let booting = Reported::default();
        assert_eq!(over(&spec, started, booting, at(300)), None);
        assert_eq!(over(&spec, started, booting, at(301)), Some(Ended::Limit("booting", BOOT_LIMIT)));
        let up = Reported { up: Some(at(290)), ..booting };
        assert_eq!(over(&spec, started, up, at(300)), None);
        assert_eq!(over(&spec, started, up, at(301)), Some(Ended::Silent(spec.silence)));
        let said = Reported { said: Some(at(595)), ..up };
        assert_eq!(over(&spec, started, said, at(600)), None);
        assert_eq!(over(&spec, started, said, at(601)), Some(Ended::Limit("the whole run", spec.timeout)));
        spec.timeout *= 2;
        assert_eq!(over(&spec, started, said, at(605)), None);
        assert_eq!(over(&spec, started, said, at(606)), Some(Ended::Silent(spec.silence)));
        let exit = Reported { exit: Some((0, at(600))), ..said };
        assert_eq!(over(&spec, started, exit, at(610)), None);
        assert_eq!(over(&spec, started, exit, at(611)), Some(Ended::Limit("powering off", GRACE)));
    }

    #[test]
    fn statuses() {
        assert_eq!(parse_status("up"), Some(Report::Up));
        assert_eq!(parse_status("exit 7\r"), Some(Report::Exit(7)));
        assert_eq!(parse_status("exit 256"), None);
        assert_eq!(parse_status("[    0.1] exit"), None);
    }
}
