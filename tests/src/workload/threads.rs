//! Four threads on two CPUs, each with files of its own. They are started by a thread-directed real-time signal,
//! and say that they are done by a futex, so that the calls of all threads are known. (A signal to a thread that is
//! about to sleep leaves it runnable, and some kernels then say at the tracepoint that it did not mean to sleep,
//! although they count it as voluntary; a signal to one that sleeps does not.)

use std::io::{
    self,
    ErrorKind::{Interrupted, WouldBlock},
};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};

use super::counts::{Call, book};
use super::job::Job;
use super::{Mechanism, Options, methods, signals};

pub const THREADS: usize = 4;

fn start_signal() -> i32 {
    libc::SIGRTMIN()
}

fn thread_id() -> i32 {
    // SAFETY: takes no memory of ours.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

fn signal_thread(process: i32, thread: i32, signal: i32) -> Result<()> {
    // SAFETY: takes no memory of ours.
    let ret = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    book(Call::Tgkill, ret as isize)?;
    Ok(())
}

/// How many threads are done.
#[derive(Default)]
struct Done(AtomicU32);

impl Done {
    /// One more is, and who waits for that is woken.
    fn say(&self) -> Result<()> {
        self.0.fetch_add(1, AcqRel);
        self.futex(libc::FUTEX_WAKE, 1)?;
        Ok(())
    }

    fn wait_for_all(&self) -> Result<()> {
        loop {
            let now = self.0.load(Acquire);
            if now == THREADS as u32 {
                return Ok(());
            }
            match self.futex(libc::FUTEX_WAIT, now) {
                // It is not `now` any more; or a debugger that attaches interrupts it.
                Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
                other => drop(other?),
            }
        }
    }

    fn futex(&self, operation: i32, value: u32) -> io::Result<usize> {
        let (operation, forever) = (operation | libc::FUTEX_PRIVATE_FLAG, std::ptr::null::<u8>());
        // SAFETY: the word lives as long as `self`.
        let ret = unsafe { libc::syscall(libc::SYS_futex, &self.0, operation, value, forever) };
        book(Call::Futex, ret as isize)
    }
}

struct Worker {
    thread: i32,
    handle: Option<JoinHandle<Result<()>>>,
}

pub struct Threads {
    process: i32,
    workers: Vec<Worker>,
    done: Arc<Done>,
    stop: Arc<AtomicBool>,
}

impl Threads {
    /// Each thread moves `options.bytes`.
    pub fn new(options: &Options) -> Result<Self> {
        signals::Set::of(&[start_signal()]).block();
        let process = std::process::id() as i32;
        let done = Arc::<Done>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for _ in 0..THREADS {
            let job = Job::to_file(options)?;
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let (tell, told) = std::sync::mpsc::channel();
            let handle = std::thread::spawn(move || {
                tell.send(thread_id())?;
                drop(tell);
                work(job, &stop, &done)
            });
            workers.push(Worker { thread: told.recv()?, handle: Some(handle) });
        }
        Ok(Threads { process, workers, done, stop })
    }

    fn start_all(&self) -> Result<()> {
        self.workers.iter().try_for_each(|worker| signal_thread(self.process, worker.thread, start_signal()))
    }
}

/// A thread's life: one window per start signal.
fn work(mut job: Job, stop: &AtomicBool, done: &Done) -> Result<()> {
    let start = signals::Set::of(&[start_signal()]);
    let mut windows = 0;
    loop {
        start.wait()?;
        if stop.load(Relaxed) {
            return job.verify(windows);
        }
        if windows > 0 {
            job.rewind()?;
        }
        methods::read_write(&mut job)?;
        windows += 1;
        done.say()?;
    }
}

impl Mechanism for Threads {
    fn window(&mut self) -> Result<()> {
        self.done.0.store(0, Relaxed);
        self.start_all()?;
        self.done.wait_for_all()
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        self.stop.store(true, Relaxed);
        self.start_all()?;
        for worker in &mut self.workers {
            let handle = worker.handle.take().expect("joined once");
            handle.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(())
    }
}
