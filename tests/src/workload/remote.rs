//! From a file to a host behind a network device, which only takes; or there and back.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::job::{Job, Method};
use super::{Mechanism, Options, Skip, counts, transport};

/// Ports of the services at the other end: RFC 862, RFC 863.
const ECHO: u16 = 7;
const DISCARD: u16 = 9;

fn connect(options: &Options, port: u16) -> Result<TcpStream> {
    let host = options.host.ok_or_else(|| Skip("no --host is given".into()))?;
    let address = SocketAddrV4::new(host, port);
    TcpStream::connect_timeout(&address.into(), Duration::from_secs(20))
        .with_context(|| format!("cannot connect to {address}"))
}

/// A job whose sink is the host's discard service.
pub struct Remote {
    job: Job,
    method: Method,
}

impl Remote {
    pub fn new(options: &Options, zero_copy: bool, method: Method) -> Result<Self> {
        let stream = connect(options, DISCARD)?;
        if zero_copy {
            transport::allow_zero_copy(stream.as_fd())?;
        }
        let job = Job::to_descriptor(options, File::from(OwnedFd::from(stream)))?;
        Ok(Remote { job, method })
    }
}

/// Until the other end has acknowledged everything: no packet leaves after the window.
fn wait_until_sent(socket: &impl AsRawFd) -> Result<()> {
    loop {
        let mut queued = 0i32;
        // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int.
        let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
        ensure!(ret == 0, "SIOCOUTQ: {}", std::io::Error::last_os_error());
        if queued == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Notes the payload that was sent since the connection was made, segments that were sent again included: a machine
/// that is stalled hears the other end late, and asks it again.
fn note_sent(socket: &impl AsRawFd) -> Result<()> {
    /// `tcpi_bytes_sent` in `struct tcp_info` (include/uapi/linux/tcp.h, since 4.19), in words.
    const BYTES_SENT: usize = 200 / 8;
    let mut info = [0u64; 32];
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes `size` bytes at most, and says how many.
    let ret = unsafe {
        let at = info.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut size)
    };
    ensure!(ret == 0, "TCP_INFO: {}", std::io::Error::last_os_error());
    ensure!(size as usize >= (BYTES_SENT + 1) * 8, "TCP_INFO has {size} bytes");
    counts::note_sent(info[BYTES_SENT]);
    Ok(())
}

/// Sends the acknowledgement that is owed, unless it has been sent meanwhile: no packet leaves after the window.
///
/// It goes alone, some time after all others, because virtio_net tells what it sent when it frees it, and of a
/// burst the last packets stay until the next one.
fn acknowledge(socket: &impl AsRawFd) -> Result<()> {
    std::thread::sleep(Duration::from_millis(300));
    let on = 1i32;
    // SAFETY: the option is one int.
    let ret = unsafe {
        let (at, size) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, at, size)
    };
    ensure!(ret == 0, "TCP_QUICKACK: {}", std::io::Error::last_os_error());
    Ok(())
}

impl Mechanism for Remote {
    fn rewind(&mut self) -> Result<()> {
        self.job.rewind()
    }

    fn window(&mut self) -> Result<()> {
        (self.method)(&mut self.job)?;
        wait_until_sent(&self.job.sink.fd())?;
        note_sent(&self.job.sink.fd())
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        Ok(())
    }
}

/// Sends each chunk to the echo service and receives it back.
pub struct Echo {
    stream: TcpStream,
    buffer: Vec<u8>,
    bytes: usize,
}

impl Echo {
    pub fn new(options: &Options) -> Result<Self> {
        let stream = connect(options, ECHO)?;
        Ok(Echo { stream, buffer: vec![0xa5; options.chunk], bytes: options.bytes })
    }
}

impl Mechanism for Echo {
    fn window(&mut self) -> Result<()> {
        for _ in 0..self.bytes / self.buffer.len() {
            self.stream.write_all(&self.buffer)?;
            self.stream.read_exact(&mut self.buffer)?;
        }
        acknowledge(&self.stream)?;
        note_sent(&self.stream)
    }

    fn verify(&mut self, _windows: u64) -> Result<()> {
        ensure!(self.buffer.iter().all(|byte| *byte == 0xa5), "what came back is not what was sent");
        Ok(())
    }
}
