//! Sockets of all families: what is sent is received by the same process, message by message.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::super::{Options, Skip, lacking};
use super::{
    Scene, checked, descriptor, descriptor_or_skip, load_module, read_once, receive_all, send_once,
    set_option, write_once,
};

pub const MESSAGE: usize = 16 * 1024;
pub const MESSAGES: usize = 32;
/// Ethernet frames, header included.
pub const FRAME: usize = 1400;
pub const FRAMES: usize = 64;

/// Sends and receives, one after the other.
fn exchange(sender: impl AsRawFd + 'static, receiver: impl AsRawFd + 'static) -> Result<Scene> {
    let data = vec![0xa5u8; MESSAGE];
    let mut buffer = vec![0u8; MESSAGE];
    Scene::new(move || {
        for _ in 0..MESSAGES {
            send_once(&sender, &data)?;
            receive_all(&receiver, &mut buffer)?;
        }
        Ok(())
    })
}

fn size<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn bind<T>(socket: &OwnedFd, address: &T) -> io::Result<()> {
    // SAFETY: an address of its own size.
    let ret = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(address).cast(), size::<T>()) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn connect<T>(socket: &OwnedFd, address: &T) -> io::Result<()> {
    // SAFETY: an address of its own size.
    let ret = unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(address).cast(), size::<T>()) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn socket(what: &str, family: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    // SAFETY: takes no memory of ours.
    descriptor_or_skip(what, unsafe { libc::socket(family, kind, protocol) })
}

/// Both ends of a connection that `address` names, and whose port the kernel chooses: `T` is an address that
/// getsockname fills.
fn stream<T: Copy>(what: &str, family: i32, protocol: i32, mut address: T) -> Result<(OwnedFd, OwnedFd)> {
    let listener = socket(what, family, libc::SOCK_STREAM, protocol)?;
    lacking(what, bind(&listener, &address))?;
    let mut length = size::<T>();
    // SAFETY: the address has room for `length` bytes; the descriptors are ours.
    unsafe {
        checked("listen", libc::listen(listener.as_raw_fd(), 1) as isize)?;
        let at = (&raw mut address).cast();
        checked("getsockname", libc::getsockname(listener.as_raw_fd(), at, &raw mut length) as isize)?;
    }
    let sender = socket(what, family, libc::SOCK_STREAM, protocol)?;
    lacking(what, connect(&sender, &address))?;
    // SAFETY: no address is asked for.
    let accepted = unsafe { libc::accept(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut()) };
    Ok((sender, descriptor("accept", accepted)?))
}

fn loopback() -> libc::sockaddr_in {
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    address
}

pub fn unix_seqpacket(_: &Options) -> Result<Scene> {
    let mut ends = [-1; 2];
    // SAFETY: room for both descriptors.
    let ret = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, ends.as_mut_ptr()) };
    checked("socketpair", ret as isize)?;
    exchange(descriptor("socketpair", ends[0])?, descriptor("socketpair", ends[1])?)
}

pub fn sctp(_: &Options) -> Result<Scene> {
    load_module("sctp");
    let (sender, receiver) = stream("SCTP", libc::AF_INET, libc::IPPROTO_SCTP, loopback())?;
    exchange(sender, receiver)
}

pub fn mptcp(_: &Options) -> Result<Scene> {
    let (sender, receiver) = stream("MPTCP", libc::AF_INET, libc::IPPROTO_MPTCP, loopback())?;
    exchange(sender, receiver)
}

pub fn vsock(_: &Options) -> Result<Scene> {
    load_module("vsock_loopback");
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_vm = unsafe { zeroed() };
    address.svm_family = libc::AF_VSOCK as u16;
    (address.svm_cid, address.svm_port) = (libc::VMADDR_CID_LOCAL, libc::VMADDR_PORT_ANY);
    let (sender, receiver) = stream("vsock", libc::AF_VSOCK, 0, address)?;
    exchange(sender, receiver)
}

pub fn tcp6(_: &Options) -> Result<Scene> {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).context("no IPv6 loopback")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    exchange(sender, listener.accept()?.0)
}

pub fn udp6(_: &Options) -> Result<Scene> {
    let receiver = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).context("no IPv6 loopback")?;
    let sender = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
    sender.connect(receiver.local_addr()?)?;
    exchange(sender, receiver)
}

