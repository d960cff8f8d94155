//! Data that looks like an argument block: as large as its own array of vectors, or in the kernel's stack.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, Result, ensure};

use super::super::{Options, sys};
use super::{Scene, checked, receive_all};

/// Of `writev_udp`: vectors of 16 bytes, so that data and array of vectors are of one size.
pub const SMALL_VECTORS: usize = 9;
pub const SMALL: usize = 16;
pub const DATAGRAMS: usize = 64;

pub fn writev_udp(_: &Options) -> Result<Scene> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback (lo is down?)")?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    let data = [0xa5u8; SMALL_VECTORS * SMALL];
    let mut buffer = [0u8; SMALL_VECTORS * SMALL];
    Scene::new(move || {
        let vectors: [libc::iovec; SMALL_VECTORS] =
            std::array::from_fn(|index| sys::vector(&data[index * SMALL..][..SMALL]));
        for _ in 0..DATAGRAMS {
            // SAFETY: the vectors lie in `data`.
            let ret = unsafe { libc::writev(sender.as_raw_fd(), vectors.as_ptr(), SMALL_VECTORS as i32) };
            ensure!(checked("writev", ret)? == data.len(), "a short datagram");
            receive_all(&receiver, &mut buffer)?;
        }
        Ok(())
    })
}

/// Of `sendmsg_pktinfo`.
pub const QUIC: usize = 1200;
pub const QUIC_PACKETS: usize = 200;
/// `CMSG_SPACE(sizeof(struct in6_pktinfo))`
pub const PKTINFO: usize = 40;

/// IPv6 datagrams that name the address they come from, as QUIC and DNS servers send them.
pub fn sendmsg_pktinfo(_: &Options) -> Result<Scene> {
    let receiver = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).context("no IPv6 loopback")?;
    let sender = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    let data = [0xa5u8; QUIC];
    let mut buffer = [0u8; QUIC];
    let mut control = [0u64; PKTINFO / 8];
    // struct cmsghdr, and in6_pktinfo with ::1 and no interface.
    control[0] = 36;
    control[1] = libc::IPPROTO_IPV6 as u64 | (libc::IPV6_PKTINFO as u64) << 32;
    control[3] = 1u64.swap_bytes();
    Scene::new(move || {
        let mut vector = sys::vector(&data);
        // SAFETY: all zeroes is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        (header.msg_iov, header.msg_iovlen) = (&raw mut vector, 1);
        (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), PKTINFO);
        for _ in 0..QUIC_PACKETS {
            // SAFETY: header, vector, data and control live through the call.
            let ret = unsafe { libc::sendmsg(sender.as_raw_fd(), &raw const header, 0) };
            ensure!(checked("sendmsg", ret)? == QUIC, "a short datagram");
            receive_all(&receiver, &mut buffer)?;
        }
        Ok(())
    })
}

/// Of `sendmsg_vectors`.
pub const VECTORS: usize = 64;
pub const VECTOR: usize = 100;
pub const MESSAGES: usize = 32;

pub fn sendmsg_vectors(_: &Options) -> Result<Scene> {
    let (sender, receiver) = UnixDatagram::pair()?;
    let data = vec![0xa5u8; VECTORS * VECTOR];
    let mut buffer = vec![0u8; VECTORS * VECTOR];
    let mut vectors: Vec<libc::iovec> = data.chunks(VECTOR).map(sys::vector).collect();
    Scene::new(move || {
        // SAFETY: all zeroes is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        (header.msg_iov, header.msg_iovlen) = (vectors.as_mut_ptr(), VECTORS);
        for _ in 0..MESSAGES {
            // SAFETY: header, vectors and data live through the call.
            let ret = unsafe { libc::sendmsg(sender.as_raw_fd(), &raw const header, 0) };
            ensure!(checked("sendmsg", ret)? == data.len(), "a short message");
            receive_all(&receiver, &mut buffer)?;
        }
        Ok(())
    })
}

/// Of `readv_on_stack`: "100\n".
pub const SCORE: usize = 4;
pub const SCORES: usize = 50;

/// A file of /proc whose text the kernel makes on its stack.
pub fn readv_on_stack(_: &Options) -> Result<Scene> {
    std::fs::write("/proc/self/oom_score_adj", "100")?;
    let file = File::open("/proc/self/oom_score_adj")?;
    let mut buffer = [0u8; 2 * SMALL];
    Scene::new(move || {
        let (head, tail) = buffer.split_at_mut(SMALL);
        let vectors = [sys::vector(head), sys::vector(tail)];
        for _ in 0..SCORES {
            // SAFETY: both vectors lie in `buffer`.
            let ret = unsafe { libc::preadv(file.as_raw_fd(), vectors.as_ptr(), 2, 0) };
            ensure!(checked("preadv", ret)? == SCORE, "another text");
        }
        Ok(())
    })
}
