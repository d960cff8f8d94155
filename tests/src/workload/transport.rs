//! Connected pairs: what lies between a workload and its peer.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use anyhow::{Context, Result};

use super::scratch::Pipe;
use super::{ktls, lacking};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Pipe,
    Tcp,
    /// TCP with SO_ZEROCOPY set.
    TcpZeroCopy,
    /// TCP with the kernel's TLS on both ends.
    Tls(ktls::Version),
    UnixStream,
    UnixDatagram,
    Udp,
}

pub struct Ends {
    pub sender: OwnedFd,
    pub receiver: OwnedFd,
}

/// `bytes` is what must fit into a queue that drops when it is full.
pub fn connect(transport: Transport, bytes: usize) -> Result<Ends> {
    match transport {
        Transport::Pipe => {
            let Pipe { read, write } = Pipe::new()?;
            Ok(Ends { sender: write, receiver: read })
        }
        Transport::Tcp => tcp(),
        Transport::TcpZeroCopy => {
            let ends = tcp()?;
            allow_zero_copy(ends.sender.as_fd())?;
            Ok(ends)
        }
        Transport::Tls(version) => {
            let ends = tcp()?;
            ktls::enable(version, ends.sender.as_fd(), ends.receiver.as_fd())?;
            Ok(ends)
        }
        Transport::UnixStream => {
            let (sender, receiver) = UnixStream::pair()?;
            Ok(Ends { sender: sender.into(), receiver: receiver.into() })
        }
        Transport::UnixDatagram => {
            let (sender, receiver) = UnixDatagram::pair()?;
            Ok(Ends { sender: sender.into(), receiver: receiver.into() })
        }
        Transport::Udp => udp(bytes),
    }
}

pub fn allow_zero_copy(socket: BorrowedFd) -> Result<()> {
    lacking("SO_ZEROCOPY", set_option(socket, libc::SO_ZEROCOPY, 1))
}

fn tcp() -> Result<Ends> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback (lo is down?)")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    let (receiver, _) = listener.accept()?;
    Ok(Ends { sender: sender.into(), receiver: receiver.into() })
}

/// UDP drops what does not fit: the receiver's queue takes a whole window,
/// with room for the kernel's own bookkeeping.
fn udp(bytes: usize) -> Result<Ends> {
    let (sender, receiver) = (udp_socket()?, udp_socket()?);
    sender.connect(receiver.local_addr()?)?;
    receiver.connect(sender.local_addr()?)?;
    let room = (8 * bytes).min(1 << 30) as i32;
    let set = set_option(receiver.as_fd(), libc::SO_RCVBUFFORCE, room);
    set.context("SO_RCVBUFFORCE (run as root)")?;
    Ok(Ends { sender: sender.into(), receiver: receiver.into() })
}

fn udp_socket() -> Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback (lo is down?)")
}

fn set_option(fd: BorrowedFd, option: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as u32;
    let at = (&raw const value).cast();
    // SAFETY: `value` lives through the call and is `size` bytes long.
    let ret = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, at, size) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends the stream: by closing, or, where closing does not tell the other
/// side, by an empty datagram.
pub fn finish(transport: Transport, sender: OwnedFd) -> Result<()> {
    if matches!(transport, Transport::Udp | Transport::UnixDatagram) {
        // SAFETY: no bytes are sent.
        let ret = unsafe { libc::send(sender.as_raw_fd(), std::ptr::null(), 0, 0) };
        if ret < 0 {
            return Err(io::Error::last_os_error().into());
        }
    }
    Ok(())
}
