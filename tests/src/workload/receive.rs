//! The receiving role: takes the bytes in one of several ways, tells the
//! harness when a window is complete, and reports checksums at the end.
//! Its bytes are known, its number of calls is not (it depends on timing).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use anyhow::{Result, bail};
use serde_json::json;

use super::memory::{Checksum, Mapping};
use super::scratch::{self, Pipe};
use super::uring::Ring;
use super::{Options, memory, signals, sys};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    Read,
    Readv,
    Recv,
    Recvmsg,
    Recvmmsg,
    /// recv(MSG_TRUNC): TCP throws the bytes away without copying them.
    Truncate,
    /// Socket to pipe to file.
    Splice,
    /// io_uring's recv.
    Uring,
}

const NAMES: &[(&str, Receiver)] = &[
    ("read", Receiver::Read),
    ("readv", Receiver::Readv),
    ("recv", Receiver::Recv),
    ("recvmsg", Receiver::Recvmsg),
    ("recvmmsg", Receiver::Recvmmsg),
    ("truncate", Receiver::Truncate),
    ("splice", Receiver::Splice),
    ("uring", Receiver::Uring),
];

impl Receiver {
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, receiver)| *receiver == self).expect("all are named").0
    }

    pub fn named(name: &str) -> Result<Self> {
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, receiver)) => Ok(*receiver),
            None => bail!("no receiver is called {name}"),
        }
    }

    /// False if the bytes are thrown away.
    pub fn keeps_content(self) -> bool {
        self != Receiver::Truncate
    }
}

struct Inbox {
    fd: OwnedFd,
    receiver: Receiver,
    chunk: usize,
    buffer: Mapping,
    pipe: Pipe,
    /// Where the splicing receiver puts the bytes.
    file: File,
    ring: Option<Ring>,
    window: Window,
    /// Wait within the receiving call itself.
    in_flight: bool,
}

/// What has arrived.
struct Window {
    bytes: usize,
    received: u64,
    sum: Checksum,
    sums: Vec<u64>,
    notify: Option<i32>,
}

impl Window {
    fn arrived(&mut self, len: usize, content: &[u8]) -> io::Result<()> {
        self.received += len as u64;
        self.sum.add(content);
        if self.received.is_multiple_of(self.bytes as u64) {
            self.sums.push(std::mem::take(&mut self.sum).value());
            if let Some(pid) = self.notify {
                sys::kill(pid, signals::DRAINED)?;
            }
        }
        Ok(())
    }

    /// Bytes that this window still lacks: no receive takes more, so that
    /// windows do not run into each other.
    fn missing(&self) -> usize {
        self.bytes - (self.received % self.bytes as u64) as usize
    }
}

/// `workload role drain RECEIVER --fd N ...`
pub fn drain(options: &Options, receiver: Receiver, fd: OwnedFd) -> Result<()> {
    let mut inbox = Inbox {
        fd,
        receiver,
        chunk: options.chunk,
        buffer: Mapping::anonymous(4 * options.chunk)?,
        pipe: Pipe::with_room(options.chunk.max(64 * 1024))?,
        file: scratch::nameless(&options.dir, 0)?,
        ring: (receiver == Receiver::Uring).then(|| Ring::plain(8)).transpose()?,
        window: Window {
            bytes: options.bytes,
            received: 0,
            sum: Checksum::default(),
            sums: Vec::with_capacity(4096),
            notify: options.notify,
        },
        in_flight: options.in_flight,
    };
    memory::lock_all();
    println!("{}", json!({"ready": true}));
    while inbox.receive()? > 0 {}
    if receiver == Receiver::Splice {
        inbox.sum_file()?;
    }
    println!("{}", json!({"bytes": inbox.window.received, "checksums": inbox.window.sums}));
    Ok(())
}

impl Inbox {
    /// Takes what is there, at most one chunk; 0 is the end.
    fn receive(&mut self) -> Result<usize> {
        let want = self.chunk.min(self.window.missing());
        let fd = self.fd.as_fd();
        if !self.in_flight {
            // Waits outside of the receiving function: a probe at its exit
            // does not see a call that was in it when the probe was attached.
            sys::poll_readable(fd)?;
        }
        let buffer = &mut self.buffer.bytes_mut()[..want];
        let got = match self.receiver {
            Receiver::Read => sys::read(fd, buffer)?,
            Receiver::Readv => sys::readv(fd, buffer)?,
            Receiver::Recv => sys::recv(fd, buffer, 0)?,
            Receiver::Recvmsg => sys::recvmsg(fd, buffer)?,
            Receiver::Truncate => sys::recv(fd, buffer, libc::MSG_TRUNC)?,
            Receiver::Uring => self.ring.as_mut().expect("made for it").recv(fd, buffer)?,
            Receiver::Splice => return self.splice(want),
            Receiver::Recvmmsg => return self.recvmmsg(),
        };
        if got > 0 {
            let kept = if self.receiver.keeps_content() { got } else { 0 };
            self.window.arrived(got, &self.buffer.bytes()[..kept])?;
        }
        Ok(got)
    }

    fn splice(&mut self, want: usize) -> Result<usize> {
        let got = sys::splice(self.fd.as_fd(), self.pipe.write.as_fd(), want)?;
        let mut left = got;
        while left > 0 {
            left -= sys::splice(self.pipe.read.as_fd(), self.file.as_fd(), left)?;
        }
        if got > 0 {
            self.window.arrived(got, &[])?;
        }
        Ok(got)
    }

    /// Up to four datagrams; an empty one is the end.
    fn recvmmsg(&mut self) -> Result<usize> {
        let chunk = self.chunk;
        let memory = self.buffer.bytes();
        let mut vectors: [libc::iovec; 4] =
            std::array::from_fn(|index| sys::vector(&memory[index * chunk..(index + 1) * chunk]));
        let mut messages = sys::messages(&mut vectors);
        let count = sys::recvmmsg(self.fd.as_fd(), &mut messages)?;
        for (index, message) in messages[..count].iter().enumerate() {
            let len = message.msg_len as usize;
            if len == 0 {
                return Ok(0);
            }
            self.window.arrived(len, &self.buffer.bytes()[index * chunk..][..len])?;
        }
        Ok(count)
    }

    /// The checksums of what was spliced, read back from the file.
    fn sum_file(&mut self) -> Result<()> {
        let mut content = vec![0; self.window.bytes];
        for (index, sum) in self.window.sums.iter_mut().enumerate() {
            let offset = (index * content.len()) as u64;
            self.file.read_exact_at(&mut content, offset)?;
            *sum = Checksum::of(&content);
        }
        Ok(())
    }
}
