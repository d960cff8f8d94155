//! From a file in the page cache to somewhere else: what nearly every
//! workload does. A [`Job`] holds all that any method needs, set up before
//! the window; a method is a plain function over it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};

use super::memory::{self, Checksum, Hole, Mapping};
use super::peer::Drain;
use super::receive::Receiver;
use super::scratch::{self, Pipe};
use super::transport::{self, Transport};
use super::{Mechanism, Options, sys};

/// Moves the bytes of one window.
pub type Method = fn(&mut Job) -> Result<()>;

pub struct Job {
    pub bytes: usize,
    pub chunk: usize,
    pub source: File,
    /// The source, mapped and present; of a source that is not cached, other memory with its bytes.
    pub view: Mapping,
    /// Where a method may map the source itself.
    pub hole: Hole,
    cold: bool,
    /// One chunk of private memory.
    pub buffer: Mapping,
    /// Room for one chunk.
    pub pipe: Pipe,
    /// A second pipe, for tee.
    pub second: Pipe,
    /// Where the bytes go.
    pub sink: Sink,
}

pub enum Sink {
    /// /dev/null or a far host, for methods whose bytes cannot be looked at afterwards.
    Nothing(File),
    File {
        file: File,
        view: Option<Mapping>,
    },
    /// `out` is closed to end the stream.
    Peer {
        out: Option<OwnedFd>,
        drain: Drain,
        transport: Transport,
    },
}

impl Sink {
    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Sink::File { file, .. } | Sink::Nothing(file) => file.as_fd(),
            Sink::Peer { out, .. } => out.as_ref().expect("open until verified").as_fd(),
        }
    }

    /// The destination's memory, of a job that has it mapped.
    pub fn view(&mut self) -> &mut [u8] {
        match self {
            Sink::File { view: Some(view), .. } => view.bytes_mut(),
            _ => panic!("this job has no mapped destination"),
        }
    }
}

impl Job {
    fn new(options: &Options, sink: Sink) -> Result<Self> {
        let source = scratch::source(&options.dir, options.bytes)?;
        let view = if options.cold {
            scratch::evict(&source)?;
            let mut view = Mapping::anonymous(options.bytes)?;
            memory::fill(view.bytes_mut());
            view
        } else {
            Mapping::shared(source.as_fd(), options.bytes)?
        };
        let room = options.chunk.max(64 * 1024);
        Ok(Job {
            bytes: options.bytes,
            chunk: options.chunk,
            view,
            hole: Hole::of(options.bytes)?,
            cold: options.cold,
            source,
            buffer: Mapping::anonymous(options.chunk)?,
            pipe: Pipe::with_room(room).context("cannot size a pipe")?,
            second: Pipe::with_room(room).context("cannot size a pipe")?,
            sink,
        })
    }

    pub fn to_file(options: &Options) -> Result<Self> {
        let file = scratch::nameless(options.destination(), 0)?;
        Self::new(options, Sink::File { file, view: None })
    }

    pub fn to_nothing(options: &Options) -> Result<Self> {
        let null = File::options().write(true).open("/dev/null")?;
        Self::new(options, Sink::Nothing(null))
    }

    /// To something that is open already, and swallows what it gets.
    pub fn to_descriptor(options: &Options, file: File) -> Result<Self> {
        Self::new(options, Sink::Nothing(file))
    }

    /// To a file that is mapped already, all pages present and dirty.
    pub fn to_mapped_file(options: &Options) -> Result<Self> {
        let file = scratch::nameless(options.destination(), 0)?;
        file.set_len(options.bytes as u64)?;
        let view = Some(Mapping::shared(file.as_fd(), options.bytes)?);
        Self::new(options, Sink::File { file, view })
    }

    pub fn to_peer(options: &Options, transport: Transport, receiver: Receiver) -> Result<Self> {
        let ends = transport::connect(transport, options.bytes)?;
        let drain = Drain::start(options, receiver, ends.receiver)?;
        let out = Some(ends.sender);
        Self::new(options, Sink::Peer { out, drain, transport })
    }

    pub fn rewind(&mut self) -> Result<()> {
        sys::rewind(self.source.as_fd())?;
        if self.cold {
            sys::forget_pages(self.source.as_fd())?;
        }
        if let Sink::File { file, .. } = &self.sink {
            sys::rewind(file.as_fd())?;
        }
        Ok(())
    }

    pub fn peer(&self) -> Option<u32> {
        match &self.sink {
            Sink::File { .. } | Sink::Nothing(_) => None,
            Sink::Peer { drain, .. } => Some(drain.pid()),
        }
    }

    pub fn verify(&mut self, windows: u64) -> Result<()> {
        match &mut self.sink {
            Sink::Nothing(_) => Ok(()),
            Sink::File { file, .. } => scratch::check_content(file, self.view.bytes(), 1),
            Sink::Peer { out, drain, transport } => {
                let out = out.take().expect("verified once");
                transport::finish(*transport, out)?;
                drain.check(windows, self.bytes, Checksum::of(self.view.bytes()))
            }
        }
    }
}

/// A job with its method: the mechanism of most rows of the registry.
pub struct Moving {
    pub job: Job,
    pub method: Method,
}

impl Mechanism for Moving {
    fn rewind(&mut self) -> Result<()> {
        self.job.rewind()
    }

    fn window(&mut self) -> Result<()> {
        (self.method)(&mut self.job)
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        self.job.verify(windows)
    }

    fn peer(&self) -> Option<u32> {
        self.job.peer()
    }
    fn peer_notifies(&self) -> bool {
        self.job.peer().is_some()
    }
}
