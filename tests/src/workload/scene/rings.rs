//! io_uring receives of data that is not there yet: the retry runs wherever the task then is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use io_uring::{IoUring, cqueue, opcode, squeue, types::Fd};

use super::super::memory::Mapping;
use super::super::scratch::{self, Pipe};
use super::super::transport::{self, Transport};
use super::super::{Options, lacking};
use super::feeder::{Feeder, Wake};
use super::{Scene, checked, descriptor};

pub const CHUNK: usize = 16 * 1024;
pub const TURNS: usize = 32;
/// Of `ring_pipe_multishot`: chunks that fill no page.
pub const PIPE_CHUNK: usize = 10_000;
pub const PIPE_TURNS: usize = 100;
/// Of `ring_readv`: vectors, bytes of each, and requests.
pub const VECTORS: usize = 16;
pub const VECTOR: usize = 1024;
pub const READS: usize = 32;
/// Buffers of a multishot request, and their group.
const BUFFERS: usize = 8;
const GROUP: u16 = 7;

/// Where the task is while the data comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// In io_uring_enter.
    Enter,
    /// In epoll_wait on the ring's descriptor.
    Epoll,
    /// In user mode, looking at the completion queue.
    Spin,
    /// In read(2) of a pipe.
    Pipe,
    Futex,
    Sleep,
}

struct Receiver {
    ring: IoUring,
    /// The completion queue's readiness.
    epoll: OwnedFd,
    feeder: Feeder,
    wait: Wait,
    buffers: Mapping,
    /// The next completion that has not been looked at.
    chunk: usize,
}

impl Receiver {
    fn new(ring: IoUring, sink: OwnedFd, chunk: usize, wait: Wait) -> Result<Self> {
        let wake = match wait {
            Wait::Spin => Wake::Never,
            Wait::Pipe => Wake::ByPipe,
            Wait::Futex => Wake::ByFutex,
            Wait::Enter | Wait::Epoll | Wait::Sleep => Wake::ByData,
        };
        // SAFETY: takes no memory of ours.
        let epoll = descriptor("epoll_create1", unsafe { libc::epoll_create1(0) })?;
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: the event lives through the call.
        let ret = unsafe {
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, ring.as_raw_fd(), &raw mut event)
        };
        checked("epoll_ctl", ret as isize)?;
        let feeder = Feeder::start(sink, chunk, wake)?;
        let buffers = Mapping::anonymous(chunk * BUFFERS)?;
        Ok(Receiver { ring, epoll, feeder, wait, buffers, chunk })
    }

    fn submit(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: what the entry points to lives as long as the receiver.
        unsafe { self.ring.submission().push(entry) }.context("the submission queue is full")?;
        self.ring.submit().context("io_uring_enter")?;
        Ok(())
    }

    /// The next completion, waited for as the scene is about.
    fn completion(&mut self) -> Result<cqueue::Entry> {
        loop {
            if let Some(entry) = self.ring.completion().next() {
                return Ok(entry);
            }
            match self.wait {
                Wait::Spin => std::hint::spin_loop(),
                Wait::Epoll => self.wait_by_epoll()?,
                Wait::Sleep => std::thread::sleep(Duration::from_millis(2)),
                // The chunk is there, if the request has not taken it yet.
                Wait::Enter | Wait::Pipe | Wait::Futex => match self.ring.submit_and_wait(1) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                        return Err(error).context("io_uring_enter");
                    }
                    _ => {}
                },
            }
        }
    }

    fn wait_by_epoll(&self) -> Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for the one event.
        let ret = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &raw mut event, 1, -1) };
        // The ring's work wakes the task as a signal does.
        let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        ensure!(ret >= 0 || interrupted, "epoll_wait: {}", io::Error::last_os_error());
        Ok(())
    }

    /// Asks for a chunk, and comes back when it may be there.
    fn ask(&mut self) -> Result<()> {
        self.feeder.ask();
        match self.wait {
            Wait::Pipe => self.feeder.wait_by_pipe()?,
            Wait::Futex => self.feeder.wait_by_futex(),
            _ => {}
        }
        Ok(())
    }

    /// One request of its own for each chunk, and again for what is left of it.
    fn single(&mut self, source: &OwnedFd) -> Result<()> {
        for _ in 0..TURNS {
            let mut done = 0;
            while done < self.chunk {
                let at = self.buffers.bytes_mut()[done..].as_mut_ptr();
                let entry = opcode::Recv::new(Fd(source.as_raw_fd()), at, (self.chunk - done) as u32).build();
                self.submit(&entry)?;
                if done == 0 {
                    self.ask()?;
                }
                done += moved(&self.completion()?)?;
            }
        }
        Ok(())
    }

    fn provide(&mut self, first: u16, count: u16) -> Result<()> {
        let at = self.buffers.bytes_mut()[first as usize * self.chunk..].as_mut_ptr();
        let entry = opcode::ProvideBuffers::new(at, self.chunk as i32, count, GROUP, first).build();
        self.submit(&entry.flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// One request for all chunks, armed again if the kernel ends it.
    fn multishot(&mut self, request: &squeue::Entry, turns: usize) -> Result<()> {
        let mut armed = false;
        for _ in 0..turns {
            let mut done = 0;
            while done < self.chunk {
                if !armed {
                    self.submit(request)?;
                }
                if done == 0 {
                    self.ask()?;
                }
                let entry = self.completion()?;
                armed = cqueue::more(entry.flags());
                if entry.result() == -libc::ENOBUFS {
                    continue;
                }
                done += moved(&entry)?;
                let buffer = cqueue::buffer_select(entry.flags()).context("no buffer was taken")?;
                self.provide(buffer, 1)?;
            }
        }
        // The next window arms it anew.
        self.cancel(armed)
    }

    fn cancel(&mut self, armed: bool) -> Result<()> {
        if !armed {
            return Ok(());
        }
        self.submit(&opcode::AsyncCancel::new(0).build().user_data(1))?;
        // Both the request and its cancellation complete.
        for _ in 0..2 {
            while self.ring.completion().next().is_none() {
                self.ring.submit_and_wait(1).context("io_uring_enter")?;
            }
        }
        Ok(())
    }
}

fn moved(entry: &cqueue::Entry) -> Result<usize> {
    match entry.result() {
        0 => bail!("the stream has ended"),
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)).context("the request failed"),
        bytes => Ok(bytes as usize),
    }
}