/// Between two sockets of the protocol that the kernel leaves to programs.
pub fn netlink(_: &Options) -> Result<Scene> {
    let open = || socket("netlink", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_USERSOCK);
    let (sender, receiver) = (open()?, open()?);
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    bind(&receiver, &address)?;
    let mut length = size::<libc::sockaddr_nl>();
    // SAFETY: the address has room for `length` bytes.
    let ret = unsafe { libc::getsockname(receiver.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
    checked("getsockname", ret as isize)?;
    connect(&sender, &address)?;
    exchange(sender, receiver)
}

/// A protocol of frames that nobody else speaks (IEEE 802, local experiments).
const EXPERIMENTAL: u16 = 0x88b5;

/// A packet socket that sends and receives on one interface.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let protocol = EXPERIMENTAL.to_be();
    let socket = socket("packet socket", libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol))?;
    // SAFETY: all zeroes is a valid address; the name is terminated.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: a terminated name.
    address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
    bind(&socket, &address)?;
    const IGNORE_OUTGOING: i32 = 23; // PACKET_IGNORE_OUTGOING
    set_option(&socket, libc::SOL_PACKET, IGNORE_OUTGOING, 1)?;
    Ok(socket)
}

/// A broadcast of the experimental protocol.
fn frame() -> Vec<u8> {
    let mut frame = vec![0xa5u8; FRAME];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&EXPERIMENTAL.to_be_bytes());
    frame
}

/// Frames over loopback.
pub fn packet(_: &Options) -> Result<Scene> {
    let socket = packet_socket("lo")?;
    let (data, mut buffer) = (frame(), vec![0u8; FRAME]);
    Scene::new(move || {
        for _ in 0..FRAMES {
            send_once(&socket, &data)?;
            receive_all(&socket, &mut buffer)?;
        }
        Ok(())
    })
}

/// Of `socket_options`: a filter of so many instructions, of 8 bytes each, and how often.
pub const FILTER: usize = 16;
pub const OPTIONS: usize = 20;

/// Options whose size is no constant: a filter is attached, and a number asked for. (The filter's header, and the size
/// that the answer has, are structures of constant size.)
pub fn socket_options(_: &Options) -> Result<Scene> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // `ret #-1`
    let mut filter = vec![libc::sock_filter { code: 6, jt: 0, jf: 0, k: u32::MAX }; FILTER];
    Scene::new(move || {
        for _ in 0..OPTIONS {
            let program = libc::sock_fprog { len: FILTER as u16, filter: filter.as_mut_ptr() };
            let (at, size) = ((&raw const program).cast(), size_of::<libc::sock_fprog>() as libc::socklen_t);
            // SAFETY: the program and its filter live through the call.
            let ret = unsafe {
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, at, size)
            };
            checked("SO_ATTACH_FILTER", ret as isize)?;
            let (mut value, mut size) = (0i32, size_of::<i32>() as libc::socklen_t);
            let at = (&raw mut value).cast();
            // SAFETY: the option is one int.
            let ret = unsafe {
                libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, at, &raw mut size)
            };
            checked("SO_RCVBUF", ret as isize)?;
        }
        Ok(())
    })
}

/// Frames from the program into the machine by a tap device, and back.
pub fn tap(_: &Options) -> Result<Scene> {
    load_module("tun");
    let name = format!("tap{}", std::process::id());
    let tap = open_tap(&name)?;
    quiet_and_up(&name)?;
    let socket = packet_socket(&name)?;
    let (data, mut buffer) = (frame(), vec![0u8; FRAME]);
    Scene::new(move || {
        for _ in 0..FRAMES {
            write_once(&tap, &data)?;
            receive_all(&socket, &mut buffer)?;
            send_once(&socket, &data)?;
            read_once(&tap, &mut buffer)?;
        }
        Ok(())
    })
}

pub fn open_tap(name: &str) -> Result<File> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    let tap = lacking("/dev/net/tun", File::options().read(true).write(true).open("/dev/net/tun"))?;
    // SAFETY: all zeroes is a valid request.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    // SAFETY: the request lives through the call.
    let ret = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if ret < 0 {
        return Err(Skip(format!("TUNSETIFF: {}", io::Error::last_os_error())).into());
    }
    Ok(tap)
}

/// Without IPv6, which would send frames of its own.
pub fn quiet_and_up(name: &str) -> Result<()> {
    // Absent where the machine has no IPv6.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    crate::harness::bench::run("ip", &["link", "set", name, "up"])
}
