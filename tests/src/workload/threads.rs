//! Four threads on two CPUs, each with files of its own. They are started and
//! told that they are done by thread-directed real-time signals (which queue),
//! so that the calls of all threads are known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};

use super::counts::{Call, book};
use super::job::Job;
use super::{Mechanism, Options, methods, signals};

pub const THREADS: usize = 4;

fn start_signal() -> i32 {
    libc::SIGRTMIN()
}

fn done_signal() -> i32 {
    libc::SIGRTMIN() + 1
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

struct Worker {
    thread: i32,
    handle: Option<JoinHandle<Result<()>>>,
}

pub struct Threads {
    process: i32,
    workers: Vec<Worker>,
    done: signals::Set,
    stop: Arc<AtomicBool>,
}

impl Threads {
    /// Each thread moves `options.bytes`.
    pub fn new(options: &Options) -> Result<Self> {
        signals::Set::of(&[start_signal(), done_signal()]).block();
        let (main, process) = (thread_id(), std::process::id() as i32);
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for _ in 0..THREADS {
            let job = Job::to_file(options)?;
            let stop = Arc::clone(&stop);
            let (tell, told) = std::sync::mpsc::channel();
            let handle = std::thread::spawn(move || {
                tell.send(thread_id())?;
                drop(tell);
                work(job, &stop, process, main)
            });
            workers.push(Worker { thread: told.recv()?, handle: Some(handle) });
        }
        Ok(Threads { process, workers, done: signals::Set::of(&[done_signal()]), stop })
    }

    fn start_all(&self) -> Result<()> {
        self.workers.iter().try_for_each(|worker| signal_thread(self.process, worker.thread, start_signal()))
    }
}

/// A thread's life: one window per start signal.
fn work(mut job: Job, stop: &AtomicBool, process: i32, main: i32) -> Result<()> {
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
        signal_thread(process, main, done_signal())?;
    }
}

impl Mechanism for Threads {
    fn window(&mut self) -> Result<()> {
        self.start_all()?;
        for _ in 0..THREADS {
            self.done.wait()?;
        }
        Ok(())
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
