//! The daemon on this machine, whatever its kernel lets it attach, at the speed of a real CPU: thousands of
//! processes that live for a system call or two are told apart, and counted to the byte, by what their reads
//! returned. (What needs the copies is in the matrix, in VMs.)

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a busy machine starts in a minute; here within some seconds.
const CHILDREN: usize = 10_000;
/// So many may end before the daemon gets to run: it has room for 4096 processes.
const BATCH: usize = 2_000;
/// No test waits until it is over: it ends one that would hang for ever.
const PATIENCE: Duration = Duration::from_secs(300);
const LARGEST: usize = 4096;
/// The children's name: that of the thread which forks them.
const NAME: &str = "fork-storm";

struct Daemon {
    child: Child,
    address: SocketAddr,
}

impl Daemon {
    /// What it said, if it cannot count here.
    fn start() -> Result<Self, String> {
        let child = Command::new(env!("CARGO_BIN_EXE_tracer"))
            .args(["serve", "--group-by", "comm", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("tracer starts");
        let mut daemon = Daemon { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut said = String::new();
        let mut lines = BufReader::new(daemon.child.stderr.take().expect("piped"));
        loop {
            let from = said.len();
            if lines.read_line(&mut said).expect("text") == 0 {
                return Err(said);
            }
            let line = said[from..].trim_end();
            if let Some(on) = line.strip_prefix("tracer: serving on ") {
                daemon.address = on.parse().expect("an address");
            }
            if line == "tracer: counting every process" {
                // It must not be stopped by a pipe that nobody reads.
                std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
                return Ok(daemon);
            }
        }
    }

    /// Nothing was lost so far.
    fn page(&self) -> String {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a page");
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert_eq!(sum(&answer, "tracer_events_lost_total{", ""), 0, "{answer}");
        assert_eq!(sum(&answer, "tracer_events_merged_total{", ""), 0, "{answer}");
        answer
    }

    /// Processes that have ended and whose room it has taken back.
    fn ended(&self) -> u64 {
        sum(&self.page(), "tracer_processes_ended_total ", "")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

/// The sum of a metric's samples that have a label.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let samples = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).map(|value| value as u64).sum()
}

/// One process: one read, of this size.
fn child(source: &File, bytes: usize) {
    let mut buffer = [0u8; LARGEST];
    // SAFETY: between fork and _exit the child calls nothing else; the buffer has room.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let got = libc::pread(source.as_raw_fd(), buffer.as_mut_ptr().cast(), bytes, 0);
            libc::_exit(i32::from(got != bytes as isize));
        }
        let mut status = 0;
        assert!(
            pid > 0 && libc::waitpid(pid, &raw mut status, 0) == pid && status == 0,
            "status {status:#x}"
        );
    }
}

fn storm(daemon: &Daemon) -> u64 {
    let path = std::env::temp_dir().join(format!("tracer-storm-{}", std::process::id()));
    std::fs::write(&path, [7; LARGEST]).expect("a file");
    let source = File::open(&path).expect("opened");
    std::fs::remove_file(&path).expect("removed");
    let size = |index| 1 + index % LARGEST;
    let (begun, before) = (Instant::now(), daemon.ended());
    for first in (0..CHILDREN).step_by(BATCH) {
        std::thread::scope(|scope| {
            let storm = || (first..first + BATCH).for_each(|index| child(&source, size(index)));
            std::thread::Builder::new().name(NAME.into()).spawn_scoped(scope, storm).expect("a thread");
        });
        while daemon.ended() < before + (first + BATCH) as u64 {
            assert!(begun.elapsed() < PATIENCE, "ends are not counted: {}", daemon.page());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    println!("{:.0} processes a second", CHILDREN as f64 / begun.elapsed().as_secs_f64());
    (0..CHILDREN).map(|index| size(index) as u64).sum()
}

#[test]
fn thousands_of_short_lived_processes_are_counted_exactly() {
    let daemon = match Daemon::start() {
        Ok(daemon) => daemon,
        Err(said) => return println!("skipped: tracer cannot count on this machine:\n{said}"),
    };
    let before = daemon.page();
    // This process has just read, so there is some where it can be seen.
    if sum(&before, "tracer_payload_calls_total{", "") == 0 {
        return println!("skipped: nothing that is attached here sees what system calls return");
    }
    let known = storm(&daemon);
    let after = daemon.page();
    let of = |name: &str| sum(&after, name, NAME) - sum(&before, name, NAME);
    assert_eq!(of("tracer_payload_bytes_total{"), known);
    assert_eq!(of("tracer_payload_calls_total{"), CHILDREN as u64);
}
