//! What `tracer serve` costs beside many processes: an event of one of them, a scrape, memory.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::stage::{maps, resident};
use super::worker::{Taken, Worker};
use super::{SETTLE, clock, print, programs};
use crate::expect::Place;
use crate::harness::bench::Bench;
use crate::harness::bpf::Objects;
use crate::harness::metrics;
use crate::harness::tracer::Tracer;
use crate::workload::signals;

/// A fleet.
struct Case {
    /// Processes that are there when the daemon starts: it makes room for twice as many, and for 4,096 at least.
    before: usize,
    /// Processes that come later.
    after: usize,
    /// Of each process.
    threads: usize,
    arguments: &'static [&'static str],
}

const fn case(before: usize, after: usize, arguments: &'static [&'static str]) -> Case {
    Case { before, after, threads: 1, arguments }
}

const UNBOUNDED: &[&str] = &["--max-series", "10000000"];

const CASES: [Case; 8] = [
    case(0, 0, &[]),
    case(100, 0, &[]),
    case(1_000, 0, &[]),
    Case { threads: 1_000, ..case(10, 0, &[]) },
    case(10_000, 0, &[]),
    case(10_000, 0, &["--group-by", "comm"]),
    // Nearly all of the room is taken.
    case(0, 4_000, &[]),
    case(10_000, 0, UNBOUNDED),
];

const OPERATIONS: [&str; 2] = ["getpid", "read 1 B"];
const ROUNDS: usize = 30;
const SCRAPES: usize = 3;
/// Of a thread that waits.
const STACK: usize = 64 << 10;

pub fn run(bench: &Bench) -> Result<()> {
    clock::check()?;
    let (own, tracer) = programs(bench)?;
    let mut worker = Worker::start(&own, bench.dir(Place::Ext4).map_err(anyhow::Error::msg)?)?;
    std::thread::sleep(SETTLE);
    worker.warm_up()?;
    let untraced = worker.measure_these(ROUNDS, &OPERATIONS)?;
    for case in &CASES {
        let result = measure(bench, &tracer, &mut worker, &untraced, case);
        result.with_context(|| format!("{} processes", case.before + case.after))?;
    }
    Ok(())
}

fn measure(
    bench: &Bench,
    program: &Path,
    worker: &mut Worker,
    untraced: &[Taken],
    case: &Case,
) -> Result<()> {
    let nothing = Objects::now()?;
    let mut sleepers = Sleepers::new(case.threads)?;
    sleepers.add(case.before)?;
    let address = metrics::free_address()?;
    let mut arguments = vec!["serve".to_string(), "--listen".into(), address.to_string()];
    arguments.extend(case.arguments.iter().map(|word| word.to_string()));
    let mut tracer = Tracer::start(program, &arguments)?;
    tracer.wait_counting_everybody()?;
    sleepers.add(case.after)?;
    sleepers.let_go();
    std::thread::sleep(SETTLE);
    let taken = worker.measure_these(ROUNDS, &OPERATIONS)?;
    let scrapes = (0..SCRAPES).map(|_| scrape(address, tracer.pid())).collect::<Result<Vec<_>>>()?;
    let cheapest = scrapes.iter().min_by_key(|scrape| scrape.cpu).context("no scrape")?;
    let extra: Vec<_> =
        taken.iter().zip(untraced).map(|(with, without)| with.least - without.least).collect();
    let (_, map_bytes) = maps(tracer.pid())?;
    let counted = metrics::sum(&cheapest.page, "tracer_processes", &[]);
    let processes = case.before + case.after;
    ensure!(counted >= processes as u64, "the page tells of {counted} processes");
    let line = json!({
        "processes": processes,
        "room_for": case.before,
        "threads": case.threads,
        "arguments": case.arguments.join(" "),
        "getpid": extra[0],
        "read": extra[1],
        "first_scrape_ns": scrapes[0].cpu.as_nanos() as u64,
        "scrape_ns": cheapest.cpu.as_nanos() as u64,
        "scrape_bytes": cheapest.page.len(),
        "series": metrics::sum(&cheapest.page, "tracer_series", &[]),
        "counted": counted,
        "resident_bytes": resident(tracer.pid())?,
        "map_bytes": map_bytes,
    });
    print(bench, "fleet", line);
    let outcome = tracer.stop()?;
    ensure!(outcome.status.success(), "tracer: {}\n{}", outcome.status, outcome.stderr);
    nothing.wait_until_as_before()
}

struct Scrape {
    page: String,
    /// Of the daemon, its part of the kernel's work included.
    cpu: Duration,
}

fn scrape(address: SocketAddr, pid: u32) -> Result<Scrape> {
    let before = cpu_time(pid)?;
    let page = metrics::scrape(address)?;
    // What it does after the answer is a part of it.
    std::thread::sleep(Duration::from_millis(100));
    Ok(Scrape { page, cpu: cpu_time(pid)? - before })
}

/// Of all threads that a process has or had.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both get room for what they return.
    let failed = unsafe {
        libc::clock_getcpuclockid(pid as i32, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
    };
    ensure!(!failed, "no CPU clock of process {pid}");
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Processes that wait. When they are let go each thread reads a byte, and waits until it is killed.
struct Sleepers {
    pids: Vec<i32>,
    /// Of each process.
    threads: usize,
    source: File,
    gate: PipeReader,
    held: Option<PipeWriter>,
}

impl Sleepers {
    fn new(threads: usize) -> Result<Sleepers> {
        let (gate, held) = std::io::pipe()?;
        let source = File::open("/proc/self/exe").context("no file to read from")?;
        // The page that they read is in memory.
        fs::read("/proc/self/exe")?;
        Ok(Sleepers { pids: Vec::new(), threads, source, gate, held: Some(held) })
    }

    fn add(&mut self, count: usize) -> Result<()> {
        let held = self.held.as_ref().context("they were let go")?;
        let (source, gate, held) = (self.source.as_raw_fd(), self.gate.as_raw_fd(), held.as_raw_fd());
        for _ in 0..count {
            // SAFETY: a child that does more than system calls is made while this process has one thread.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                signals::die_with_parent();
                // SAFETY: it is used by nobody else in the child.
                unsafe { libc::close(held) };
                for _ in 1..self.threads {
                    let thread = std::thread::Builder::new().stack_size(STACK);
                    if thread.spawn(move || rest(gate, source)).is_err() {
                        // The parent notices: too few are counted.
                        std::process::exit(1);
                    }
                }
                rest(gate, source);
            }
            ensure!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            self.pids.push(pid);
        }
        Ok(())
    }

    fn let_go(&mut self) {
        drop(self.held.take());
    }
}

/// Reads a byte once nobody can write to the gate any more.
fn rest(gate: RawFd, source: RawFd) -> ! {
    let mut byte = 0u8;
    let at = (&raw mut byte).cast();
    // SAFETY: there is room for a byte.
    unsafe {
        libc::read(gate, at, 1);
        libc::pread(source, at, 1, 0);
        loop {
            libc::pause();
        }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for &pid in &self.pids {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        for &pid in &self.pids {
            // SAFETY: as above; its status is not asked for.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        }
    }
}