fn plain() -> Result<IoUring> {
    lacking("io_uring", IoUring::new(8))
}

/// Receives 512 KiB on a TCP socket in requests of 16 KiB.
fn receives(ring: IoUring, wait: Wait) -> Result<Scene> {
    let ends = transport::connect(Transport::Tcp, CHUNK)?;
    let mut receiver = Receiver::new(ring, ends.sender, CHUNK, wait)?;
    let source = ends.receiver;
    Scene::new(move || receiver.single(&source))
}

pub fn enter(_: &Options) -> Result<Scene> {
    receives(plain()?, Wait::Enter)
}

pub fn epoll(_: &Options) -> Result<Scene> {
    receives(plain()?, Wait::Epoll)
}

pub fn spin(_: &Options) -> Result<Scene> {
    receives(plain()?, Wait::Spin)
}

pub fn pipe(_: &Options) -> Result<Scene> {
    receives(plain()?, Wait::Pipe)
}

pub fn futex(_: &Options) -> Result<Scene> {
    receives(plain()?, Wait::Futex)
}

pub fn sleep(_: &Options) -> Result<Scene> {
    receives(plain()?, Wait::Sleep)
}

/// The kernel's thread submits, and does what need not wait.
pub fn polled(_: &Options) -> Result<Scene> {
    let ring = IoUring::builder().setup_sqpoll(2000).build(8);
    receives(lacking("io_uring with SQPOLL", ring)?, Wait::Enter)
}

/// Work is done in io_uring_enter alone.
pub fn deferred(_: &Options) -> Result<Scene> {
    let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8);
    receives(lacking("IORING_SETUP_DEFER_TASKRUN", ring)?, Wait::Enter)
}

/// One request receives all, while the task is in epoll_wait.
pub fn multishot(_: &Options) -> Result<Scene> {
    let ends = transport::connect(Transport::Tcp, CHUNK)?;
    let mut receiver = Receiver::new(plain()?, ends.sender, CHUNK, Wait::Epoll)?;
    let source = ends.receiver;
    receiver.provide(0, BUFFERS as u16)?;
    let request = opcode::RecvMulti::new(Fd(source.as_raw_fd()), GROUP).build();
    Scene::new(move || {
        let _open = &source;
        receiver.multishot(&request, TURNS)
    })
}

/// The same of a pipe, while the task spins.
pub fn pipe_multishot(_: &Options) -> Result<Scene> {
    let Pipe { read, write } = Pipe::new()?;
    let ring = plain()?;
    let mut probe = io_uring::Probe::new();
    lacking("io_uring probe", ring.submitter().register_probe(&mut probe))?;
    if !probe.is_supported(opcode::ReadMulti::CODE) {
        return lacking("io_uring", Err("no READ_MULTISHOT"));
    }
    let mut receiver = Receiver::new(ring, write, PIPE_CHUNK, Wait::Spin)?;
    receiver.provide(0, BUFFERS as u16)?;
    let request = opcode::ReadMulti::new(Fd(read.as_raw_fd()), 0, GROUP).build();
    Scene::new(move || {
        let _open = &read;
        receiver.multishot(&request, PIPE_TURNS)
    })
}

/// Reads a file into more vectors than fit on the kernel's stack.
pub fn readv(options: &Options) -> Result<Scene> {
    let source = scratch::source(&options.dir, VECTORS * VECTOR * READS)?;
    let mut ring = plain()?;
    let mut buffer = Mapping::anonymous(VECTORS * VECTOR)?;
    let vectors: Vec<libc::iovec> =
        buffer.bytes_mut().chunks_mut(VECTOR).map(|part| super::super::sys::vector(part)).collect();
    Scene::new(move || {
        let _memory = &buffer;
        for turn in 0..READS {
            let entry = opcode::Readv::new(Fd(source.as_raw_fd()), vectors.as_ptr(), VECTORS as u32)
                .offset((turn * VECTORS * VECTOR) as u64)
                .build();
            // SAFETY: vectors and buffer live as long as the ring.
            unsafe { ring.submission().push(&entry) }.context("the submission queue is full")?;
            ring.submit_and_wait(1).context("io_uring_enter")?;
            let entry = ring.completion().next().context("no completion")?;
            ensure!(moved(&entry)? == VECTORS * VECTOR, "a short read");
        }
        Ok(())
    })
}
